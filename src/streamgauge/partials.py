"""Partials: what sets of events add to each (series, bucket) of one metric, in columns.

A row is one series in one bucket of time. Rows merge, and so do whole `Partials`: the same function brings batches into
an epoch, epochs into an answer, seconds into minutes, and shards into one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregate import Columns
from streamgauge.aggregates import HISTOGRAM, STATES

Series = tuple[object, ...]  # the values of the metric's `by`, in its order
OTHER: Series = ("(other)", None, "(other)")  # compared by identity: no event can name it


class Cells(NamedTuple):
    """Sparse histogram cells, ordered by (row, key): `counts[i]` values of `rows[i]` lie in cell `keys[i]`."""

    rows: NDArray[np.int64]
    keys: NDArray[np.int64]
    counts: NDArray[np.int64]


def no_cells() -> Cells:
    """Give no cells."""
    return Cells(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int64))


@dataclass(slots=True, kw_only=True)
class Partials:
    """Rows of one metric, at one resolution, ordered by (bucket, code).

    states: which states the columns hold. resolution: seconds. series: the distinct series; code: int32[rows], which
    of them a row is. bucket: int64[rows], the start of its window in seconds since 1970.
    """

    states: tuple[str, ...]
    resolution: int
    series: list[Series]
    code: NDArray[np.int32]
    bucket: NDArray[np.int64]
    columns: Columns
    cells: Cells = field(default_factory=no_cells)

    def __len__(self) -> int:
        return len(self.bucket)

    @property
    def count(self) -> int:
        """How many events are in it."""
        return int(self.columns["count"].sum())

    def select(self, wanted: NDArray[np.bool_]) -> Partials:
        """Give the rows that a mask names."""
        if wanted.all():
            return self
        new_row = np.cumsum(wanted) - 1
        kept = wanted[self.cells.rows]
        rows, keys, counts = self.cells
        return Partials(
            states=self.states,
            resolution=self.resolution,
            series=self.series,
            code=self.code[wanted],
            bucket=self.bucket[wanted],
            columns={name: column[wanted] for name, column in self.columns.items()},
            cells=Cells(new_row[rows[kept]], keys[kept], counts[kept]),
        )

    def regroup(self, series: Sequence[Series]) -> Partials:
        """Give the same rows under other series: series[i] stands for what was self.series[i]. Merge it after."""
        return Partials(
            states=self.states,
            resolution=self.resolution,
            series=list(series),
            code=self.code,
            bucket=self.bucket,
            columns=self.columns,
            cells=self.cells,
        )


def empty(states: tuple[str, ...], resolution: int = 1) -> Partials:
    """Give no rows."""
    columns = {
        name: np.empty(0, dtype)
        for state in states
        if state in STATES
        for name, dtype in STATES[state].columns.items()
    }
    return Partials(
        states=states,
        resolution=resolution,
        series=[],
        code=np.empty(0, np.int32),
        bucket=np.empty(0, np.int64),
        columns=columns,
    )


ALL_TIME = 0  # a resolution: everything in one bucket that starts at 0


def merge(parts: Iterable[Partials], states: tuple[str, ...], resolution: int) -> Partials:
    """Merge rows of the same series and window into one; give them at `resolution` (seconds, or ALL_TIME).

    The order of the parts does not matter, except to which of two equal moments `last` prefers.
    """
    some = [part for part in parts if len(part)]
    if not some:
        return empty(states, resolution)
    series, codes = _unify(some)
    bucket = np.concatenate([part.bucket for part in some])
    bucket = np.zeros_like(bucket) if resolution == ALL_TIME else bucket - bucket % resolution
    order, starts, row_of = _runs(bucket, codes, len(series))
    columns: Columns = {}
    for name in states:
        if name in STATES:
            state = STATES[name]
            joined = {c: np.concatenate([part.columns[c] for part in some])[order] for c in state.columns}
            columns |= state.merge(joined, starts)
    first = order[starts]
    return Partials(
        states=states,
        resolution=resolution,
        series=series,
        code=codes[first].astype(np.int32),
        bucket=bucket[first],
        columns=columns,
        cells=_merge_cells(some, row_of) if HISTOGRAM in states else no_cells(),
    )


def _unify(parts: list[Partials]) -> tuple[list[Series], NDArray[np.int64]]:
    """Bring the parts' own lists of series into one; give it, and each row's place in it."""
    lookup: dict[object, int] = {}
    series: list[Series] = []
    codes = []
    for part in parts:
        places = np.zeros(len(part.series), np.int64)
        used = np.bincount(part.code, minlength=len(part.series))
        for place in np.flatnonzero(used).tolist():  # names that no row has any more would pile up
            one = part.series[place]
            code = lookup.setdefault(identity(one), len(series))
            if code == len(series):
                series.append(one)
            places[place] = code
        codes.append(places[part.code])
    return series, np.concatenate(codes)


def identity(series: Series) -> object:
    """Give a key that tells series apart as we do: `true`, `1` and `"1"` differ, 1 and 1.0 do not."""
    if series is OTHER:
        return None
    return tuple([value if type(value) is str else (_kind(value), value) for value in series])


def _kind(value: object) -> type:
    return float if type(value) is int else type(value)


def _runs(
    bucket: NDArray[np.int64], codes: NDArray[np.int64], n_series: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Order rows by (bucket, code); give that order, where its runs start, and the run of each row as it was."""
    first = int(bucket.min())
    spacing = max(1, int(np.gcd.reduce(bucket - first)))
    key = (bucket - first) // spacing * n_series + codes
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    new = np.empty(len(key), bool)
    new[0] = True
    np.not_equal(ordered[1:], ordered[:-1], out=new[1:])
    row_of = np.empty(len(key), np.int64)
    row_of[order] = np.cumsum(new) - 1
    return order, np.flatnonzero(new), row_of


def _merge_cells(parts: list[Partials], row_of: NDArray[np.int64]) -> Cells:
    offsets = np.cumsum([0, *(len(part) for part in parts)])
    rows = np.concatenate(
        [row_of[part.cells.rows + start] for part, start in zip(parts, offsets[:-1], strict=True)]
    )
    keys = np.concatenate([part.cells.keys for part in parts])
    counts = np.concatenate([part.cells.counts for part in parts])
    return add_cells(rows, keys, counts)


def add_cells(rows: NDArray[np.int64], keys: NDArray[np.int64], counts: NDArray[np.int64]) -> Cells:
    """Order cells by (row, key) and add those that are the same."""
    if not len(rows):
        return no_cells()
    lowest = int(keys.min())
    width = int(keys.max()) - lowest + 1
    key = rows * width + (keys - lowest)
    span = (int(rows.max()) + 1) * width
    if span <= 8 * len(key) + 4096:  # dense enough to count without sorting
        totals = np.bincount(key, weights=counts, minlength=span)
        present = np.flatnonzero(totals)
        return Cells(present // width, present % width + lowest, totals[present].astype(np.int64))
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
    totals = np.add.reduceat(counts[order], starts)
    return Cells(ordered[starts] // width, ordered[starts] % width + lowest, totals)
