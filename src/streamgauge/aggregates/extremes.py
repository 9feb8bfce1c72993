"""The smallest and the largest value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregate import Aggregate, Columns, Grouped, spread


class Extremes:
    """`min`, `max`: NaN where no event of the group has a value."""

    columns: Mapping[str, np.dtype[Any]] = {"min": np.dtype(np.float64), "max": np.dtype(np.float64)}

    def observe(self, events: Grouped) -> Columns:
        """Find the extremes of each group."""
        if not len(events.values):
            nothing = np.full(events.n_groups, np.nan)
            return {"min": nothing, "max": nothing}
        return {
            "min": spread(events, np.minimum.reduceat(events.values, events.starts)),
            "max": spread(events, np.maximum.reduceat(events.values, events.starts)),
        }

    def merge(self, columns: Columns, starts: NDArray[np.int64]) -> Columns:
        """Take the smaller and the larger; a number wins over NaN."""
        return {
            "min": np.fmin.reduceat(columns["min"], starts),
            "max": np.fmax.reduceat(columns["max"], starts),
        }


MIN: Final = Aggregate("min", ("count", "extremes"), lambda partials: partials.columns["min"])
MAX: Final = Aggregate("max", ("count", "extremes"), lambda partials: partials.columns["max"])
