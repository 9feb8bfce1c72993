"""Streamgauge inside your own program: the same pipeline, without a server."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import time
import weakref
from collections.abc import Coroutine, Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Final, Self, TypeVar

import structlog

from streamgauge import config, logs
from streamgauge.app import App
from streamgauge.engine import Engine
from streamgauge.errors import (
    InternalError,
    NotSeveral,
    OptionError,
    QueryTimeout,
    Saturated,
    StreamgaugeError,
)
from streamgauge.intake import Receipt
from streamgauge.metrics.query import ask
from streamgauge.opening import OpenEngine
from streamgauge.options import Options
from streamgauge.settings import IN_MEMORY, mapping_of
from streamgauge.web.api import metric_body
from streamgauge.web.bridge import Bridge, Inside
from streamgauge.web.service import Answer

log = structlog.get_logger()

SOURCE: Final = "python"
MOST_WAITING: Final = 8192  # events that are pushed one by one before they are handed over together
HAND_OVER_S: Final = 0.005
FULL: Final = (
    -1
)  # room for none until a hand-over has come to its end; 0 says that something else is the matter
ALL_IN_MEMORY: Final = MappingProxyType({"url": IN_MEMORY, "raw_events": False, "memory_limit": "1GiB"})
PATIENCE_S: Final = 30.0  # how long a push waits for room
TELL_EVERY_S: Final = 1.0

Event = Mapping[str, Any]
T = TypeVar("T")


class Streamgauge:
    """Counts events as they are pushed, in memory or in a data folder.

        with Streamgauge() as gauge:
            gauge.push_event({"type": "conversion", "campaign_id": "campaign_001", "value": 150.0})
            gauge.query("events", by="type", aggregates=["count", "p99"])

    Where an event loop runs, `async with` and the methods that end in `_async` hold it up in nothing. `asgi()` is the
    dashboard with its API, to be mounted inside another application.

    options: a configuration as in the file, for instance `{"metric": [{"name": ...}]}`, or the path of such a file. data: a folder to keep
    everything in; without one, everything is in memory and gone with the process. Safe to use from several threads,
    also where an event loop is running. It starts with the first use and ends with `close`, the `with` block or the
    program. It belongs to the process that started it: a forked child makes its own.
    Raises OptionError for bad options; DataFolderInUse, when it starts, where the folder has an owner.
    """

    def __init__(
        self, options: Mapping[str, object] | str | Path | None = None, *, data: str | Path | None = None
    ) -> None:
        logs.configure()
        self._options = _options_of(options, data)
        if self._options.source:
            raise OptionError(
                "source", "inside a program nothing is fetched", "push events, or use `streamgauge serve`"
            )
        self._mapping = mapping_of(self._options)
        self._pushed: list[Event] = []  # never replaced: another thread may be about to append
        self._in_hand = 0  # taken out of it, and not accepted yet
        self._room = 0  # where so many have been pushed, the next push has to look what is the matter
        self._lock = threading.RLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._engine: Engine | None = None
        self._open: OpenEngine | None = None
        self._pages: App | None = None
        self._inside: Inside | None = None
        self._turn: asyncio.Lock
        self._problem: Exception | None = None
        self._why_not = ""
        self._untold, self._told_at = 0, -math.inf

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    def start(self) -> None:
        """Start the pipeline; done by the first push or query where it was not done before."""
        with self._lock:
            if self._engine is not None:
                return
            loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=_run, args=(loop,), name="streamgauge", daemon=True)
            self._thread.start()
            self._loop, self._turn, self._problem = loop, asyncio.Lock(), None
            self._open = OpenEngine(self._options, failed=self._engine_failed)
            try:
                self._engine = self._call(self._open.start())
            except BaseException:
                self._end_loop()
                raise
            self._why_not = ""
            _end_with_the_program(self)
            loop.call_soon_threadsafe(self._hand_over_soon)

    def push_event(self, event: Event) -> None:
        """Count one event. It is read some milliseconds later, or by the next `query`: do not change it after this.

        Waits while there is no room, at most half a minute. Raises what keeps events from being accepted, and then
        has not taken this one. An event that is not valid is counted as rejected, in `ledger()`, and a line of the log
        says why, one a second at most; to be told of each, use `push_events`.
        """
        if len(self._pushed) >= self._room:
            self._make_room()
        self._pushed.append(event)

    def _make_room(self) -> None:
        self._ready()
        if not self._room:
            self._open_room()
        if len(self._pushed) >= self._room:
            self._call(self._hand_over())

    def _open_room(self) -> None:
        """Let some be pushed without a look at anything else; none where something has to be said first.

        What is in hand may have to be put back, and to fit in again.
        """
        left = 2 * MOST_WAITING - self._in_hand
        room = min(MOST_WAITING, left) if left > 0 else FULL
        self._room = room if self._engine is not None and self._problem is None else 0

    def push_events(self, events: Iterable[Event]) -> Receipt:
        """Count many events; gives how many were accepted, and which were rejected why.

        Waits while there is no room, at most half a minute; raises Saturated then, and has accepted none of them.
        """
        wanted = _several(events)
        self._ready()
        return self._call(self._hand_over(wanted))

    def query(
        self,
        metric: str = "events",
        *,
        by: str | Sequence[str] | None = None,
        aggregates: str | Sequence[str] | None = None,
        start: float | None = None,
        end: float | None = None,
        step: int | None = None,
        top: int | None = None,
        where: str | None = None,
    ) -> list[dict[str, Any]]:
        """Give a metric's series, with everything that was pushed before; by default over all time.

        start, end: seconds since 1970, to the whole second. Each series is as in the HTTP API: {"by", "totals",
        "points"}, with the points' times in milliseconds. Raises QueryError for what the metric cannot answer.
        """
        options = {"by": by, "aggregates": aggregates, "step": step, "top": top, "where": where}
        return self._call(self._query(self._ready(), metric, start, end, options))

    async def _query(
        self,
        engine: Engine,
        metric_name: str,
        since: float | None,
        until: float | None,
        options: dict[str, Any],
    ) -> list[dict[str, Any]]:
        for name in ("by", "aggregates"):
            if isinstance(options[name], str):
                options[name] = [options[name]]
        start = None if since is None else math.floor(since)
        end = None if until is None else math.ceil(until)
        await self._hand_over()
        if not await engine.flush():
            raise QueryTimeout("what was pushed is not counted yet; push less at a time, or ask again later")
        metric = engine.reader.metric(metric_name)
        if start is None or end is None:
            first, last = await engine.reader.extent(metric) or (0, 0)
            start, end = first if start is None else start, last + 1 if end is None else end
            end = max(end, start + 1)
        question = ask(metric, start=start, end=end, **options)
        series = await engine.reader.answer(metric, question)
        answer = Answer(
            metric=metric_name, start_ms=start * 1000, end_ms=end * 1000, step=question.step, as_of=0,
            aggregates=question.aggregates, series=series,
        )  # fmt: skip
        found: list[dict[str, Any]] = metric_body(answer)["series"]
        return found

    def ledger(self) -> dict[str, Any]:
        """Give what became of every event that was pushed; `pending` are those that are not committed yet."""
        engine = self._ready()
        self._call(self._hand_over())
        return dict(engine.ledger.as_dict())

    async def push_event_async(self, event: Event) -> None:
        """Count one event as `push_event` does, without holding up the loop while there is no room."""
        if len(self._pushed) >= self._room:
            await self._ready_async()
            if not self._room:
                self._open_room()
            if len(self._pushed) >= self._room:
                await self._call_async(self._hand_over())
        self._pushed.append(event)

    async def push_events_async(self, events: Iterable[Event]) -> Receipt:
        """Count many events as `push_events` does. Cancelled, it does not say whether they are counted; all are, or none."""
        wanted = list(_several(events))  # whose own list may change while others have their turn
        await self._ready_async()
        return await self._call_async(self._hand_over(wanted))

    async def query_async(
        self,
        metric: str = "events",
        *,
        by: str | Sequence[str] | None = None,
        aggregates: str | Sequence[str] | None = None,
        start: float | None = None,
        end: float | None = None,
        step: int | None = None,
        top: int | None = None,
        where: str | None = None,
    ) -> list[dict[str, Any]]:
        """Give a metric's series as `query` does."""
        options = {"by": by, "aggregates": aggregates, "step": step, "top": top, "where": where}
        engine = await self._ready_async()
        return await self._call_async(self._query(engine, metric, start, end, options))

    async def ledger_async(self) -> dict[str, Any]:
        """Give what became of every event that was pushed, as `ledger` does."""
        engine = await self._ready_async()
        await self._call_async(self._hand_over())
        return dict(engine.ledger.as_dict())

    def asgi(self) -> Bridge:
        """Give dashboard, API, ingest and socket as an ASGI application.

            app.mount("/analytics", Streamgauge().asgi())

        It starts at the first request, and needs no lifespan; where it gets one, it starts and ends with it. Who may see
        it, and send to it, is for the application around it to say. Each process has its own numbers.
        """
        return Bridge(running=lambda: self._inside, start=self._start_pages, close=self.close)

    def _start_pages(self) -> Inside:
        with self._lock:
            if self._why_not and self._engine is None:
                raise StreamgaugeError(f"this Streamgauge is not running: {self._why_not}")
            self.start()
            if self._inside is None and self._open is not None and self._loop is not None:
                pages = App(self._options, opened=self._open)
                self._inside = Inside(self._call(pages.start_pages()), self._loop)
                self._pages = pages
            if self._inside is None:
                raise InternalError("a Streamgauge that has started has no loop")
            return self._inside

    def close(self) -> None:
        """Finish what was pushed, keep it where there is a data folder, and end. Doing so twice is harmless.

        Raises what kept events that were pushed from being accepted.
        """
        with self._lock:
            if self._engine is None or self._open is None:
                return
            self._engine, self._room, self._why_not = None, 0, "it was closed; call start() to go on"
            pages, inside, self._pages, self._inside = self._pages, self._inside, None, None
            try:
                self._call(self._finish(self._open, pages, inside))
            finally:
                self._end_loop()
            self._raise_problem()
            if self._pushed:  # by a thread that had looked whether it runs just before
                late = len(self._pushed)
                self._pushed.clear()
                raise StreamgaugeError(
                    f"{late:,} events were pushed while it was closed, and are not counted"
                )

    async def _finish(self, opened: OpenEngine, pages: App | None, inside: Inside | None) -> None:
        try:
            await self._hand_over()
        except Exception as exc:
            left = len(self._pushed)
            self._pushed.clear()
            raise StreamgaugeError(f"{left:,} events that were pushed could not be accepted: {exc}") from exc
        finally:
            if pages is not None and inside is not None:
                await pages.stop_pages()
                await inside.end()
            await opened.stop()

    def _hand_over_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._pushed and not self._turn.locked():
            loop.create_task(self._hand_over()).add_done_callback(self._handed_over)
        loop.call_later(HAND_OVER_S, self._hand_over_soon)

    def _handed_over(self, task: asyncio.Task[Receipt]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(self._problem or StreamgaugeError(f"pushed events are not accepted: {error}"))

    async def _hand_over(self, more: Sequence[Event] = ()) -> Receipt:
        """Have everything accepted that was pushed before, and then `more`; what fails of the former stays pushed."""
        async with self._turn:  # who comes second waits until what the first has taken is accepted
            count = self._in_hand = len(self._pushed)
            self._open_room()  # before there is more of it, or other threads fill the old one up
            waiting = self._pushed[:count]
            del self._pushed[:count]
            try:
                self._tell_rejected(await self._accept(waiting))
            except BaseException:
                self._pushed[:0] = waiting
                raise
            finally:
                self._in_hand = 0
                self._open_room()
            return await self._accept(more)

    def _tell_rejected(self, receipt: Receipt) -> None:
        """Log what whoever pushed it does not wait to hear: the first reason, and how many there were."""
        self._untold += receipt.rejected
        now_s = time.monotonic()
        if receipt.rejected and now_s - self._told_at >= TELL_EVERY_S:
            log.warning("pushed events are rejected", events=self._untold, reason=receipt.errors[0][1])
            self._untold, self._told_at = 0, now_s

    async def _accept(self, events: Sequence[Event]) -> Receipt:
        if not events or self._open is None:
            return Receipt()
        intake = self._open.engine.intake
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_S
        while True:
            try:
                return await intake.accept_objects(events, SOURCE, self._mapping)
            except Saturated as exc:
                if intake.draining or loop.time() >= deadline:
                    raise
                await asyncio.sleep(min(exc.retry_after_s, HAND_OVER_S * 20))

    def _engine_failed(self, error: Exception) -> None:
        self._failed(error)
        if self._pages is not None:
            self._pages.fail(error)

    def _failed(self, error: Exception) -> None:
        self._problem, self._room = error, 0

    def _raise_problem(self) -> None:
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem

    def _ready(self) -> Engine:
        """Give the engine, started where it never was."""
        if self._engine is None:
            if self._why_not:
                raise StreamgaugeError(f"this Streamgauge is not running: {self._why_not}")
            self.start()
        self._raise_problem()
        if self._engine is None:
            raise StreamgaugeError(f"this Streamgauge is not running: {self._why_not}")
        return self._engine

    def _call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        if loop is None:
            coroutine.close()
            raise StreamgaugeError(
                f"this Streamgauge is not running: {self._why_not or 'it has not started'}"
            )
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    async def _ready_async(self) -> Engine:
        if self._engine is None and not self._why_not:
            await asyncio.to_thread(self.start)
        return self._ready()

    async def _call_async(self, coroutine: Coroutine[Any, Any, T]) -> T:
        loop = self._loop
        if loop is None:
            coroutine.close()
            raise StreamgaugeError(f"this Streamgauge is not running: {self._why_not}")
        # who is cancelled lets the other loop finish: events are never handed over by half
        return await asyncio.shield(asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop)))

    def _end_loop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop = self._thread = self._open = None

    def _forked(self) -> None:
        """In a child process there is no thread, and another's events, folder and locks are none of its business."""
        if self._loop is not None:
            for task in asyncio.all_tasks(
                self._loop
            ):  # they go on in the parent; here nobody has to hear of them
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # noqa: SLF001
        self._engine = self._open = self._loop = self._thread = self._problem = None
        self._pages = self._inside = None
        self._room = self._in_hand = 0
        self._lock = threading.RLock()
        self._pushed.clear()
        self._why_not = "it belongs to the process that this one was forked from; make another here"


