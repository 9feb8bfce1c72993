"""What every store does, wherever it keeps what it is given."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aggregation_tools import (
    EVENTS,
    NOW_S,
    NOW_US,
    Event,
    assert_same,
    count,
    events_with,
    extreme,
    figures_of,
    histogram,
    other_count,
    row_keys,
    table,
    tick,
)
from store_tools import DURABLE, STORES, Shard, open_file, read, rows, totals
from streamgauge.commit import MetricPartials, encode_commit
from streamgauge.errors import QueryError, QueryTimeout, StoreError
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.partials import OTHER, Cells, merge
from streamgauge.store import Position, Store
from streamgauge.stores.duckdb import DuckDBStore
from streamgauge.stores.schema import FORMAT

Open = Callable[[Path], Store]
BY_SHOP = Metric(name="by shop", by=("shop", "kind"), aggregates=("count", "last"))
SHOPS: list[Any] = [
    True,
    False,
    1,
    1.0,
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
    "{}",
    2**60,
    'quo"te\n\\ größe',
]
names = itertools.count()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened: Store = request.param(tmp_path)
    yield opened
    opened.close()


@pytest.fixture(params=DURABLE)
def open_durable(request: pytest.FixtureRequest) -> Open:
    found: Open = request.param
    return found


# An epoch is stored whole, once, in order.


def test_a_new_store_holds_nothing(store: Store) -> None:
    assert not store.positions()
    assert not store.checkpoint()
    assert len(read(store)) == 0
    assert store.extent("events") is None
    assert rows(store, "SELECT * FROM events") == rows(store, "SELECT * FROM rollups") == []


def test_an_epoch_is_stored_whole(store: Store) -> None:
    events = [tick(value=1.5, user_id="u", event_id=7, colour="red"), tick("b", second=3)]
    Shard(store).commit(events, at_us=NOW_US + 9)
    assert_same(read(store), count(EVENTS, events))
    assert store.positions() == {"a": Position(epoch=1, last_seq=1, ledger={"http": {"stored": 2}})}
    found = rows(
        store,
        "SELECT type, value, user_id, event_id, event->>'colour', epoch_us(time), epoch_us(processed_at) FROM events ORDER BY type",
    )
    assert found == [
        ("b", None, None, None, None, NOW_US + 3_000_000, NOW_US + 5),
        ("tick", 1.5, "u", "7", "red", NOW_US, NOW_US + 5),
    ]
    assert store.extent("events") == (NOW_S, NOW_S + 3)


def test_the_same_epoch_twice_is_counted_once(store: Store) -> None:
    shard = Shard(store)
    first, second = shard.commit([tick(value=1)]), shard.commit([tick(value=2)])
    for frames in (second, first, second):
        store.commit(frames)
    assert read(store).count == 2
    assert rows(store, "SELECT count(*), sum(value) FROM events") == [(2, 3.0)]
    assert store.positions()["a"].epoch == 2


@pytest.mark.parametrize("previous", [0, 2, 5])
def test_an_epoch_that_does_not_follow_is_refused_and_nothing_of_it_is_stored(
    store: Store, previous: int
) -> None:
    shard = Shard(store)
    shard.commit([tick()])
    before = store.positions()
    with pytest.raises(StoreError, match=f"shard a stands at append 1; epoch 2 follows {previous}"):
        shard.commit([tick("b")], previous_seq=previous)
    assert store.positions() == before
    assert read(store).count == rows(store, "SELECT count(*) FROM events")[0][0] == 1


def test_a_first_epoch_that_does_not_begin_at_the_beginning_is_refused(store: Store) -> None:
    with pytest.raises(StoreError, match="stands at append 0; epoch 1 follows 3"):
        Shard(store).commit([tick()], previous_seq=3)
    assert store.positions() == {}


@pytest.mark.parametrize("changes", [{"incarnation": "second"}, {"last_seq": 9}])
def test_another_epoch_under_a_number_that_is_taken_is_refused_not_lost(
    store: Store, changes: dict[str, Any]
) -> None:
    shard = Shard(store)
    shard.commit([tick()])
    twin = replace(Shard(store).next_epoch([tick("b"), tick("c")]), **changes)
    with pytest.raises(StoreError, match="epoch 1 was committed by another process"):
        store.commit(encode_commit(twin))
    assert read(store).count == 1


def test_an_epoch_that_fails_half_way_leaves_no_trace(store: Store) -> None:
    shard = Shard(store)
    shard.commit([tick()])
    with pytest.raises(StoreError):
        shard.commit([tick("b")] * 1000, at_us=2**63 - 1)  # no moment in time; found out after the rows
    assert read(store).count == rows(store, "SELECT count(*) FROM events")[0][0] == 1
    assert store.positions()["a"].epoch == 1
    Shard(store, epoch=1, seq=1).commit([tick("b")])
    assert read(store).count == 2


def test_an_epoch_without_events_moves_the_position(store: Store) -> None:
    shard = Shard(store)
    shard.commit([], ledger={"mqtt": {"filtered": 4, "rejected": 1}})
    assert store.positions() == {
        "a": Position(epoch=1, last_seq=1, ledger={"mqtt": {"filtered": 4, "rejected": 1}})
    }


# Shards add up.


def test_two_shards_in_one_store_add_up(store: Store) -> None:
    one, two = Shard(store, "one"), Shard(store, "two")
    first = [tick("a", value=1), tick("b", value=2)]
    second = [tick("a", value=10), tick("a", second=1, value=20)]
    third = [tick("b", value=100)]
    one.commit(first)
    two.commit(second)
    one.commit(third)
    snapshot = store.read(EVENTS.name, EVENTS.definition, EVENTS.by, EVENTS.states, start=None, end=None)
    assert snapshot.epochs == {"one": 2, "two": 1}
    assert_same(merge([snapshot.partials], EVENTS.states, 1), count(EVENTS, [*first, *second, *third]))
    sums = {series: (row["count"], row["sum"]) for (series, _), row in table(totals(store)).items()}
    assert sums == {("a",): (3, 31.0), ("b",): (2, 102.0)}
    assert (
        {shard: position.last_seq for shard, position in store.positions().items()}
        == store.checkpoint()
        == {"one": 2, "two": 1}
    )
    assert rows(store, "SELECT type, sum(value) FROM events GROUP BY type ORDER BY type") == [
        ("a", 31.0),
        ("b", 102.0),
    ]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50
)  # each example has shards and a metric of its own
@given(
    lists=st.lists(
        st.tuples(st.sampled_from("xyz"), st.lists(events_with(extreme), min_size=1, max_size=8)),
        min_size=1,
        max_size=6,
    )
)
def test_any_events_in_any_epochs_of_any_shards_read_as_if_counted_at_once(
    store: Store, lists: list[tuple[str, list[Event]]]
) -> None:
    number = next(names)
    metric = replace(EVENTS, name=f"events {number}", aggregates=("count", "min", "max", "p50"))
    shards = {name: Shard(store, f"{name} {number}", metric=metric) for name in "xyz"}
    for name, events in lists:
        shards[name].commit(events)
    assert_same(read(store, metric), count(metric, [event for _, events in lists for event in events]))
    assert totals(store, metric).count == sum(len(events) for _, events in lists)


# What is read is what was given.


def test_each_kind_of_group_value_comes_back_as_itself(store: Store) -> None:
    events = [
        *[tick(shop=shop, kind=kind) for shop in SHOPS for kind in (None, "x", 1)],
        tick(),
        tick(kind=None),
    ]
    Shard(store, metric=BY_SHOP).commit(events)
    Shard(store, "b", metric=BY_SHOP).commit(events)
    given, found = count(BY_SHOP, events), read(store, BY_SHOP)
    assert set(row_keys(found)) == set(row_keys(given))
    assert_same(found, merge([given, given], BY_SHOP.states, 1))


def test_other_is_not_the_series_of_that_name(store: Store) -> None:
    shard = Shard(store, limit=SeriesLimit(1))
    shard.commit([tick("(other)")])
    shard.commit([tick("(other)"), tick("b"), tick("c")])
    found = totals(store)
    assert other_count(found) == 2
    assert {repr(series): row["count"] for (series, _), row in table(found, ["count"]).items()} == {
        "None": 2,
        "('(other)',)": 2,
    }
    assert sum(one is OTHER for one in found.series) == 1


def test_events_without_a_value_have_none_after_the_store_either(store: Store) -> None:
    shard = Shard(store)
    shard.commit([tick(), tick("b", value=0)])
    shard.commit([tick(value=None), tick("b")])
    found = {series: row for (series, _), row in table(read(store)).items()}
    assert found["tick",] == {"count": 2, **dict.fromkeys(figures_of(read(store))[1:])}
    assert (found["b",]["count"], found["b",]["sum"], found["b",]["p50"]) == (2, 0.0, 0.0)
    assert rows(store, "SELECT type, value FROM events ORDER BY ALL") == [
        ("b", 0.0),
        ("b", None),
        ("tick", None),
        ("tick", None),
    ]


@pytest.mark.parametrize("number", [2**32 - 1, 2**32, 2**33 + 7, 2**40])
def test_a_cell_of_a_histogram_may_hold_more_than_32_bits(store: Store, number: int) -> None:
    partials = count(EVENTS, [tick(value=2), tick(value=300), tick("b", value=1)])
    many = Cells(partials.cells.rows, partials.cells.keys, np.array([number, 1, 1]))
    partials.columns["n_values"] = partials.columns["count"] = np.array([number + 1, 1])
    whole = MetricPartials(
        name=EVENTS.name, definition=EVENTS.definition, by=EVENTS.by, partials=replace(partials, cells=many)
    )
    Shard(store).commit([tick()], metrics=[whole])
    assert histogram(read(store)) == histogram(whole.partials)
    assert table(read(store), ["p50"])[("tick",), NOW_S] == {"p50": 2.0}


@pytest.mark.parametrize("value", [1.7e308, -1.7e308, 5e-324, 2.0**53, 0.1])
def test_the_edges_of_doubles_come_back_to_the_last_bit(store: Store, value: float) -> None:
    Shard(store).commit([tick(value=value)])
    assert table(read(store)) == table(count(EVENTS, [tick(value=value)]))


def test_a_sum_beyond_a_double_stays_unknown(store: Store) -> None:
    shard = Shard(store)
    shard.commit([tick(value=1.7e308)] * 2)
    shard.commit([tick(value=-1.7e308)] * 2)
    ((_, row),) = table(read(store)).items()
    assert (row["count"], row["sum"], row["max"]) == (4, None, 1.7e308)


def test_a_read_gives_the_buckets_of_its_range_with_the_end_left_out(store: Store) -> None:
    Shard(store).commit([tick(second=second) for second in (-(10**9), 0, 1, 2, 3)])
    seconds = {bucket - NOW_S for _, bucket in row_keys(read(store, start=NOW_S + 1, end=NOW_S + 3))}
    assert seconds == {1, 2}
    assert read(store, start=NOW_S + 2).count == 2
    assert read(store, end=NOW_S + 1).count == 2
    assert store.extent("events") == (NOW_S - 10**9, NOW_S + 3)
    assert store.extent("nothing") is None


def test_rows_of_another_definition_are_not_mixed_in(store: Store) -> None:
    Shard(store).commit([tick()])
    other = replace(EVENTS, by=("shop",))
    assert len(read(store, other)) == 0


# SQL.


def test_a_query_takes_parameters_and_names_its_columns(store: Store) -> None:
    Shard(store).commit([tick(value=1), tick("b", value=2)])
    found = store.query(
        "SELECT type AS kind, value FROM events WHERE value > ?", [1], timeout_s=5.0, max_rows=10
    )
    assert (list(found.columns), [tuple(row) for row in found.rows], found.truncated) == (
        ["kind", "value"],
        [("b", 2.0)],
        False,
    )


def test_a_query_gives_as_many_rows_as_are_allowed_and_says_that_there_are_more(store: Store) -> None:
    Shard(store).commit([tick()] * 5)
    for most, truncated in ((4, True), (5, False)):
        found = store.query("SELECT type FROM events", [], timeout_s=5.0, max_rows=most)
        assert (len(found.rows), found.truncated) == (most, truncated)


def test_a_query_that_takes_too_long_is_ended(store: Store) -> None:
    with pytest.raises(QueryTimeout, match=r"longer than 0\.1 s"):
        store.query("SELECT count(*) FROM range(1000000000000)", [], timeout_s=0.1, max_rows=1)
    assert rows(store, "SELECT 1") == [(1,)]


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
def test_moments_are_in_utc_wherever_the_machine_is(zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        store = DuckDBStore.open(None)
        Shard(store).commit([tick()])
        moment = datetime.fromtimestamp(NOW_S, UTC).replace(tzinfo=None)
        assert rows(store, "SELECT type, to_timestamp(?) FROM events; ", NOW_S) == [("tick", moment)]
        assert rows(store, "SELECT count(*) FROM events WHERE time >= to_timestamp(?)", NOW_S) == [(1,)]
        assert rows(store, "SELECT count(*) FROM events WHERE time > to_timestamp(?)", NOW_S) == [(0,)]
        assert rows(store, "SELECT now() AS a, 1 AS a -- twice the same name")[0][1] == 1
        store.close()
    finally:
        monkeypatch.undo()
        time.tzset()


def test_a_moment_inside_a_list_is_in_utc_too(store: Store) -> None:
    [([moment],)] = rows(store, "SELECT [to_timestamp(?)]", NOW_S)
    assert moment == datetime.fromtimestamp(NOW_S, UTC)
    assert moment.utcoffset() == timedelta(0)


@pytest.mark.parametrize("sql", ["SELECT nothing FROM events", "SELEC 1", "SELECT 'a'::INTEGER", "SELECT ?"])
def test_a_query_that_cannot_be_answered_says_why(store: Store, sql: str) -> None:
    with pytest.raises(QueryError) as refused:
        store.query(sql, [], timeout_s=5.0, max_rows=1)
    assert not isinstance(refused.value, QueryTimeout)
    assert len(str(refused.value)) > 10


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM raw_events",
        "SELECT 1; SELECT 2",
        "DROP VIEW events",
        "",
        "SET threads = 8",
        "CREATE TABLE t (a INTEGER)",
    ],
)
def test_a_query_is_one_select_and_nothing_else(store: Store, sql: str) -> None:
    Shard(store).commit([tick()])
    with pytest.raises(QueryError, match="expected"):
        store.query(sql, [], timeout_s=5.0, max_rows=1)
    assert rows(store, "SELECT count(*) FROM events") == [(1,)]


def test_the_view_of_rollups_shows_series_as_json(store: Store) -> None:
    Shard(store, metric=BY_SHOP).commit([tick(shop="x", kind=1), tick(shop=None)])
    found = rows(
        store, "SELECT metric, epoch_us(bucket), series->>'shop', count, is_other FROM rollups ORDER BY 3"
    )
    assert found == [("by shop", NOW_US, "x", 1, False), ("by shop", NOW_US, None, 1, False)]


# What is committed stays.


def test_a_store_that_is_opened_again_stands_where_it_stood(open_durable: Open, tmp_path: Path) -> None:
    events = [tick(value=1), tick("b")]
    store = open_durable(tmp_path)
    Shard(store).commit(events)
    before = store.positions()
    store.close()
    store = open_durable(tmp_path)
    assert store.positions() == before
    assert_same(read(store), count(EVENTS, events))
    assert len(rows(store, "SELECT * FROM events")) == 2
    Shard(store, epoch=1, seq=1).commit([tick()])
    assert read(store).count == 3
    store.close()


def test_what_was_committed_survives_a_crash_before_the_checkpoint(
    open_durable: Open, tmp_path: Path
) -> None:
    (tmp_path / "running").mkdir()
    store = open_durable(tmp_path / "running")
    Shard(store).commit([tick(value=1)])
    shutil.copytree(tmp_path / "running", tmp_path / "crashed")
    store.close()
    again = open_durable(tmp_path / "crashed")
    assert (again.positions()["a"].last_seq, read(again).count) == (1, 1)
    again.close()


def test_a_checkpoint_leaves_everything_in_the_file_itself(tmp_path: Path) -> None:
    store = open_file(tmp_path)
    Shard(store).commit([tick()] * 1000)
    assert (tmp_path / "store.duckdb.wal").stat().st_size > 0
    before = store.size_bytes()
    assert store.checkpoint() == {"a": 1}
    assert {path.name for path in tmp_path.iterdir()} == {"store.duckdb"}
    assert 0 < store.size_bytes() == (tmp_path / "store.duckdb").stat().st_size
    assert before > 0
    shutil.copy(tmp_path / "store.duckdb", tmp_path / "copy.duckdb")
    store.close()
    copy = DuckDBStore.open(tmp_path / "copy.duckdb")
    assert read(copy).count == 1000
    copy.close()


def test_a_checkpoint_is_not_held_up_by_a_reader(tmp_path: Path) -> None:
    store = DuckDBStore.open(tmp_path / "store.duckdb")
    shard = Shard(store)
    shard.commit([tick()])
    with store._cursor() as reader:
        reader.execute("BEGIN TRANSACTION READ ONLY")
        assert reader.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
        shard.commit([tick()])
        assert store.checkpoint() == {"a": 2}
        assert reader.execute("SELECT count(*) FROM events").fetchall() == [(1,)]
    store.close()


def test_a_crash_while_the_file_was_first_made_is_survived(tmp_path: Path) -> None:
    for name in ("store.duckdb.new", "store.duckdb.new.wal"):
        (tmp_path / name).write_bytes(b"half of it")
    store = open_file(tmp_path)
    Shard(store).commit([tick()])
    assert read(store).count == 1
    assert not (tmp_path / "store.duckdb.new").exists()
    store.close()


@pytest.mark.parametrize("other", [FORMAT - 1, FORMAT + 1])
def test_a_file_of_another_format_is_refused_and_left_alone(tmp_path: Path, other: int) -> None:
    open_file(tmp_path).close()
    with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
        connection.execute("UPDATE about SET format = ?", [other])
    for _ in range(2):
        with pytest.raises(
            StoreError, match=f"written in format {other}; this program reads format {FORMAT}"
        ):
            open_file(tmp_path)


def test_a_file_that_is_no_store_is_refused(tmp_path: Path) -> None:
    (tmp_path / "store.duckdb").write_bytes(b"something else" * 1000)
    with pytest.raises(StoreError, match="cannot be opened as a store"):
        open_file(tmp_path)
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE about_something_else (a INTEGER)")
    with pytest.raises(StoreError, match="not one of ours"):
        DuckDBStore.open(tmp_path / "other.duckdb")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StoreError, match="cannot be opened as a store"):
        DuckDBStore.open(tmp_path / "file" / "store.duckdb")


def test_a_store_in_memory_takes_no_room_on_disk(tmp_path: Path) -> None:
    store = DuckDBStore.open(None)
    Shard(store).commit([tick()])
    assert store.size_bytes() == 0
    store.close()


def test_a_store_that_is_closed_says_so(tmp_path: Path) -> None:
    store = open_file(tmp_path)
    store.close()
    for call in (
        store.positions,
        store.checkpoint,
        lambda: read(store),
        lambda: Shard(store).commit([tick()]),
    ):
        with pytest.raises(StoreError):
            call()
