"""A metric: which events, what is measured of them, grouped by what; and a batch's partials of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregate import Columns, Grouped
from streamgauge.aggregates import HISTOGRAM, STATES, states_of
from streamgauge.aggregates.quantiles import keys_of
from streamgauge.columns import Coded, Numbers
from streamgauge.event import EventBatch
from streamgauge.metrics.expression import Expression
from streamgauge.partials import OTHER, Cells, Partials, Series, add_cells, identity, no_cells

MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """One metric as it is computed. `definition` names what it computes: two that differ never share a stored row."""

    name: str
    where: Expression | None = None
    value: Expression = field(default_factory=lambda: Expression.parse("value"))
    by: tuple[str, ...] = ()
    aggregates: tuple[str, ...] = ("count",)
    max_series: int = 10_000
    built_in: bool = False

    @property
    def states(self) -> tuple[str, ...]:
        """The states that its aggregates need."""
        return states_of(self.aggregates)

    @property
    def fields(self) -> frozenset[str]:
        """Every field of an event that it looks at."""
        return self.value.fields | frozenset(self.by) | (self.where.fields if self.where else frozenset())

    @property
    def definition(self) -> str:
        """Eight hexadecimal digits that change when what it computes changes."""
        parts = [self.where.text if self.where else None, self.value.text, list(self.by), list(self.states)]
        return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:8]


class SeriesLimit:
    """Keeps a metric's live series to a number; what exceeds it is counted under `(other)`.

    A series stays live for at least `idle_s` seconds after its last event; when the limit is reached, those that have
    been idle for longer make room.
    """

    def __init__(self, most: int, idle_s: float = 600.0) -> None:
        self.most, self.idle_s = most, idle_s
        self.refused_events = 0
        self._seen: dict[object, float] = {}
        self._swept = -math.inf

    def __len__(self) -> int:
        return len(self._seen)

    def admit(self, keys: list[object], now_s: float) -> list[bool]:
        """Tell for each series whether it has a place of its own; `now_s` is monotonic."""
        fresh = [key for key in keys if key not in self._seen]
        if len(self._seen) + len(fresh) > self.most:
            self._sweep(now_s)
        for key in fresh:
            if len(self._seen) >= self.most:
                break
            self._seen[key] = now_s
        admitted = [key in self._seen for key in keys]
        for key, ok in zip(keys, admitted, strict=True):
            if ok:
                self._seen[key] = now_s
        return admitted

    def _sweep(self, now_s: float) -> None:
        if now_s - self._swept < 1.0:
            return
        self._swept = now_s
        self._seen = {key: seen for key, seen in self._seen.items() if now_s - seen <= self.idle_s}


def compute(metric: Metric, batch: EventBatch, limit: SeriesLimit, now_s: float) -> Partials | None:
    """Give what a batch adds to a metric, at 1 s; None where no event of it counts."""
    if not len(batch):
        return None
    if metric.where is not None:
        wanted = metric.where.condition(batch)
        if not wanted.any():
            return None
        if not wanted.all():
            batch = batch.select(wanted)
    series, codes = _series_of(metric, batch)
    series, codes = _limited(series, codes, limit, now_s)
    bucket = batch.time_us // MICROSECONDS
    first = int(bucket.min())
    group_of, groups = _number(bucket - first, codes, len(series))
    numbers = metric.value.number(batch)
    columns, cells = _observe(metric, batch, numbers, group_of, len(groups))
    return Partials(
        states=metric.states,
        resolution=1,
        series=series,
        code=(groups % len(series)).astype(np.int32),
        bucket=groups // len(series) + first,
        columns=columns,
        cells=cells,
    )


def _series_of(metric: Metric, batch: EventBatch) -> tuple[list[Series], NDArray[np.int64]]:
    if not metric.by:
        return [()], np.zeros(len(batch), np.int64)
    first, *others = [batch.coded(name) for name in metric.by]
    series, codes = _used(first)
    for key in others:
        codes, pairs = _number(codes, key.codes.astype(np.int64), len(key.values))
        places = zip(*(part.tolist() for part in np.divmod(pairs, len(key.values))), strict=True)
        series = [(*series[before], key.values[place]) for before, place in places]
    return series, codes


def _used(key: Coded) -> tuple[list[Series], NDArray[np.int64]]:
    """Leave out the values that no event has, so that they do not take the places of series that occur."""
    used = np.bincount(key.codes, minlength=len(key.values)) > 0
    if used.all():
        return [(value,) for value in key.values], key.codes.astype(np.int64)
    places = np.cumsum(used) - 1
    return [(value,) for value, there in zip(key.values, used.tolist(), strict=True) if there], places[
        key.codes
    ]


def _limited(
    series: list[Series], codes: NDArray[np.int64], limit: SeriesLimit, now_s: float
) -> tuple[list[Series], NDArray[np.int64]]:
    admitted = limit.admit([identity(one) for one in series], now_s)
    if all(admitted):
        return series, codes
    places = np.cumsum(admitted) - 1
    kept = [one for one, ok in zip(series, admitted, strict=True) if ok]
    codes = np.where(np.array(admitted)[codes], places[codes], len(kept))
    limit.refused_events += int((codes == len(kept)).sum())
    return [*kept, OTHER], codes


def _number(
    bucket: NDArray[np.int64], codes: NDArray[np.int64], n_series: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Number the (bucket, code) pairs that occur; give each event's number, and the pair behind each as one key."""
    key = bucket * n_series + codes
    span = (int(bucket.max()) + 1) * n_series
    if span > 4 * len(key) + 1024:
        groups, group_of = np.unique(key, return_inverse=True)
        return group_of, groups
    present = np.zeros(span, bool)
    present[key] = True
    groups = np.flatnonzero(present)
    numbers = np.empty(span, np.int64)
    numbers[groups] = np.arange(len(groups))
    return numbers[key], groups


def _observe(
    metric: Metric,
    batch: EventBatch,
    numbers: Numbers,
    group_of: NDArray[np.int64],
    n_groups: int,
) -> tuple[Columns, Cells]:
    counts = np.bincount(group_of, minlength=n_groups)
    small = group_of.astype(np.uint16) if n_groups <= 0xFFFF else group_of  # a radix sort, four times as fast
    order = np.argsort(small, kind="stable")
    if not numbers.valid.all():
        order = order[numbers.valid[order]]
    ranges = group_of[order]
    starts = (
        np.flatnonzero(np.concatenate([[True], ranges[1:] != ranges[:-1]]))
        if len(ranges)
        else np.empty(0, np.int64)
    )
    needs_order = "last" in metric.states
    events = Grouped(
        n_groups=n_groups,
        counts=counts,
        groups=ranges[starts],
        starts=starts,
        group_of=ranges,
        values=numbers.values[order],
        time_us=batch.time_us[order] if needs_order else batch.time_us[:0],
        order=batch.order[order] if needs_order else batch.time_us[:0],
    )
    columns: Columns = {}
    for name in metric.states:
        if name in STATES:
            columns |= STATES[name].observe(events)
    if HISTOGRAM not in metric.states or not len(ranges):
        return columns, no_cells()
    keys = keys_of(events.values)
    return columns, add_cells(ranges, keys, np.ones(len(keys), np.int64))
