"""The wiring: from options to a running engine, and to a server with its pages. Only here everything is known."""

from __future__ import annotations

import asyncio
import hashlib
import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from streamgauge.config import to_mapping
from streamgauge.engine import Engine, EngineSettings
from streamgauge.errors import ExpressionError, OptionError, ServerFailed
from streamgauge.event import FieldMapping
from streamgauge.events.compression import DecodedLimits
from streamgauge.events.limits import EventLimits
from streamgauge.journal import Journal
from streamgauge.journals.file import FileJournal
from streamgauge.journals.lock import lock_folder
from streamgauge.journals.memory import MemoryJournal
from streamgauge.live.hub import About, Hub
from streamgauge.live.pulse import Pulse, StageCount
from streamgauge.metric import Metric
from streamgauge.metrics.expression import Expression
from streamgauge.options import LimitOptions, Options
from streamgauge.remote import ADDRESS_FILE
from streamgauge.sources.http import HttpLimits, HttpSource
from streamgauge.store import Position, Retention, Store, Table
from streamgauge.stores.registry import open_store
from streamgauge.telemetry import Exposition, ServerCollector
from streamgauge.version import __version__
from streamgauge.web.api import write_csv
from streamgauge.web.application import WebApplication
from streamgauge.web.server import Server, ServerLimits, uvicorn_config
from streamgauge.web.service import Service
from streamgauge.web.socket import SocketEndpoint

log = structlog.get_logger()

SHARD: Final = "0"
IN_MEMORY: Final = "duckdb:///:memory:"
EVENTS: Final = "events"
LATENCY: Final = "latency"
DEFAULT_AGGREGATES: Final = ("count", "sum", "avg", "min", "max", "p50", "p95", "p99")
MICROSECONDS: Final = 1_000_000


def metrics_of(options: Options) -> dict[str, Metric]:
    """Give the metrics that the options name, with the built-in ones. Raises OptionError for a bad expression."""
    built_in = [
        Metric(name=EVENTS, by=("type",), aggregates=DEFAULT_AGGREGATES, built_in=True),
        Metric(name=LATENCY, aggregates=DEFAULT_AGGREGATES, built_in=True),
    ]
    metrics = {metric.name: metric for metric in built_in}
    for place, one in enumerate(options.metric):
        path = f"metric[{place}]"
        metrics[one.name] = Metric(
            name=one.name,
            where=None if one.where is None else parse_expression(one.where, f"{path}.where"),
            value=parse_expression(one.value, f"{path}.value"),
            by=one.by,
            aggregates=one.aggregates,
            max_series=one.max_series,
        )
    return metrics


def parse_expression(text: str, path: str) -> Expression:
    """Read an SQL expression of the configuration."""
    try:
        return Expression.parse(text)
    except ExpressionError as exc:
        raise OptionError(path, str(exc), "see docs/options.md for what an expression may use") from exc


def mapping_of(options: Options) -> FieldMapping:
    """Give which fields of events play which parts."""
    events = options.events
    return FieldMapping(
        type=events.type,
        timestamp=events.timestamp,
        value=events.value,
        user_id=events.user_id,
        event_id=events.event_id,
    )


def _settings(options: Options) -> EngineSettings:
    pipeline, store, limits = options.pipeline, options.store, options.limits
    return EngineSettings(
        shard=SHARD,
        metrics=metrics_of(options),
        latency=LATENCY,
        keep=None
        if options.transform.keep is None
        else parse_expression(options.transform.keep, "transform.keep"),
        limits=_event_limits(limits, options.events.max_ahead),
        raw_events=store.raw_events,
        retention=Retention(
            raw_s=store.raw_retention,
            tiers=[
                (1, store.retention.seconds),
                (60, store.retention.minutes),
                (3600, store.retention.hours),
            ],
        ),
        min_demand=pipeline.producer.min_demand,
        max_demand=pipeline.producer.max_demand,
        buffer_events=pipeline.producer.buffer,
        transformers=pipeline.transformer.concurrency,
        aggregators=pipeline.aggregator.concurrency,
        max_batch=pipeline.aggregator.max_batch,
        max_wait_s=pipeline.aggregator.max_wait,
        commit_interval_s=store.commit_interval,
        patience_s=limits.saturated_wait,
    )


def _event_limits(limits: LimitOptions, max_ahead_s: float) -> EventLimits:
    return EventLimits(
        event_bytes=limits.event_bytes,
        depth=limits.depth,
        fields=limits.fields,
        field_name_bytes=limits.field_name_bytes,
        string_bytes=limits.string_bytes,
        max_ahead_us=int(max_ahead_s * MICROSECONDS),
    )


