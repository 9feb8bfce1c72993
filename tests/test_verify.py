"""`verify` finds nothing where nothing is wrong, whatever a folder has been through, and changes nothing itself."""

from __future__ import annotations

import asyncio
import hashlib
import json
import random
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest

from command_line import run
from server_process import ServerProcess
from soak import trials
from streamgauge.errors import Saturated
from streamgauge.opening import verify_folder
from streamgauge.store import Retention
from streamgauge.stores.audit import DuckDBAudit
from streamgauge.stores.duckdb import DuckDBStore
from streamgauge.verify import Report
from streamgauge.web.verify import VerifyDesk
from verify_tools import DAY_S, PLAIN, Folder, any_row, compacted, fill, filled, some_events
from web_tools import Served, serving, until


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    """A folder that two lives of a server have filled; not to be changed."""
    return asyncio.run(filled(tmp_path_factory.mktemp("verified") / "data", 1, 2))


def expect_clean(report: Report) -> None:
    assert report.ok, report.differences[:10]
    assert report.total == 0
    assert report.complete


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


def test_without_its_configuration_the_metrics_are_those_that_the_folder_keeps(folder: Folder) -> None:
    report = verify_folder(type(folder.options)(data=str(folder.data)))
    expect_clean(report)
    assert report.checked.metrics == ["events", "latency", "revenue", "visitors"]
    assert (report.not_checked, report.unknown_rows) == ([], 0)


def test_metrics_that_nothing_knows_end_the_command_with_a_code_of_their_own(
    folder: Folder, tmp_path: Path
) -> None:
    shutil.copytree(folder.data, tmp_path / "data")
    assert run("verify", folder=tmp_path).code == 0
    shutil.rmtree(tmp_path / "data" / "configurations")
    done = run("verify", folder=tmp_path)
    assert done.code == 3
    assert "--config" in done.out.splitlines()[-1]
    assert re.search(r"no differences in what was checked; [\d,]+ rollup rows could not be", done.out)


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
    minutes: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.verification.day.RANGE_ROWS", 50)
    monkeypatch.setattr("streamgauge.verification.day.PORTION", 20)
    expect_clean(minutes.verify())


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
    row = any_row("raw_events")
    change = (
        f"UPDATE raw_events SET event = replace(event, '\"double\":', '\"double\":1') WHERE rowid = {row}"
    )
    found = folder.damage(tmp_path).verify(change)
    assert {one.metric for one in found.differences} == {"twice"}


async def test_late_events_of_any_age_are_clean(tmp_path: Path) -> None:
    source = random.Random(5)  # noqa: S311  the same events each time
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
        assert report["not_checked"] == ["the journal: there is none"]


