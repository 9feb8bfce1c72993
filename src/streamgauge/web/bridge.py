"""An ASGI application for whatever event loop it is called on, whose work is done on another one, in another thread.

A request goes over as a task of its own there; each of its `receive` and `send` comes back as a task of the host's loop,
so that nothing of the host is ever touched from outside its thread.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from http import HTTPStatus
from typing import Any, Final, TypeVar

import structlog

from streamgauge.errors import StreamgaugeError
from streamgauge.web.mounting import in_place
from streamgauge.web.problem import MEDIA_TYPE, Receive, Scope, Send, body_of

log = structlog.get_logger()

T = TypeVar("T")
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
Message = MutableMapping[str, Any]

# what ASGI defines; what a framework around us keeps in the scope is for its own routes
KEYS: Final = (
    "type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path", "headers",
    "client", "server", "subprotocols",
)  # fmt: skip
LAST_REQUESTS_S: Final = 2.0
RESTARTING: Final = 1012  # of a WebSocket that is closed: come back (RFC 6455, 7.4.2; IANA's registry)


class Inside:
    """The application on its own loop, and the requests that it is serving."""

    def __init__(self, application: Application, loop: asyncio.AbstractEventLoop) -> None:
        self._application, self._loop = application, loop
        self._serving: dict[asyncio.Task[Any], str] = {}

    def begin(self, scope: Scope, crossing: _Crossing) -> concurrent.futures.Future[None]:
        """Have a request served; called on the host's loop. Raises RuntimeError where this loop has ended."""
        serving = self._serve(in_place({key: scope[key] for key in KEYS if key in scope}), crossing)
        return _start(serving, self._loop)

    async def _serve(self, scope: Scope, crossing: _Crossing) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  for the type checker; it runs in one
        self._serving[task] = scope["type"]
        try:
            await self._application(scope, crossing.receive, crossing.send)
        finally:
            del self._serving[task]

    async def end(self) -> None:
        """Let requests come to their answers for a moment, and end the rest; called on the own loop."""
        requests = [task for task, kind in self._serving.items() if kind == "http"]
        if requests:
            await asyncio.wait(requests, timeout=LAST_REQUESTS_S)
        left = list(self._serving)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _Crossing:
    """A request's `receive` and `send`, as the other loop may call them."""

    def __init__(self, kind: str, receive: Receive, send: Send) -> None:
        self._kind, self._receive, self._send = kind, receive, send
        self._loop = asyncio.get_running_loop()
        self._has_ended = False
        self.has_begun = False  # whether anything was sent

    async def receive(self) -> Message:
        try:
            return await self._there(self._receive)
        except OSError:  # the request has ended in the meantime, whatever its reader has missed
            return {
                "type": f"{self._kind}.disconnect",
                **({"code": 1006} if self._kind == "websocket" else {}),
            }

    async def send(self, message: Message) -> None:
        self.has_begun = True
        await self._there(lambda: self._send(message))

    async def _there(self, call: Callable[[], Awaitable[T]]) -> T:
        async def run() -> T:
            self._raise_if_ended()
            return await call()

        self._raise_if_ended()
        try:
            running = _start(run(), self._loop)
        except RuntimeError as exc:
            raise ConnectionAbortedError("the loop of the request was closed") from exc
        return await asyncio.wrap_future(running)

    def _raise_if_ended(self) -> None:
        if self._has_ended:
            raise ConnectionAbortedError("the request has ended")

    def end(self) -> None:
        """Touch the host's request no more."""
        self._has_ended = True


def _start(coroutine: Any, loop: asyncio.AbstractEventLoop) -> concurrent.futures.Future[Any]:
    try:
        return asyncio.run_coroutine_threadsafe(coroutine, loop)
    except RuntimeError:
        coroutine.close()
        raise


class Bridge:
    """The ASGI application that a host mounts. Starts what it leads to at the first request, or with the host's lifespan.

    running: gives what has started, if it has. start, close: start and end it, and may block.
    """

    def __init__(
        self, *, running: Callable[[], Inside | None], start: Callable[[], Inside], close: Callable[[], None]
    ) -> None:
        self._running, self._start, self._close = running, start, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or connection, or a lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        crossing = _Crossing(scope["type"], receive, send)
        try:
            inside = self._running()
            if inside is None:
                inside = await asyncio.to_thread(self._start)
            serving = inside.begin(scope, crossing)
        except (StreamgaugeError, RuntimeError) as exc:
            log.warning("a request is refused", reason=str(exc))
            await _refuse(scope, receive, send, str(exc))
            return
        try:
            await asyncio.wrap_future(serving)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():  # it is the host that ends it
                raise
            await _break_off(scope, send, has_begun=crossing.has_begun)
        finally:
            crossing.end()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            await asyncio.to_thread(self._start)
        except StreamgaugeError as exc:
            await send({"type": "lifespan.startup.failed", "message": str(exc)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        try:
            await asyncio.to_thread(self._close)
        except StreamgaugeError as exc:
            await send({"type": "lifespan.shutdown.failed", "message": str(exc)})
            return
        await send({"type": "lifespan.shutdown.complete"})


async def _refuse(scope: Scope, receive: Receive, send: Send, reason: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": RESTARTING, "reason": reason[:100]})
        return
    status = HTTPStatus.SERVICE_UNAVAILABLE
    body = body_of(status, "unavailable", reason)
    headers = [
        (b"content-type", MEDIA_TYPE.encode()),
        (b"content-length", b"%d" % len(body)),
        (b"retry-after", b"5"),
    ]
    await send({"type": "http.response.start", "status": int(status), "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _break_off(scope: Scope, send: Send, *, has_begun: bool) -> None:
    """End a request whose answer will not come any more, because what gives it was closed."""
    reason = "this Streamgauge was closed"
    with suppress(OSError, RuntimeError):  # the sender has gone, or there was an answer just before
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": RESTARTING, "reason": reason})
        elif not has_begun:
            await _refuse(scope, _nothing, send, reason)


async def _nothing() -> Message:
    return {}
