"""Compaction and retention: rows become fewer and coarser, what they add up to stays, and old ones leave."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import count as numbers
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregation_tools import (
    EVENTS,
    NOW_S,
    NOW_US,
    Event,
    assert_same,
    close,
    events_with,
    figures_of,
    histogram,
    moderate,
    other_count,
    row_keys,
    table,
    tick,
)
from store_tools import DAY_S, FOREVER, STORES, Shard, read, rows, totals
from streamgauge.errors import StoreError
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.partials import Partials, merge
from streamgauge.store import Retention, Store

DAY_US = DAY_S * 1_000_000
MINUTES_AFTER_A_DAY = Retention(
    raw_s=DAY_S * 1000, tiers=[(1, DAY_S), (60, DAY_S * 30), (3600, DAY_S * 1000)]
)
SHORT = Retention(raw_s=DAY_S * 2, tiers=[(1, DAY_S), (60, DAY_S * 2), (3600, DAY_S * 5)])
SALES = Metric(name="sales", by=("type", "shop"), aggregates=EVENTS.aggregates, where=None)
NEXT_WEEK = NOW_US + 7 * DAY_US
names = numbers()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = request.param(tmp_path)
    yield opened
    opened.close()


def resolutions(store: Store, metric: str = "events") -> list[tuple[int, int]]:
    found = rows(
        store, "SELECT resolution, count(*) FROM rollups WHERE metric = ? GROUP BY ALL ORDER BY ALL", metric
    )
    return [(resolution, number) for resolution, number in found]


def at(store: Store, resolution: int, metric: Metric = EVENTS) -> Partials:
    return merge([read(store, metric)], metric.states, resolution)


def two_minutes(value: float = 1.0) -> list[Event]:
    return [
        tick("ab"[second % 2], second=second, value=value + second, shop="x") for second in range(40, 160)
    ]


def test_quiet_seconds_become_minutes_and_then_hours_and_every_figure_stays(store: Store) -> None:
    shard = Shard(store)
    for place in range(3):
        shard.commit(two_minutes(place))
    minutes, hours = at(store, 60), at(store, 3600)
    assert resolutions(store) == [(1, 360)]
    removed = store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY)
    assert resolutions(store) == [(60, 4)]
    assert removed == 356
    assert_same(at(store, 60), minutes)
    store.maintain(NOW_US + 40 * DAY_US, MINUTES_AFTER_A_DAY)
    assert resolutions(store) == [(3600, 2)]
    assert_same(at(store, 3600), hours)
    assert rows(store, "SELECT type, count(*) FROM events GROUP BY type ORDER BY type") == [
        ("a", 180),
        ("b", 180),
    ]


def test_seconds_that_were_left_for_long_become_hours_in_one_go(store: Store) -> None:
    Shard(store).commit(two_minutes())
    hours = at(store, 3600)
    store.maintain(NOW_US + 40 * DAY_US, MINUTES_AFTER_A_DAY)
    assert resolutions(store) == [(3600, 2)]
    assert_same(at(store, 3600), hours)


def test_a_second_round_changes_nothing(store: Store) -> None:
    Shard(store).commit(two_minutes())
    assert store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY) > 0
    before = rows(store, "SELECT * FROM rollups ORDER BY ALL")
    assert store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY) == 0
    assert rows(store, "SELECT * FROM rollups ORDER BY ALL") == before


def test_what_arrived_today_is_left_alone_however_old_its_events(store: Store) -> None:
    Shard(store).commit([tick(second=-400 * DAY_S), tick(second=1 - 400 * DAY_S)])
    assert store.maintain(NOW_US + 1_000_000, MINUTES_AFTER_A_DAY) == 0
    assert resolutions(store) == [(1, 2)]


def test_a_late_event_is_one_more_row_and_is_merged_in_its_own_time(store: Store) -> None:
    shard = Shard(store)
    shard.commit(two_minutes())
    store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY)
    shard.commit([tick("a", value=1000)], at_us=NEXT_WEEK)
    assert resolutions(store) == [(1, 1), (60, 4)]
    late = {series: row for (series, _), row in table(totals(store)).items()}
    assert (late["a",]["count"], late["a",]["max"]) == (61, 1000.0)


def test_days_of_arrival_are_never_merged_into_each_other(store: Store) -> None:
    shard = Shard(store)
    for day in range(3):
        shard.commit(two_minutes(day), at_us=NOW_US + day * DAY_US)
    by_day = "SELECT received_day, series::VARCHAR, sum(count), sum(sum), min(min), max(max) FROM rollups GROUP BY ALL ORDER BY ALL"
    before = rows(store, by_day)
    assert len({day for day, *_ in before}) == 3
    store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY)
    assert rows(store, by_day) == before
    assert resolutions(store) == [(60, 12)]


def test_shards_and_definitions_are_never_merged_into_each_other(store: Store) -> None:
    other = replace(EVENTS, aggregates=("count",))
    Shard(store, "one").commit(two_minutes())
    Shard(store, "two").commit(two_minutes())
    Shard(store, "three", metric=other).commit(two_minutes())
    store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY)
    assert rows(store, "SELECT shard, sum(count) FROM rollups GROUP BY ALL ORDER BY ALL") == [
        ("one", 120),
        ("three", 120),
        ("two", 120),
    ]
    assert totals(store).count == 240
    assert totals(store, other).count == 120


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40
)  # each example has a shard and a metric of its own
@given(
    data=st.data(),
    lists=st.lists(st.lists(events_with(moderate), min_size=1, max_size=12), min_size=1, max_size=4),
)
def test_upkeep_at_any_time_never_changes_what_rows_add_up_to(
    store: Store, data: st.DataObject, lists: list[list[Event]]
) -> None:
    metric = replace(SALES, name=f"sales {next(names)}")
    shard = Shard(store, metric.name, metric=metric)
    for place, events in enumerate(lists):
        sold = [{**event, "shop": data.draw(st.sampled_from([None, "x", 1, [1]]))} for event in events]
        shard.commit(sold, at_us=NOW_US + place * DAY_US * data.draw(st.integers(0, 20)))
    before = at(store, 3600, metric)
    for days in sorted(data.draw(st.lists(st.integers(0, 60), min_size=1, max_size=3))):
        store.maintain(NOW_US + days * DAY_US, MINUTES_AFTER_A_DAY)
        after = at(store, 3600, metric)
        assert close(table(after, figures_of(after)), table(before, figures_of(before)))
        assert histogram(after) == histogram(before)


def test_other_and_group_values_survive_compaction(store: Store) -> None:
    shard = Shard(store, metric=SALES, limit=SeriesLimit(6))
    first = [
        tick("a", **shop)
        for shop in ({"shop": True}, {"shop": 1}, {"shop": "1"}, {"shop": None}, {}, {"shop": [1]})
    ]
    shard.commit(first)
    shard.commit([*first, tick("(other)", shop="(other)"), tick("z")])
    before = at(store, 60, SALES)
    assert other_count(before) == 2
    store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY)
    after = at(store, 60, SALES)
    assert resolutions(store, "sales") == [(60, 7)]
    assert set(row_keys(after)) == set(row_keys(before))
    assert_same(after, before)
    assert other_count(after) == 2


def test_figures_that_nothing_has_a_value_for_stay_null(store: Store) -> None:
    Shard(store).commit([tick(), tick(second=1)])
    store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY)
    ((_, row),) = table(read(store)).items()
    assert row == {"count": 2, **dict.fromkeys(figures_of(read(store))[1:])}
    assert rows(store, "SELECT min, max, last FROM rollups") == [(None, None, None)]


def test_the_last_value_stays_the_last_by_time_and_arrival(store: Store) -> None:
    shard = Shard(store)
    shard.commit([tick(second=20, value=1), tick(second=30, value=2)])
    shard.commit([tick(second=30, value=3), tick(second=10, value=4)])
    store.maintain(NEXT_WEEK, MINUTES_AFTER_A_DAY)
    ((_, row),) = table(read(store)).items()
    assert row["last"] == 3.0
    shard.commit([tick(second=30, value=5)])
    ((_, row),) = table(merge([read(store)], EVENTS.states, 60)).items()
    assert row["last"] == 5.0


# What is too old leaves.


def counts(store: Store) -> tuple[Any, ...]:
    return (rows(store, "SELECT count(*) FROM events")[0][0], read(store).count)


def test_raw_events_leave_by_the_day_they_came_and_rollups_stay(store: Store) -> None:
    shard, quiet = Shard(store), Shard(store, "quiet")
    quiet.commit([tick("quiet")])
    midnight = (NOW_US // DAY_US + 1) * DAY_US
    for place, at_us in enumerate((midnight - 1, midnight, midnight + DAY_US - 1, midnight + DAY_US)):
        shard.commit([tick(f"{place}")], at_us=at_us)
    two_days = replace(FOREVER, raw_s=DAY_S * 2)
    left = []
    for day in range(1, 5):
        store.maintain(midnight + day * DAY_US, two_days)
        left.append([kind for (kind,) in rows(store, "SELECT type FROM events ORDER BY type")])
    assert left == [["0", "1", "2", "3", "quiet"], ["1", "2", "3"], ["3"], []]
    assert read(store).count == 5


def test_raw_events_and_rollups_of_an_epoch_leave_together(store: Store) -> None:
    """Events that came before midnight and were committed after it are checked with the later day."""
    shard = Shard(store)
    midnight = (NOW_US // DAY_US + 1) * DAY_US
    shard.commit([tick("before")], at_us=midnight + 1)
    store.maintain(midnight + DAY_US, replace(FOREVER, raw_s=DAY_S))
    assert counts(store) == (1, 1)
    assert rows(store, "SELECT received_day FROM rollups") == [(midnight // DAY_US,)]


def test_rollups_leave_when_both_their_time_and_their_arrival_are_old(store: Store) -> None:
    old, ahead = Shard(store, "old"), Shard(store, "ahead")
    old.commit([tick("old", second=-100 * DAY_S)])
    ahead.commit([tick("ahead", second=4 * DAY_S)])
    late = NOW_US + 4 * DAY_US
    Shard(store, "late").commit([tick("late", second=-100 * DAY_S)], at_us=late)
    store.maintain(NOW_US + 8 * DAY_US, SHORT)
    assert {series for series, _ in row_keys(totals(store))} == {("ahead",), ("late",)}
    store.maintain(NOW_US + 30 * DAY_US, SHORT)
    assert len(read(store)) == 0


def test_nothing_leaves_before_its_time(store: Store) -> None:
    Shard(store).commit(two_minutes())
    before = at(store, 3600)
    store.maintain(NOW_US + 5 * DAY_US, SHORT)
    assert_same(at(store, 3600), before)


def test_positions_do_not_pile_up_and_the_newest_stands(store: Store) -> None:
    shard, other = Shard(store), Shard(store, "b")
    other.commit([tick()])
    for day in range(6):
        shard.commit([tick()], at_us=NOW_US + day * DAY_US)
    before = store.positions()
    assert store.maintain(NOW_US + 30 * DAY_US, replace(FOREVER, raw_s=DAY_S * 100)) == 0
    removed = store.maintain(NOW_US + 30 * DAY_US, replace(FOREVER, raw_s=DAY_S))
    assert removed == 7 + 5  # raw events and positions
    assert store.positions() == before
    with pytest.raises(StoreError, match="stands at append 6"):
        Shard(store).commit([tick()], epoch=7, previous_seq=5, last_seq=7)
    shard.commit([tick()])
    assert store.positions()["a"].epoch == 7


def test_upkeep_of_an_empty_store_does_nothing(store: Store) -> None:
    assert store.maintain(NEXT_WEEK, SHORT) == 0
    assert NOW_S * 1_000_000 == NOW_US
