"""What raw events add to a metric, by the same code that counts them as they come in, kept apart by epoch."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregates.quantiles import keys_of
from streamgauge.audit import RawEvents
from streamgauge.metric import MICROSECONDS, Metric, SeriesLimit, compute
from streamgauge.partials import OTHER, Cells, Partials, empty, merge
from streamgauge.verification.raw import EPOCH, RawBatch

HOUR_S = 3600
MINUTE_S = 60
MERGE_AT = 16


def counted(metric: Metric) -> Metric:
    """Give a metric that counts as this one does, apart for each epoch, and keeps the extremes in any case."""
    return replace(metric, by=(EPOCH, *metric.by), aggregates=(*metric.aggregates, "min"))


def count(metric: Metric, batch: RawBatch) -> Partials | None:
    """Give what events add to a metric that `counted` gave; no series is beyond any limit."""
    return compute(metric, batch, SeriesLimit(sys.maxsize), 0.0)


def latency(
    metric: Metric, raw: RawEvents, epochs: NDArray[np.int64], live: NDArray[np.bool_]
) -> Partials | None:
    """Give what events add to the metric of the pipeline's own latency: milliseconds, by the second of arrival.

    live: which of them were not replayed; the others do not count.
    """
    n = int(live.sum())
    if not n:
        return None
    received_us = raw.received_us[live]
    values = np.maximum(raw.processed_us[live] - received_us, 0) / 1000.0
    names, codes = np.unique(epochs[live], return_inverse=True)
    ones, rows = np.ones(n, np.int64), np.arange(n)
    states = counted(metric).states
    single = Partials(
        states=states,
        resolution=1,
        series=[(epoch,) for epoch in names.tolist()],
        code=codes.astype(np.int32),
        bucket=received_us // MICROSECONDS,
        columns={
            **_nothing(states, n),
            "count": ones, "n_values": ones, "sum": values,
            "sum_low": np.zeros(n), "min": values, "max": values,
        },
        cells=Cells(rows, keys_of(values), ones),
    )  # fmt: skip
    return merge([single], states, 1)


def _nothing(states: tuple[str, ...], rows: int) -> dict[str, NDArray[np.generic]]:
    return {name: np.zeros(rows, column.dtype) for name, column in empty(states).columns.items()}


@dataclass(slots=True)
class Accumulator:
    """Partials on their way to be compared: merged now and then, so that they take no more room than they must."""

    states: tuple[str, ...]
    parts: list[Partials] = field(default_factory=list)

    def add(self, part: Partials | None) -> None:
        """Take in more."""
        if part is None or not len(part):
            return
        self.parts.append(part)
        if len(self.parts) >= MERGE_AT:
            self.parts = [merge(self.parts, self.states, 1)]

    def merged(self) -> Partials:
        """Give all of it."""
        return merge(self.parts, self.states, 1)


class Windows:
    """Which buckets are stored at which coarser resolution, so that both sides can be brought to the same."""

    def __init__(self, bucket: NDArray[np.int64], resolution: NDArray[np.int64]) -> None:
        self._coarse = [
            (size, np.unique(bucket[resolution == size]))
            for size in sorted({int(size) for size in np.unique(resolution)} - {1}, reverse=True)
        ]

    def place(self, bucket: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give for each bucket the start and the size of the widest stored window that it lies in."""
        start, size = bucket.copy(), np.ones(len(bucket), np.int64)
        for width, starts in self._coarse:
            floor = bucket - bucket % width
            inside = (size == 1) & np.isin(floor, starts)
            start[inside], size[inside] = floor[inside], width
        return start, size

    def bring(self, partials: Partials) -> Partials:
        """Give partials with their buckets at the start of those windows; not merged."""
        return replace(partials, bucket=self.place(partials.bucket)[0])


def under_epochs(partials: Partials, epoch: NDArray[np.int64]) -> Partials:
    """Put each row's epoch in front of its series."""
    if not len(partials):
        return partials
    width = len(partials.series)
    names, place = np.unique(epoch, return_inverse=True)
    pairs, code = np.unique(place * width + partials.code, return_inverse=True)
    series = [
        (epoch, OTHER) if partials.series[one] is OTHER else (epoch, *partials.series[one])
        for epoch, one in zip(names[pairs // width].tolist(), (pairs % width).tolist(), strict=True)
    ]
    return replace(partials, series=series, code=code.astype(np.int32))


def without_epochs(partials: Partials) -> Partials:
    """Put 0 in front of each series in place of its epoch; to be merged after."""
    return partials.regroup([(0, *series[1:]) for series in partials.series])


__all__ = [
    "Accumulator", "Windows", "count", "counted", "latency", "under_epochs", "without_epochs",
]  # fmt: skip
