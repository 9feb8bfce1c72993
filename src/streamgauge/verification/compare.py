"""Comparing stored partials with those that follow from the raw events, row by row and cell by cell.

Both sides are merged before: a (series, bucket) stands once in each. Series are tuples whose first item is the epoch, or
0 where rows of several epochs were merged; what exceeded a metric's limit of series is (epoch, OTHER).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregates import HISTOGRAM, STATES
from streamgauge.aggregates.last import NEVER
from streamgauge.partials import OTHER, Partials, Series, add_cells, identity, merge

SLACK: Final = 2.0**-100  # of the largest term: what the summation itself may lose where terms cancel out
NOTHING: Final = "nothing"


class Mismatch(NamedTuple):
    """One figure of one row that differs. series: with its epoch; None stands for all of an epoch together."""

    series: Series
    bucket: int
    what: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True)
class _Aligned:
    """Rows of both sides side by side: row i is series[code[i]] in bucket[i]; -1 where a side has no such row."""

    series: list[Series]
    code: NDArray[np.int64]
    bucket: NDArray[np.int64]
    stored: NDArray[np.int64]
    derived: NDArray[np.int64]
    of_stored: NDArray[np.int64]
    of_derived: NDArray[np.int64]


def compare(stored: Partials, derived: Partials, states: tuple[str, ...]) -> Iterator[Mismatch]:
    """Give what differs. derived: keeps the extremes too, whatever the stored side keeps."""
    others = [_is_other(series) for series in stored.series]
    if not any(others):
        yield from _exactly(stored, derived, states)
        return
    beyond = np.array(others)[stored.code]
    windows = {(stored.series[code][0], bucket) for code, bucket in _rows(stored.select(beyond))}
    in_stored, in_derived = _inside(stored, windows), _inside(derived, windows)
    yield from _exactly(stored.select(~in_stored), derived.select(~in_derived), states)
    over, under = stored.select(in_stored), derived.select(in_derived)
    for found in _exactly(_together(over, states), _together(under, under.states), states):
        yield found._replace(what=f"{found.what} of all series")
    yield from _within(over, under, states)


def _is_other(series: Series) -> bool:
    return len(series) == 2 and series[1] is OTHER


def _rows(partials: Partials) -> Iterator[tuple[int, int]]:
    return zip(partials.code.tolist(), partials.bucket.tolist(), strict=True)


def _inside(partials: Partials, windows: set[tuple[object, int]]) -> NDArray[np.bool_]:
    epochs = [series[0] for series in partials.series]
    return np.fromiter(
        ((epochs[code], bucket) in windows for code, bucket in _rows(partials)), bool, len(partials)
    )


def _together(partials: Partials, states: tuple[str, ...]) -> Partials:
    return merge([partials.regroup([(series[0],) for series in partials.series])], states, 1)


def _align(stored: Partials, derived: Partials) -> _Aligned:
    lookup: dict[object, int] = {}
    series: list[Series] = []
    codes = []
    for side in (stored, derived):
        places = np.empty(max(1, len(side.series)), np.int64)
        for place, one in enumerate(side.series):
            code = lookup.setdefault(identity(one), len(series))
            if code == len(series):
                series.append(one)
            places[place] = code
        codes.append(places[side.code])
    buckets, moment = np.unique(np.concatenate([stored.bucket, derived.bucket]), return_inverse=True)
    key = np.concatenate(codes) * max(1, len(buckets)) + moment
    keys, row_of = np.unique(key, return_inverse=True)
    of_stored, of_derived = row_of[: len(stored)], row_of[len(stored) :]
    there = np.full((2, len(keys)), -1, np.int64)
    there[0, of_stored], there[1, of_derived] = np.arange(len(stored)), np.arange(len(derived))
    width = max(1, len(buckets))
    return _Aligned(series, keys // width, buckets[keys % width], there[0], there[1], of_stored, of_derived)


def _exactly(stored: Partials, derived: Partials, states: tuple[str, ...]) -> Iterator[Mismatch]:
    rows = _align(stored, derived)
    for row in np.flatnonzero(rows.stored < 0).tolist():
        count = int(derived.columns["count"][rows.derived[row]])
        yield _mismatch(rows, row, "row", f"count {count}", NOTHING)
    for row in np.flatnonzero(rows.derived < 0).tolist():
        count = int(stored.columns["count"][rows.stored[row]])
        yield _mismatch(rows, row, "row", NOTHING, f"count {count}")
    both = np.flatnonzero((rows.stored >= 0) & (rows.derived >= 0))
    at_stored, at_derived = rows.stored[both], rows.derived[both]
    for name in _columns(states):
        one, other = stored.columns[name][at_stored], derived.columns[name][at_derived]
        if name in {"sum", "sum_low"}:
            continue
        for place in np.flatnonzero(~_equal(one, other)).tolist():
            yield _mismatch(rows, int(both[place]), name, _text(other[place]), _text(one[place]))
    if "sum" in states:
        for place in np.flatnonzero(~_sums_agree(stored, derived, at_stored, at_derived)).tolist():
            found, expected = (
                f"{_text(side.columns['sum'][at[place]])} + {_text(side.columns['sum_low'][at[place]])}"
                for side, at in ((stored, at_stored), (derived, at_derived))
            )
            yield _mismatch(rows, int(both[place]), "sum", expected, found)
    if HISTOGRAM in states:
        yield from _cells(rows, stored, derived, least=None)


def _within(stored: Partials, derived: Partials, states: tuple[str, ...]) -> Iterator[Mismatch]:
    """Hold that no series has more than follows from the raw events; which events are beyond the limit is not known."""
    named = np.array([not _is_other(series) for series in stored.series], bool)[stored.code]
    stored = stored.select(named)
    rows = _align(stored, derived)
    for row in np.flatnonzero(rows.derived < 0).tolist():
        count = int(stored.columns["count"][rows.stored[row]])
        yield _mismatch(rows, row, "row", NOTHING, f"count {count}")
    both = np.flatnonzero((rows.stored >= 0) & (rows.derived >= 0))
    at_stored, at_derived = rows.stored[both], rows.derived[both]
    for name in _columns(states):
        one, other = stored.columns[name][at_stored], derived.columns[name][at_derived]
        if name in {"count", "n_values", "max"}:
            wrong, bound = one > other, "at most"
        elif name == "min":
            wrong, bound = one < other, "at least"
        else:
            continue
        for place in np.flatnonzero(wrong).tolist():
            yield _mismatch(rows, int(both[place]), name, f"{bound} {_text(other[place])}", _text(one[place]))
    if HISTOGRAM in states:
        yield from _cells(rows, stored, derived, least=0)


def _columns(states: tuple[str, ...]) -> list[str]:
    return [name for state in states if state in STATES for name in STATES[state].columns]


def _equal(one: NDArray[np.generic], other: NDArray[np.generic]) -> NDArray[np.bool_]:
    same: NDArray[np.bool_] = one == other
    if one.dtype.kind == "f":
        same |= np.isnan(one.astype(np.float64)) & np.isnan(other.astype(np.float64))
    return same


def _sums_agree(
    stored: Partials, derived: Partials, at_stored: NDArray[np.int64], at_derived: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Tell which sums are equal: of whole numbers exactly, else within one unit in the last place of a double."""
    high, low = stored.columns["sum"][at_stored], stored.columns["sum_low"][at_stored]
    true, rest = derived.columns["sum"][at_derived], derived.columns["sum_low"][at_derived]
    same: NDArray[np.bool_] = (high == true) & (low == rest)
    with np.errstate(invalid="ignore", over="ignore"):
        off = np.abs((high - true) + (low - rest))
        largest = np.fmax(
            np.abs(derived.columns["min"][at_derived]), np.abs(derived.columns["max"][at_derived])
        )
        room = np.spacing(np.abs(true)) + np.where(np.isnan(largest), 0.0, largest) * SLACK
        whole = (np.rint(true) == true) & (np.rint(rest) == rest) & (np.rint(low) == low)
        same |= ~whole & (off <= room)
    return same


