"""Epochs reach the store once and in order, whether it is well, slow, or fails for a while."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from structlog.testing import capture_logs

from aggregation_tools import EVENTS, NOW_US, batch, count, tick
from pipeline_tools import settle
from store_tools import FOREVER, read
from streamgauge import committer as committer_module
from streamgauge.commit import EpochCommit, Frame, decode_commit
from streamgauge.committer import MOST_OPEN_EPOCHS, Committer, CommitterSettings
from streamgauge.epoch import Contribution, EpochBook
from streamgauge.errors import JournalError, StoreError, StoreInvalid
from streamgauge.journals.memory import MemoryJournal
from streamgauge.ledger import Ledger
from streamgauge.stages.raw import raw_rows
from streamgauge.store import Retention
from streamgauge.stores.duckdb import DuckDBStore

PATIENCE_S = 10.0


class Disk(DuckDBStore):
    """A real store in memory on a disk that can be told to fail or to stand still."""

    commits: list[EpochCommit]
    problems: list[Exception]
    after: bool
    gate: threading.Event
    checkpoints: int

    @classmethod
    def new(cls) -> Disk:
        disk = cls.open(None)
        assert isinstance(disk, Disk)
        disk.commits, disk.problems, disk.after, disk.checkpoints = [], [], False, 0
        disk.gate = threading.Event()
        disk.gate.set()
        return disk

    def commit(self, frames: Sequence[Frame]) -> None:
        assert self.gate.wait(PATIENCE_S)
        if self.problems and not self.after:
            raise self.problems.pop(0)
        super().commit(frames)
        self.commits.append(decode_commit(frames))
        if self.problems:
            raise self.problems.pop(0)

    def checkpoint(self) -> dict[str, int]:
        self.checkpoints += 1
        return super().checkpoint()

    def maintain(self, now_us: int, retention: Retention) -> int:
        raise AssertionError(f"nothing is due yet, but at {now_us} it is done all the same")


class Releases(MemoryJournal):
    """A journal that notes what it was allowed to let go of."""

    def __init__(self) -> None:
        super().__init__("a")
        self.released: list[int] = []

    def release(self, upto_seq: int) -> None:
        self.released.append(upto_seq)


@dataclass
class Bench:
    """A committer with all that it works on."""

    store: Disk
    journal: Releases = field(default_factory=Releases)
    ledger: Ledger = field(default_factory=Ledger)
    book: EpochBook = field(
        default_factory=lambda: EpochBook(shard="a", committed_seq=0, next_number=1, now=0.0)
    )
    failures: list[Exception] = field(default_factory=list)
    seq: int = 0
    now_us: int = NOW_US

    def committer(self, interval_s: float = 0.0, **settings: Any) -> Committer:
        given = {"shard": "a", "incarnation": "x", "retention": FOREVER, "metrics": {"events": EVENTS}}
        return Committer(
            CommitterSettings(**{**given, "interval_s": interval_s, **settings}),
            book=self.book,
            store=self.store,
            journal=self.journal,
            ledger=self.ledger,
            now_us=lambda: self.now_us,
            failed=self.failures.append,
        )

    def accept(self, events: int = 1) -> int:
        """Take an append into the open epoch; give the epoch."""
        self.seq += 1
        self.ledger.of("http").received += events
        return self.book.admit(self.seq, events)

    def counted(self, epoch: int, events: int = 1, *, raw: bool = False) -> Contribution:
        several = [tick(value=value) for value in range(events)]
        rows = [raw_rows(batch(several, seq=self.seq, epoch=epoch), NOW_US)] if raw else []
        partials = {"events": count(EVENTS, several, seq=self.seq)}
        return Contribution(epoch=epoch, settled={"http": {"stored": events}}, partials=partials, raw=rows)

    def epoch(self, committer: Committer, events: int = 1) -> None:
        """Fill an epoch and close it."""
        committer.book_contribution(self.counted(self.accept(events), events))
        self.book.close(0.0)


@pytest.fixture
async def bench(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bench]:
    monkeypatch.setattr(committer_module, "RETRY_S", (0.0, 0.001))
    found = Bench(Disk.new())
    yield found
    found.store.gate.set()
    found.store.close()


@asynccontextmanager
async def running(committer: Committer) -> AsyncIterator[asyncio.Task[None]]:
    """Run a committer, and end it with all that it has been given."""
    task = asyncio.create_task(committer.run())
    with capture_logs():
        yield task
        committer.stop()
        async with asyncio.timeout(PATIENCE_S):
            await task


async def eventually(predicate: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not predicate():  # noqa: ASYNC110 - the store works in a thread, which nothing here can await
            await asyncio.sleep(0.001)


def stored(bench: Bench) -> list[int]:
    return [commit.epoch for commit in bench.store.commits]


async def test_what_was_counted_is_stored_with_the_ledger_and_the_position(bench: Bench) -> None:
    committer = bench.committer()
    bench.ledger.of("http").rejected = 2
    bench.ledger.of("http").received += 2
    async with running(committer):
        epoch = bench.accept(3)
        committer.book_contribution(bench.counted(epoch, 3, raw=True))
        assert await committer.caught_up(bench.seq, PATIENCE_S)
        position = bench.store.positions()["a"]
        assert (position.epoch, position.last_seq) == (1, 1)
        assert position.ledger["http"] == bench.ledger.after({})["http"]
        assert (bench.ledger.total().stored, bench.ledger.total().pending) == (3, 0)
        assert read(bench.store).count == 3
    assert (bench.store.checkpoints, bench.journal.released) == (1, [1])
    assert not bench.failures


async def test_an_epoch_that_is_not_settled_yet_waits_and_those_after_it_too(bench: Bench) -> None:
    committer = bench.committer()
    async with running(committer):
        slow = bench.accept(2)
        bench.book.close(0.0)
        for _ in range(3):
            bench.epoch(committer)
        await settle()
        assert not bench.failures
        await committer.checkpoint()  # runs behind any commit that has begun
        assert not bench.store.commits
        committer.book_contribution(bench.counted(slow, 2))
        assert await committer.caught_up(bench.seq, PATIENCE_S)
    assert stored(bench) == [1, 2, 3, 4]
    assert read(bench.store).count == 5
    assert not bench.failures


async def test_a_commit_that_failed_is_tried_again_in_order(bench: Bench) -> None:
    bench.store.problems = [StoreError("the disk was away"), StoreError("and again")]
    committer = bench.committer()
    async with running(committer):
        for _ in range(3):
            bench.epoch(committer)
        assert await committer.caught_up(bench.seq, PATIENCE_S)
    assert stored(bench) == [1, 2, 3]
    assert read(bench.store).count == bench.ledger.total().stored == 3
    assert not bench.failures


async def test_a_commit_whose_answer_was_lost_is_counted_once(bench: Bench) -> None:
    bench.store.problems, bench.store.after = [StoreError("stored, but who knows")], True
    committer = bench.committer()
    async with running(committer):
        bench.epoch(committer, 5)
        assert await committer.caught_up(bench.seq, PATIENCE_S)
    assert read(bench.store).count == bench.ledger.total().stored == 5


@pytest.mark.parametrize("kind", [StoreInvalid, ValueError])
async def test_a_store_that_cannot_be_used_any_more_is_told_once_and_nothing_is_let_go_of(
    bench: Bench, kind: type[Exception]
) -> None:
    problem = kind("the disk is gone, or a bug of ours")
    bench.store.problems = [problem] * 100
    committer = bench.committer()
    with capture_logs():
        task = asyncio.create_task(committer.run())
        bench.epoch(committer)
        async with asyncio.timeout(PATIENCE_S):
            await task
    assert bench.failures == [problem]
    assert bench.journal.released == []
    assert (bench.ledger.total().stored, bench.ledger.total().pending) == (0, 1)
    assert sum(part.count for part in bench.book.memory("events", 0)) == 1


async def test_a_store_that_is_full_for_a_while_costs_nothing_but_time(bench: Bench) -> None:
    bench.store.problems = [StoreError("no space left on device")] * 50
    committer = bench.committer()
    async with running(committer):
        for _ in range(3):
            bench.epoch(committer)
        await eventually(lambda: committer.trouble)
        said = committer.trouble
        assert said == "no space left on device"
        assert await committer.caught_up(bench.seq, PATIENCE_S)
        assert committer.trouble is None
    assert stored(bench) == [1, 2, 3]
    assert not bench.failures


async def test_a_store_that_stays_full_is_told_when_patience_is_at_an_end(bench: Bench) -> None:
    problem = StoreError("no space left on device")
    bench.store.problems = [problem] * 100_000
    committer = bench.committer(patience_s=0.05)
    with capture_logs():
        task = asyncio.create_task(committer.run())
        bench.epoch(committer)
        async with asyncio.timeout(PATIENCE_S):
            await task
    assert bench.failures == [problem]
    assert bench.ledger.total().pending == 1


@pytest.mark.parametrize(
    ("problem", "is_final"),
    [
        (StoreError("not enough room"), False),
        (JournalError("a segment cannot be deleted"), False),
        (StoreInvalid("invalidated"), True),
    ],
)
async def test_a_checkpoint_that_fails_is_left_for_later_unless_the_store_has_given_up(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, problem: Exception, *, is_final: bool
) -> None:
    checkpoints: list[int] = []

    def fail_first() -> Mapping[str, int]:
        checkpoints.append(1)
        if len(checkpoints) == 1:
            raise problem
        return {"a": bench.seq}

    monkeypatch.setattr(bench.store, "checkpoint", fail_first)
    committer = bench.committer(checkpoint_s=0.0)
    with capture_logs():
        task = asyncio.create_task(committer.run())
        bench.epoch(committer)
        await eventually(lambda: task.done() if is_final else len(checkpoints) > 2)
        committer.stop()
        async with asyncio.timeout(PATIENCE_S):
            await task
    assert bench.failures == ([problem] if is_final else [])
    assert bool(bench.journal.released) is not is_final


async def test_a_commit_alone_lets_go_of_nothing(bench: Bench) -> None:
    """The store may still lose what is only in its own log; until a checkpoint is proved the journal has it."""
    committer = bench.committer()
    async with running(committer):
        for _ in range(3):
            bench.epoch(committer)
        assert await committer.caught_up(bench.seq, PATIENCE_S)
        assert (bench.store.checkpoints, bench.journal.released) == (0, [])
    assert (bench.store.checkpoints, bench.journal.released) == (1, [3])


async def test_while_a_backup_wants_it_so_commits_go_on_and_neither_file_nor_journal_is_touched(
    bench: Bench,
) -> None:
    committer = bench.committer(checkpoint_s=0.0)
    async with running(committer):
        async with committer.without_checkpoints():
            before = (bench.store.checkpoints, bench.journal.released[-1:])
            for _ in range(3):
                bench.epoch(committer)
                assert await committer.caught_up(bench.seq, PATIENCE_S)
            await committer.checkpoint()
            assert (bench.store.checkpoints, bench.journal.released[-1:]) == before
        await committer.checkpoint()
        assert bench.journal.released[-1] == 3
    assert not bench.failures


async def test_a_checkpoint_that_fails_lets_go_of_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> Mapping[str, int]:
        raise StoreError("checkpoint failed")

    monkeypatch.setattr(bench.store, "checkpoint", fail)
    committer = bench.committer()
    with pytest.raises(StoreError):
        await committer.checkpoint()
    assert bench.journal.released == []


async def test_only_what_this_shard_has_stored_is_let_go_of(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench.store, "checkpoint", lambda: {"another": 99})
    await bench.committer().checkpoint()
    assert bench.journal.released == [0]


async def test_while_the_store_stands_still_epochs_gather_and_then_sources_wait(bench: Bench) -> None:
    bench.store.gate.clear()
    committer = bench.committer()
    async with running(committer):
        while committer.has_room():
            bench.epoch(committer)
        assert len(bench.book) == MOST_OPEN_EPOCHS + 1
        waiting = [asyncio.create_task(committer.room()) for _ in range(3)]
        await settle()
        assert not any(task.done() for task in waiting)
        assert sum(part.count for part in bench.book.memory("events", 0)) == MOST_OPEN_EPOCHS
        bench.store.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*waiting)
        assert committer.has_room()
    assert stored(bench) == list(range(1, MOST_OPEN_EPOCHS + 1))


async def test_waiting_for_room_lets_others_run_also_when_it_is_the_pipeline_that_is_slow(
    bench: Bench,
) -> None:
    """Epochs that are closed by the clock while nothing is booked must not make a waiting source turn in circles."""
    committer = bench.committer()
    late = [bench.accept()]
    bench.book.close(0.0)
    while committer.has_room():
        late.append(bench.accept())
        bench.book.close(0.0)
    waiting = asyncio.create_task(committer.room())
    async with running(committer):
        await settle()
        assert not waiting.done()
        for epoch in late:
            committer.book_contribution(bench.counted(epoch))
        async with asyncio.timeout(PATIENCE_S):
            await waiting


async def test_raw_events_that_wait_for_the_store_are_bounded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "MOST_RAW_BYTES", 500)
    bench.store.gate.clear()
    committer = bench.committer()
    async with running(committer):
        while committer.has_room():
            committer.book_contribution(bench.counted(bench.accept(), raw=True))
            assert bench.seq < 100
        waiting = asyncio.create_task(committer.room())
        await settle()
        assert not waiting.done()
        bench.store.gate.set()
        async with asyncio.timeout(PATIENCE_S):
            await waiting
    assert read(bench.store).count == bench.seq


async def test_sources_wait_until_there_is_room_and_not_just_until_something_was_stored(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "MOST_RAW_BYTES", 500)
    committer = bench.committer()
    bench.epoch(committer)
    large = bench.accept(50)
    committer.book_contribution(bench.counted(large, 49, raw=True))
    waiting = asyncio.create_task(committer.room())
    async with running(committer):
        assert await committer.caught_up(1, PATIENCE_S)
        await settle()
        assert not committer.has_room()
        assert not waiting.done()
        committer.book_contribution(bench.counted(large))
        async with asyncio.timeout(PATIENCE_S):
            await waiting
    assert stored(bench) == [1, 2]


async def test_an_epoch_with_many_rows_is_closed_before_its_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committer_module, "MOST_OPEN_ROWS", 5)
    bench.book.open.opened_at = float("inf")
    committer = bench.committer(interval_s=3600.0)
    async with running(committer):
        events = [tick(f"type {place}") for place in range(10)]
        epoch = bench.accept(len(events))
        committer.book_contribution(
            Contribution(
                epoch=epoch, settled={"http": {"stored": 10}}, partials={"events": count(EVENTS, events)}
            )
        )
        await eventually(lambda: bench.store.commits)
    assert stored(bench)[0] == 1


async def test_what_came_in_while_a_commit_was_under_way_goes_into_the_next_epoch(bench: Bench) -> None:
    bench.store.gate.clear()
    committer = bench.committer()
    async with running(committer):
        bench.epoch(committer)
        await settle()
        committer.book_contribution(bench.counted(bench.accept(4), 4))
        assert bench.book.open.number == 2
        bench.store.gate.set()
        assert await committer.caught_up(bench.seq, PATIENCE_S)
    assert [(commit.epoch, commit.previous_seq, commit.last_seq) for commit in bench.store.commits] == [
        (1, 0, 1),
        (2, 1, 2),
    ]


async def test_catching_up_takes_no_longer_than_is_allowed(bench: Bench) -> None:
    bench.store.gate.clear()
    committer = bench.committer()
    async with running(committer):
        bench.epoch(committer)
        assert not await committer.caught_up(bench.seq, 0.01)
        assert await committer.caught_up(0, 0.01)
        bench.store.gate.set()
        assert await committer.caught_up(bench.seq, PATIENCE_S)


async def test_a_clock_that_is_put_far_ahead_makes_nothing_old(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    ages: list[int] = []

    def note(now_us: int, _: Retention) -> int:
        ages.append(now_us)
        return 0

    monkeypatch.setattr(bench.store, "maintain", note)
    monkeypatch.setattr(bench.store, "forget", note)
    committer = bench.committer()
    bench.now_us += 10 * 365 * 86_400 * 1_000_000
    await committer.maintain()
    await committer.forget()
    assert len(ages) == 2
    assert all(0 <= age - NOW_US < PATIENCE_S * 1_000_000 for age in ages)


async def test_stopping_stores_what_is_there_however_long_the_interval(bench: Bench) -> None:
    committer = bench.committer(interval_s=3600.0)
    bench.book.open.opened_at = float("inf")
    async with running(committer):
        committer.book_contribution(bench.counted(bench.accept(2), 2))
        await settle()
        assert not bench.store.commits
    assert stored(bench) == [1]
    assert bench.journal.released == [1]


async def test_nothing_to_store_makes_no_epochs(bench: Bench) -> None:
    committer = bench.committer()
    async with running(committer):
        await settle()
    assert not bench.store.commits
    assert bench.store.checkpoints == 1


async def test_readers_see_everything_while_commits_go_on(bench: Bench) -> None:
    committer = bench.committer()
    seen: list[Any] = []
    async with running(committer):
        for number in range(1, 30):
            bench.epoch(committer)
            begun = bench.book.begin_read()
            snapshot = await asyncio.to_thread(
                bench.store.read, "events", EVENTS.definition, EVENTS.by, EVENTS.states, start=None, end=None
            )
            memory = bench.book.memory("events", snapshot.epochs.get("a", 0))
            bench.book.end_read(begun)
            seen.append(snapshot.partials.count + sum(part.count for part in memory) - number)
    assert set(seen) == {0}


@pytest.mark.parametrize("raw", [True, False], ids=["raw events", "partials alone"])
async def test_much_that_is_committed_does_not_wait_in_memory_for_the_next_checkpoint(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, raw: bool
) -> None:
    monkeypatch.setattr(committer_module, "CHECKPOINT_BYTES", 1000)
    committer = bench.committer(interval_s=PATIENCE_S)
    async with running(committer):
        for _ in range(20):
            committer.book_contribution(bench.counted(bench.accept(), raw=raw))
            bench.book.close(0.0)
            committer._look()
        await eventually(lambda: bench.journal.released)
        await eventually(lambda: committer._since_checkpoint < 1000)
