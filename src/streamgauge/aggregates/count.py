"""How many events, and how many of them have a value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregate import Aggregate, Columns, Grouped


class Count:
    """`count`: events. `n_values`: events with a value."""

    columns: Mapping[str, np.dtype[Any]] = {"count": np.dtype(np.int64), "n_values": np.dtype(np.int64)}

    def observe(self, events: Grouped) -> Columns:
        """Count the events of each group."""
        n_values = np.zeros(events.n_groups, np.int64)
        n_values[events.groups] = np.diff(events.starts, append=len(events.values))
        return {"count": events.counts, "n_values": n_values}

    def merge(self, columns: Columns, starts: NDArray[np.int64]) -> Columns:
        """Add."""
        return {name: np.add.reduceat(columns[name], starts) for name in self.columns}


COUNT: Final = Aggregate("count", ("count",), lambda partials: partials.columns["count"].astype(np.float64))
