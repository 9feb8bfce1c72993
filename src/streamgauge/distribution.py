"""How long something takes, as a distribution: a classic histogram and an exponential one, cheap to record.

An observation is an append to a list; what waits is counted in columns, a few thousand at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregates.quantiles import keys_of

MOST_WAITING: Final = 4096
BOUNDS_S: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A distribution at a moment. cumulative: observations at most as long as each of BOUNDS_S; cells: key -> count."""

    count: int
    total_s: float
    cumulative: Sequence[int]
    cells: dict[int, int]


class Distribution:
    """Records durations in seconds."""

    def __init__(self) -> None:
        self._waiting: list[float] = []
        self._many: list[tuple[NDArray[np.float64], NDArray[np.int64]]] = []
        self._many_waiting = 0
        self._total = 0.0
        self._counts = np.zeros(len(BOUNDS_S) + 1, np.int64)
        self._cells: dict[int, int] = {}

    def observe(self, seconds: float) -> None:
        """Record one."""
        self._waiting.append(seconds)
        if len(self._waiting) >= MOST_WAITING:
            self._fold()

    def observe_many(self, seconds: NDArray[np.float64], counts: NDArray[np.int64]) -> None:
        """Record each of some durations several times."""
        self._many.append((seconds, counts))
        self._many_waiting += len(seconds)
        if len(self._many) >= MOST_WAITING or self._many_waiting >= MOST_WAITING:
            self._fold()

    def _fold(self) -> None:
        if self._waiting:
            seconds, counts = np.unique(np.maximum(np.array(self._waiting), 0.0), return_counts=True)
            self._many.append((seconds, counts.astype(np.int64)))
        many, self._waiting, self._many, self._many_waiting = self._many, [], [], 0
        if not many:
            return
        seconds = np.concatenate([one for one, _ in many])
        counts = np.concatenate([one for _, one in many])
        self._total += float(seconds @ counts)
        np.add.at(self._counts, np.searchsorted(BOUNDS_S, seconds), counts)
        for key, count in zip(keys_of(seconds).tolist(), counts.tolist(), strict=True):
            self._cells[key] = self._cells.get(key, 0) + count

    def snapshot(self) -> Snapshot:
        """Give the distribution as it is now."""
        self._fold()
        cumulative = np.cumsum(self._counts)
        return Snapshot(int(cumulative[-1]), self._total, cumulative[:-1].tolist(), dict(self._cells))
