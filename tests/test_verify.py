"""`verify` finds every value that was changed behind the program's back, and nothing where nothing was."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import duckdb
import pytest

from server_process import ServerProcess
from streamgauge.store import Retention
from streamgauge.stores.duckdb import DuckDBStore
from streamgauge.verify import Report
from verify_tools import PLAIN, Folder, fill, filled, some_events
from web_tools import Served, problem, serving, until

SEEDS: Final = 8 if os.environ.get("STREAMGAUGE_SOAK") else 2  # rows that each kind of change is tried on
DAY_S: Final = 86_400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder that two lives of a server have filled; not to be changed."""
    return asyncio.run(filled(tmp_path_factory.mktemp("verified") / "data", 1, 2))


def expect_clean(report: Report) -> None:
    assert report.ok, report.differences[:10]
    assert report.total == 0
    assert report.complete


def places(report: Report) -> set[tuple[str, str]]:
    return {(one.kind, one.what) for one in report.differences}


def test_a_folder_that_two_lives_of_a_server_filled_is_clean(folder: Folder) -> None:
    report = folder.verify()
    expect_clean(report)
    assert report.not_checked == []
    assert report.checked.metrics == ["events", "latency", "revenue", "visitors"]
    assert report.checked.events > 300
    assert report.checked.rollup_rows > 600
    assert report.checked.epochs > 4
    assert report.checked.appends > 5
    assert len(report.checked.days) in {1, 2}  # a midnight may have passed


def test_a_change_of_a_field_that_nothing_refers_to_is_found_while_the_journal_has_the_event(
    folder: Folder, tmp_path: Path
) -> None:
    change = "UPDATE raw_events SET event = replace(event, '{', '{\"more\":1,') WHERE seq = (SELECT max(seq) FROM raw_events)"
    with folder.damaged(tmp_path, change) as copy:
        found = folder.verify(copy)
        assert places(found) == {("raw", "event")}
        assert found.differences[0].found.startswith('{"more":1,')
        expect_clean(folder.verify(copy, with_journal=False))


def test_it_changes_nothing(folder: Folder) -> None:
    def state() -> dict[str, str]:
        files = (path for path in folder.data.rglob("*") if path.is_file())
        return {
            f"{path} {path.stat().st_mtime_ns}": hashlib.sha256(path.read_bytes()).hexdigest()
            for path in files
        }

    before = state()
    folder.verify()
    assert state() == before


RAW: Final = {
    "seq": "seq = seq + 1",
    "seq of another epoch": "seq = (SELECT max(last_seq) FROM positions WHERE last_seq < raw_events.seq)",
    "seq that never was": "seq = seq + 1000000",
    "index": "index = index + 1",
    "shard": "shard = '1'",
    "second": "time = time + INTERVAL 1 SECOND",
    "microsecond": "time = time + INTERVAL 1 MICROSECOND",
    "arrival": "received_at = received_at + INTERVAL 1 SECOND",
    "processing": "processed_at = processed_at + INTERVAL 1 SECOND",
    "type": "type = type || 'x'",
    "user": "user_id = coalesce(user_id, '') || 'x'",
    "no user": "user_id = CASE WHEN user_id IS NULL THEN 'x' END",
    "event id": "event_id = 'x'",
    "value": "value = coalesce(value, 0) + 1",
    "no value": "value = CASE WHEN value IS NULL THEN 0 END",
    "event": "event = replace(event, '\"type\":\"', '\"type\":\"x')",
    "cut event": "event = left(event, length(event) - 1)",
    "other event": "event = '[]'",
}


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("change", RAW.values(), ids=RAW.keys())
def test_a_changed_raw_event_is_found(folder: Folder, tmp_path: Path, change: str, seed: int) -> None:
    row = f"(SELECT rowid FROM raw_events ORDER BY hash(rowid + {seed}) LIMIT 1)"
    if "last_seq <" in change:  # the first epoch has none before it
        row = f"(SELECT rowid FROM raw_events WHERE seq > (SELECT min(last_seq) FROM positions) ORDER BY hash(rowid + {seed}) LIMIT 1)"
    with folder.damaged(tmp_path, f"UPDATE raw_events SET {change} WHERE rowid = {row}") as copy:
        report = folder.verify(copy)
    assert not report.ok


