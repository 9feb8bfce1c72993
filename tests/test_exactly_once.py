"""An id counts once: in one payload, in several, at the same time, after a restart and after a crash."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import shutil
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from journal_tools import segments
from streamgauge import Streamgauge, config
from streamgauge.commit import DeadLetterName
from streamgauge.engine import Engine
from streamgauge.errors import Draining, IdempotencyKeyReused, JournalError
from streamgauge.event import FieldMapping
from streamgauge.identity import DEAD_LETTERS
from streamgauge.intake import SMALL_BYTES, Receipt
from streamgauge.journal import Entry
from streamgauge.journals.memory import MemoryJournal
from streamgauge.opening import OpenEngine
from streamgauge.stores.duckdb import DuckDBStore
from web_tools import LONG, WAIT_S, until
from web_tools import settings as options_of

MAPPING = FieldMapping()
Event = dict[str, Any]


class HeldJournal(MemoryJournal):
    """A journal whose appends wait until they are let go, or refused."""

    def __init__(self) -> None:
        super().__init__()
        self.keeps_text = True
        self.held: list[tuple[Entry, Callable[[int], None], asyncio.Future[int]]] = []
        self.hold = True
        self.entries: list[Entry] = []

    def append(self, entry: Entry, written: Callable[[int], None]) -> asyncio.Future[int]:
        if not self.hold:
            self.entries.append(entry)
            return super().append(entry, written)
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.held.append((entry, written, future))
        return future

    def give_up(self) -> None:
        """Refuse everything that waits, so that nothing waits for it for ever."""
        self.hold = False
        while self.held:
            self.let_go(fail=True)

    def let_go(self, *, fail: bool = False) -> None:
        """Write or refuse what has waited longest."""
        entry, written, future = self.held.pop(0)
        if fail:
            future.set_exception(JournalError("no more"))
            future.exception()  # who waited may have gone
            return
        self.entries.append(entry)
        self.last_seq += 1
        written(self.last_seq)
        future.set_result(self.last_seq)


def lines(events: Iterable[Event]) -> bytes:
    return msgspec.json.Encoder().encode_lines(list(events))


def events_of(*names: object, kind: str = "a", **more: Any) -> list[Event]:
    return [{"type": kind, "event_id": name, **more} for name in names]


async def accept(engine: Engine, events: Iterable[Event], scope: str = "", **more: Any) -> Receipt:
    return await engine.intake.accept(lines(events), "test", MAPPING, scope=scope, **more)


def counted(receipt: Receipt) -> tuple[int, int, int]:
    return receipt.accepted, receipt.rejected, receipt.duplicates


@asynccontextmanager
async def in_memory(journal: MemoryJournal | None = None) -> AsyncIterator[Engine]:
    engine = Engine(
        OpenEngine(config.from_mapping(options_of())).settings,
        journal=journal or MemoryJournal(),
        store=DuckDBStore.open(None),
        positions={},
    )
    await engine.start()
    try:
        yield engine
    finally:
        if isinstance(journal, HeldJournal):
            journal.give_up()
        await engine.stop()


@asynccontextmanager
async def opened(data: Path, **sections: Any) -> AsyncIterator[Engine]:
    whole = OpenEngine(config.from_mapping(options_of(data, **sections)))
    engine = await whole.start()
    try:
        yield engine
    finally:
        await whole.stop()


async def committed(engine: Engine) -> None:
    """Wait until the store has everything, and check that the ledger balances."""
    assert await engine.flush(WAIT_S)
    engine.book.close(0.0)
    engine.committer._changed.set()
    assert await engine.caught_up(engine.journal.last_seq, WAIT_S)
    totals = engine.ledger.total()
    assert totals.pending == 0
    assert totals.received == totals.stored + totals.duplicate + totals.rejected + totals.filtered


def stored_ids(engine: Engine) -> list[str]:
    table = engine.store.query("SELECT event_id FROM events ORDER BY 1", [], timeout_s=10, max_rows=10**6)
    return [row[0] for row in table.rows]


def crashed(data: Path, copy: Path) -> Path:
    """Copy a data folder in use; the store first, since the journal is never behind it."""
    copy.mkdir()
    for file in (*data.glob("streamgauge.duckdb*"), data / "instance"):
        shutil.copy(file, copy)
    shutil.copytree(data / "journal", copy / "journal")
    return copy


# In one payload, and in several.


@pytest.mark.parametrize("padding", ["", "x" * SMALL_BYTES], ids=["small", "large"])
async def test_an_id_that_comes_twice_in_a_payload_counts_once(padding: str) -> None:
    async with in_memory() as engine:
        receipt = await accept(engine, events_of("x", "y", "x", None, "x", note=padding))
        assert counted(receipt) == (3, 0, 2)
        await committed(engine)
        assert stored_ids(engine) == ["x", "y", None]
        assert engine.ledger.of("test").duplicate == 2


@pytest.mark.parametrize("padding", ["", "x" * SMALL_BYTES], ids=["small", "large"])
async def test_an_id_that_came_before_does_not_count_again(padding: str) -> None:
    async with in_memory() as engine:
        assert counted(await accept(engine, events_of("x", "y"))) == (2, 0, 0)
        assert counted(await accept(engine, events_of("z", "x", "w", note=padding))) == (2, 0, 1)
        assert counted(await accept(engine, events_of("x", "y", note=padding))) == (0, 0, 2)
        await committed(engine)
        assert stored_ids(engine) == ["w", "x", "y", "z"]


async def test_events_without_an_id_are_all_counted_and_an_empty_id_is_none() -> None:
    async with in_memory() as engine:
        for _ in range(2):
            events = [{"type": "a"}, {"type": "a"}, *events_of("", "", None)]
            assert counted(await accept(engine, events)) == (5, 0, 0)
        assert engine.claims.status["ids"] == 0


async def test_a_number_and_its_text_are_the_same_id() -> None:
    async with in_memory() as engine:
        assert counted(await accept(engine, events_of(7, "7", 7.5, 8))) == (3, 0, 1)


async def test_another_scope_has_ids_of_its_own() -> None:
    async with in_memory() as engine:
        for scope in ("", "one", "two"):
            assert counted(await accept(engine, events_of("x"), scope)) == (1, 0, 0)
            assert counted(await accept(engine, events_of("x", note="y" * SMALL_BYTES), scope)) == (0, 0, 1)


async def test_bad_events_among_duplicates_are_told_by_their_places() -> None:
    async with in_memory() as engine:
        await accept(engine, events_of("x"))
        receipt = await accept(engine, [*events_of("x"), {"event_id": "y"}, *events_of("z", "x")])
        assert counted(receipt) == (1, 1, 2)
        assert [place for place, _ in receipt.errors] == [1]
        # what was rejected has not counted
        assert counted(await accept(engine, events_of("y"))) == (1, 0, 0)


async def test_what_the_journal_holds_are_the_first_ones_as_they_were_written(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        await accept(engine, events_of("x", note=1))
        await accept(
            engine, [*events_of("x", note=2), {"type": "b", "event_id": "y"}, *events_of("y", note=3)]
        )
    text = b"".join(path.read_bytes() for path in segments(tmp_path / "journal"))
    kept = [json.loads(line) for line in text.splitlines()]
    assert [(one["event_id"], one.get("note")) for one in kept if "type" in one] == [("x", 1), ("y", None)]
    assert [one["n"] for one in kept if "n" in one] == [1, 1]


async def test_a_large_payload_with_repeated_ids_is_numbered_without_gaps(tmp_path: Path) -> None:
    names = [str(number % 9_000) for number in range(20_000)]
    async with opened(tmp_path) as engine:
        assert counted(await accept(engine, events_of(*names, note="x" * 60))) == (9_000, 0, 11_000)
        await committed(engine)
        copy = crashed(tmp_path, tmp_path / "copy")
        table = engine.store.query(
            "SELECT count(DISTINCT event_id) FROM events", [], timeout_s=10, max_rows=1
        )
        assert list(table.rows[0]) == [9_000]
    store = DuckDBStore.open(copy / "streamgauge.duckdb")
    with store._cursor() as cursor:
        found = cursor.execute("SELECT index FROM raw_events ORDER BY 1").fetchall()
    assert [index for (index,) in found] == list(range(9_000))
    store.close()


# At the same time.


async def test_small_payloads_of_one_turn_are_each_told_what_became_of_their_events() -> None:
    journal = HeldJournal()
    journal.hold = False
    async with in_memory(journal) as engine:
        await accept(engine, events_of("old"))
        receipts = await asyncio.gather(
            accept(engine, events_of("x", "old")),
            accept(engine, events_of("y")),
            accept(engine, events_of("y", "x", "y")),
            accept(engine, events_of("old", None)),
        )
        assert [counted(one) for one in receipts] == [(1, 0, 1), (1, 0, 0), (0, 0, 3), (1, 0, 1)]
        assert len(journal.entries) == 2  # they were taken together
        await committed(engine)


@pytest.mark.parametrize("padding", ["", "x" * SMALL_BYTES], ids=["small", "large"])
async def test_who_brings_an_id_that_is_being_written_waits_until_it_is(padding: str) -> None:
    journal = HeldJournal()
    async with in_memory(journal) as engine:
        first = asyncio.create_task(accept(engine, events_of("x", note=padding)))
        await until(lambda: journal.held)
        second = asyncio.create_task(accept(engine, events_of("x", "y", note=padding)))
        other = asyncio.create_task(accept(engine, events_of("z", note=padding)))
        await until(lambda: len(journal.held) == 2)
        assert b'"z"' in journal.held[1][0].payload
        assert not second.done()
        journal.let_go()
        await until(lambda: len(journal.held) == 2)
        journal.let_go()
        journal.let_go()
        assert [counted(one) for one in await asyncio.gather(first, second, other)] == [
            (1, 0, 0), (1, 0, 1), (1, 0, 0),
        ]  # fmt: skip
        await committed(engine)
        assert stored_ids(engine) == ["x", "y", "z"]


@pytest.mark.parametrize("padding", ["", "x" * SMALL_BYTES], ids=["small", "large"])
async def test_where_the_first_is_refused_the_second_counts(padding: str) -> None:
    journal = HeldJournal()
    async with in_memory(journal) as engine:
        first = asyncio.create_task(accept(engine, events_of("x", "w", note=padding)))
        await until(lambda: journal.held)
        second = asyncio.create_task(accept(engine, events_of("x", "y", note=padding)))
        third = asyncio.create_task(accept(engine, events_of("x", note=padding)))
        journal.let_go(fail=True)
        with pytest.raises(JournalError):
            await first
        await until(lambda: journal.held)
        journal.let_go()
        assert counted(await second) == (2, 0, 0)
        assert counted(await third) == (0, 0, 1)
        journal.hold = False
        assert counted(await accept(engine, events_of("w"))) == (1, 0, 0)
        await committed(engine)
        assert stored_ids(engine) == ["w", "x", "y"]


async def test_who_waits_for_another_when_the_server_ends_is_refused() -> None:
    journal = HeldJournal()
    async with in_memory(journal) as engine:
        first = asyncio.create_task(accept(engine, events_of("x")))
        await until(lambda: journal.held)
        second = asyncio.create_task(accept(engine, events_of("x")))
        third = asyncio.create_task(accept(engine, events_of("x", note="x" * SMALL_BYTES)))
        await asyncio.sleep(0)
        engine.intake.draining = True
        journal.let_go(fail=True)
        for task, error in ((first, JournalError), (second, Draining), (third, Draining)):
            with pytest.raises(error):
                await task
        engine.intake.draining = False
        journal.hold = False
        assert counted(await accept(engine, events_of("x"))) == (1, 0, 0)


async def test_a_sender_that_leaves_while_it_waits_holds_no_ids() -> None:
    journal = HeldJournal()
    many = [str(number) for number in range(6_000)]
    async with in_memory(journal) as engine:
        first = asyncio.create_task(accept(engine, events_of(many[-1])))
        await until(lambda: journal.held)
        second = asyncio.create_task(accept(engine, events_of(*many)))
        await until(lambda: engine.claims.status["ids"] > 1)  # it has claimed some, and waits for the last
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        journal.let_go()
        await first
        journal.hold = False
        assert counted(await accept(engine, events_of(*many))) == (5_999, 0, 1)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    payloads=st.lists(
        st.tuples(st.lists(st.integers(0, 12), min_size=1, max_size=6), st.booleans()),
        min_size=1,
        max_size=14,
    ),
    seed=st.integers(0, 10**6),
)
def test_however_payloads_meet_and_fail_each_id_counts_once_where_anybody_was_told_so(
    payloads: list[tuple[list[int], bool]], seed: int
) -> None:
    asyncio.run(_meet(payloads, random.Random(seed)))  # noqa: S311  a test that can be repeated


async def _meet(payloads: list[tuple[list[int], bool]], chance: random.Random) -> None:
    journal = HeldJournal()
    async with in_memory(journal) as engine:
        waiting = {
            asyncio.create_task(accept(engine, events_of(*names, note="x" * SMALL_BYTES * large))): names
            for names, large in payloads
        }
        async with asyncio.timeout(WAIT_S):
            while any(not task.done() for task in waiting):
                await asyncio.sleep(0)
                if journal.held and chance.random() < 0.5:
                    journal.let_go(fail=chance.random() < 0.4)
        promised: set[int] = set()
        for task, names in waiting.items():
            if task.exception() is None:
                promised |= set(names)
                assert task.result().accepted + task.result().duplicates == len(names)
        journal.hold = False
        await committed(engine)
        assert stored_ids(engine) == sorted(map(str, promised))


# After a restart, and after a crash.


async def test_ids_are_known_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as engine:
        await accept(engine, events_of("x", "y"))
        await accept(engine, events_of("x"), "key")
        before = engine.ledger.total().received
    async with opened(tmp_path) as engine:
        assert engine.claims.status["ids"] == 3
        assert counted(await accept(engine, events_of("y", "z", "x"))) == (1, 0, 2)
        assert counted(await accept(engine, events_of("x", "y"), "key")) == (1, 0, 1)
        await committed(engine)
        assert stored_ids(engine) == ["x", "x", "y", "y", "z"]
        assert engine.ledger.total().received == before + 5


@pytest.mark.parametrize("is_committed", [False, True])
async def test_ids_are_known_after_a_crash_and_a_replay_counts_every_event_once(
    tmp_path: Path, *, is_committed: bool
) -> None:
    async with opened(tmp_path / "data", store={"commit_interval": LONG}) as engine:
        await accept(engine, events_of("x", "y"))
        if is_committed:
            await committed(engine)
        await accept(engine, events_of("y", "z"))
        await accept(engine, events_of("k"), "key")
        copy = crashed(tmp_path / "data", tmp_path / "copy")
    async with opened(copy, store={"commit_interval": LONG}) as engine:
        assert counted(await accept(engine, events_of("x", "y", "z", "new"))) == (1, 0, 3)
        assert counted(await accept(engine, events_of("k", "x"), "key")) == (1, 0, 1)
        await committed(engine)
        assert stored_ids(engine) == ["k", "new", "x", "x", "y", "z"]
    async with opened(copy) as engine:
        assert counted(await accept(engine, events_of("x", "y", "z", "new"))) == (0, 0, 4)


async def test_duplicates_are_still_in_the_ledger_after_a_crash(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", store={"commit_interval": LONG}) as engine:
        await accept(engine, events_of("x", "x", "x"))
        await accept(engine, events_of("y"))
        copy = crashed(tmp_path / "data", tmp_path / "copy")
    async with opened(copy) as engine:
        await committed(engine)
        assert engine.ledger.of("test").as_dict() == {
            "received": 4, "stored": 2, "filtered": 0, "duplicate": 2, "dead_lettered": 0, "rejected": 0,
            "pending": 0, "requests_refused": 0,
        }  # fmt: skip


async def test_fewer_ids_are_remembered_where_that_is_wanted_and_the_horizon_says_so(tmp_path: Path) -> None:
    few = {"remember_ids": 20, "remember_for": "1h"}
    async with opened(tmp_path, events=few) as engine:
        assert engine.claims.status == {"ids": 0, "horizon_s": 3600}
        for number in range(100):
            await accept(engine, events_of(f"n{number}"))
        status = engine.claims.status
        assert 10 <= status["ids"] <= 20
        assert status["horizon_s"] < 60
        assert counted(await accept(engine, events_of("n99"))) == (0, 0, 1)
        assert counted(await accept(engine, events_of("n0"))) == (1, 0, 0)


async def test_the_store_does_not_keep_many_more_ids_than_are_remembered(tmp_path: Path) -> None:
    few = {"remember_ids": 20, "remember_requests": 20}
    async with opened(tmp_path, events=few) as engine:
        for number in range(20):
            await accept(engine, events_of(*[f"{number} {other}" for other in range(10)]))
            await committed(engine)
        table = "SELECT count(*) FROM seen"
        store = engine.store
        assert isinstance(store, DuckDBStore)

        def kept() -> int:
            with store._cursor() as cursor:
                return int(cursor.execute(table).fetchall()[0][0])

        await until(lambda: kept() <= 80)
    async with opened(tmp_path, events=few) as engine:
        assert counted(await accept(engine, events_of("19 9", "0 0"))) == (1, 0, 1)


async def test_an_old_journal_is_replayed_as_it_was_counted_then(tmp_path: Path) -> None:
    """Before ids were looked at, an id may have been journaled twice."""
    async with opened(tmp_path / "data", store={"commit_interval": LONG}) as engine:
        payload = lines(events_of("x", "x"))
        await engine.journal.append(Entry(payload=payload, count=2, at_us=1, source="test"), lambda _: None)
        copy = crashed(tmp_path / "data", tmp_path / "copy")
    async with opened(copy) as engine:
        await committed(engine)
        assert stored_ids(engine) == ["x", "x"]
        assert counted(await accept(engine, events_of("y"))) == (1, 0, 0)


# Ids that are named, as for dead letters.


async def test_events_under_ids_that_are_named_count_once_for_ever(tmp_path: Path) -> None:
    names = [DeadLetterName("0", 1, index).id for index in range(3)]
    events = events_of("own", "own", None)
    async with opened(tmp_path / "data", store={"commit_interval": LONG}) as engine:
        assert counted(await accept(engine, events_of("own"))) == (1, 0, 0)
        assert counted(await accept(engine, events[:2], DEAD_LETTERS, ids=names[:2])) == (2, 0, 0)
        assert counted(await accept(engine, events, DEAD_LETTERS, ids=names)) == (1, 0, 2)
        copy = crashed(tmp_path / "data", tmp_path / "copy")
    for folder in (tmp_path / "data", copy):
        async with opened(folder) as engine:
            assert counted(await accept(engine, events, DEAD_LETTERS, ids=names)) == (0, 0, 3)
            await committed(engine)
            assert stored_ids(engine) == ["own", "own", "own", None]


async def test_a_bad_event_among_named_ones_does_not_shift_the_names() -> None:
    async with in_memory() as engine:
        events = [*events_of(None), {"no": "type"}, *events_of(None)]
        names = ["dlq:0:1:0", "dlq:0:1:1", "dlq:0:1:2"]
        assert counted(await accept(engine, events, DEAD_LETTERS, ids=names)) == (2, 1, 0)
        for name, expected in zip(names, [(0, 0, 1), (1, 0, 0), (0, 0, 1)], strict=True):
            assert counted(await accept(engine, events_of(None), DEAD_LETTERS, ids=[name])) == expected


# Whole requests.


async def send_once(engine: Engine, key: str, events: Sequence[Event], scope: str = "") -> Receipt:
    return await engine.intake.accept_once(lines(events), "test", MAPPING, key, scope=scope)


async def test_a_request_that_is_repeated_is_answered_as_it_was_and_counts_once() -> None:
    async with in_memory() as engine:
        await accept(engine, events_of("old"))
        events = [*events_of(None, None, "old"), {"no": "type"}]
        first = await send_once(engine, "k", events)
        again = await send_once(engine, "k", events)
        assert counted(first) == counted(again) == (2, 1, 1)
        assert first.errors == again.errors != []
        assert (first.replayed, again.replayed) == (False, True)
        await committed(engine)
        assert stored_ids(engine) == ["old", None, None]
        ledger = engine.ledger.of("test")
        assert (ledger.received, ledger.stored, ledger.duplicate, ledger.rejected) == (9, 3, 4, 2)


async def test_a_key_with_another_body_or_mapping_is_refused_and_another_scope_is_another_key() -> None:
    async with in_memory() as engine:
        await send_once(engine, "k", events_of("x"))
        with pytest.raises(IdempotencyKeyReused):
            await send_once(engine, "k", events_of("y"))
        other = FieldMapping(value="amount")
        with pytest.raises(IdempotencyKeyReused):
            await engine.intake.accept_once(lines(events_of("x")), "test", other, "k")
        assert counted(await send_once(engine, "k", events_of("y"), "key")) == (1, 0, 0)
        assert engine.ledger.of("test").received == 2


async def test_a_repeated_request_waits_for_the_first_and_counts_where_that_is_refused() -> None:
    journal = HeldJournal()
    async with in_memory(journal) as engine:
        tasks = [asyncio.create_task(send_once(engine, "k", events_of(None))) for _ in range(3)]
        await until(lambda: journal.held)
        journal.let_go(fail=True)
        await until(lambda: journal.held)
        assert len(journal.held) == 1
        journal.let_go()
        found = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(found[0], JournalError)
        receipts = [one for one in found if isinstance(one, Receipt)]
        assert [counted(one) for one in receipts] == [(1, 0, 0), (1, 0, 0)]
        assert sorted(one.replayed for one in receipts) == [False, True]
        await committed(engine)
        assert stored_ids(engine) == [None]


async def test_a_request_whose_sender_has_gone_is_not_counted_again() -> None:
    journal = HeldJournal()
    async with in_memory(journal) as engine:
        first = asyncio.create_task(send_once(engine, "k", events_of(None)))
        await until(lambda: journal.held)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        second = asyncio.create_task(send_once(engine, "k", events_of(None)))
        for _ in range(5):
            await asyncio.sleep(0)
        assert len(journal.held) == 1
        journal.let_go()
        assert (await second).replayed
        await committed(engine)
        assert stored_ids(engine) == [None]


async def test_a_request_that_was_refused_or_brought_nothing_new_may_be_sent_again() -> None:
    async with in_memory() as engine:
        assert counted(await send_once(engine, "k", [{"no": "type"}])) == (0, 1, 0)
        assert counted(await send_once(engine, "k", events_of("x"))) == (1, 0, 0)
        assert counted(await send_once(engine, "other", events_of("x"))) == (0, 0, 1)
        assert counted(await send_once(engine, "other", events_of("y"))) == (1, 0, 0)


async def test_a_repeated_request_is_known_after_a_restart_and_after_a_crash(tmp_path: Path) -> None:
    events = [*events_of(None, "x", "x"), {"no": "type"}]
    async with opened(tmp_path / "data", store={"commit_interval": LONG}) as engine:
        first = await send_once(engine, "k", events, "key")
        copy = crashed(tmp_path / "data", tmp_path / "copy")
    for folder in (tmp_path / "data", copy):
        for _ in range(2):
            async with opened(folder) as engine:
                again = await send_once(engine, "k", events, "key")
                assert (counted(again), again.replayed) == ((2, 1, 1), True)
                assert again.errors == first.errors
                with pytest.raises(IdempotencyKeyReused):
                    await send_once(engine, "k", events_of("y"), "key")
                await committed(engine)
                assert stored_ids(engine) == ["x", None]


async def test_a_large_request_is_recognised_too() -> None:
    async with in_memory() as engine:
        events = [{"type": "a", "note": "x" * 1000}] * 3000
        receipts = await asyncio.gather(*[send_once(engine, "k", events) for _ in range(3)])
        assert [counted(one) for one in receipts] == [(3000, 0, 0)] * 3
        assert sorted(one.replayed for one in receipts) == [False, True, True]
        assert engine.ledger.of("test").duplicate == 6000


# Events from Python.


@pytest.mark.parametrize("in_folder", [False, True])
def test_events_pushed_from_python_count_once(tmp_path: Path, *, in_folder: bool) -> None:
    with Streamgauge(data=tmp_path / "data" if in_folder else None) as gauge:
        receipt = gauge.push_events([*events_of("x", "y", "x"), {"type": "a"}, {"type": "a"}])
        assert (receipt.accepted, receipt.duplicates) == (4, 1)
        gauge.push_event({"type": "a", "event_id": "x"})
        gauge.push_event({"type": "a", "event_id": "z"})
        (series,) = gauge.query()
        assert series["totals"]["count"] == 5
        assert gauge.ledger()["duplicate"] == 2


def test_ids_in_pieces_of_many_events_from_python_count_once() -> None:
    names = itertools.chain(range(20_000), range(20_000))
    with Streamgauge() as gauge:
        receipt = gauge.push_events([{"type": "a", "event_id": name} for name in names])
        assert (receipt.accepted, receipt.duplicates) == (20_000, 20_000)