async def test_a_running_server_knows_the_metrics_that_it_had_before(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", **PLAIN) as served:
        await fill(served, 5, requests=4)
    async with serving(tmp_path / "data", store=PLAIN["store"]) as served:
        report = await verified(served)
        assert report["ok"]
        assert report["checked"]["metrics"] == ["events", "latency", "revenue", "visitors"]
        assert report["unknown_rows"] == 0


class Held:
    """A desk whose verification waits, before it looks at anything, until it is let go."""

    def __init__(self, folder: Folder) -> None:
        self.begun, self.go_on = threading.Event(), threading.Event()
        self._folder = folder
        self.desk = VerifyDesk(
            audit=self._audit, rules=folder.rules, journals=folder.journals, imbalance=lambda: 0
        )

    def _audit(self) -> DuckDBAudit:
        self.begun.set()
        assert self.go_on.wait(30)
        return DuckDBAudit.open(self._folder.store, memory_limit_bytes=2**28)


async def test_one_verification_runs_at_a_time(folder: Folder) -> None:
    held = Held(folder)
    first = asyncio.create_task(held.desk.run())
    await until(held.begun.is_set)
    with pytest.raises(Saturated, match="under way already"):
        await held.desk.run()
    held.go_on.set()
    assert (await first).ok
    assert (await held.desk.run()).ok  # the next may


async def test_a_server_that_ends_does_not_wait_for_a_verification_to_come_to_its_end(folder: Folder) -> None:
    held = Held(folder)
    verification = asyncio.create_task(held.desk.run())
    await until(held.begun.is_set)
    stopping = asyncio.create_task(held.desk.stop())
    await asyncio.sleep(0)
    held.go_on.set()
    await stopping
    report = await verification
    assert (report.ok, report.complete) == (True, False)
    with pytest.raises(Saturated, match="shutting down"):
        await held.desk.run()


async def test_a_caller_that_has_gone_makes_no_room_for_a_second_verification(folder: Folder) -> None:
    held = Held(folder)
    first = asyncio.create_task(held.desk.run())
    await until(held.begun.is_set)
    first.cancel()
    await asyncio.wait([first])
    with pytest.raises(Saturated):
        await held.desk.run()
    held.go_on.set()
    await held.desk.stop()


async def test_a_verification_takes_no_longer_than_it_may(folder: Folder) -> None:
    desk = VerifyDesk(
        audit=lambda: DuckDBAudit.open(folder.store, memory_limit_bytes=2**28),
        rules=folder.rules,
        journals=folder.journals,
        imbalance=lambda: 0,
        within_s=0.0,
    )
    report = await desk.run()
    assert (report.ok, report.complete, report.checked.events) == (True, False, 0)


def test_the_command_says_what_it_checked_and_ends_with_0(folder: Folder) -> None:
    done = run("verify", "--data", str(folder.data), folder=folder.data)
    assert (done.code, done.err) == (0, "")
    assert "no differences" in done.out
    assert "of 4 metrics" in done.out  # the data folder itself has what was configured
    assert "not checked: " not in done.out


def test_the_command_tells_differences_and_ends_with_1(tmp_path: Path, folder: Folder) -> None:
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
    done = run("verify", "--data", "nowhere", folder=tmp_path)
    assert done.code == 2
    assert "there is no data here" in done.line
    assert list(tmp_path.iterdir()) == []


def test_after_a_kill_the_command_tells_what_is_pending_and_the_next_life_is_clean(
    tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
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


POISON = """
def transform(event):
    if event.get("value") == 13:
        raise ValueError("unlucky")
    return None if event.get("value") == 14 else {**event, "seen": True}
"""


def hard_request(source: random.Random, ids: list[str]) -> bytes:
    """Make a request of good, bad, poisonous, unwanted and repeated events; also of some with no time of their own."""
    lines = []
    for _ in range(source.randrange(1, 60)):
        event: dict[str, Any] = {"type": source.choice("ab"), "value": source.randrange(20)}
        if source.random() < 0.4:
            event["event_id"] = source.choice(ids)
        if source.random() < 0.05:
            del event["type"]
        if source.random() < 0.5:
            event["timestamp"] = 1_700_000_000_000 + source.randrange(10**7)
        lines.append(json.dumps(event))
    return "\n".join([*lines, ""]).encode()


def test_a_hard_life_of_poison_repetitions_and_kills_leaves_everything_in_agreement(
    tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    module = tmp_path / "poison.py"
    module.write_text(POISON)
    configuration = f'[transform]\nmodule = "{module}"\n[store]\ncommit_interval = "200ms"\n'
    source = random.Random(3)  # noqa: S311  the same events each time
    ids = [f"id {number}" for number in range(trials(300, 3000))]
    for life in range(trials(3, 20)):
        server = start_server(configuration=configuration)
        for turn in range(12):
            assert server.post(hard_request(source, ids)).status_code in {202, 422}
            if turn == 6:
                server.wait_until_committed()
        if life % 2:
            report = server.client.post("/api/verify").json()
            assert report["ok"], report["differences"][:5]
            server.kill()
        else:
            server.kill()
            done = run("verify", "--data", str(server.data), folder=tmp_path)
            assert done.code == 0, done.out
    last = start_server(configuration=configuration)
    ledger = last.wait_until_committed()
    assert min(ledger[name] for name in ("stored", "filtered", "duplicate", "dead_lettered", "rejected")) > 0
    report = last.client.post("/api/verify").json()
    assert report["ok"], report["differences"][:5]
    assert report["checked"]["events"] == ledger["stored"]
    assert report["checked"]["dead_letters"] == ledger["dead_lettered"]
    assert last.stop() == 0
    assert run("verify", "--data", str(last.data), folder=tmp_path).code == 0