@pytest.mark.parametrize("with_journal", [True, False], ids=["with its journal", "without its journal"])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM raw_events WHERE rowid = {row}",
        "INSERT INTO raw_events FROM raw_events WHERE rowid = {row}",
        "DELETE FROM raw_events WHERE seq = (SELECT seq FROM raw_events WHERE rowid = {row})",
    ],
    ids=["deleted", "doubled", "a whole append deleted"],
)
def test_a_raw_event_that_is_not_there_once_is_found(
    folder: Folder, tmp_path: Path, change: str, *, with_journal: bool
) -> None:
    row = "(SELECT rowid FROM raw_events ORDER BY hash(rowid) LIMIT 1)"
    with folder.damaged(tmp_path, change.format(row=row)) as copy:
        report = folder.verify(copy, with_journal=with_journal)
    assert {"ledger", "rollup"} <= {one.kind for one in report.differences}


CELL: Final = "histogram[1:4] || '\\x02\\x01\\x00\\x00'::BLOB || histogram[9:]"
ROLLUP: Final = {
    "count": "count = count + 1",
    "values": "n_values = n_values + 1",
    "sum": "sum = coalesce(sum, 0) + 1",
    "sum by a bit": "sum = coalesce(sum, 0) * 1.00000000000001 + 1e-9",
    "low sum": "sum_low = coalesce(sum_low, 0) + 1",
    "no sum": "sum = CASE WHEN sum IS NULL THEN 0 END",
    "min": "min = coalesce(min, 0) - 1",
    "no min": "min = CASE WHEN min IS NULL THEN 0 END",
    "max": "max = coalesce(max, 0) + 1",
    "last": "last = coalesce(last, 0) + 1",
    "last time": "last_time = coalesce(last_time, 0) + 1",
    "last order": "last_order = coalesce(last_order, 0) + 1",
    "histogram": f"histogram = CASE WHEN octet_length(histogram) >= 8 THEN {CELL} ELSE '\\x01\\x00\\x00\\x00\\x01\\x00\\x00\\x00'::BLOB END",
    "no histogram": "histogram = CASE WHEN octet_length(histogram) > 0 THEN ''::BLOB ELSE '\\x01'::BLOB END",
    "half a cell": "histogram = histogram || '\\x01'::BLOB",
    "metric": "metric = 'other'",
    "definition": "definition = '00000000'",
    "bucket": "bucket = bucket + 1",
    "resolution": "resolution = 60",
    "resolution that fits": "resolution = 60, bucket = bucket - bucket % 60",
    "no resolution": "resolution = 0",
    "day": "received_day = received_day + 1",
    "day long ago": "received_day = received_day - 1",
    "epoch": "epoch = epoch + 1",
    "no epoch": "epoch = 0",
    "series": "series = CASE series WHEN '{}' THEN '{\"type\":\"a\"}' ELSE '{}' END",
    "unreadable series": "series = 'x'",
    "beyond the limit": "is_other = NOT is_other",
    "shard": "shard = '1'",
}
SINGLE: Final = ("events", "latency", "revenue")


@pytest.mark.parametrize("metric", SINGLE)
@pytest.mark.parametrize("change", ROLLUP.values(), ids=ROLLUP.keys())
def test_a_changed_rollup_row_is_found(folder: Folder, tmp_path: Path, change: str, metric: str) -> None:
    for seed in range(SEEDS):
        row = (
            f"(SELECT rowid FROM rollup_rows WHERE metric = '{metric}' ORDER BY hash(rowid + {seed}) LIMIT 1)"
        )
        with folder.damaged(tmp_path, f"UPDATE rollup_rows SET {change} WHERE rowid = {row}") as copy:
            report = folder.verify(copy)
        assert not report.ok, seed


