"""One shard's engine: journal, pipeline, epochs, store and reader, wired and started in the right order.

It knows nothing of HTTP or of the command line; the embedded library and the server both run it.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

import structlog

from streamgauge.committer import Committer, CommitterSettings
from streamgauge.epoch import Contribution, EpochBook
from streamgauge.errors import JournalError
from streamgauge.event import EventBatch
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import EventLimits
from streamgauge.intake import Intake
from streamgauge.journal import Control, Journal
from streamgauge.ledger import Ledger
from streamgauge.live.pulse import StageCount
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.metrics.expression import Expression
from streamgauge.partials import Partials
from streamgauge.pipeline import StageFailed, Supervisor
from streamgauge.reader import Reader
from streamgauge.stages.aggregator import Aggregator, AggregatorSettings
from streamgauge.stages.producer import EventProducer
from streamgauge.stages.transformer import Transformer
from streamgauge.store import Position, Retention, Store

log = structlog.get_logger()

# moments at which appends were accepted, a quarter of a second apart: over half a minute
ACCEPTED_KEPT: Final = 128
ACCEPTED_EVERY_US: Final = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What an engine computes and how much it holds. latency: the name of the metric of its own latency."""

    shard: str
    metrics: Mapping[str, Metric]
    latency: str
    keep: Expression | None
    limits: EventLimits
    raw_events: bool
    retention: Retention
    min_demand: int
    max_demand: int
    buffer_events: int
    transformers: int
    aggregators: int
    max_batch: int
    max_wait_s: float
    commit_interval_s: float
    patience_s: float


