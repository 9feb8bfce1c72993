"""The latest value: that of the greatest event time, and among equal times of the latest arrival."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregate import Aggregate, Columns, Grouped, spread

NEVER: Final = np.iinfo(np.int64).min


class Last:
    """`last`, with its event time in microseconds and its place in the order of arrival."""

    columns: Mapping[str, np.dtype[Any]] = {
        "last": np.dtype(np.float64),
        "last_time": np.dtype(np.int64),
        "last_order": np.dtype(np.int64),
    }

    def observe(self, events: Grouped) -> Columns:
        """Find the latest event of each group."""
        at = _latest(events.time_us, events.order, events.group_of, events.starts)
        return {
            "last": spread(events, events.values[at]),
            "last_time": spread(events, events.time_us[at], NEVER),
            "last_order": spread(events, events.order[at], NEVER),
        }

    def merge(self, columns: Columns, starts: NDArray[np.int64]) -> Columns:
        """Keep the latest."""
        lengths = np.diff(starts, append=len(columns["last"]))
        runs = np.repeat(np.arange(len(starts)), lengths)
        at = _latest(columns["last_time"], columns["last_order"], runs, starts)
        return {name: columns[name][at] for name in self.columns}


def _latest(
    time_us: NDArray[np.int64], order: NDArray[np.int64], runs: NDArray[np.int64], starts: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Give the position of the greatest (time, order) of each run."""
    if not len(starts):
        return np.empty(0, np.int64)
    ranked = np.lexsort((order, time_us, runs))
    latest: NDArray[np.int64] = ranked[np.append(starts[1:], len(runs)) - 1]
    return latest


LAST: Final = Aggregate("last", ("count", "last"), lambda partials: partials.columns["last"])