class OpenEngine:
    """An engine with what it holds open: the data folder's lock, its journal, its store."""

    def __init__(self, options: Options, *, failed: Callable[[Exception], None] = lambda error: None) -> None:
        self._options, self._failed = options, failed
        self._held = ExitStack()
        self.settings = _settings(options)
        self.engine: Engine

    async def start(self) -> Engine:
        """Open everything, start, and replay the journal."""
        loop = asyncio.get_running_loop()
        try:
            store, journal, positions = await loop.run_in_executor(None, self._open)
            self.engine = Engine(
                self.settings, journal=journal, store=store, positions=positions, failed=self._failed
            )
            try:
                await self.engine.start()
            except BaseException:
                await self.engine.stop()
                raise
        except BaseException:
            self._held.close()
            raise
        return self.engine

    def _open(self) -> tuple[Store, Journal, Mapping[str, Position]]:
        options = self._options
        if options.store_url() == IN_MEMORY:
            store = open_store(IN_MEMORY, memory_limit_bytes=options.store.memory_limit)
            return store, MemoryJournal(shard=SHARD), {}
        data = Path(options.data)
        self._held.enter_context(lock_folder(data))
        store = open_store(options.store_url(), memory_limit_bytes=options.store.memory_limit)
        try:
            positions = store.positions()
            return store, self._open_journal(data, positions), positions
        except BaseException:
            store.close()
            raise

    def _open_journal(self, data: Path, positions: Mapping[str, Position]) -> FileJournal:
        options = self._options.journal
        journal = FileJournal.open(
            self._options.journal_folder(),
            shard=SHARD,
            instance=_instance(data),
            configuration_hash=configuration_hash(self._options),
            fsync=options.fsync,
            interval_s=options.interval,
            segment_bytes=options.segment_bytes,
            segment_age_s=options.segment_age,
            max_bytes=options.max_bytes,
            stored_seq=positions[SHARD].last_seq if SHARD in positions else 0,
        )
        report = journal.report
        if report.torn_bytes or report.damaged:
            log.warning("the journal was damaged", report=str(report))
        return journal

    async def stop(self, timeout_s: float = 25.0) -> None:
        """Drain, commit, and let go of everything."""
        await self.engine.stop(timeout_s)
        self._held.close()


def _instance(data: Path) -> str:
    """Give the name of a data folder, which is made with it."""
    file = data / "instance"
    if not file.exists():
        file.write_text(uuid.uuid4().hex + "\n")
    return file.read_text().strip()


def configuration_hash(options: Options) -> str:
    """Name the part of the options that decides what is computed of an event."""
    mapping: dict[str, Any] = to_mapping(options)
    parts = [mapping.get(name) for name in ("events", "metric", "transform")]
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """Where a started server can be reached."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """The page's address."""
        host = "localhost" if self.host in {"127.0.0.1", "::1", "0.0.0.0", "::"} else self.host  # noqa: S104
        return f"http://{host}:{self.port}"


