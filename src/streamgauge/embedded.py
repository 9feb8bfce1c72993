"""Streamgauge inside your own program: the same pipeline, without a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from streamgauge import app, config, logs
from streamgauge.engine import Engine
from streamgauge.errors import StreamgaugeError
from streamgauge.intake import Receipt
from streamgauge.metrics.query import ask
from streamgauge.web.api import metric_body
from streamgauge.web.service import Answer

SOURCE: Final = "python"
MOST_WAITING: Final = 8192  # events that are pushed one by one before they are handed over together
HAND_OVER_S: Final = 0.005

Event = Mapping[str, Any]


class Streamgauge:
    """Counts events as they are pushed, in memory or in a data folder.

        with Streamgauge() as gauge:
            gauge.push_event({"type": "conversion", "campaign_id": "campaign_001", "value": 150.0})
            gauge.query("events", by="type", aggregates=["count", "p99"])

    options: a configuration as in the file, for instance `{"metric": [{"name": ...}]}`. data: a folder to keep
    everything in; without one, everything is in memory and gone with the process. Safe to use from several threads.
    """

    def __init__(
        self, options: Mapping[str, object] | None = None, *, data: str | Path | None = None
    ) -> None:
        logs.configure()
        values = dict(options or {})
        if data is None:
            values.setdefault("store", {"url": app.IN_MEMORY, "raw_events": False})
        else:
            values["data"] = str(data)
        self._options = config.from_mapping(values)
        self._mapping = app.mapping_of(self._options)
        self._encoder = msgspec.json.Encoder()
        self._pushed: list[Event] = []
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._engine: Engine | None = None
        self._open: app.OpenEngine | None = None
        self._problem: Exception | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def start(self) -> None:
        """Start the pipeline; done by the first push where it was not done before."""
        if self._engine is not None:
            return
        loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(loop,), name="streamgauge", daemon=True)
        self._thread.start()
        self._loop = loop
        self._open = app.OpenEngine(self._options, failed=self._failed)
        try:
            self._engine = asyncio.run_coroutine_threadsafe(self._open.start(), loop).result()
        except BaseException:
            self._end_loop()
            raise
        loop.call_soon_threadsafe(self._hand_over_soon)

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()
        loop.close()

    def _failed(self, error: Exception) -> None:
        self._problem = error

    def _hand_over_soon(self) -> None:
        loop = asyncio.get_running_loop()
        if self._pushed:
            task = loop.create_task(self._hand_over())
            task.add_done_callback(self._handed_over)
        loop.call_later(HAND_OVER_S, self._hand_over_soon)

    def _handed_over(self, task: asyncio.Task[Receipt]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._problem = self._problem or StreamgaugeError(
                f"pushed events were not accepted: {task.exception()}"
            )

    async def _hand_over(self) -> Receipt:
        events, self._pushed = self._pushed, []
        return await self._accept(events)

    async def _accept(self, events: Sequence[Event]) -> Receipt:
        if not events or self._engine is None:
            return Receipt()
        return await self._engine.intake.accept(self._encoder.encode_lines(events), SOURCE, self._mapping)

    def push_event(self, event: Event) -> None:
        """Count one event. It is handed over within some milliseconds, or by the next `query`, together with others.

        Raises what kept earlier events from being accepted. An event that is not valid is counted as rejected, in
        `ledger()`; to be told of each, use `push_events`.
        """
        if self._engine is None:
            self.start()
        self._raise_problem()
        self._pushed.append(event)
        if len(self._pushed) >= MOST_WAITING:
            self._sync()

    def push_events(self, events: Iterable[Event]) -> Receipt:
        """Count many events; gives how many were accepted, and which were rejected why. Raises Saturated."""
        if self._engine is None:
            self.start()
        self._raise_problem()
        self._sync()
        receipt: Receipt = self._call(self._accept(list(events)))
        return receipt

    def query(
        self,
        metric: str = "events",
        *,
        by: str | Sequence[str] | None = None,
        aggregates: Sequence[str] | None = None,
        start: int | None = None,
        end: int | None = None,
        step: int | None = None,
        top: int | None = None,
        where: str | None = None,
    ) -> list[dict[str, Any]]:
        """Give a metric's series, with everything that was pushed before; by default over all time.

        start, end: seconds since 1970. Each series is as in the HTTP API: {"by", "totals", "points"}.
        """
        if self._engine is None:
            self.start()
        self._sync()
        names = [by] if isinstance(by, str) else by
        options = {"by": names, "aggregates": aggregates, "step": step, "top": top, "where": where}
        series: list[dict[str, Any]] = self._call(self._query(metric, start, end, options))
        return series

    async def _query(
        self, name: str, start: int | None, end: int | None, options: dict[str, Any]
    ) -> list[dict[str, Any]]:
        engine = self._running()
        await engine.flush()
        metric = engine.reader.metric(name)
        if start is None or end is None:
            first, last = await engine.reader.extent(metric) or (0, 0)
            start, end = first if start is None else start, last + 1 if end is None else end
        question = ask(metric, start=start, end=end, **options)
        series = await engine.reader.answer(metric, question)
        answer = Answer(
            metric=name, start_ms=start * 1000, end_ms=end * 1000, step=question.step, as_of=0,
            aggregates=question.aggregates, series=series,
        )  # fmt: skip
        found: list[dict[str, Any]] = metric_body(answer)["series"]
        return found

    def ledger(self) -> dict[str, Any]:
        """Give what became of every event that was pushed."""
        self._sync()
        return dict(self._running().ledger.as_dict())

    def close(self) -> None:
        """Finish what was pushed, keep it where there is a data folder, and end."""
        if self._engine is None or self._open is None:
            return
        try:
            self._sync()
            self._call(self._open.stop())
        finally:
            self._engine = None
            self._end_loop()

    def _sync(self) -> None:
        with self._lock:
            if self._pushed:
                self._call(self._hand_over())
        self._raise_problem()

    def _raise_problem(self) -> None:
        if self._problem is not None:
            problem, self._problem = self._problem, None
            raise problem

    def _running(self) -> Engine:
        if self._engine is None:
            raise StreamgaugeError(
                "this Streamgauge is not running; use it in a `with` block, or call start()"
            )
        return self._engine

    def _call(self, coroutine: Any) -> Any:
        loop = self._loop
        if loop is None:
            coroutine.close()
            raise StreamgaugeError(
                "this Streamgauge is not running; use it in a `with` block, or call start()"
            )
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result()

    def _end_loop(self) -> None:
        if self._loop is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop = self._thread = None
