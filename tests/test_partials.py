"""Partials merge like numbers add: in any order, as any tree, and group values never run together."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_tools import (
    EVENTS,
    EVERYTHING,
    Event,
    assert_same,
    count,
    events_with,
    histogram,
    merge_at_random,
    moderate,
    row_keys,
    table,
    tick,
)
from soak import examples
from streamgauge.columns import MISSING
from streamgauge.event import JsonText
from streamgauge.metric import Metric
from streamgauge.partials import ALL_TIME, OTHER, Series, add_cells, empty, identity, merge

BY_SHOP = Metric(name="by shop", by=("shop",), aggregates=EVERYTHING)
lists = st.lists(events_with(moderate), min_size=1, max_size=15)

DIFFERENT: list[Series] = [
    (True,), (False,), (1,), (0,), ("1",), ("true",), ("",), (None,), (MISSING,), ("null",), ("(other)",), (OTHER,), (2**53 + 1,),
    (2.0**53,), (JsonText("[1]"),), ("[1]",), (JsonText("{}"),), ("{}",), (1.5,), ("missing",), (), ("1", "1"), OTHER,
]  # fmt: skip


@examples(100, 20_000)
@given(st.data(), lists, lists, lists)
def test_merging_is_associative_and_commutative(
    data: st.DataObject, one: list[Event], two: list[Event], three: list[Event]
) -> None:
    parts = [count(EVENTS, events, seq=seq) for seq, events in enumerate((one, two, three), 1)]
    resolution = data.draw(st.sampled_from((1, 60, ALL_TIME)))
    all_at_once = merge(parts, EVENTS.states, resolution)
    assert_same(all_at_once, merge_at_random(data, parts, EVENTS.states, resolution))


@given(lists)
def test_nothing_merged_with_something_changes_nothing(events: list[Event]) -> None:
    part = count(EVENTS, events)
    assert_same(part, merge([empty(EVENTS.states), part, empty(EVENTS.states)], EVENTS.states, 1))


@given(lists)
def test_merging_again_changes_nothing(events: list[Event]) -> None:
    once = merge([count(EVENTS, events)], EVENTS.states, 60)
    twice = merge([once], EVENTS.states, 60)
    assert row_keys(twice) == row_keys(once)
    for name, column in once.columns.items():
        np.testing.assert_array_equal(twice.columns[name], column)


def test_merging_nothing_gives_no_rows() -> None:
    nothing = merge([], EVENTS.states, 60)
    assert len(nothing) == nothing.count == 0
    assert not table(nothing)
    assert not histogram(nothing)


def test_rows_stand_in_the_order_of_time_also_before_1970() -> None:
    events = [
        {"type": "a", "timestamp": text, "value": 1}
        for text in ("1969-12-31T23:59:59.5Z", "1960-01-01T00:00:00Z", "2001-01-01T00:00:30Z")
    ]
    merged = merge([count(EVENTS, events)], EVENTS.states, 60)
    assert merged.bucket.tolist() == [-315_619_200, -60, 978_307_200]


def test_merging_leaves_its_parts_as_they_were() -> None:
    part = count(EVENTS, [tick(value=1), tick("b", value=2)])
    before = {name: column.copy() for name, column in part.columns.items()}
    merge([part, part], EVENTS.states, ALL_TIME)
    for name, column in before.items():
        np.testing.assert_array_equal(part.columns[name], column)
    assert part.resolution == 1


def test_names_that_no_row_has_any_more_do_not_pile_up() -> None:
    kept = empty(EVENTS.states)
    for second in range(100):
        kept = merge([kept, count(EVENTS, [tick(f"type {second}", second=second)])], EVENTS.states, 1)
        kept = kept.select(kept.bucket == kept.bucket.max())
    assert len(merge([kept], EVENTS.states, 1).series) == 1
    assert len(kept.series) <= 2


def test_selected_rows_keep_their_figures_and_cells() -> None:
    part = count(EVENTS, [tick("a", value=1), tick("b", value=2), tick("b", second=1, value=3), tick("c")])
    whole, cells = table(part), histogram(part)
    kept = part.select(np.array([True, False, True, False]))
    assert table(kept) == {key: whole[key] for key in row_keys(kept)}
    assert histogram(kept) == {key: cells[key] for key in row_keys(kept) if key in cells}
    assert len(part.select(np.zeros(4, bool))) == 0


def test_regrouped_rows_merge_into_the_new_series() -> None:
    part = count(EVENTS, [tick(kind, value=value) for kind, value in (("a", 1), ("b", 2), ("c", 3))])
    overall = merge([part.regroup([()] * len(part.series))], EVENTS.states, 1)
    ((_, row),) = table(overall).items()
    assert (row["count"], row["sum"], row["min"], row["max"]) == (3, 6.0, 1.0, 3.0)


@pytest.mark.parametrize("one", DIFFERENT, ids=repr)
def test_values_that_differ_have_identities_that_differ(one: Series) -> None:
    others = [other for other in DIFFERENT if other is not one]
    assert identity(one) not in {identity(other) for other in others}


@pytest.mark.parametrize(("one", "other"), [(1, 1.0), (0, -0.0), (2**60, 2.0**60), (-(2**53), -(2.0**53))])
def test_the_same_number_is_one_value_however_it_is_written(one: float, other: float) -> None:
    assert identity((one,)) == identity((other,))


@given(st.data())
def test_batches_with_the_same_number_written_differently_make_one_series(data: st.DataObject) -> None:
    number = data.draw(st.integers(-(2**62), 2**62).filter(lambda n: float(n) == n))
    parts = [count(BY_SHOP, [tick(shop=shop)]) for shop in (number, float(number))]
    assert len(merge_at_random(data, parts, BY_SHOP.states)) == 1


VALUES: list[Any] = [
    True,
    False,
    1,
    0,
    1.5,
    "1",
    "true",
    "",
    None,
    "(other)",
    [1, 2],
    [],
    {"a": [None]},
    "[]",
    "[1,2]",
    2**60,
]
NONE_AT_ALL = object()


@given(st.lists(st.sampled_from([NONE_AT_ALL, *VALUES]), min_size=1, max_size=30), st.data())
def test_each_kind_of_group_value_is_counted_apart(shops: list[Any], data: st.DataObject) -> None:
    events = [tick(value=1) if shop is NONE_AT_ALL else tick(value=1, shop=shop) for shop in shops]
    half = len(events) // 2
    parts = [count(BY_SHOP, piece) for piece in (events[:half], events[half:]) if piece]
    merged = merge_at_random(data, parts, BY_SHOP.states)
    wanted: dict[str, int] = {}
    for shop in shops:
        wanted[repr(shop)] = wanted.get(repr(shop), 0) + 1
    assert sorted(merged.columns["count"].tolist()) == sorted(wanted.values())
    assert len(merged) == len(wanted)


@given(
    st.lists(
        st.tuples(st.integers(0, 5), st.integers(-40_000, 40_000) | st.integers(0, 3), st.integers(1, 2**40)),
        max_size=30,
    )
)
def test_cells_of_the_same_place_add_up(cells: list[tuple[int, int, int]]) -> None:
    rows, keys, counts = (np.array([cell[part] for cell in cells], np.int64) for part in range(3))
    added = add_cells(rows, keys, counts)
    wanted: dict[tuple[int, int], int] = {}
    for row, key, number in cells:
        wanted[row, key] = wanted.get((row, key), 0) + number
    found = list(zip(added.rows.tolist(), added.keys.tolist(), strict=True))
    assert found == sorted(wanted)
    assert added.counts.tolist() == [wanted[place] for place in found]


def test_many_series_over_a_long_time_do_not_run_into_each_other() -> None:
    far = 8_000_000_000_000
    part = count(EVENTS, [tick(f"{place}") for place in range(300)])
    elsewhere = part.regroup(part.series)
    elsewhere.bucket = part.bucket - far
    merged = merge([part, elsewhere], EVENTS.states, 1)
    assert len(merged) == 600
    assert merged.count == 600
    assert math.isclose(merged.bucket.max() - merged.bucket.min(), far)