class Engine:
    """Runs one shard. Give it a journal and a store that are open; `start` replays, `stop` drains and closes them."""

    def __init__(
        self,
        settings: EngineSettings,
        *,
        journal: Journal,
        store: Store,
        positions: Mapping[str, Position],
        observe: Callable[[Mapping[str, Partials]], None] = lambda partials: None,
        failed: Callable[[Exception], None] = lambda error: None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self.settings, self.journal, self.store, self.now_us = settings, journal, store, now_us
        self.observe, self._failed = observe, failed
        position = positions.get(settings.shard)
        self.ledger = Ledger()
        if position is not None:
            self.ledger.restore(position.ledger)
        self.book = EpochBook(
            shard=settings.shard,
            committed_seq=position.last_seq if position else 0,
            next_number=position.epoch + 1 if position else 1,
            now=time.monotonic(),
        )
        self.committer = Committer(
            CommitterSettings(
                shard=settings.shard,
                incarnation=uuid.uuid4().hex,
                interval_s=settings.commit_interval_s,
                retention=settings.retention,
                metrics=settings.metrics,
            ),
            book=self.book,
            store=store,
            journal=journal,
            ledger=self.ledger,
            now_us=now_us,
            failed=failed,
        )
        self.series_limits = {
            name: SeriesLimit(metric.max_series) for name, metric in settings.metrics.items()
        }
        self._build_stages()
        self.reader = Reader(store=store, book=self.book, metrics=settings.metrics, settle=self.settle)
        self.intake = self._make_intake()
        self._accepted: deque[tuple[int, int]] = deque(maxlen=ACCEPTED_KEPT)
        self._commits: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._settled_events = 0
        self._settled = asyncio.Event()
        self.replaying = False

    def _build_stages(self) -> None:
        settings = self.settings
        computed = [metric for metric in settings.metrics.values() if metric.name != settings.latency]
        self.producer = EventProducer(capacity=settings.buffer_events)
        self.transformers = [
            Transformer(keep=settings.keep, filtered=self._filtered, failed=self._set_aside)
            for _ in range(settings.transformers)
        ]
        self.aggregators = [
            Aggregator(
                AggregatorSettings(
                    metrics=computed,
                    limits=self.series_limits,
                    latency=settings.metrics.get(settings.latency),
                    raw_events=settings.raw_events,
                    max_batch=settings.max_batch,
                    max_wait_s=settings.max_wait_s,
                ),
                book=self._book,
                now_us=self.now_us,
                replayed_to=self.journal.last_seq,
            )
            for _ in range(settings.aggregators)
        ]
        most, least = settings.max_demand, settings.min_demand
        for transformer in self.transformers:
            transformer.subscribe_to(self.producer, max_demand=most, min_demand=least)
            for aggregator in self.aggregators:
                aggregator.subscribe_to(transformer, max_demand=most, min_demand=least)
        self.stages: list[EventProducer | Transformer | Aggregator] = [
            self.producer,
            *self.transformers,
            *self.aggregators,
        ]
        self.supervisor = Supervisor(self.stages)

    def _make_intake(self) -> Intake:
        fields = {field for metric in self.settings.metrics.values() for field in metric.fields}
        if self.settings.keep is not None:
            fields |= self.settings.keep.fields
        return Intake(
            decoder=EventDecoder(fields, self.settings.limits),
            journal=self.journal,
            book=self.book,
            producer=self.producer,
            ledger=self.ledger,
            now_us=self.now_us,
            has_room=self.has_room,
            room=self.room,
            patience_s=self.settings.patience_s,
            keep_lines=self.settings.raw_events,
        )

    def _book(self, contribution: Contribution) -> None:
        self.committer.book_contribution(contribution)
        self._settled_events += contribution.events
        self._settled.set()
        self.observe(contribution.partials)

    def _filtered(self, batch: EventBatch, events: int) -> None:
        settled = {batch.origin.source: {"filtered": events}}
        self._book(Contribution(epoch=batch.epoch, settled=settled))

    def _set_aside(self, batch: EventBatch, error: Exception) -> None:
        first = int(batch.index[0])
        log.error("events set aside", seq=batch.seq, index=first, events=len(batch), exc_info=error)
        settled = {batch.origin.source: {"dead_lettered": len(batch)}}
        self._book(Contribution(epoch=batch.epoch, settled=settled))

    def settle(self) -> None:
        """Count what the aggregators hold back for company."""
        for aggregator in self.aggregators:
            aggregator.flush()

    def has_room(self) -> bool:
        """Whether sources may accept more."""
        return self.producer.has_room and self.committer.has_room()

    async def room(self) -> None:
        """Wait until sources may accept more."""
        while not self.has_room():
            await self.producer.room()
            await self.committer.room()

    async def start(self) -> None:
        """Start the pipeline, and bring back from the journal what the store does not hold."""
        self.supervisor.start()
        self._commits = asyncio.create_task(self.committer.run(), name="committer")
        self._watch = asyncio.create_task(self._watch_pipeline(), name="pipeline watch")
        await self._replay()

    async def _watch_pipeline(self) -> None:
        try:
            await self.supervisor.wait()
        except Exception as exc:  # also a bug of ours: nothing may go on being accepted that is never counted
            log.exception("the pipeline failed; what is not committed is in the journal")
            self._failed(exc)

    async def _replay(self) -> None:
        self.replaying = True
        appends = events = lost = 0
        loop = asyncio.get_running_loop()
        records = self.journal.replay(self.book.committed_seq)
        while (record := await loop.run_in_executor(None, next, records, None)) is not None:
            if isinstance(record, Control):
                self.book.admit(record.seq, 0)
                continue
            self.ledger.raise_rejected({k: v for k, v in record.entry.ledger.items() if isinstance(v, int)})
            lost += await self.intake.replay(record)
            appends, events = appends + 1, events + record.entry.count
        self.replaying = False
        if appends:
            log.info("replayed from the journal", appends=appends, events=events)
        if lost:
            raise JournalError(f"{lost} events of the journal cannot be decoded any more")

    def accepted_before(self, at_us: int) -> int:
        """Give the last append that was accepted before a time, or shortly after it."""
        noted = (seq for moment, seq in self._accepted if moment >= at_us)
        return next(noted, self.journal.last_seq)

    def note_accepted(self) -> None:
        """Note how far the journal is, a few times a second."""
        now = self.now_us()
        if not self._accepted or now - self._accepted[-1][0] >= ACCEPTED_EVERY_US:
            self._accepted.append((now, self.journal.last_seq))

    async def caught_up(self, seq: int, timeout_s: float) -> bool:
        """Wait until the store holds every append up to `seq`."""
        self.settle()
        return await self.committer.caught_up(seq, timeout_s)

    async def flush(self, timeout_s: float = 30.0) -> bool:
        """Wait until everything that was accepted is aggregated; tell whether it was within the time."""
        self.settle()
        under_way = sum(epoch.accepted - epoch.settled_events for epoch in self.book.epochs())
        target = self._settled_events + under_way  # events are settled in about the order of their arrival
        try:
            async with asyncio.timeout(timeout_s):
                while self._settled_events < target:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            return False
        return True

    async def stop(self, timeout_s: float = 25.0) -> None:
        """Take in no more, finish what is under way, commit it, and close journal and store."""
        self.intake.draining = True
        await self.intake.written()
        self.producer.finish()
        if self._watch is not None:
            await asyncio.wait([self._watch], timeout=timeout_s)
            await self._end_pipeline()
        if self._commits is not None:
            await self._end_commits(self._commits, timeout_s)
        await self.journal.close()
        self.reader.close()
        await asyncio.get_running_loop().run_in_executor(None, self.store.close)

    async def _end_pipeline(self) -> None:
        if not self.supervisor.finished:
            with suppress(StageFailed):  # reported already
                left = await self.supervisor.drain(0.0)
                log.warning("the pipeline did not finish in time; the rest is in the journal", events=left)
        self.settle()

    async def _end_commits(self, commits: asyncio.Task[None], timeout_s: float) -> None:
        """Commit what can be committed: nothing from the first epoch on that will not become complete any more."""
        self.committer.stop()
        epochs = self.book.epochs()
        last = next((epoch.previous_seq for epoch in epochs if not epoch.complete), None)
        if last is None:
            await asyncio.wait([commits], timeout=timeout_s)
        else:
            reached = asyncio.ensure_future(self.committer.caught_up(last, timeout_s))
            await asyncio.wait([commits, reached], return_when=asyncio.FIRST_COMPLETED)
            reached.cancel()
        if not commits.done():
            log.warning("not everything was committed; the rest is in the journal", epochs=len(self.book))
            commits.cancel()
            await asyncio.wait([commits])

    def stage_counts(self) -> list[StageCount]:
        """Count what each step of the pipeline has done and holds, in the order of the way of an event."""
        settings, stored = self.settings, self.ledger.total()
        capacity = {self.producer.name: settings.buffer_events}
        counts: dict[str, StageCount] = {}
        for stage in self.stages:
            before = counts.get(stage.name, StageCount(stage.name, 0, 0.0, 0, 0, 0))
            counts[stage.name] = StageCount(
                name=stage.name,
                events=before.events + max(stage.events_in, stage.events_out),
                busy_s=before.busy_s + stage.busy_seconds,
                buffer=before.buffer + stage.buffered,
                capacity=before.capacity + capacity.get(stage.name, settings.max_demand),
                demand=before.demand + stage.demand,
            )
        commit = StageCount("commit", stored.stored, self.committer.commit_seconds, stored.pending, 0, 0)
        return [*counts.values(), commit]