@pytest.mark.parametrize("metric", [*SINGLE, "visitors"])
@pytest.mark.parametrize(
    "change",
    [
        "DELETE FROM rollup_rows WHERE rowid = {row}",
        "INSERT INTO rollup_rows FROM rollup_rows WHERE rowid = {row}",
        "UPDATE rollup_rows SET count = count + 1 WHERE rowid = {row}",
        "UPDATE rollup_rows SET is_other = NOT is_other WHERE rowid = {row}",
    ],
    ids=["deleted", "doubled", "counted once more", "moved beyond the limit"],
)
def test_a_rollup_row_that_is_not_there_once_is_found(
    folder: Folder, tmp_path: Path, change: str, metric: str
) -> None:
    row = f"(SELECT rowid FROM rollup_rows WHERE metric = '{metric}' ORDER BY hash(rowid) LIMIT 1)"
    with folder.damaged(tmp_path, change.format(row=row)) as copy:
        report = folder.verify(copy)
    [metrics] = [{one.metric for one in report.differences if one.kind == "rollup"}]
    assert metrics == {metric}


LAST: Final = "(SELECT max(epoch) FROM positions)"
POSITIONS: Final = {
    "last epoch": f"UPDATE positions SET epoch = epoch + 1 WHERE epoch = {LAST}",
    "first epoch": "UPDATE positions SET epoch = 0 WHERE epoch = 1",
    "previous append": f"UPDATE positions SET previous_seq = previous_seq + 1 WHERE epoch = {LAST}",
    "first previous append": "UPDATE positions SET previous_seq = 1 WHERE epoch = 1",
    "last append, more": f"UPDATE positions SET last_seq = last_seq + 1 WHERE epoch = {LAST}",
    "last append, less": f"UPDATE positions SET last_seq = last_seq - 1 WHERE epoch = {LAST}",
    "a middle one's append": "UPDATE positions SET last_seq = last_seq - 1 WHERE epoch = 3",
    "life": "UPDATE positions SET incarnation = 'x' WHERE epoch = 3",
    "an earlier life": f"UPDATE positions SET incarnation = (SELECT incarnation FROM positions WHERE epoch = 1) WHERE epoch = {LAST}",
    "day": f"UPDATE positions SET committed_at = committed_at + INTERVAL 1 DAY WHERE epoch = {LAST}",
    "shard": f"UPDATE positions SET shard = '1' WHERE epoch = {LAST}",
    "deleted, the first": "DELETE FROM positions WHERE epoch = 1",
    "deleted, a middle one": "DELETE FROM positions WHERE epoch = 3",
    "deleted, the last": f"DELETE FROM positions WHERE epoch = {LAST}",
    "doubled": "INSERT INTO positions FROM positions WHERE epoch = 2",
}


@pytest.mark.parametrize("change", POSITIONS.values(), ids=POSITIONS.keys())
def test_a_changed_position_is_found(folder: Folder, tmp_path: Path, change: str) -> None:
    with folder.damaged(tmp_path, change) as copy:
        assert not folder.verify(copy).ok


@pytest.mark.parametrize("name", ["stored", "filtered", "dead_lettered"])
@pytest.mark.parametrize("epoch", ["1", "3", LAST], ids=["first", "middle", "last"])
@pytest.mark.parametrize("more", [1, -1])
def test_a_changed_ledger_is_found(folder: Folder, tmp_path: Path, name: str, epoch: str, more: int) -> None:
    with duckdb.connect(str(folder.store), read_only=True) as connection:
        [[text]] = connection.execute(f"SELECT ledger FROM positions WHERE epoch = {epoch}").fetchall()
    ledger = json.loads(text)
    ledger["http"][name] += more
    change = f"UPDATE positions SET ledger = ? WHERE epoch = {epoch}"
    with folder.damaged(tmp_path, change, params=[json.dumps(ledger)]) as copy:
        report = folder.verify(copy)
    assert "ledger" in {one.kind for one in report.differences} or ("dead_letter", name) in places(report)


def test_a_ledger_that_cannot_be_read_is_found(folder: Folder, tmp_path: Path) -> None:
    with folder.damaged(tmp_path, "UPDATE positions SET ledger = 'x' WHERE epoch = 2") as copy:
        assert ("ledger", "ledger") in places(folder.verify(copy))


def test_a_difference_says_where_it_is_and_what_was_expected(folder: Folder, tmp_path: Path) -> None:
    row = "(SELECT min(rowid) FROM rollup_rows WHERE metric = 'events')"
    with duckdb.connect(str(folder.store), read_only=True) as connection:
        [[series, bucket, epoch, count]] = connection.execute(
            f"SELECT series, bucket, epoch, count FROM rollup_rows WHERE rowid = {row}"
        ).fetchall()
    with folder.damaged(tmp_path, f"UPDATE rollup_rows SET count = count + 40 WHERE rowid = {row}") as copy:
        [found] = folder.verify(copy).differences
    assert (found.kind, found.what, found.metric) == ("rollup", "count", "events")
    assert (found.series, found.bucket, found.resolution) == (series, bucket, 1)
    assert (found.place, found.expected, found.found) == (f"epoch {epoch}", str(count), str(count + 40))


