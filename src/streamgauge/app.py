"""The wiring: from options to a running engine, and to a server with its pages. Only here everything is known."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import structlog

from streamgauge.configurations import FOLDER, Configurations
from streamgauge.engine import Engine, EngineSettings
from streamgauge.errors import (
    FilesGone,
    ServerFailed,
)
from streamgauge.events.compression import DecodedLimits
from streamgauge.journals.file import FileJournal
from streamgauge.journals.reading import LiveReading
from streamgauge.live.hub import About, Hub
from streamgauge.live.pulse import Pulse, StageCount
from streamgauge.opening import OpenEngine, instance_of, with_kept
from streamgauge.options import Options
from streamgauge.reloading import ConfigurationFile, Reloader
from streamgauge.remote import ADDRESS_FILE
from streamgauge.settings import IN_MEMORY, SHARD, mapping_of, rules_of, settings_of
from streamgauge.source import RunningSource
from streamgauge.sources.direct import DirectIngest
from streamgauge.sources.formats import FORMATS
from streamgauge.sources.http import SOURCE as HTTP
from streamgauge.sources.http import HttpLimits, HttpSource
from streamgauge.sources.registry import check_sources, make_sources
from streamgauge.sources.socket import SocketSource
from streamgauge.store import Table
from streamgauge.stores.registry import file_of
from streamgauge.telemetry import Exposition, ServerCollector
from streamgauge.verify import Rules
from streamgauge.version import __version__
from streamgauge.web.access import access_of
from streamgauge.web.api import write_csv
from streamgauge.web.application import WebApplication
from streamgauge.web.backup import BackupDesk
from streamgauge.web.letters import LetterDesk
from streamgauge.web.server import Server, ServerLimits, uvicorn_config
from streamgauge.web.service import Service
from streamgauge.web.socket import SocketEndpoint, SocketLimits
from streamgauge.web.sources import DoorDesk
from streamgauge.web.verify import VerifyDesk

log = structlog.get_logger()

LAST_REQUESTS_S: Final = 5.0
LAST_REQUESTS_FAILED_S: Final = 1.0  # nothing that they are waiting for will come
STOP_S: Final = 15.0
PROGRESS_S: Final = 0.25
LEDGER_TURNS: Final = 4  # of those, between two looks at the ledger
COMMITTED_S: Final = 5.0  # how long the answer to a replay of dead letters waits for its commit
LAST_ANSWERS_S: Final = 2.0  # for what was pushed before the server began to end


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

    def __init__(
        self,
        options: Options,
        *,
        demo: str | None = None,
        rebuild: bool = False,
        opened: OpenEngine | None = None,
        file: ConfigurationFile | None = None,
    ) -> None:
        self._options, self._demo = options, demo
        self.failure: asyncio.Future[Exception] | None = None
        self._open = opened or OpenEngine(options, failed=self.fail, rebuild=rebuild)
        self.reloader = Reloader(
            options,
            self._open.settings,
            file=file,
            settings_of=settings_of,
            change=self._open.change,
            apply=self._apply,
        )
        self.engine: Engine
        self.hub: Hub
        self._source: HttpSource
        self._service: Service
        self._direct: DirectIngest
        self._server: Server
        self._verifying: VerifyDesk
        self._backups: BackupDesk
        self._tasks: list[asyncio.Task[None]] = []
        check_sources(options.source, mapping=mapping_of(options))
        self.sources: list[RunningSource] = []

    def _apply(self, options: Options, settings: EngineSettings) -> None:
        """Put in force what a changed configuration says of everything but the computing."""
        self._options = options
        self.engine.committer.retention = settings.retention
        self.hub.set_rate(options.live.max_rate)
        self._service.sql_timeout_s, self._service.sql_max_rows = (
            options.query.timeout,
            options.query.max_rows,
        )
        self._source.use(mapping_of(options))
        self._socket_source.use(mapping_of(options))

    def fail(self, error: Exception) -> None:
        """Take note of what makes it end by itself."""
        if self.failure is not None and not self.failure.done():
            self.failure.set_result(self._files_gone() or error)

    async def start(self) -> Running:
        """Open the data folder, replay, and listen. Raises what stands in the way, and then holds nothing."""
        self.failure = asyncio.get_running_loop().create_future()
        self.engine = await self._start_engine()
        self._open_hub()
        try:
            running = await self._listen()
        except BaseException:
            await self._open.stop()
            raise
        self._begin_tasks()
        if self._options.server.watch:
            self._tasks.append(asyncio.create_task(self.reloader.watch(), name="watch of the configuration"))
        await self._start_sources()
        return running

    async def start_pages(self) -> WebApplication:
        """Give the pages of an engine that runs already (`opened`), for another server; `stop_pages` ends them."""
        self.failure = asyncio.get_running_loop().create_future()
        self.engine = self._open.engine
        self._open_hub()
        pages = self.asgi(mounted=True)
        self._begin_tasks()
        return pages

    def _open_hub(self) -> None:
        self._socket_source = SocketSource(self.engine.intake, mapping=mapping_of(self._options))
        limits = self._options.limits
        self._pulse = Pulse(
            ledger=self.engine.ledger,
            stages=self._stage_counts,
            notes=lambda: self.engine.intake.notes,
            statuses=lambda: {source.name: source.status() for source in self.sources},
        )
        self._started_ms = time.time_ns() // 1_000_000
        self.hub = Hub(
            reader=self.engine.reader,
            ledger=self.engine.ledger,
            about=About(started_ms=self._started_ms, demo=self._demo, epoch=uuid.uuid4().hex[:12]),
            now_s=time.time,
            pulse=self._pulse,
            tail=self.engine.intake.tail,
            rate_hz=self._options.live.max_rate,
            send_deadline_s=limits.viewer_send_deadline,
        )
        self.engine.observe = self.hub.observe

    def _begin_tasks(self) -> None:
        self._tasks = [
            asyncio.create_task(self.hub.run(), name="live hub"),
            asyncio.create_task(self._note_progress(), name="progress"),
            asyncio.create_task(self.reloader.run(), name="reloads"),
        ]

    async def _start_sources(self) -> None:
        """Start the sources that fetch their events themselves."""
        options = self._options
        self.sources = make_sources(
            options.source,
            door=self.engine.intake,
            mapping=mapping_of(options),
            instance=None if options.store_url() == IN_MEMORY else instance_of(options),
        )
        for source in self.sources:
            await source.start()

    async def _start_engine(self) -> Engine:
        """Start the engine; give up where it fails meanwhile, since a replay would wait for room for ever."""
        assert self.failure is not None  # noqa: S101  for the type checker; made just before
        starting = asyncio.ensure_future(self._open.start())
        try:
            either: list[asyncio.Future[Any]] = [starting, self.failure]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not starting.done():
                starting.cancel()
                await asyncio.wait([starting])
        if starting.cancelled():
            self.raise_failure()
        return starting.result()

    def begin_stop(self) -> None:
        """Take in nothing more, so that a start that is under way comes to its end; `stop` does the rest."""
        self._open.hurry()

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

    def _withdraw(self) -> None:
        try:
            (Path(self._options.data) / ADDRESS_FILE).unlink(missing_ok=True)
        except (
            OSError
        ) as exc:  # whoever reads it finds nobody there; what is accepted has still to be committed
            log.warning("the file with the server's address cannot be removed", error=str(exc))

    async def _note_progress(self) -> None:
        for turn in itertools.count():
            self.engine.note_accepted()
            if turn % LEDGER_TURNS == 0:
                self.engine.check_ledger()
                if (gone := self._files_gone()) is not None:
                    self.fail(gone)
            if self.engine.journal.failed is not None:
                self.fail(self.engine.journal.failed)
            await asyncio.sleep(PROGRESS_S)

    def _files_gone(self) -> FilesGone | None:
        try:
            self._open.check_files()
        except FilesGone as error:
            return error
        return None

    def asgi(self, *, mounted: bool = False) -> WebApplication:
        """Give the whole of it as one ASGI application; the engine must have been started. mounted: inside another one."""
        limits, query = self._options.limits, self._options.query
        decoded = DecodedLimits(limits.decoded_bytes, limits.decoded_ratio)
        http = HttpLimits(limits.body_bytes, limits.bodies_bytes, decoded)
        source = HttpSource(
            self.engine.intake, mapping=mapping_of(self._options), limits=http, formats=FORMATS
        )
        self._source, letters = source, self._letters()
        access = access_of(self._options.server, mounted=mounted)
        self._direct = DirectIngest(self.engine.intake, source, access.answers_to)
        service = self._service = Service(
            reader=self.engine.reader,
            store=self.engine.store,
            ledger=self.engine.ledger,
            progress=self.engine,
            now_us=self.engine.now_us,
            not_ready=self._not_ready,
            degraded=lambda: [problem for source in self.sources for problem in source.problems()],
            once=lambda: self.engine.claims.status,
            exposition=partial(_expose, letters, self._exposition(source, letters)),
            sql_timeout_s=query.timeout,
            sql_max_rows=query.max_rows,
        )
        sizes = SocketLimits(limits.websocket_message_bytes, limits.body_bytes)
        socket = SocketEndpoint(self.hub, self._socket_source, sizes)
        return WebApplication(
            service,
            source=source,
            socket=socket,
            letters=letters,
            doors=self._doors(source),
            verify=self._verify_desk(),
            backup=self._backup_desk(),
            reload=self.reloader.reload,
            access=access,
            on_refused=self._count_refused,
        )

    def _verify_desk(self) -> VerifyDesk:
        engine = self.engine
        kept = Configurations(Path(self._options.data) / FOLDER)
        in_memory = self._options.store_url() == IN_MEMORY

        def rules() -> Rules:
            today = rules_of(self._options, engine.now_us())
            return today if in_memory else with_kept(today, kept)

        self._verifying = VerifyDesk(
            audit=engine.store.audit,
            rules=rules,
            journals=lambda: (
                {SHARD: LiveReading(engine.journal)} if isinstance(engine.journal, FileJournal) else {}
            ),
            imbalance=lambda: engine.ledger.imbalance,
        )
        return self._verifying

    def _backup_desk(self) -> BackupDesk:
        engine, journal = self.engine, self.engine.journal
        self._backups = BackupDesk(
            Path(self._options.data),
            file_of(self._options.store_url()),
            segments=lambda: journal.files() if isinstance(journal, FileJournal) else [],
            at_rest=engine.committer.without_checkpoints,
        )
        return self._backups

    def _doors(self, source: HttpSource) -> DoorDesk:
        return DoorDesk(
            ledger=self.engine.ledger,
            pulse=self._pulse,
            notes=source.doors,
            sources=lambda: self.sources,
            mapping=lambda: mapping_of(self._options),
            started_ms=self._started_ms,
            now_ms=lambda: self.engine.now_us() // 1000,
        )

    def _letters(self) -> LetterDesk:
        engine = self.engine
        return LetterDesk(
            store=engine.store,
            reader=engine.reader,
            again=engine.accept_again,
            settled=lambda: engine.caught_up(engine.journal.last_seq, COMMITTED_S),
            now_us=engine.now_us,
        )

    def _exposition(self, source: HttpSource, letters: LetterDesk) -> Exposition:
        engine, hub = self.engine, self.hub
        collectors = [
            ServerCollector(
                version=__version__,
                ledger=engine.ledger,
                book=engine.book,
                stages=engine.stages,
                limits=lambda: engine.series_limits,
                restarts=engine.transform_restarts,
                body_bytes=lambda: source.bodies.held_bytes,
                open_letters=lambda: letters.open,
                changes=lambda: engine.terms.changes,
                hub=hub,
                store_bytes=engine.store.size_bytes,
                journal_bytes=lambda: engine.journal.size_bytes,
                unsynced_s=lambda: engine.journal.unsynced_s,
                notes=engine.intake.notes,
                connected=lambda: {
                    source.name: bool(source.status()["connected"]) for source in self.sources
                },
                refused=lambda: self._server.refused if hasattr(self, "_server") else {},
                answers={"http": source.answers, "websocket": self._socket_source.answers},
                durations={
                    "streamgauge_ingest_duration_seconds": lambda: [
                        source.durations,
                        self._socket_source.durations,
                    ],
                    "streamgauge_processing_duration_seconds": lambda: [
                        a.durations for a in engine.aggregators
                    ],
                    "streamgauge_end_to_end_seconds": lambda: [hub.durations],
                    "streamgauge_store_write_seconds": lambda: [engine.committer.durations],
                },
                once=lambda: engine.claims.status,
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
            trouble = self.engine.committer.trouble
            reasons.append(
                f"the store does not take what it is given: {trouble}" if trouble else "the pipeline is full"
            )
        if self.engine.journal.trouble is not None:
            reasons.append(f"the journal refuses events: {self.engine.journal.trouble}")
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
            write_timeout_s=limits.write_timeout,
            websocket_message_bytes=limits.websocket_message_bytes,
            viewer_timeout_s=limits.viewer_send_deadline,
        )
        return Server(
            uvicorn_config(
                self.asgi(),
                direct=self._direct,
                host=server.host,
                port=server.port,
                limits=bounds,
                on_refused=self._count_refused,
            )
        )

    def _count_refused(self) -> None:
        self.engine.intake.refuse(HTTP)

    async def stop(self) -> None:
        """Refuse new events, finish what is under way, commit it, and leave."""
        await asyncio.gather(*(source.stop() for source in self.sources))
        await self.stop_pages()
        failed = self.failure is not None and self.failure.done()
        await self._server.stop(LAST_REQUESTS_FAILED_S if failed else LAST_REQUESTS_S)
        if self._options.store_url() != IN_MEMORY:
            self._withdraw()
        await self._open.stop(STOP_S)

    async def stop_pages(self) -> None:
        """Refuse new events, and tell viewers and senders so."""
        await self.reloader.stop()
        self.engine.intake.draining = True
        self.hub.announce("draining", {"retry_ms": 1000})
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._socket_source.answered(LAST_ANSWERS_S)
        self._backups.stop()
        await self._verifying.stop()

    def raise_failure(self) -> None:
        """Raise what made the server stop by itself, if anything did."""
        if self.failure is not None and self.failure.done():
            error = self.failure.result()
            kept = "" if isinstance(error, FilesGone) else "; what was not committed is in the journal"
            raise ServerFailed(f"the server had to end: {error}{kept}") from error


async def _expose(letters: LetterDesk, exposition: Exposition, accept: str) -> tuple[bytes, str]:
    await letters.count_open()
    return exposition(accept)


def table_csv(table: Table) -> str:
    """Write the answer to an SQL query as CSV."""
    return write_csv(table.columns, table.rows)
