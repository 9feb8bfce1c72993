"""One shard's engine: journal, pipeline, epochs, store and reader, wired and started in the right order.

It knows nothing of HTTP or of the command line; the embedded library and the server both run it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import structlog

from streamgauge.backlog import DrainRate, retry_after_s
from streamgauge.claims import Claims
from streamgauge.committer import Committer, CommitterSettings
from streamgauge.dead_letters import SOURCE as REPLAYED
from streamgauge.dead_letters import letters_of, letters_of_error
from streamgauge.epoch import Contribution, EpochBook
from streamgauge.errors import Draining, InternalError, JournalError
from streamgauge.event import EventBatch, FieldMapping
from streamgauge.events.limits import EventLimits
from streamgauge.identity import DEAD_LETTERS
from streamgauge.in_flight import NOTHING_SET_ASIDE, SetAside, leave_out
from streamgauge.intake import Intake, Receipt
from streamgauge.journal import Control, Journal
from streamgauge.ledger import Ledger
from streamgauge.live.pulse import StageCount
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.metrics.expression import Expression
from streamgauge.once import MICROSECONDS, OnceIndex
from streamgauge.partials import Partials
from streamgauge.pipeline import StageFailed, Supervisor
from streamgauge.reader import Reader
from streamgauge.ruleset import Ruleset
from streamgauge.stages.aggregator import Aggregator
from streamgauge.stages.producer import EventProducer
from streamgauge.stages.transformer import Steps, Transformer
from streamgauge.store import Position, Retention, Store
from streamgauge.term import Term, TermMaker
from streamgauge.terms import Recall, Terms
from streamgauge.transform.module import Failure
from streamgauge.transform.program import Program

log = structlog.get_logger()

# moments at which appends were accepted, a quarter of a second apart: over half a minute
ACCEPTED_KEPT: Final = 128
ACCEPTED_EVERY_S: Final = 0.25

CHANGED_DEMAND: Final = 4096  # events under way to a stage that changes them, a microsecond or more each


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What an engine computes and how much it holds. latency: the name of the metric of its own latency.

    configuration: the hash by which the journal names what is computed.
    """

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
    checkpoint_s: float = 30.0
    store_patience_s: float = 600.0
    remember_ids: int = 1_000_000
    remember_requests: int = 100_000
    remember_s: float = 86_400.0
    derive: Mapping[str, Expression] = field(default_factory=dict)
    program: Program | None = None
    configuration: str = ""

    @property
    def ruleset(self) -> Ruleset:
        """The part of it that may change while the engine runs."""
        return Ruleset(
            configuration=self.configuration,
            metrics=self.metrics,
            latency=self.latency,
            keep=self.keep,
            derive=self.derive,
            program=self.program,
            limits=self.limits,
        )


