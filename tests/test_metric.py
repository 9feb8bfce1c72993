"""What a batch adds to a metric, and how the number of its series is kept within bounds."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_tools import (
    EVENTS,
    EVERYTHING,
    NOW_S,
    Event,
    batch,
    count,
    other_count,
    row_keys,
    table,
    tick,
)
from streamgauge.columns import MISSING
from streamgauge.events.decode import EventDecoder
from streamgauge.metric import Metric, SeriesLimit, compute
from streamgauge.metrics.expression import Expression
from streamgauge.partials import OTHER, Partials, identity, merge

types = st.lists(st.sampled_from("abcdefgh") | st.just("(other)"), min_size=1, max_size=30)


def metric(**options: Any) -> Metric:
    for name in ("where", "value"):
        if name in options:
            options[name] = Expression.parse(options[name])
    return Metric(name="test", **{"aggregates": EVERYTHING, **options})


def series_counts(partials: Partials) -> dict[Any, int]:
    counts: dict[Any, int] = {}
    for (series, _), row in table(partials, ["count"]).items():
        counts[series] = counts.get(series, 0) + int(row["count"] or 0)
    return counts


def test_only_events_that_the_condition_holds_for_are_counted() -> None:
    events = [tick("buy", value=5), tick("view", value=7), tick("buy", value=-1), tick("buy")]
    found = count(metric(where="type = 'buy' AND value > 0"), events)
    ((_, row),) = table(found).items()
    assert (row["count"], row["sum"]) == (1, 5.0)


def test_a_batch_without_a_matching_event_adds_nothing() -> None:
    assert compute(metric(where="type = 'buy'"), batch([tick("view")]), SeriesLimit(1), 0.0) is None


def test_an_empty_slice_adds_nothing() -> None:
    assert compute(EVENTS, batch([tick()])[:0], SeriesLimit(1), 0.0) is None


def test_the_value_may_be_calculated_and_is_absent_where_it_has_no_result() -> None:
    events = [tick(amount=6, value=2), tick(amount=6, value=0), tick(amount="6", value=2), tick()]
    found = count(metric(value="amount / value"), events)
    ((_, row),) = table(found).items()
    assert (row["count"], row["sum"], row["min"]) == (4, 3.0, 3.0)


def test_buckets_are_seconds_of_event_time_also_before_1970() -> None:
    events = [
        {"type": "a", "timestamp": text}
        for text in ("1969-12-31T23:59:59.999Z", "1970-01-01T00:00:00Z", "1970-01-01T00:00:00.999Z")
    ]
    found = count(EVENTS, events)
    assert [(bucket, row["count"]) for (_, bucket), row in table(found).items()] == [(-1, 1), (0, 2)]


def test_events_far_apart_in_time_cost_no_more_than_those_close_together() -> None:
    events = [{"type": "a", "timestamp": text} for text in ("0001-01-01T00:00:00Z", "2023-01-01T00:00:00Z")]
    assert len(count(EVENTS, events)) == 2


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from([1, "1", True, None]), st.sampled_from("xy")),
        min_size=1,
        max_size=30,
    )
)
def test_several_group_values_make_a_series_each(rows: list[tuple[str, Any, str]]) -> None:
    events = [tick(kind, shop=shop, kind=third) for kind, shop, third in rows]
    found = count(metric(by=("type", "shop", "kind")), events)
    wanted: dict[object, int] = {}
    for row in rows:
        key = identity(row)
        wanted[key] = wanted.get(key, 0) + 1
    assert series_counts(found) == wanted


def test_a_missing_group_value_is_not_null() -> None:
    found = count(metric(by=("shop", "kind")), [tick(shop=None, kind="a"), tick(kind="a"), tick()])
    assert sorted(map(repr, found.series)) == sorted(
        map(repr, [(None, "a"), (MISSING, "a"), (MISSING, MISSING)])
    )


def test_many_different_values_in_many_groups_do_not_run_into_each_other() -> None:
    names = tuple(f"field_{number}" for number in range(6))
    decoder = EventDecoder(names)
    rows = [tuple((place * step) % 3001 for step in range(1, 7)) for place in range(3001)]
    events = [tick(**dict(zip(names, row, strict=True))) for row in rows]
    found = compute(metric(by=names), batch(events, decoder=decoder), SeriesLimit(10_000), 0.0)
    assert found is not None
    assert {one for one in found.series if one is not OTHER} == set(rows)
    assert found.count == 3001


@given(types, st.integers(1, 10), st.lists(st.integers(0, 30), max_size=3))
def test_however_many_series_the_totals_are_exact_and_memory_is_bounded(
    names: list[str], most: int, cuts: list[int]
) -> None:
    limit = SeriesLimit(most)
    ends = [*sorted(cuts), len(names)]
    pieces = [names[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    parts = [count(EVENTS, [tick(name, value=2) for name in piece], limit=limit) for piece in pieces if piece]
    merged = merge(parts, EVENTS.states, 1)
    distinct = set(names)
    assert merged.count == len(names)
    assert sum(row["sum"] or 0 for row in table(merged).values()) == 2 * len(names)
    assert len(limit) == min(most, len(distinct))
    assert len(merged) == min(most, len(distinct)) + (len(distinct) > most)
    assert other_count(merged) == limit.refused_events
    for name in distinct:
        assert series_counts(merged).get((name,), names.count(name)) == names.count(name)


def test_a_type_that_is_called_other_is_not_the_rest() -> None:
    limit = SeriesLimit(1)
    parts = [
        count(EVENTS, [tick(name) for name in names], limit=limit)
        for names in (["(other)"], ["b", "(other)", "c"])
    ]
    found = merge(parts, EVENTS.states, 1)
    assert other_count(found) == limit.refused_events == 2
    assert series_counts(found)["(other)",] == 2


def test_series_that_have_been_idle_make_room() -> None:
    limit = SeriesLimit(2, idle_s=60.0)
    assert limit.admit(["a", "b"], 0.0) == [True, True]
    assert limit.admit(["c"], 59.0) == [False]
    assert limit.admit(["b"], 60.0) == [True]
    assert limit.admit(["c", "d"], 61.0) == [True, False]
    assert limit.admit(["a", "b"], 62.0) == [False, True]
    assert len(limit) == 2


def test_a_series_that_has_its_place_keeps_it_while_others_are_refused() -> None:
    limit = SeriesLimit(1, idle_s=10.0)
    for second in range(0, 100, 5):
        assert limit.admit(["a", f"new {second}"], float(second)) == [True, False]


def test_types_that_do_not_count_take_no_place() -> None:
    limit = SeriesLimit(1)
    whole = batch([*[tick(f"type {number}") for number in range(50)], tick("buy")])
    for part in (whole, whole[50:]):
        found = compute(metric(where="type = 'buy'", by=("type",)), part, limit, 0.0)
        assert found is not None
        assert found.series == [("buy",)]
    found = compute(EVENTS, whole[50:], limit, 0.0)
    assert found is not None
    assert found.series == [("buy",)]
    assert limit.refused_events == 0


def test_a_definition_changes_with_what_is_computed_and_with_nothing_else() -> None:
    first = metric(where="value > 1", by=("type",), aggregates=("count", "sum"))
    same = [
        replace(first, name="other"),
        replace(first, max_series=5),
        replace(first, built_in=True),
        replace(first, aggregates=("avg",)),
    ]
    other = [
        replace(first, where=None),
        replace(first, where=Expression.parse("value > 2")),
        replace(first, value=Expression.parse("amount")),
        replace(first, by=("shop",)),
        replace(first, by=()),
        replace(first, aggregates=("count", "last")),
    ]
    assert {one.definition for one in same} == {first.definition}
    assert len({one.definition for one in [first, *other]}) == len(other) + 1


def test_a_metric_tells_which_fields_it_looks_at() -> None:
    assert metric(where="kind = 'x'", value="amount * 2", by=("shop",)).fields == {"kind", "amount", "shop"}


def test_slices_of_a_batch_add_up_to_it() -> None:
    events: list[Event] = [tick("ab"[number % 2], second=number // 10, value=number) for number in range(50)]
    whole = batch(events)
    limit = SeriesLimit(10)
    parts = [compute(EVENTS, whole[start : start + 7], limit, 0.0) for start in range(0, 50, 7)]
    merged = merge([part for part in parts if part], EVENTS.states, 1)
    assert table(merged) == table(count(EVENTS, events))
    assert min(bucket for _, bucket in row_keys(merged)) == NOW_S


@pytest.mark.parametrize("most", [1, 100])
def test_admitting_the_same_series_twice_in_one_call_takes_one_place(most: int) -> None:
    limit = SeriesLimit(most)
    assert limit.admit(["a", "a"], 0.0) == [True, True]
    assert len(limit) == 1