class App:
    """The server: an engine, the live hub, and what listens on the port."""

    def __init__(self, options: Options, *, demo: str | None = None) -> None:
        self._options, self._demo = options, demo
        self.failure: asyncio.Future[Exception] | None = None
        self._open = OpenEngine(options, failed=self._fail)
        self.engine: Engine
        self.hub: Hub
        self._server: Server
        self._tasks: list[asyncio.Task[None]] = []

    def _fail(self, error: Exception) -> None:
        if self.failure is not None and not self.failure.done():
            self.failure.set_result(error)

    async def start(self) -> Running:
        """Open the data folder, replay, and listen. Raises what stands in the way, and then holds nothing."""
        self.failure = asyncio.get_running_loop().create_future()
        self.engine = await self._open.start()
        limits = self._options.limits
        self.hub = Hub(
            reader=self.engine.reader,
            ledger=self.engine.ledger,
            about=About(started_ms=time.time_ns() // 1_000_000, demo=self._demo, epoch=uuid.uuid4().hex[:12]),
            now_s=time.time,
            pulse=Pulse(
                ledger=self.engine.ledger, stages=self._stage_counts, notes=lambda: self.engine.intake.notes
            ),
            tail=self.engine.intake.tail,
            rate_hz=self._options.live.max_rate,
            send_deadline_s=limits.viewer_send_deadline,
        )
        self.engine.observe = self.hub.observe
        try:
            running = await self._listen()
        except BaseException:
            await self._open.stop()
            raise
        self._tasks = [
            asyncio.create_task(self.hub.run(), name="live hub"),
            asyncio.create_task(self._note_progress(), name="progress"),
        ]
        return running

    def _stage_counts(self) -> list[StageCount]:
        """Count the whole way of an event, from its arrival to the viewers."""
        return [
            *self.engine.stage_counts(),
            StageCount("viewers", self.hub.encoded, 0.0, self.hub.behind, self.hub.viewers, 0),
        ]

    async def _listen(self) -> Running:
        self._server = self._make_server()
        running = Running(host=self._options.server.host, port=await self._server.start())
        try:
            self._publish(running)
        except BaseException:
            await self._server.stop(0.0)
            raise
        return running

    def _publish(self, running: Running) -> None:
        """Tell other commands where the owner of the data folder can be asked."""
        if self._options.store_url() != IN_MEMORY:
            (Path(self._options.data) / ADDRESS_FILE).write_text(running.url + "\n")

    async def _note_progress(self) -> None:
        while True:
            self.engine.note_accepted()
            await asyncio.sleep(0.25)

    def asgi(self) -> WebApplication:
        """Give the whole of it as one ASGI application; the engine must have been started."""
        limits, query = self._options.limits, self._options.query
        http = HttpLimits(limits.body_bytes, DecodedLimits(limits.decoded_bytes, limits.decoded_ratio))
        source = HttpSource(self.engine.intake, mapping=mapping_of(self._options), limits=http)
        service = Service(
            reader=self.engine.reader,
            store=self.engine.store,
            ledger=self.engine.ledger,
            progress=self.engine,
            now_us=self.engine.now_us,
            not_ready=self._not_ready,
            exposition=self._exposition(source),
            sql_timeout_s=query.timeout,
            sql_max_rows=query.max_rows,
        )
        return WebApplication(service, source=source, socket=SocketEndpoint(self.hub))

    def _exposition(self, source: HttpSource) -> Exposition:
        engine, hub = self.engine, self.hub
        collectors = [
            ServerCollector(
                version=__version__,
                ledger=engine.ledger,
                book=engine.book,
                stages=engine.stages,
                limits=lambda: engine.series_limits,
                hub=hub,
                store_bytes=engine.store.size_bytes,
                journal_bytes=lambda: engine.journal.size_bytes,
                notes=engine.intake.notes,
                answers={"http": source.answers},
                durations={
                    "streamgauge_ingest_duration_seconds": lambda: [source.durations],
                    "streamgauge_processing_duration_seconds": lambda: [
                        a.durations for a in engine.aggregators
                    ],
                    "streamgauge_end_to_end_seconds": lambda: [hub.durations],
                    "streamgauge_store_write_seconds": lambda: [engine.committer.durations],
                },
                native=native,
            )
            for native in (False, True)
        ]
        return Exposition(*collectors)

    def _not_ready(self) -> list[str]:
        reasons = []
        if self.engine.intake.draining:
            reasons.append("the server is shutting down")
        if self.engine.replaying:
            reasons.append("the journal is being replayed")
        if not self.engine.has_room():
            reasons.append("the pipeline is full")
        if self.failure is not None and self.failure.done():
            reasons.append(f"the server failed and will end: {self.failure.result()}")
        return reasons

    def _make_server(self) -> Server:
        limits, server = self._options.limits, self._options.server
        bounds = ServerLimits(
            header_bytes=limits.headers_bytes,
            header_count=limits.headers,
            header_timeout_s=limits.header_timeout,
            body_bytes=limits.body_bytes,
            body_timeout_s=limits.body_timeout,
            websocket_message_bytes=limits.websocket_message_bytes,
            viewer_timeout_s=limits.viewer_send_deadline,
        )
        return Server(uvicorn_config(self.asgi(), host=server.host, port=server.port, limits=bounds))

    async def stop(self) -> None:
        """Refuse new events, finish what is under way, commit it, and leave."""
        self.engine.intake.draining = True
        self.hub.announce("draining", {"retry_ms": 1000})
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.stop(5.0)
        if self._options.store_url() != IN_MEMORY:
            (Path(self._options.data) / ADDRESS_FILE).unlink(missing_ok=True)
        await self._open.stop()

    def raise_failure(self) -> None:
        """Raise what made the server stop by itself, if anything did."""
        if self.failure is not None and self.failure.done():
            error = self.failure.result()
            raise ServerFailed(
                f"the server had to end: {error}; what was not committed is in the journal"
            ) from error


def table_csv(table: Table) -> str:
    """Write the answer to an SQL query as CSV."""
    return write_csv(table.columns, table.rows)