class Engine:
    """Runs one shard. Give it a journal and a store that are open; `start` replays, `stop` drains and closes them.

    began: the ruleset in force where the store ends, and the replay begins; None: that of the settings. recall: see `Terms`.
    """

    def __init__(
        self,
        settings: EngineSettings,
        *,
        journal: Journal,
        store: Store,
        positions: Mapping[str, Position],
        set_aside: SetAside = NOTHING_SET_ASIDE,
        began: Ruleset | None = None,
        recall: Recall = lambda configuration: None,
        observe: Callable[[Mapping[str, Partials]], None] = lambda partials: None,
        failed: Callable[[Exception], None] = lambda error: None,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        """Wire it. set_aside: events of the journal that are not to be counted again, but kept as dead letters."""
        self.settings, self.journal, self.store, self.now_us = settings, journal, store, now_us
        self.observe, self._failed, self._not_again = observe, failed, set_aside
        position = positions.get(settings.shard)
        self.ledger = Ledger()
        if position is not None:
            self.ledger.restore(position.ledger)
        today = settings.ruleset
        maker = TermMaker(
            raw_events=settings.raw_events,
            max_batch=settings.max_batch,
            max_wait_s=settings.max_wait_s,
            transformers=settings.transformers,
            replayed_to=journal.last_seq,
        )
        first = maker.make(began or today)
        self.book = EpochBook(
            shard=settings.shard,
            committed_seq=position.last_seq if position else 0,
            next_number=position.epoch + 1 if position else 1,
            now=time.monotonic(),
            term=first,
        )
        self.committer = Committer(
            CommitterSettings(
                shard=settings.shard,
                incarnation=first.incarnation,
                interval_s=settings.commit_interval_s,
                retention=settings.retention,
                metrics=first.metrics,
                checkpoint_s=settings.checkpoint_s,
                patience_s=settings.store_patience_s,
            ),
            book=self.book,
            store=store,
            journal=journal,
            ledger=self.ledger,
            now_us=now_us,
            failed=failed,
        )
        self.terms = Terms(
            first,
            today=today,
            maker=maker,
            book=self.book,
            committed=self.committer.committed,
            journal=journal,
            enact=self._enact,
            recall=recall,
        )
        self.claims = Claims(
            OnceIndex(
                most_ids=settings.remember_ids,
                most_requests=settings.remember_requests,
                horizon_s=int(settings.remember_s),
            )
        )
        self._build_stages(first)
        self.reader = Reader(store=store, book=self.book, metrics=first.metrics, settle=self.settle)
        self.intake = self._make_intake()
        self._accepted: deque[tuple[float, int]] = deque(maxlen=ACCEPTED_KEPT)
        self.steady_s: Callable[[], float] = time.monotonic
        self._drained = DrainRate()
        self._commits: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._settled_events = 0
        self._settled = asyncio.Event()
        self.replaying = False

    def _build_stages(self, first: Term) -> None:
        settings = self.settings
        self.producer = EventProducer(capacity=settings.buffer_events)
        self.transformers = [
            Transformer(
                keep=None,
                settled=self._settle_slice,
                failed=self._set_aside,
                steps_of=partial(self._steps_of, place),
            )
            for place in range(settings.transformers)
        ]
        self.aggregators = [
            Aggregator(
                first.counting,
                book=self._book,
                settings_of=lambda epoch: self._term_of(epoch).counting,
                now_us=self.now_us,
                replayed_to=self.journal.last_seq,
            )
            for _ in range(settings.aggregators)
        ]
        most, least = settings.max_demand, settings.min_demand
        self._takes = [
            transformer.subscribe_to(self.producer, max_demand=most, min_demand=least).credit
            for transformer in self.transformers
        ]
        self._set_demand(first)
        for transformer in self.transformers:
            for aggregator in self.aggregators:
                aggregator.subscribe_to(transformer, max_demand=most, min_demand=least)
        self.stages: list[EventProducer | Transformer | Aggregator] = [
            self.producer,
            *self.transformers,
            *self.aggregators,
        ]
        self.supervisor = Supervisor(self.stages)

    def _set_demand(self, term: Term) -> None:
        most, least = self.settings.max_demand, self.settings.min_demand
        if term.changes:
            most = min(most, CHANGED_DEMAND)
            least = most // 2
        for credit in self._takes:
            credit.max_demand, credit.min_demand = most, least

    def _term_of(self, epoch: int) -> Term:
        term = self.book.epoch(epoch).term
        if term is None:
            raise InternalError(f"epoch {epoch} has no term")
        return term

    def _steps_of(self, place: int, epoch: int) -> Steps:
        return self._term_of(epoch).steps[place]

    def _enact(self, term: Term) -> None:
        """Have what comes in from here on decoded, and questions answered, as a term says."""
        self.reader.metrics = term.metrics
        self.intake.use(term.decoder, keep_lines=self._keeps_lines(term))
        self._set_demand(term)

    def _keeps_lines(self, term: Term) -> bool:
        return self.settings.raw_events or term.ruleset.changes_events

    @property
    def series_limits(self) -> dict[str, SeriesLimit]:
        """The live series of each metric."""
        return self.terms.current.series_limits

    def _make_intake(self) -> Intake:
        return Intake(
            decoder=self.terms.current.decoder,
            journal=self.journal,
            book=self.book,
            producer=self.producer,
            ledger=self.ledger,
            now_us=self.now_us,
            has_room=self.has_room,
            room=self.room,
            patience_s=self.settings.patience_s,
            retry_after_s=self.retry_after_s,
            keep_lines=self._keeps_lines(self.terms.current),
            claims=self.claims,
        )

    def _book(self, contribution: Contribution) -> None:
        self.committer.book_contribution(contribution)
        self._settled_events += contribution.events
        self._settled.set()
        self.observe(contribution.partials)

    def _settle_slice(self, batch: EventBatch, left_out: int, failures: Sequence[Failure]) -> None:
        """Book what a transformer leaves out of a slice, and what it failed on."""
        letters = letters_of(batch, failures, stage="transform", at_us=self.now_us())
        settled = {batch.origin.source: {"filtered": left_out, "dead_lettered": len(letters)}}
        self._book(Contribution(epoch=batch.epoch, settled=settled, dead_letters=letters))

    def _set_aside(self, batch: EventBatch, error: Exception) -> None:
        first = int(batch.index[0])
        log.error("events set aside", seq=batch.seq, index=first, events=len(batch), exc_info=error)
        letters = letters_of_error(batch, error, stage="transform", at_us=self.now_us())
        settled = {batch.origin.source: {"dead_lettered": len(batch)}}
        self._book(Contribution(epoch=batch.epoch, settled=settled, dead_letters=letters))

    def _leave_out(self, batch: EventBatch) -> EventBatch:
        """Set aside those of a batch that ended the process, and give the others."""
        kept, letters = leave_out(batch, self._not_again, self.now_us())
        if letters:
            settled = {batch.origin.source: {"dead_lettered": len(letters)}}
            self._book(Contribution(epoch=batch.epoch, settled=settled, dead_letters=letters))
        return kept

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
        """Start the pipeline, and bring back from the journal what the store does not hold.

        Raises OptionError where the module that is to transform events cannot be used.
        """
        await self.terms.open()
        self.supervisor.start()
        self._commits = asyncio.create_task(self.committer.run(), name="committer")
        self._watch = asyncio.create_task(self._watch_pipeline(), name="pipeline watch")
        await asyncio.get_running_loop().run_in_executor(None, self._remember)
        await self._replay()

    def _remember(self) -> None:
        """Take from the store which ids have counted; the journal has the rest."""
        settings = self.settings
        since_us = self.now_us() - int(settings.remember_s * MICROSECONDS)
        most = settings.remember_ids + settings.remember_requests
        self.claims.load(self.store.seen(settings.shard, since_us, most), most)

    def transform_restarts(self) -> int:
        """Count how often a process of the user's module had to be replaced."""
        return self.terms.restarts

    async def change(self, ruleset: Ruleset) -> int:
        """Compute by another ruleset from here on, once started; give the place in the journal.

        Raises as `Terms.change` does, and Draining.
        """
        if self.intake.draining or self.replaying:
            raise Draining
        return await self.terms.change(ruleset)

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
            if self.intake.draining:
                log.info("stopped while replaying; the rest stays in the journal")
                return
            if isinstance(record, Control):
                await self.room()
                await self.terms.obey(record)
                continue
            self.ledger.raise_at_the_door(record.entry.ledger)
            lost += await self.intake.replay(record, self._leave_out if self._not_again else None)
            appends, events = appends + 1, events + record.entry.count
        if self.journal.last_seq > self.book.open.last_seq:  # its end is damaged: those appends are lost
            self.book.admit(self.journal.last_seq, 0)  # and nobody is to wait for them
        self.replaying = False
        if appends:
            log.info("replayed from the journal", appends=appends, events=events)
        if lost:
            raise JournalError(f"{lost} events of the journal cannot be decoded any more")

    async def accept_again(self, payload: bytes, mapping: FieldMapping, ids: Sequence[str]) -> Receipt:
        """Accept dead letters again, under ids that count once for ever."""
        return await self.intake.accept(payload, REPLAYED, mapping, scope=DEAD_LETTERS, ids=ids)

    def accepted_ago(self, seconds: float) -> int:
        """Give the last append that was accepted so long ago, or shortly after that."""
        at_s = self.steady_s() - seconds
        noted = (seq for moment, seq in self._accepted if moment >= at_s)
        return next(noted, self.journal.last_seq)

    def note_accepted(self) -> None:
        """Note how far the journal is, a few times a second."""
        now = self.steady_s()
        if not self._accepted or now - self._accepted[-1][0] >= ACCEPTED_EVERY_S:
            self._accepted.append((now, self.journal.last_seq))
            counts = self.ledger.total()
            self._drained.note(now, counts.received - counts.pending)

    def retry_after_s(self) -> float:
        """Give when a sender that found no room should come back."""
        spread = random.random()  # noqa: S311  keeps senders apart, not secrets
        return retry_after_s(self.ledger.total().pending, self._drained.per_second, spread)

    def check_ledger(self) -> None:
        """Look whether the ledger's equation holds; a cheap look, for once a second."""
        if self.ledger.check(sum(epoch.accepted for epoch in self.book.epochs())):
            log.error(
                "the ledger does not balance", events=self.ledger.imbalance, ledger=self.ledger.as_dict()
            )

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
        """Take in no more, finish what is under way, commit it, and close journal and store.

        What takes longer than `timeout_s` stays in the journal for the next start.
        """
        give_up_at = time.monotonic() + timeout_s
        self.intake.draining = True
        await self.intake.written()
        self.producer.finish()
        if self._watch is not None:
            await asyncio.wait([self._watch], timeout=timeout_s / 2)
            await self._end_pipeline()
        await self.terms.close()
        if self._commits is not None:
            await self._end_commits(self._commits, max(0.0, give_up_at - time.monotonic()))
        try:
            await self.journal.close()
        finally:
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