def test_thousands_of_differences_are_counted_and_the_first_thousand_told(
    folder: Folder, tmp_path: Path
) -> None:
    with folder.damaged(tmp_path, "UPDATE rollup_rows SET count = count + 1, sum = 7, max = 1e9") as copy:
        report = folder.verify(copy)
    assert len(report.differences) == 1000
    assert report.total > 1000


def test_a_metric_that_is_no_more_configured_is_named_as_not_checked(folder: Folder) -> None:
    without = Folder(folder.data, folder.options)
    without.options = type(folder.options)(data=folder.options.data)
    report = without.verify()
    expect_clean(report)
    assert report.checked.metrics == ["events", "latency"]
    assert {line.partition(":")[0].split(" ", 1)[1] for line in report.not_checked} == {
        "rows of metric revenue", "rows of metric visitors",
    }  # fmt: skip
    assert all("unknown" in line for line in report.not_checked)


def compacted(folder: Folder, place: Path, *ages_s: float) -> Folder:
    """Give a copy of the folder whose rows have been compacted as if days had gone by."""
    copy = place / "data"
    copy.mkdir()
    for path in folder.data.rglob("*"):
        if path.is_file() and path.name != "lock":
            target = copy / path.relative_to(folder.data)
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_bytes(path.read_bytes())
    made = Folder(copy, folder.options)
    store = DuckDBStore.open(made.store)
    with duckdb.connect(":memory:") as connection:
        [[now_us]] = connection.execute("SELECT epoch_us(now())").fetchall()
    for age_s in ages_s:
        retention = Retention(
            raw_s=DAY_S * 1000, tiers=[(1, DAY_S), (60, DAY_S * 10), (3600, DAY_S * 10_000)]
        )
        store.maintain(now_us + int(age_s * 1e6), retention)
    store.checkpoint()
    store.close()
    return made


def resolutions(folder: Folder) -> set[int]:
    with duckdb.connect(str(folder.store), read_only=True) as connection:
        return {
            size for (size,) in connection.execute("SELECT DISTINCT resolution FROM rollup_rows").fetchall()
        }


@pytest.fixture(scope="module")
def minutes(folder: Folder, tmp_path_factory: pytest.TempPathFactory) -> Folder:
    return compacted(folder, tmp_path_factory.mktemp("minutes"), DAY_S * 3)


def test_compacted_rows_are_held_against_the_raw_events_at_their_resolution(
    folder: Folder, minutes: Folder, tmp_path: Path
) -> None:
    assert resolutions(minutes) == {60}
    expect_clean(minutes.verify())
    assert minutes.verify().checked.metrics == ["events", "latency", "revenue", "visitors"]
    hours = compacted(folder, tmp_path, DAY_S * 3, DAY_S * 13)
    assert resolutions(hours) == {3600}
    expect_clean(hours.verify())


