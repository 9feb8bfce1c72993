"""The last stage: turns batches into what they add to each metric.

Small slices are joined first, because a metric costs several times as much an event in slices of 500 as in slices of
8,192. When little comes in, a slice is counted at once; the more time counting takes, the longer it waits for company,
up to `max_wait`, so that the fixed cost of counting stays a fraction of the whole.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import structlog

from streamgauge.aggregates.quantiles import keys_of
from streamgauge.dead_letters import letters_of_error
from streamgauge.distribution import Distribution
from streamgauge.epoch import Contribution
from streamgauge.event import EventBatch, concatenate
from streamgauge.metric import Metric, SeriesLimit, compute
from streamgauge.partials import Cells, Partials
from streamgauge.pipeline import Consumer
from streamgauge.stages.raw import raw_rows

log = structlog.get_logger()

COST_TO_WAIT = 1.5  # times the last counting took is waited: counting takes two fifths of the time at most
CROWD = 8  # so many batches counted together, and it waits longer: the fixed cost is what matters then
COST_TO_WAIT_IN_A_CROWD = 16.0
MOST_WAITING_BYTES = 8 * 2**20
MICROSECONDS = 1_000_000
LOG_EVERY_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatorSettings:
    """What an aggregator computes and keeps. latency: the metric of the pipeline's own latency."""

    metrics: Sequence[Metric]
    limits: Mapping[str, SeriesLimit]
    latency: Metric | None
    raw_events: bool
    max_batch: int
    max_wait_s: float


class Aggregator(Consumer):
    """Computes partials and hands them, with the raw rows, to `book`: in one call, after all has been computed.

    replayed_to: appends up to this one came back from the journal; their latency would be that of the outage.
    settings_of: gives what is computed of the events of an epoch, where that is not always the same.
    """

    def __init__(
        self,
        settings: AggregatorSettings,
        *,
        book: Callable[[Contribution], None],
        now_us: Callable[[], int],
        replayed_to: int = 0,
        settings_of: Callable[[int], AggregatorSettings] | None = None,
    ) -> None:
        super().__init__(name="aggregate")
        self._settings_of = settings_of or (lambda epoch: settings)
        self._settings, self._book, self._now_us = settings, book, now_us
        self._replayed_to = replayed_to
        self._waiting: list[EventBatch] = []
        self._waiting_events = self._waiting_bytes = 0
        self._timer: asyncio.Handle | None = None
        self._last_end = self._last_cost = 0.0
        self._last_batches = 0
        self._unlogged, self._logged_at = 0, -math.inf
        self.durations = Distribution()

    @property
    def buffered(self) -> int:
        """Events that wait to be counted."""
        return self._waiting_events + super().buffered

    async def handle_events(self, events: EventBatch) -> None:
        """Take one slice; count it with what waits already when that is enough, or soon."""
        if not len(events):
            return
        if self._waiting and not _together(self._waiting[0], events):
            self.flush()
        self._waiting.append(events)
        self._waiting_events += len(events)
        self._waiting_bytes += len(events.lines.payload) if events.lines else 0
        if self._waiting_events >= self._settings.max_batch or self._waiting_bytes >= MOST_WAITING_BYTES:
            self.flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            times = COST_TO_WAIT_IN_A_CROWD if self._last_batches >= CROWD else COST_TO_WAIT
            wait = min(self._settings.max_wait_s, times * self._last_cost)
            due = self._last_end + wait - time.perf_counter()
            self._timer = loop.call_later(due, self.flush) if due > 0 else loop.call_soon(self.flush)

    def flush(self) -> None:
        """Count everything that waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        batches, self._waiting = self._waiting, []
        self._waiting_events = self._waiting_bytes = 0
        if not batches:
            return
        started = time.perf_counter()
        self._count(batches)
        self._last_end = time.perf_counter()
        self._last_cost = self._last_end - started
        self._last_batches = len(batches)
        self.busy_seconds += self._last_cost

    def _count(self, batches: Sequence[EventBatch]) -> None:
        """Count batches together; where that fails, one by one, then event by event: only those that fail are lost."""
        try:
            contribution = self._compute(batches)
        except Exception as exc:  # noqa: BLE001 - whatever counting raises belongs to the events it was given
            parts = list(batches) if len(batches) > 1 else _halves(batches[0])
            if not parts:
                self._set_aside(batches[0], exc)
                return
            for part in parts:
                self._count([part])
            return
        self._book(contribution)

    async def handle_failed(self, events: EventBatch, error: Exception) -> None:
        """Set aside events that fail alone and repeatedly."""
        self._set_aside(events, error)

    def _set_aside(self, batch: EventBatch, error: Exception) -> None:
        self._unlogged += len(batch)
        now_s = time.monotonic()
        if now_s - self._logged_at >= LOG_EVERY_S:  # thousands may fail alike, and a traceback is dear
            place = {"seq": batch.seq, "index": int(batch.index[0])}
            log.error("events set aside", stage=self.name, events=self._unlogged, **place, exc_info=error)
            self._unlogged, self._logged_at = 0, now_s
        settled = {batch.origin.source: {"dead_lettered": len(batch)}}
        letters = letters_of_error(batch, error, stage=self.name, at_us=self._now_us())
        self._book(Contribution(epoch=batch.epoch, settled=settled, dead_letters=letters))

    def _compute(self, batches: Sequence[EventBatch]) -> Contribution:
        settings, now_s = self._settings_of(batches[0].epoch), time.monotonic()
        joined = concatenate(batches)
        partials: dict[str, Partials] = {}
        for metric in settings.metrics:
            found = compute(metric, joined, settings.limits[metric.name], now_s)
            if found is not None:
                partials[metric.name] = found
        processed_us = self._now_us()
        raw = [raw_rows(batch, processed_us) for batch in batches] if settings.raw_events else []
        if settings.latency is not None:
            latency = self._latency(settings.latency, batches, processed_us)
            if latency is not None:
                partials[settings.latency.name] = latency
        settled: dict[str, dict[str, int]] = {}
        for batch in batches:
            row = settled.setdefault(batch.origin.source, {"stored": 0})
            row["stored"] += len(batch)
        return Contribution(epoch=batches[0].epoch, settled=settled, partials=partials, raw=raw)

    def _latency(self, metric: Metric, batches: Sequence[EventBatch], processed_us: int) -> Partials | None:
        """How long the events took from arrival to here, in milliseconds, by the second of their arrival."""
        arrived = [batch for batch in batches if batch.seq > self._replayed_to]
        if not arrived:
            return None
        counts = np.array([len(batch) for batch in arrived], np.int64)
        at_us = np.array([batch.origin.at_us for batch in arrived], np.int64)
        values = np.maximum(processed_us - at_us, 0) / 1000.0
        self.durations.observe_many(values / 1000.0, counts)
        rows = np.arange(len(arrived))
        return Partials(
            states=metric.states,
            resolution=1,
            series=[()],
            code=np.zeros(len(arrived), np.int32),
            bucket=at_us // MICROSECONDS,
            columns={
                "count": counts, "n_values": counts, "sum": values * counts,
                "sum_low": np.zeros(len(arrived)), "min": values, "max": values,
            },
            cells=Cells(rows, keys_of(values), counts),
        )  # fmt: skip


def _together(first: EventBatch, second: EventBatch) -> bool:
    return first.epoch == second.epoch and first.getters is second.getters


def _halves(batch: EventBatch) -> list[EventBatch]:
    middle = len(batch) // 2
    return [batch[:middle], batch[middle:]] if middle else []