def _several(events: Iterable[Event]) -> list[Event]:
    """Give the events as a list: the same, where it is one."""
    if isinstance(events, Mapping):
        raise NotSeveral
    return events if isinstance(events, list) else list(events)


def _options_of(given: Mapping[str, object] | str | Path | None, data: str | Path | None) -> Options:
    """Read options as a mapping or as a file; in memory where neither says where to keep anything."""
    if not isinstance(given, str | Path):
        return config.from_mapping(_with_defaults(dict(given or {}), data))
    file = Path(given)
    there = config.read(file)
    overrides: dict[str, object] = {"data": None if data is None else str(data)}
    store = there.get("store", {})
    if data is None and "data" not in there and isinstance(store, Mapping) and "url" not in store:
        overrides |= {f"store.{name}": store.get(name, value) for name, value in ALL_IN_MEMORY.items()}
    return config.load(file, overrides)


def _with_defaults(values: dict[str, object], data: str | Path | None) -> dict[str, object]:
    """Keep everything in memory where neither a folder nor a store is named."""
    if data is not None:
        values["data"] = str(data)
    store = values.get("store", {})
    if "data" not in values and isinstance(store, Mapping) and "url" not in store:
        values["store"] = {**ALL_IN_MEMORY, **store}
    return values


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    loop.run_forever()
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()


def _end_with_the_program(gauge: Streamgauge) -> None:
    """Close it when the program ends, and leave a forked child without it."""
    this = weakref.ref(gauge)

    def close() -> None:
        if (left := this()) is not None:
            left.close()

    def forked() -> None:
        if (inherited := this()) is not None:
            inherited._forked()  # noqa: SLF001  ours, one page up

    # `atexit` comes too late: by then no thread of a pool may start any more, and ours are needed to commit
    threading._register_atexit(close)  # type: ignore[attr-defined]  # noqa: SLF001
    os.register_at_fork(after_in_child=forked)
