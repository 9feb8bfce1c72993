"""A view that is fed piece by piece shows what a query over everything answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_tools import EVENTS, EVERYTHING, NOW_S, Event, count, split, tick
from streamgauge.live.view import CHARTED_TYPES, MOST_TYPES, Range, View
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.metrics.query import SeriesAnswer, answer, ask
from streamgauge.partials import Partials

LATENCY = Metric(name="latency", aggregates=("count", "sum", "avg", "min", "max", "p50", "p90", "p95", "p99"))
METRICS: Mapping[str, Metric] = {"events": EVENTS, "latency": LATENCY}
FIVE_MINUTES = Range("5m")
FIXED = Range(None, NOW_S - 100, NOW_S + 50)

around_now = st.builds(
    lambda name, second, value: tick(name, second=second, **({} if value is None else {"value": value})),
    st.sampled_from("abc"),
    st.integers(-400, 60),
    st.none() | st.integers(-9, 9),
)


def view(wanted: Range = FIVE_MINUTES) -> View:
    return View(wanted, METRICS)


def shown(events: Sequence[Event], wanted: Range = FIVE_MINUTES, now_s: float = NOW_S) -> Any:
    one = view(wanted)
    if events:
        one.absorb("events", [count(EVENTS, events)])
    return one.figures(now_s)


def asked(parts: Sequence[Partials], wanted: Range, now_s: float, **options: Any) -> list[SeriesAnswer]:
    start, end = wanted.at(now_s)
    return answer(EVENTS, ask(EVENTS, start=start, end=end, step=wanted.step, **options), parts)


@given(
    st.data(),
    st.lists(around_now, min_size=1, max_size=30),
    st.sampled_from([FIVE_MINUTES, FIXED, Range("1h")]),
)
def test_a_view_fed_in_pieces_shows_what_a_query_answers(
    data: st.DataObject, events: list[Event], wanted: Range
) -> None:
    pieces = [count(EVENTS, piece, seq=seq) for seq, piece in enumerate(split(data, events), 1)]
    one = view(wanted)
    moment = NOW_S - 60
    for piece in pieces:
        one.absorb("events", [piece])
        moment += data.draw(st.integers(0, 20))
        found = one.figures(moment)
    check(found, pieces, wanted, moment)


def check(found: Any, pieces: Sequence[Partials], wanted: Range, now_s: float) -> None:
    overall = asked(pieces, wanted, now_s, by=())
    totals = overall[0].totals if overall else {"count": 0}
    for name, figure in found["totals"]["events"].items():
        wanted_figure = totals.get(name)
        assert figure == (None if wanted_figure is None else pytest.approx(wanted_figure, rel=1e-12)), name
    points = dict(zip(overall[0].time, overall[0].points["count"], strict=True)) if overall else {}
    start, end = wanted.at(now_s)
    times = list(range(start, end, wanted.step))
    assert found["time"] == [second * 1000 for second in times]
    assert found["series"]["count"] == [points.get(second, 0) for second in times]
    by_type = {str(one.by["type"]): one for one in asked(pieces, wanted, now_s)}
    assert {name: row["count"] for name, row in found["types"].items()} == {
        n: one.totals["count"] for n, one in by_type.items()
    }
    for name, column in found["type_series"].items():
        points = dict(zip(by_type[name].time, by_type[name].points["count"], strict=True))
        assert column == [points.get(second, 0) for second in times]


def test_a_view_of_nothing_shows_zeros_and_nulls() -> None:
    found = shown([])
    assert found["totals"]["events"] == {
        "count": 0,
        **dict.fromkeys(["sum", "avg", "min", "max", "p50", "p95", "p99"]),
    }
    assert set(found["series"]["count"]) == {0}
    assert set(found["series"]["p95"]) == {None}
    assert found["types"] == found["type_series"] == {}


def test_a_window_moves_on_and_forgets_what_it_has_passed() -> None:
    one = view()
    one.absorb("events", [count(EVENTS, [tick(second=-295), tick(second=0)])])
    assert one.figures(NOW_S)["totals"]["events"]["count"] == 2
    assert one.figures(NOW_S + 100)["totals"]["events"]["count"] == 1
    assert one.figures(NOW_S + 400)["totals"]["events"]["count"] == 0
    first, last = one.figures(NOW_S)["time"][0], one.figures(NOW_S)["time"][-1]
    assert (first, last) == ((NOW_S + 5 - 300) * 1000, NOW_S * 1000)


def test_an_event_that_is_ahead_is_shown_when_its_time_has_come() -> None:
    one = view()
    one.absorb("events", [count(EVENTS, [tick(second=120)])])
    assert one.figures(NOW_S)["totals"]["events"]["count"] == 0
    assert one.figures(NOW_S + 120)["totals"]["events"]["count"] == 1


def test_a_range_that_stands_does_not_gather_what_lies_outside_of_it() -> None:
    one = view(FIXED)
    for second in range(0, 5000, 50):
        one.absorb("events", [count(EVENTS, [tick(second=second)])])
        one.absorb("latency", [count(LATENCY, [tick(second=second, value=1)])])
        found = one.figures(NOW_S + second)
    assert found["totals"]["events"]["count"] == 1
    assert max(len(points) for points in one._points.values()) <= 1
    assert found["range"] == {
        "preset": None,
        "from": (NOW_S - 100) * 1000,
        "to": (NOW_S + 50) * 1000,
        "step_ms": 1000,
        "live": False,
    }


def test_a_range_covers_whole_steps() -> None:
    uneven = Range(None, NOW_S - 7, NOW_S - 7 + 1000)
    assert uneven.step == 5
    assert uneven.at(NOW_S) == (NOW_S - 10, NOW_S + 995)
    for preset, seconds in {
        "5m": 300,
        "15m": 900,
        "1h": 3600,
        "6h": 21_600,
        "24h": 86_400,
        "7d": 604_800,
    }.items():
        one = Range(preset)
        start, end = one.at(NOW_S + 0.5)
        assert (end - start, start % one.step) == (seconds, 0)
        assert start < NOW_S < end
        assert (end - start) // one.step <= 200


def test_latency_is_shown_beside_the_events() -> None:
    one = view()
    one.absorb("latency", [count(LATENCY, [tick(value=value) for value in (1, 2, 3)])])
    found = one.figures(NOW_S)
    assert found["totals"]["latency"]["count"] == 3
    assert found["series"]["latency_p50"][-1] == pytest.approx(2, rel=0.011)
    assert found["totals"]["events"]["count"] == 0


def test_the_commonest_types_are_charted_and_the_list_has_an_end() -> None:
    events = [
        tick(f"type {place:03}")
        for place in range(MOST_TYPES + 20)
        for _ in range(3 if place < CHARTED_TYPES else 1)
    ]
    found = shown(events)
    assert len(found["types"]) == MOST_TYPES
    assert list(found["type_series"]) == list(found["types"])[:CHARTED_TYPES]
    assert set(found["type_series"]) == {f"type {place:03}" for place in range(CHARTED_TYPES)}
    assert found["totals"]["events"]["count"] == len(events)


def limited(*names: str) -> Any:
    one = view()
    limit = SeriesLimit(1)
    one.absorb("events", [count(EVENTS, [tick(name)], limit=limit) for name in names])
    return one.figures(NOW_S)


def test_what_exceeds_the_limit_is_shown_as_other() -> None:
    found = limited("a", "b", "c", "a")
    assert {name: (row["count"], row.get("other")) for name, row in found["types"].items()} == {
        "a": (2, None),
        "(other)": (2, True),
    }
    assert sum(found["type_series"]["(other)"]) == 2


def test_a_type_that_is_called_other_is_not_taken_for_the_rest() -> None:
    found = limited("(other)", "b", "c", "c")
    assert {name: (row["count"], row.get("other")) for name, row in found["types"].items()} == {
        "(other)": (1, None),
        "((other))": (3, True),
    }
    assert {name: sum(column) for name, column in found["type_series"].items()} == {
        "(other)": 1,
        "((other))": 3,
    }


def test_charts_are_rounded_and_totals_are_not() -> None:
    found = shown([tick(value=1.23456789), tick(value=1.23456789)])
    assert found["totals"]["events"]["avg"] == 1.23456789
    assert found["series"]["avg"][-1] == 1.23457


def test_coarse_rows_of_the_store_find_their_place() -> None:
    one = view(Range("24h"))
    hour = count(replace(EVENTS, aggregates=EVERYTHING), [tick(second=-3600), tick(second=-3599)])
    hour.bucket = hour.bucket // 3600 * 3600
    one.absorb("events", [hour])
    assert one.figures(NOW_S)["totals"]["events"]["count"] == 2
