"""Brings epochs into the store, about once a second, and lets go of the journal when the store has proved to hold them.

The store works in a thread of its own. While it is busy, or slow, epochs go on being filled; when too much waits for it,
`has_room` says no and the sources wait.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar, TypeVarTuple

import structlog

from streamgauge.believed import BelievedClock
from streamgauge.claims import join_seen
from streamgauge.commit import EpochCommit, MetricPartials, RawRows, encode_commit
from streamgauge.distribution import Distribution
from streamgauge.epoch import Contribution, Epoch, EpochBook
from streamgauge.errors import JournalError, StoreError, StoreInvalid
from streamgauge.journal import Journal
from streamgauge.ledger import Ledger
from streamgauge.metric import Metric
from streamgauge.stages.raw import join_raw
from streamgauge.store import Retention, Store

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

log = structlog.get_logger()

MOST_OPEN_EPOCHS: Final = 16
MOST_OPEN_ROWS: Final = 100_000  # of partials in one epoch; then it is closed early
MOST_RAW_BYTES: Final = 64 * 2**20  # of raw events that wait for the store
EPOCH_RAW_BYTES: Final = 24 * 2**20  # of raw events in one epoch; then it is closed early
RETRY_S: Final = (0.1, 0.5, 2.0)  # and so on
MAINTENANCE_S: Final = 600.0
# What is committed since the last checkpoint stands in the database's memory, as it came: raw events, and partials.
CHECKPOINT_BYTES: Final = 96 * 2**20
ROLLUP_ROW_BYTES: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitterSettings:
    """Whose epochs are committed, how often, and what is kept for how long.

    incarnation, metrics: of epochs that have no term.
    patience_s: how long a commit that fails is tried again before `failed` is told.
    """

    shard: str
    incarnation: str
    interval_s: float
    retention: Retention
    metrics: Mapping[str, Metric]
    checkpoint_s: float = 30.0
    patience_s: float = 600.0
    joins_raw: Callable[[Sequence[RawRows]], list[RawRows]] = join_raw


class Committer:
    """Commits one shard's epochs in order. failed: called once when the store cannot be used any more.

    trouble: why the store does not take what it is given at the moment; None while it does. retention: what is kept for
    how long from now on.
    """

    def __init__(
        self,
        settings: CommitterSettings,
        *,
        book: EpochBook,
        store: Store,
        journal: Journal,
        ledger: Ledger,
        now_us: Callable[[], int],
        failed: Callable[[Exception], None],
    ) -> None:
        self._settings, self._book, self._store, self._journal = settings, book, store, journal
        self._ledger, self._now_us, self._failed = ledger, now_us, failed
        self._believed_us = BelievedClock(now_us)
        self._thread = ThreadPoolExecutor(1, "store-writer")
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._raw_bytes = 0
        self._resting = 0  # how many want no checkpoint now
        self._since_checkpoint = 0  # bytes
        self._saved_changes = ledger.unsettled_changes
        self._stopping = False
        self._fill = (
            0.0  # what came since the last upkeep of what is bounded by number, as a part of what it may be
        )
        self.retention = settings.retention
        self.trouble: str | None = None
        self.committed = asyncio.Condition()
        self.commit_seconds = 0.0
        self.durations = Distribution()

    def book_contribution(self, contribution: Contribution) -> None:
        """Book what batches add to their epoch, and look whether something is due."""
        self._book.add(contribution)
        self._raw_bytes += contribution.raw_bytes
        if contribution.epoch == self._book.open.number and self._is_large(self._book.open):
            self._book.close(time.monotonic())
        self._look()

    @staticmethod
    def _is_large(epoch: Epoch) -> bool:
        return epoch.rows > MOST_OPEN_ROWS or epoch.raw_bytes > EPOCH_RAW_BYTES

    def _look(self) -> None:
        if self._book.ready() is not None:
            self._changed.set()

    def has_room(self) -> bool:
        """Whether the store keeps up well enough for sources to accept more."""
        return len(self._book) <= MOST_OPEN_EPOCHS and self._raw_bytes <= MOST_RAW_BYTES

    async def room(self) -> None:
        """Wait until the store has caught up."""
        while not self.has_room():
            self._room.clear()
            await self._room.wait()

    async def run(self) -> None:
        """Commit until told to stop."""
        checkpoint_at = time.monotonic() + self._settings.checkpoint_s
        maintain_at = time.monotonic() + MAINTENANCE_S
        try:
            while not (self._stopping and self._idle()):
                await self._next_turn()
                await self._commit_ready()
                if time.monotonic() >= checkpoint_at or self._since_checkpoint >= CHECKPOINT_BYTES:
                    await self._unless_it_fails("checkpoint", self.checkpoint)
                    checkpoint_at = time.monotonic() + self._settings.checkpoint_s
                if time.monotonic() >= maintain_at:
                    await self._unless_it_fails("maintenance", self.maintain)
                    maintain_at = time.monotonic() + MAINTENANCE_S
                elif self._fill >= 1.0:
                    await self._unless_it_fails("forgetting", self.forget)
            await self._unless_it_fails("checkpoint", self.checkpoint)
        # also a bug of ours: nothing may go on being accepted that is never committed
        except Exception as exc:
            log.exception("the store failed; what is not committed is in the journal")
            self._failed(exc)
        finally:
            self._thread.shutdown(wait=False)

    def _idle(self) -> bool:
        empty = self._book.open.last_seq == self._book.open.previous_seq
        return len(self._book) == 1 and empty and not self._only_ledger_changed()

    def _only_ledger_changed(self) -> bool:
        """Whether something was settled at the door, and no epoch is there that would bring it into the store."""
        return len(self._book) == 1 and self._ledger.unsettled_changes != self._saved_changes

    async def _next_turn(self) -> None:
        """Wait for an epoch to become ready; close the open one when its time is up."""
        due = self._book.open.opened_at + self._settings.interval_s - time.monotonic()
        if due <= 0 or self._stopping:
            self._book.close(time.monotonic(), empty=self._only_ledger_changed())
            due = self._settings.interval_s
        if self._book.ready() is not None:
            return
        self._changed.clear()
        try:
            async with asyncio.timeout(due):
                await self._changed.wait()
        except TimeoutError:
            return

    async def _commit_ready(self) -> None:
        while (epoch := self._book.ready()) is not None:
            started = time.perf_counter()
            await self._commit(epoch)
            self.durations.observe(time.perf_counter() - started)
            self.commit_seconds += time.perf_counter() - started
            self._raw_bytes -= epoch.raw_bytes
            self._since_checkpoint += epoch.raw_bytes + epoch.rows * ROLLUP_ROW_BYTES
            self._ledger.settle(epoch.settled)
            self._fill += _fill_of(epoch, self.retention)
            self._book.mark_committed(epoch.number)
            if self.has_room():
                self._room.set()
            async with self.committed:
                self.committed.notify_all()
            if time.monotonic() - self._book.open.opened_at >= self._settings.interval_s:
                self._book.close(time.monotonic())

    async def _commit(self, epoch: Epoch) -> None:
        """Commit one epoch; a commit that failed is safe to repeat, since a stored epoch changes nothing."""
        ledger, changes = self._ledger.after(epoch.settled), self._ledger.unsettled_changes
        at_us = self._now_us()
        give_up_at = time.monotonic() + self._settings.patience_s
        for wait in itertools.chain(RETRY_S, itertools.repeat(RETRY_S[-1])):
            try:
                await self._in_thread(self._store_epoch, epoch, ledger, at_us)
            except StoreInvalid:
                raise
            except StoreError as exc:
                self.trouble = str(exc)
                if time.monotonic() >= give_up_at:
                    raise
                log.warning("commit failed; it will be tried again", epoch=epoch.number, error=str(exc))
                await asyncio.sleep(wait)
            else:
                self.trouble = None
                self._saved_changes = changes
                return

    def _store_epoch(self, epoch: Epoch, ledger: Mapping[str, Mapping[str, int]], at_us: int) -> None:
        settings, term = self._settings, epoch.term
        known = settings.metrics if term is None else term.metrics
        metrics = [
            MetricPartials(
                name=name,
                definition=known[name].definition,
                by=known[name].by,
                partials=partials,
            )
            for name, partials in epoch.merged().items()
        ]
        commit = EpochCommit(
            shard=settings.shard,
            epoch=epoch.number,
            previous_seq=epoch.previous_seq,
            last_seq=epoch.last_seq,
            incarnation=settings.incarnation if term is None else term.incarnation,
            at_us=at_us,
            ledger=ledger,
            metrics=metrics,
            raw=settings.joins_raw(epoch.raw),
            dead_letters=epoch.dead_letters,
            seen=join_seen(epoch.seen),
        )
        self._store.commit(encode_commit(commit))

    async def _unless_it_fails(self, what: str, call: Callable[[], Awaitable[None]]) -> None:
        """Do what can be done later as well: until then the journal keeps what it has."""
        try:
            await call()
        except StoreInvalid:
            raise
        except (StoreError, JournalError) as exc:
            log.warning("the store's upkeep failed; it will be tried again", step=what, error=str(exc))

    @asynccontextmanager
    async def without_checkpoints(self) -> AsyncIterator[None]:
        """Leave the store's own file, and the journal behind it, as the checkpoint at the beginning has left them.

        Commits go on meanwhile, into the store's log. Raises StoreError where there can be no checkpoint now.
        """
        await self.checkpoint()
        self._resting += 1
        try:
            for _ in range(2):  # behind a checkpoint that was under way, and then behind what it lets go of
                await self._in_thread(_nothing)
            yield
        finally:
            self._resting -= 1

    async def checkpoint(self) -> None:
        """Let go of journal segments whose every append the store has proved to hold."""
        if self._resting:
            return
        self._since_checkpoint = 0  # also where it fails: then it is tried again when its time has come
        positions = await self._in_thread(self._store.checkpoint)
        await self._in_thread(self._journal.release, positions.get(self._settings.shard, 0))

    async def maintain(self) -> None:
        """Compact and expire."""
        self._fill = 0.0
        await self._in_thread(self._store.maintain, self._believed_us(), self.retention)

    async def forget(self) -> None:
        """Drop what is bounded by its number before its time, where much came."""
        self._fill = 0.0
        await self._in_thread(self._store.forget, self._believed_us(), self.retention)

    async def _in_thread(self, call: Callable[[*Ts], T], *arguments: *Ts) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, call, *arguments)

    def stop(self) -> None:
        """Commit what is there, then end `run`. Nothing may be accepted any more."""
        self._stopping = True
        self._changed.set()

    async def caught_up(self, seq: int, timeout_s: float) -> bool:
        """Wait until the store holds every append up to `seq`; False when it took longer than `timeout_s`."""
        try:
            async with asyncio.timeout(timeout_s), self.committed:
                await self.committed.wait_for(lambda: self._book.committed_seq >= seq)
        except TimeoutError:
            return False
        return True


def _nothing() -> None:
    """Be done, in its turn."""


def _fill_of(epoch: Epoch, retention: Retention) -> float:
    """Give how much of their bounds an epoch's ids and dead letters take."""
    ids = sum(map(len, epoch.seen))
    letters, size = len(epoch.dead_letters), sum(len(letter.payload) for letter in epoch.dead_letters)
    return ids / retention.seen_ids + letters / retention.dead_letters + size / retention.dead_letter_bytes