def _cells(rows: _Aligned, stored: Partials, derived: Partials, *, least: int | None) -> Iterator[Mismatch]:
    """Compare histograms cell by cell. least: how many values more than are stored must follow; None: none at all."""
    mine, theirs = stored.cells, derived.cells
    row = np.concatenate([rows.of_stored[mine.rows], rows.of_derived[theirs.rows]])
    key = np.concatenate([mine.keys, theirs.keys])
    there = ((rows.stored >= 0) & (rows.derived >= 0))[row]
    missing = add_cells(row[there], key[there], np.concatenate([-mine.counts, theirs.counts])[there])
    wrong = np.flatnonzero(missing.counts != 0 if least is None else missing.counts < least)
    if not len(wrong):
        return
    at_row, at_key = missing.rows[wrong], missing.keys[wrong]
    near = np.isin(row[: len(mine.rows)], at_row)
    found: dict[tuple[int, int], int] = {}
    for place, cell, count in zip(
        row[: len(mine.rows)][near].tolist(),
        mine.keys[near].tolist(),
        mine.counts[near].tolist(),
        strict=True,
    ):
        found[place, cell] = found.get((place, cell), 0) + count
    for place, cell, more in zip(
        at_row.tolist(), at_key.tolist(), missing.counts[wrong].tolist(), strict=True
    ):
        count = found.get((place, cell), 0)
        bound = "" if least is None else "at most "
        yield _mismatch(rows, place, f"histogram cell {cell}", f"{bound}{count + more}", str(count))


def _mismatch(rows: _Aligned, row: int, what: str, expected: str, found: str) -> Mismatch:
    return Mismatch(rows.series[rows.code[row]], int(rows.bucket[row]), what, expected, found)


def _text(value: object) -> str:
    plain = value.item() if isinstance(value, np.generic) else value
    missing = plain == NEVER or (isinstance(plain, float) and math.isnan(plain))
    return NOTHING if missing else repr(plain)