def test_a_compaction_that_stopped_in_the_middle_of_a_minute_is_clean(
    folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.stores.compaction.MOST_ROWS", 37)
    half = compacted(folder, tmp_path, DAY_S * 3, DAY_S * 3)
    assert resolutions(half) == {1, 60}
    expect_clean(half.verify())


def test_rows_beyond_what_is_compared_at_once_are_compared_in_ranges(
    minutes: Folder, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("streamgauge.verification.day.RANGE_ROWS", 50)
    monkeypatch.setattr("streamgauge.verification.day.PORTION", 20)
    expect_clean(minutes.verify())
    change = "UPDATE rollup_rows SET count = count + 1 WHERE rowid = (SELECT max(rowid) FROM rollup_rows WHERE metric = 'events')"
    with minutes.damaged(tmp_path, change) as copy:
        [found] = minutes.verify(copy).differences
    assert (found.what, found.metric, found.resolution) == ("count", "events", 60)


COMPACTED: Final = {
    name: change
    for name, change in ROLLUP.items()
    if name not in {"day long ago"}  # of that day nothing is known
}


@pytest.mark.parametrize("change", COMPACTED.values(), ids=COMPACTED.keys())
def test_a_changed_compacted_row_is_found(minutes: Folder, tmp_path: Path, change: str) -> None:
    change = change.replace("resolution = 60, bucket = bucket - bucket % 60", "resolution = 3600")
    change = change.replace("resolution = 60", "resolution = 120, bucket = bucket + 60")
    change = change.replace("epoch = 0", "epoch = 1")
    for metric in SINGLE:
        row = f"(SELECT rowid FROM rollup_rows WHERE metric = '{metric}' ORDER BY hash(rowid) LIMIT 1)"
        with minutes.damaged(tmp_path, f"UPDATE rollup_rows SET {change} WHERE rowid = {row}") as copy:
            assert not minutes.verify(copy).ok, metric


async def test_a_metric_that_was_added_later_is_held_against_the_events_since_then(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await filled(data, 1, store={"commit_interval": "100ms"})
    added = await filled(data, 2, **PLAIN)
    report = added.verify()
    expect_clean(report)
    assert "revenue" in report.checked.metrics
    changed = {**PLAIN, "metric": [{"name": "revenue", "by": ["type"], "aggregates": ["sum"]}]}
    again = await filled(data, 3, **changed)
    report = again.verify()
    expect_clean(report)
    assert any("revenue: definition" in line for line in report.not_checked)


async def test_a_time_without_raw_events_is_named_as_not_checked(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await filled(data, 1, store={"raw_events": False})
    kept = await filled(data, 2, store={"raw_events": True})
    report = kept.verify()
    expect_clean(report)
    assert any("raw events were not kept" in line for line in report.not_checked)
    assert 0 < report.checked.events < 1000


async def test_raw_events_that_have_expired_are_no_difference(tmp_path: Path) -> None:
    folder = await filled(tmp_path / "data", 1)
    store = DuckDBStore.open(folder.store)
    with duckdb.connect(":memory:") as connection:
        [[now_us]] = connection.execute("SELECT epoch_us(now())").fetchall()
    later_us = now_us + 9 * DAY_S * 1_000_000
    tiers = [(1, DAY_S * 100.0)]
    store.maintain(later_us, Retention(raw_s=7 * DAY_S, tiers=tiers))
    store.checkpoint()
    store.close()
    report = folder.verify(now_us=later_us)
    expect_clean(report)
    assert report.checked.events == 0
    assert any("raw events of their days are gone" in line for line in report.not_checked)
    assert not folder.verify(now_us=now_us).ok  # too young to have expired


async def test_events_changed_on_their_way_are_held_against_what_is_stored_of_them(tmp_path: Path) -> None:
    sections = {
        "transform": {"derive": {"double": "amount * 2"}, "keep": "value IS NULL OR value > 0"},
        "metric": [{"name": "twice", "value": "double", "by": ["type"], "aggregates": ["sum", "max"]}],
    }
    folder = await filled(tmp_path / "data", 1, 2, **sections)
    report = folder.verify()
    expect_clean(report)
    assert "twice" in report.checked.metrics
    change = "UPDATE raw_events SET event = replace(event, '\"double\":', '\"double\":1') WHERE rowid = (SELECT min(rowid) FROM raw_events WHERE event LIKE '%\"double\":_%')"
    with folder.damaged(tmp_path, change) as copy:
        assert {one.metric for one in folder.verify(copy).differences} == {"twice"}


async def test_late_events_of_any_age_are_clean(tmp_path: Path) -> None:
    source = random.Random(5)
    data = tmp_path / "data"
    async with serving(data, **PLAIN) as served:
        for days in (0, 1, 400, 20_000, 0):
            now_us = served.app.engine.now_us() - days * DAY_S * 1_000_000
            await served.send(*some_events(source, now_us, 30))
            await served.commit()
    expect_clean(Folder(data, (await filled(data, 6)).options).verify())


def live(report: dict[str, Any]) -> Iterator[tuple[str, str]]:
    return ((one["kind"], one["what"]) for one in report["differences"])


async def verified(served: Served) -> dict[str, Any]:
    answer = await served.http.post("/api/verify")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def test_a_running_server_verifies_itself_while_events_come_in(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", **PLAIN) as served:
        sending = asyncio.create_task(fill(served, 3, requests=30))
        while not sending.done():
            report = await verified(served)
            assert list(live(report)) == []
        await sending
        report = await verified(served)
        assert report["ok"]
        assert report["pending_events"] == 0
        ledger = await served.get("/api/ledger")
        assert report["checked"]["events"] == ledger["stored"]


async def test_what_waits_in_the_journal_is_told_as_pending_and_is_no_difference(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", store={"commit_interval": "1m"}) as served:
        await served.send({"type": "a"}, {"type": "b"})
        report = await verified(served)
        assert (report["ok"], report["pending_events"], report["checked"]["events"]) == (True, 2, 0)


async def test_a_server_without_a_folder_can_be_verified_too() -> None:
    async with serving() as served:
        await fill(served, 4)
        report = await verified(served)
        assert report["ok"]
        assert report["not_checked"] == ["1 journals: there is none to look at"]


async def test_one_verification_runs_at_a_time(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", **PLAIN) as served:
        await fill(served, 4)
        desk = served.app._verifying
        first = asyncio.create_task(desk.run())
        await until(lambda: desk._running is not None)
        answer = await served.http.post("/api/verify")
        if not first.done():
            problem(answer, 503, "saturated")
        assert (await first).ok


async def test_a_server_that_ends_does_not_wait_for_a_verification(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", **PLAIN) as served:
        await fill(served, 4)
        desk = served.app._verifying
        verification = asyncio.create_task(desk.run())
        await until(lambda: desk._running is not None)
    assert (await verification).ok  # as far as it came
    assert desk._stopping.is_set()


def test_the_command_says_what_it_checked_and_ends_with_0(folder: Folder) -> None:
    from command_line import run  # noqa: PLC0415

    done = run("verify", "--data", str(folder.data), folder=folder.data)
    assert (done.code, done.err) == (0, "")
    assert "no differences" in done.out
    assert "not checked: " in done.out  # without its configuration two of the metrics are unknown


def test_the_command_tells_differences_and_ends_with_1(tmp_path: Path, folder: Folder) -> None:
    from command_line import run  # noqa: PLC0415

    copy = compacted(folder, tmp_path)
    with duckdb.connect(str(copy.store)) as connection:
        connection.execute(
            "UPDATE rollup_rows SET count = count + 1 WHERE metric = 'events' AND rowid = (SELECT min(rowid) FROM rollup_rows WHERE metric = 'events')"
        )
    done = run("verify", "--data", str(copy.data), folder=tmp_path)
    assert done.code == 1
    assert "1 difference:" in done.out
    assert "events {" in done.out
    as_json = run("verify", "--data", str(copy.data), "--json", folder=tmp_path)
    assert as_json.code == 1
    assert [one["what"] for one in json.loads(as_json.out)["differences"]] == ["count"]


def test_the_command_refuses_a_folder_without_data(tmp_path: Path) -> None:
    from command_line import run  # noqa: PLC0415

    done = run("verify", "--data", "nowhere", folder=tmp_path)
    assert done.code == 2
    assert "there is no data here" in done.line
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_the_command_tells_what_is_pending_and_the_next_life_is_clean(
    tmp_path: Path, start_server: Any
) -> None:
    from command_line import run  # noqa: PLC0415

    server: ServerProcess = start_server(configuration='[store]\ncommit_interval = "1m"\n')
    for _ in range(5):
        assert server.post(b'{"type":"a","value":1}\n' * 20).status_code == 202
    through_it = run("verify", "--data", str(server.data), folder=tmp_path)
    assert (through_it.code, through_it.err) == (0, "")
    assert "100 events of the journal are not committed yet" in through_it.out
    server.kill()
    after = run("verify", "--data", str(server.data), folder=tmp_path)
    assert (after.code, after.err) == (0, "")
    assert "100 events of the journal are not committed yet" in after.out
    again: ServerProcess = start_server()
    again.post(b'{"type":"b","value":1}\n')
    again.wait_until_committed()
    assert again.stop() == 0
    done = run("verify", "--data", str(server.data), folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert "verified 101 events" in done.out
    assert "not committed" not in done.out
