"""One shard's engine, and the server around it: starts, replays, back-pressure, failures, stops."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from streamgauge import config
from streamgauge.app import App
from streamgauge.commit import Frame
from streamgauge.engine import Engine
from streamgauge.errors import DataFolderInUse, JournalError, OptionError, Saturated, StoreError
from streamgauge.event import FieldMapping
from streamgauge.intake import Receipt
from streamgauge.journal import Entry
from streamgauge.journals.memory import MemoryJournal
from streamgauge.metrics.query import ask
from streamgauge.opening import OpenEngine
from streamgauge.pipeline import StageFailed
from streamgauge.remote import ADDRESS_FILE
from streamgauge.store import Table
from streamgauge.stores.duckdb import DuckDBStore
from web_tools import LONG, WAIT_S, serving, settings, until

T0 = 1_700_000_000
NO_MAPPING = FieldMapping()


class StubbornStore:
    """A real store whose commits can be held up, or fail."""

    def __init__(self) -> None:
        self._inner = DuckDBStore.open(None)
        self.open = threading.Event()
        self.open.set()
        self.commits = 0
        self.failing = False
        self.read = self._inner.read
        self.extent = self._inner.extent
        self.query = self._inner.query
        self.checkpoint = self._inner.checkpoint
        self.maintain = self._inner.maintain
        self.size_bytes = self._inner.size_bytes
        self.positions = self._inner.positions
        self.seen = self._inner.seen
        self.forget = self._inner.forget
        self.skip = self._inner.skip
        self.audit = self._inner.audit
        self.dead_letters = self._inner.dead_letters
        self.dead_letter = self._inner.dead_letter
        self.discard_dead_letters = self._inner.discard_dead_letters
        self.open_dead_letters = self._inner.open_dead_letters

    def commit(self, frames: Sequence[Frame]) -> None:
        assert self.open.wait(WAIT_S)
        if self.failing:
            raise StoreError("the disk is gone")
        self._inner.commit(frames)
        self.commits += 1

    def close(self) -> None:
        self._inner.close()


@asynccontextmanager
async def running(
    store: StubbornStore | None = None,
    failed: Callable[[Exception], None] = lambda error: None,
    /,
    **sections: Any,
) -> AsyncIterator[Engine]:
    """An engine without a server; its events are in memory."""
    options = config.from_mapping(settings(**sections))
    engine = Engine(
        OpenEngine(options).settings,
        journal=MemoryJournal(),
        store=store or StubbornStore(),
        positions={},
        failed=failed,
    )
    await engine.start()
    try:
        yield engine
    finally:
        if store is not None:
            store.open.set()
        await engine.stop()


@asynccontextmanager
async def opened(data: Path, **sections: Any) -> AsyncIterator[Engine]:
    """An engine on a data folder."""
    whole = OpenEngine(config.from_mapping(settings(data, **sections)))
    engine = await whole.start()
    try:
        yield engine
    finally:
        await whole.stop()


async def accept(engine: Engine, *events: dict[str, Any]) -> Receipt:
    payload = msgspec.json.Encoder().encode_lines(events)
    return await engine.intake.accept(payload, "test", NO_MAPPING)


def numbered(count: int, kind: str = "a") -> list[dict[str, Any]]:
    return [{"type": kind, "timestamp": T0 + number, "value": number / 10} for number in range(count)]


async def answers(engine: Engine) -> list[Any]:
    """Give all that the events add up to, in every figure."""
    assert await engine.flush(WAIT_S)
    metric = engine.reader.metric("events")
    found = await engine.reader.answer(metric, ask(metric, start=T0 - 10_000, end=T0 + 100_000, step=60))
    return sorted(found, key=lambda one: str(one.by))


def stored_events(data: Path) -> int:
    store = DuckDBStore.open(data / "streamgauge.duckdb")
    try:
        table: Table = store.query("SELECT count(*) FROM events", [], timeout_s=10.0, max_rows=1)
        return int(table.rows[0][0])
    finally:
        store.close()


def as_a_crash_leaves_it(data: Path, copy: Path) -> Path:
    """Copy a data folder in use; the store first, since the journal is never behind it."""
    copy.mkdir()
    for file in (*data.glob("streamgauge.duckdb*"), data / "instance"):
        shutil.copy(file, copy)
    shutil.copytree(data / "journal", copy / "journal")
    return copy


# starts


async def test_after_a_crash_the_answers_and_the_ledger_are_the_same(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", store={"commit_interval": LONG}) as engine:
        await accept(engine, *numbered(500), {"bad": 1})
        await accept(engine, *numbered(70, "b"))
        before, ledger = await answers(engine), engine.ledger.as_dict()
        copy = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "copy")
    assert stored_events(tmp_path / "data") == 570
    async with opened(copy, store={"commit_interval": LONG}) as engine:
        assert engine.book.committed_seq == 0
        assert await answers(engine) == before
        after = engine.ledger.as_dict()
    assert stored_events(copy) == 570
    # a crash may forget the last rejected events, never accepted ones
    assert (after["pending"], ledger["pending"]) == (570, 570)


async def test_a_crash_between_commits_loses_nothing_and_doubles_nothing(tmp_path: Path) -> None:
    sent, copies = 0, []
    async with opened(tmp_path / "data", store={"commit_interval": "10ms"}) as engine:
        for number in range(40):
            await accept(engine, *numbered(number + 1))
            sent += number + 1
            if number % 10 == 4:
                assert await engine.caught_up(engine.journal.last_seq, WAIT_S)
            if number % 10 == 9:
                copy = as_a_crash_leaves_it(tmp_path / "data", tmp_path / f"copy{number}")
                copies.append((copy, sent))
        assert engine.book.committed >= 4
    for copy, accepted in copies:
        async with opened(copy) as engine:
            assert sum(one.totals["count"] or 0 for one in await answers(engine)) == accepted
        assert stored_events(copy) == accepted


async def test_after_a_clean_stop_nothing_is_replayed(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as engine:
        await accept(engine, *numbered(100))
        before = await answers(engine)
    async with opened(tmp_path / "data") as engine:
        assert engine.book.committed_seq == engine.journal.last_seq == 1
        assert engine.ledger.total().stored == 100
        assert await answers(engine) == before
        await accept(engine, *numbered(1))
    assert stored_events(tmp_path / "data") == 101


async def test_control_records_among_the_events_are_replayed_in_their_place(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", store={"commit_interval": LONG}) as engine:
        await accept(engine, *numbered(10))
        await engine.journal.append_control("swap", {"to": "next"})
        await accept(engine, *numbered(5, "b"))
        await engine.journal.append_control("swap", {"to": "last"})
        copy = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "copy")
    for _ in range(2):
        async with opened(copy) as engine:
            assert [one.totals["count"] for one in await answers(engine)] == [10, 5]
            assert await engine.caught_up(engine.journal.last_seq, WAIT_S)
            assert (engine.journal.last_seq, engine.book.committed_seq) == (4, 4)
    assert stored_events(copy) == 15


async def test_nobody_waits_for_appends_that_are_lost_at_the_journals_end(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", store={"commit_interval": LONG}) as engine:
        await accept(engine, *numbered(3))
        await accept(engine, {"type": "lost"})
        copy = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "copy")
    async with opened(copy, store={"commit_interval": LONG}) as engine:
        again = as_a_crash_leaves_it(copy, tmp_path / "again")  # a new file says that there were two appends
    first = min((again / "journal").iterdir())
    first.write_bytes(first.read_bytes().replace(b'"lost"', b'"list"'))
    async with opened(again) as engine:
        assert engine.journal.last_seq == 2
        assert await engine.caught_up(2, WAIT_S)
        await accept(engine, *numbered(1))
        assert [one.totals["count"] for one in await answers(engine)] == [4]
    assert stored_events(again) == 4


async def test_a_journal_that_cannot_be_understood_stops_the_start_and_holds_nothing(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(data, store={"commit_interval": LONG}) as engine:
        entry = Entry(payload=b'{"type":5}\n', count=1, at_us=T0 * 1_000_000, source="test")
        await engine.journal.append(entry, lambda seq: None)
        copy = as_a_crash_leaves_it(data, tmp_path / "copy")
    tasks = len(asyncio.all_tasks())
    for _ in range(2):
        with pytest.raises(JournalError, match="1 events of the journal cannot be decoded"):
            await OpenEngine(config.from_mapping(settings(copy))).start()
    assert len(asyncio.all_tasks()) == tasks


async def test_two_engines_cannot_share_a_data_folder(tmp_path: Path) -> None:
    async with opened(tmp_path / "data") as engine:
        with pytest.raises(DataFolderInUse):
            await OpenEngine(config.from_mapping(settings(tmp_path / "data"))).start()
        await accept(engine, *numbered(1))


# back-pressure


async def test_a_store_that_hangs_makes_sources_wait_and_then_refuse_until_it_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgauge.committer.MOST_RAW_BYTES", 20_000)
    store = StubbornStore()
    sections: dict[str, Any] = {"store": {"commit_interval": "10ms"}, "limits": {"saturated_wait": "20ms"}}
    async with running(store, **sections) as engine:
        store.open.clear()
        accepted = 0

        async def fill() -> None:
            nonlocal accepted
            while True:
                accepted += (await accept(engine, *numbered(3))).accepted

        with pytest.raises(Saturated) as refusal:
            async with asyncio.timeout(WAIT_S):
                await fill()
        assert refusal.value.retry_after_s >= 1
        assert not engine.has_room()
        assert accepted < 2_000
        before = engine.ledger.total().received
        with pytest.raises(Saturated):
            await accept(engine, *numbered(3))
        assert engine.ledger.total().received == before == accepted

        store.open.set()
        await until(engine.has_room)
        accepted += (await accept(engine, *numbered(3))).accepted
        assert await engine.caught_up(engine.journal.last_seq, WAIT_S)
        assert (engine.ledger.total().stored, engine.ledger.total().pending) == (accepted, 0)
        counted = await answers(engine)
        assert [one.totals["count"] for one in counted] == [accepted]


async def test_a_source_that_waits_goes_on_when_there_is_room_within_its_patience(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgauge.committer.MOST_RAW_BYTES", 20_000)
    store = StubbornStore()
    sections: dict[str, Any] = {"store": {"commit_interval": "10ms"}, "limits": {"saturated_wait": "10s"}}
    async with running(store, **sections) as engine:
        store.open.clear()
        filled = 0
        while engine.has_room():
            await accept(engine, *numbered(1))
            filled += 1
        waiting = [asyncio.create_task(accept(engine, *numbered(1))) for _ in range(5)]
        await asyncio.wait(waiting, timeout=0.05)
        assert not any(task.done() for task in waiting)
        store.open.set()
        receipts = await asyncio.gather(*waiting)
        assert [receipt.accepted for receipt in receipts] == [1] * 5
        assert await engine.caught_up(engine.journal.last_seq, WAIT_S)
        assert engine.ledger.total().stored == filled + 5


async def test_a_small_buffer_before_a_slow_stage_refuses_and_recovers() -> None:
    sections: dict[str, Any] = {
        "pipeline": {"producer": {"buffer": 10, "min_demand": 0, "max_demand": 1}},
        "limits": {"saturated_wait": "0s"},
    }
    async with running(**sections) as engine:
        let_through = asyncio.Event()
        [transformer] = engine.transformers
        handle = transformer.handle_events

        async def slow(events: Any) -> Any:
            await let_through.wait()
            return await handle(events)

        transformer.handle_events = slow  # type: ignore[method-assign]
        accepted = 0
        while engine.has_room():
            accepted += (await accept(engine, *numbered(3))).accepted
        with pytest.raises(Saturated):
            await accept(engine, *numbered(3))
        assert accepted < 20
        let_through.set()
        assert await engine.flush(WAIT_S)
        accepted += (await accept(engine, *numbered(3))).accepted
        assert [one.totals["count"] for one in await answers(engine)] == [accepted]


async def test_what_is_accepted_is_counted_before_the_flush_returns_though_more_keeps_coming() -> None:
    buffer = {"min_demand": 500, "max_demand": 1000, "buffer": 1000}
    async with running(pipeline={"producer": buffer}) as engine:
        stop = asyncio.Event()

        async def keep_sending() -> None:
            while not stop.is_set():
                await accept(engine, *numbered(200, "noise"))

        noise = asyncio.create_task(keep_sending())
        for number in range(1, 6):
            await accept(engine, *numbered(10, "mine"))
            found = {one.by["type"]: one.totals["count"] for one in await answers(engine)}
            assert found["mine"] == 10 * number
        stop.set()
        await noise


async def test_a_flush_gives_up_when_counting_takes_too_long() -> None:
    async with running() as engine:
        let_through = asyncio.Event()
        [transformer] = engine.transformers
        handle = transformer.handle_events

        async def slow(events: Any) -> Any:
            await let_through.wait()
            return await handle(events)

        transformer.handle_events = slow  # type: ignore[method-assign]
        await accept(engine, *numbered(3))
        assert not await engine.flush(0.01)
        let_through.set()
        assert await engine.flush(WAIT_S)


# stops


async def test_a_stop_finishes_what_was_accepted(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with opened(data, store={"commit_interval": LONG}) as engine:
        for _ in range(4):
            await accept(engine, *numbered(20_000))
    assert stored_events(data) == 80_000


@pytest.mark.parametrize("turns", range(6))
async def test_whoever_is_accepted_while_the_engine_stops_is_stored_and_others_are_refused(
    tmp_path: Path, turns: int
) -> None:
    """Payloads small and large, at every point of their way."""
    data, whole = tmp_path / "data", OpenEngine(config.from_mapping(settings(tmp_path / "data")))
    engine = await whole.start()
    sizes = (1, 5, 12_000, 60_000)
    sending = [asyncio.create_task(accept(engine, *numbered(size))) for size in sizes]
    for _ in range(turns):
        await asyncio.sleep(0)
    async with asyncio.timeout(WAIT_S):
        await whole.stop()
        outcomes = await asyncio.gather(*sending, return_exceptions=True)
    accepted = sum(one.accepted for one in outcomes if isinstance(one, Receipt))
    assert all(isinstance(one, Receipt | Saturated) for one in outcomes)
    assert stored_events(data) == accepted
    with pytest.raises(Saturated, match="shutting down"):
        await accept(engine, *numbered(1))


async def test_a_sender_that_leaves_after_the_journal_has_its_events_is_counted_all_the_same() -> None:
    async with running() as engine:
        for events in (3, 10_000):
            before = engine.journal.last_seq
            sending = asyncio.create_task(accept(engine, *numbered(events)))
            await until(lambda before=before: engine.journal.last_seq > before)  # type: ignore[misc]
            sending.cancel()
            await asyncio.wait([sending])
        assert [one.totals["count"] for one in await answers(engine)] == [10_003]


# failures


async def test_a_stage_that_fails_for_good_is_told_and_the_engine_still_stops_in_time(tmp_path: Path) -> None:
    failures: list[Exception] = []
    data = tmp_path / "data"
    whole = OpenEngine(
        config.from_mapping(settings(data, transform={"keep": "value >= 0"})), failed=failures.append
    )
    engine = await whole.start()
    await accept(engine, *numbered(10))
    assert await engine.caught_up(1, WAIT_S)
    _break(engine)
    await accept(engine, *numbered(5))
    await until(lambda: failures)
    assert isinstance(failures[0], StageFailed)
    assert len(failures) == 1
    async with asyncio.timeout(WAIT_S):
        await whole.stop()
    assert stored_events(data) == 10
    async with opened(data) as engine:  # nothing that was accepted is lost
        assert [one.totals["count"] for one in await answers(engine)] == [15]


def _break(engine: Engine) -> None:
    """Make a stage fail, and fail again when it sets the events aside."""
    [transformer] = engine.transformers

    def failing(*_: object) -> None:
        raise ArithmeticError("a bug")

    broken: Any = failing
    transformer._steps_of = broken
    transformer._failed = broken


async def test_a_store_that_fails_for_good_is_told_and_the_engine_still_stops_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgauge.committer.RETRY_S", (0.0, 0.0))
    failures: list[Exception] = []
    store = StubbornStore()
    async with _impatient(store, failures, "50ms") as engine:
        store.failing = True
        await accept(engine, *numbered(10))
        await until(lambda: failures)
        assert isinstance(failures[0], StoreError)
        assert [one.totals["count"] for one in await answers(engine)] == [10]


def _impatient(store: StubbornStore, failures: list[Exception], patience: str = "10m") -> Any:
    return running(store, failures.append, store={"commit_interval": "10ms", "patience": patience})


async def test_a_store_that_fails_now_and_then_is_tried_again_and_nothing_is_doubled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("streamgauge.committer.RETRY_S", (0.0, 0.0))
    store = StubbornStore()
    attempts = 0
    commit = store._inner.commit

    def flaky(frames: Sequence[Frame]) -> None:
        nonlocal attempts
        attempts += 1
        commit(frames)
        if attempts % 2:
            raise StoreError("the answer was lost")

    store._inner.commit = flaky  # type: ignore[method-assign]
    failures: list[Exception] = []
    async with _impatient(store, failures) as engine:
        for _ in range(5):
            await accept(engine, *numbered(10))
            assert await engine.caught_up(engine.journal.last_seq, WAIT_S)
        assert (engine.ledger.total().stored, failures) == (50, [])
        table = store.query("SELECT count(*) FROM events", [], timeout_s=5.0, max_rows=1)
        assert table.rows == [(50,)]


# what was accepted when


async def test_what_was_accepted_before_a_moment_is_known_to_a_quarter_of_a_second() -> None:
    now_s = 1_000.0
    async with running() as engine:
        engine.steady_s = lambda: now_s
        noted = []
        for seq in range(1, 200):
            await accept(engine, *numbered(1))
            engine.note_accepted()
            noted.append((now_s, seq))
            now_s += 0.3
        for moment, seq in noted[-100:]:
            assert engine.accepted_ago(now_s - moment + 0.01) == seq
        assert engine.accepted_ago(0.0) == engine.journal.last_seq == 199
        assert (
            engine.accepted_ago(1_000.0) <= noted[100][1]
        )  # longer ago than is kept: shortly after it, never before


# the server around the engine


async def test_a_server_in_memory_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with serving() as server:
        await server.send(*numbered(3))
        await server.commit()
        assert await server.ask("SELECT count(*) FROM events") == [[3]]
    assert not any(tmp_path.iterdir())  # noqa: ASYNC240  the server has stopped, nobody is held up


async def test_the_address_is_published_while_the_server_runs_and_no_longer(tmp_path: Path) -> None:
    file = tmp_path / ADDRESS_FILE
    async with serving(tmp_path) as server:
        assert file.read_text() == f"http://localhost:{server.port}\n"
    assert not file.exists()


async def test_a_server_that_cannot_take_its_address_back_stores_everything_all_the_same(
    tmp_path: Path,
) -> None:
    file = tmp_path / ADDRESS_FILE
    async with serving(tmp_path, store={"commit_interval": LONG}) as server:
        await server.send(*numbered(7))
        file.unlink()
        file.mkdir()  # which cannot be deleted as a file can
    assert stored_events(tmp_path) == 7


async def test_a_server_that_cannot_listen_lets_go_of_its_folder(tmp_path: Path) -> None:
    async with serving() as other:
        taken = config.from_mapping({**settings(tmp_path), "server": {"port": other.port}})
        with pytest.raises(OptionError, match="cannot listen"):
            await App(taken).start()
    async with serving(tmp_path) as server:
        assert (await server.send(*numbered(1))).status_code == 202


async def test_a_server_whose_address_cannot_be_published_lets_go_of_its_folder_and_port(
    tmp_path: Path,
) -> None:
    (tmp_path / ADDRESS_FILE).mkdir()
    with pytest.raises(OSError, match="directory"):
        await App(config.from_mapping(settings(tmp_path))).start()
    (tmp_path / ADDRESS_FILE).rmdir()
    async with serving(tmp_path) as server:
        assert (await server.get("/readyz"))["status"] == "ready"


async def test_a_server_whose_pipeline_failed_says_so_and_raises_it_when_it_has_stopped() -> None:
    async with serving(transform={"keep": "value >= 0"}) as server:
        _break(server.app.engine)
        await server.send(*numbered(2))
        assert server.app.failure is not None
        async with asyncio.timeout(WAIT_S):
            await asyncio.shield(server.app.failure)
        answer = await server.http.get("/readyz")
        assert answer.status_code == 503
        assert any("stage transform" in reason for reason in answer.json()["reasons"])
    with pytest.raises(Exception, match="stage transform") as raised:
        server.app.raise_failure()
    assert "journal" in str(raised.value)


async def test_answers_survive_a_restart_of_the_server(tmp_path: Path) -> None:
    question = {"from": T0, "to": T0 + 120, "step": 60}
    async with serving(tmp_path) as server:
        await server.send(*numbered(100))
        before = await server.get("/api/metrics/events", **question)
    async with serving(tmp_path) as server:
        after = await server.get("/api/metrics/events", **question)
        ledger = await server.get("/api/ledger")
    assert after["series"] == before["series"]
    assert (ledger["received"], ledger["stored"], ledger["pending"]) == (100, 100, 0)
