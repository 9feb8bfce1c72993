"""Questions about a metric: what may be asked, and that the answer is what counting by hand gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_tools import EVERYTHING, NOW_S, Event, batch, count, tick
from streamgauge.errors import ExpressionError, QueryError
from streamgauge.metric import Metric, SeriesLimit, compute
from streamgauge.metrics.query import MOST_POINTS, SeriesAnswer, answer, ask, natural_step
from streamgauge.partials import Partials

METRIC = Metric(name="sales", by=("type", "shop"), aggregates=EVERYTHING)
PLAIN = Metric(name="plain", by=(), aggregates=("count", "sum"))
SHOPS = [None, "x", "y", 1, True, "1"]


def answered(parts: Sequence[Partials], metric: Metric = METRIC, **options: Any) -> list[SeriesAnswer]:
    return answer(metric, ask(metric, **{"start": None, "end": None, **options}), parts)


def by_name(series: Sequence[SeriesAnswer]) -> dict[str, SeriesAnswer]:
    found = {repr(dict(one.by)) if not one.is_other else "other": one for one in series}
    assert len(found) == len(series)
    return found


def counts(series: Sequence[SeriesAnswer]) -> dict[str, int | float | None]:
    return {name: one.totals["count"] for name, one in by_name(series).items()}


def sale(kind: str, shop: Any, second: int = 0, value: float = 1) -> Event:
    return tick(kind, second=second, shop=shop, value=value)


sales = st.builds(sale, st.sampled_from("ab"), st.sampled_from(SHOPS), st.integers(0, 100), st.integers(0, 9))
bounds = st.none() | st.integers(NOW_S - 5, NOW_S + 105)


@given(
    st.lists(st.lists(sales, min_size=1, max_size=10), max_size=4),
    bounds,
    st.integers(1, 60),
    st.sampled_from([1, 7, 60]),
)
def test_totals_and_points_are_those_of_the_events_of_the_range(
    batches: list[list[Event]], start: int | None, span: int, step: int
) -> None:
    end = None if start is None else start + span
    found = answered([count(METRIC, events) for events in batches], start=start, end=end, step=step)
    inside = [event for events in batches for event in events if in_range(event, start, end)]
    wanted: dict[str, list[Event]] = {}
    for event in inside:
        wanted.setdefault(repr({"type": event["type"], "shop": event["shop"]}), []).append(event)
    assert by_name(found).keys() == wanted.keys()
    for name, one in by_name(found).items():
        check_series(one, wanted[name], step)


def in_range(event: Event, start: int | None, end: int | None) -> bool:
    second = event["timestamp"] // 1_000_000
    return bool((start is None or start <= second) and (end is None or second < end))


def check_series(one: SeriesAnswer, events: Sequence[Event], step: int) -> None:
    assert one.totals["count"] == len(events)
    assert one.totals["sum"] == sum(event["value"] for event in events)
    assert one.totals["max"] == max(event["value"] for event in events)
    points: dict[int, int] = {}
    for event in events:
        bucket = event["timestamp"] // 1_000_000 // step * step
        points[bucket] = points.get(bucket, 0) + 1
    assert dict(zip(one.time, one.points["count"], strict=True)) == points
    assert list(one.time) == sorted(one.time)


@given(
    st.lists(sales, min_size=1, max_size=20), st.sampled_from([(), ("type",), ("shop",), ("shop", "type")])
)
def test_any_part_of_the_grouping_may_be_asked_for(events: list[Event], by: tuple[str, ...]) -> None:
    wanted: dict[str, int] = {}
    for event in events:
        name = repr({field: event[field] for field in by})
        wanted[name] = wanted.get(name, 0) + 1
    assert counts(answered([count(METRIC, events)], by=by)) == wanted


def test_a_missing_value_leaves_its_name_out_and_null_does_not() -> None:
    found = answered([count(METRIC, [tick("a"), tick("a", shop=None)])])
    assert counts(found) == {"{'type': 'a'}": 1, "{'type': 'a', 'shop': None}": 1}


@pytest.mark.parametrize(
    ("where", "wanted"),
    [
        ("shop = 'x'", {"x"}),
        ("shop = 1", {"1"}),
        ("shop IS NULL", {"None", "missing"}),
        ("shop IN ('x', 'y') AND type = 'a'", {"x"}),
        ("NOT shop = 'x'", {"'1'"}),
        ("type = 'nothing'", set()),
    ],
)
def test_a_condition_picks_series(where: str, wanted: set[str]) -> None:
    events = [sale("a", "x"), sale("a", 1), sale("a", "1"), sale("a", None), tick("a")]
    names: dict[object, str] = {"x": "x", 1: "1", "1": "'1'", None: "None", "missing": "missing"}
    found = {names[one.by.get("shop", "missing")] for one in answered([count(METRIC, events)], where=where)}
    assert found == wanted


def over_the_limit() -> Partials:
    found = compute(METRIC, batch([sale("a", "x"), sale("b", None), tick("c")]), SeriesLimit(1), 0.0)
    assert found is not None
    return found


def test_what_is_under_other_is_shown_as_such_and_counted_in_the_whole() -> None:
    found = answered([over_the_limit()])
    assert sorted((one.is_other, one.totals["count"]) for one in found) == [(False, 1), (True, 2)]
    assert next(one.by for one in found if one.is_other) == {}
    assert counts(answered([over_the_limit()], by=())) == {"{}": 3}


@pytest.mark.parametrize(
    "where", ["shop IS NULL", "type = 'c'", "NOT type = 'a'", "shop IS NULL OR type IS NULL"]
)
def test_no_condition_holds_for_what_is_under_other(where: str) -> None:
    assert not any(one.is_other for one in answered([over_the_limit()], where=where))


def test_the_commonest_series_come_first_and_top_cuts_the_rest_off() -> None:
    events = [*[sale("a", "x")] * 2, *[sale("b", "x")] * 3, sale("c", "x")]
    found = answered([count(METRIC, events)], by=["type"], top=2)
    assert [one.by for one in found] == [{"type": "b"}, {"type": "a"}]


def test_figures_without_a_value_are_null_and_counts_are_integers() -> None:
    (one,) = answered([count(METRIC, [tick("a")])])
    assert one.totals == {"count": 1, **dict.fromkeys(EVERYTHING[1:])}
    assert type(one.totals["count"]) is int
    assert all(points == [None] for name, points in one.points.items() if name != "count")


def test_nothing_stored_and_nothing_open_answers_no_series() -> None:
    assert answered([]) == []


def test_one_aggregate_can_be_asked_for_alone() -> None:
    (one,) = answered([count(METRIC, [sale("a", "x", value=3)])], aggregates=["avg"])
    assert one.totals == {"avg": 3.0}
    assert one.points == {"avg": [3.0]}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"by": ["country"]}, r"by: metric sales is not grouped by 'country'; it is by type, shop"),
        ({"aggregates": ["p42"]}, r"aggregates: metric sales does not keep 'p42'; it has count, sum"),
        ({"start": 10, "end": 10}, "from: must be before"),
        ({"top": 0}, "top: expected 1 to"),
        ({"top": 10**9}, "top: expected 1 to"),
        ({"where": "country = 'x'"}, r"where: metric sales is not grouped by 'country'"),
        ({"step": 0}, "step: expected 1 s or more, got 0"),
        ({"step": -60, "start": 0, "end": 100}, "step: expected 1 s or more, got -60"),
        ({"step": 1, "start": 0, "end": 10**6}, rf"more than {MOST_POINTS} points; at least 91 s"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_with_what_can(
    options: Mapping[str, Any], says: str
) -> None:
    with pytest.raises(QueryError, match=says):
        ask(METRIC, **{"start": None, "end": None, **options})


def test_a_metric_that_keeps_no_histogram_has_no_quantiles() -> None:
    with pytest.raises(QueryError, match="plain does not keep 'p99'; it has count, sum"):
        ask(PLAIN, start=None, end=None, aggregates=["p99"])
    assert ask(PLAIN, start=None, end=None, aggregates=["avg"]).aggregates == ("avg",)


def test_a_metric_without_groups_says_so() -> None:
    with pytest.raises(QueryError, match="it is by nothing"):
        ask(PLAIN, start=None, end=None, by=["type"])


def test_a_condition_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(ExpressionError):
        ask(METRIC, start=None, end=None, where="type = ")


@given(st.integers(1, 10**10))
def test_the_natural_step_gives_a_readable_number_of_points(span: int) -> None:
    assert span / natural_step(span) <= 200 or natural_step(span) == 2_592_000
