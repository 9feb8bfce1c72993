"""`/socket/websocket`: the Phoenix Channels protocol over WebSocket, for the dashboard's viewers."""

from __future__ import annotations

import asyncio
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import msgspec
import structlog

from streamgauge.channels import (
    Close,
    Connection,
    Join,
    Leave,
    Outgoing,
    ProtocolError,
    Push,
    serializer_for,
)
from streamgauge.errors import StreamgaugeError
from streamgauge.live.hub import TOPIC, Hub, JoinRefused
from streamgauge.live.view import Range
from streamgauge.web.problem import Receive, Scope, Send
from streamgauge.web.protocols import VIEWER_EXTENSION, Viewer, frame_text

log = structlog.get_logger()

PATH: Final = "/socket/websocket"
IDLE_S: Final = 60.0  # a client's heartbeat comes every 30 s
SUBPROTOCOL: Final = "phoenix"


class SocketEndpoint:
    """The ASGI application behind the socket. idle_s: after so long without a message a connection is closed."""

    def __init__(self, hub: Hub, *, idle_s: float = IDLE_S) -> None:
        self._hub, self._idle_s = hub, idle_s
        self._framed = _Frames()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection until it ends."""
        await receive()
        problem = _refusal(scope)
        if problem:
            log.info("socket refused", reason=problem)
            await send({"type": "websocket.close", "code": 1008, "reason": problem})
            return
        chosen = SUBPROTOCOL if SUBPROTOCOL in scope.get("subprotocols", ()) else None
        await send({"type": "websocket.accept", "subprotocol": chosen})
        session = _Session(self._hub, self._watcher(scope, send), send)
        try:
            await session.run(receive, self._idle_s)
        finally:
            session.end()

    def _watcher(self, scope: Scope, send: Send) -> _DirectWatcher | _QueuedWatcher:
        viewer = (scope.get("extensions") or {}).get(VIEWER_EXTENSION)
        if viewer is None:
            return _QueuedWatcher(send)
        viewer.become_viewer()
        return _DirectWatcher(viewer, self._framed)


def _refusal(scope: Scope) -> str | None:
    """Say why a handshake is refused: the version of the protocol, or a page of another origin."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    try:
        serializer_for(query.get("vsn", [None])[0])
    except ProtocolError as exc:
        return exc.reason
    headers = dict(scope["headers"])
    origin = headers.get(b"origin", b"").decode("latin-1")
    if origin and _host_of(origin) != headers.get(b"host", b"").decode("latin-1").lower():
        return "the page is of another origin"
    return None


def _host_of(origin: str) -> str | None:
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return None  # an address that cannot be one is none of ours


class _DirectWatcher:
    """A viewer on our own server: ready frames go straight to its connection."""

    def __init__(self, viewer: Viewer, framed: _Frames) -> None:
        self._viewer, self._framed = viewer, framed

    def send(self, frame: bytes) -> bool:
        return self._viewer.write(self._framed(frame))

    def ready(self) -> bool:
        return self._viewer.writable

    def close(self, code: int, reason: str) -> None:
        self._viewer.close(code, reason)


class _Frames:
    """Remembers the framing of the last message, which is the same for every viewer."""

    def __init__(self) -> None:
        self._message = self._frame = b""

    def __call__(self, message: bytes) -> bytes:
        if message is not self._message:
            self._message, self._frame = message, frame_text(message)
        return self._frame


class _QueuedWatcher:
    """A viewer under another ASGI server: one message under way at a time, the next is refused until it has gone."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._task: asyncio.Task[None] | None = None
        self._last_words: asyncio.Task[None] | None = None

    def send(self, frame: bytes) -> bool:
        if not self.ready():
            return False
        self._task = self._deliver({"type": "websocket.send", "text": frame.decode()})
        return True

    def _deliver(self, message: dict[str, Any]) -> asyncio.Task[None]:
        async def deliver() -> None:
            try:
                await self._send(message)
            except (OSError, RuntimeError):
                return  # the connection has ended; `receive` says so too

        return asyncio.create_task(deliver())

    def ready(self) -> bool:
        return self._last_words is None and (self._task is None or self._task.done())

    def close(self, code: int, reason: str) -> None:
        if self._last_words is None:
            self._last_words = self._deliver({"type": "websocket.close", "code": code, "reason": reason})


class _Session:
    """One connection: what it has joined, and what it is answered."""

    def __init__(self, hub: Hub, watcher: _DirectWatcher | _QueuedWatcher, send: Send) -> None:
        self._hub, self._watcher, self._send = hub, watcher, send
        self._connection = Connection()
        self._watched: Range | None = None

    async def run(self, receive: Receive, idle_s: float) -> None:
        while True:
            try:
                async with asyncio.timeout(idle_s):
                    message = await receive()
            except TimeoutError:
                await self._send({"type": "websocket.close", "code": 1001, "reason": "no heartbeat"})
                return
            if message["type"] == "websocket.disconnect":
                return
            frame = message.get("text")
            for action in self._connection.receive(frame if frame is not None else message.get("bytes", b"")):
                if isinstance(action, Close):
                    await self._send(
                        {"type": "websocket.close", "code": action.code, "reason": action.reason}
                    )
                    return
                await self._act(action)

    async def _act(self, action: Join | Push | Leave | Outgoing) -> None:
        if isinstance(action, Outgoing):
            await self._answer(action.data)
        elif isinstance(action, Leave):
            self.end()
        elif isinstance(action, Join):
            await self._join(action)
        else:
            reason = {"code": "unknown_event", "reason": f"{TOPIC} takes no {action.message.event!r}"}
            await self._answer(self._connection.reply(action, "error", reason))

    async def _join(self, join: Join) -> None:
        if join.topic != TOPIC:
            await self._answer(
                self._connection.refuse(join, {"code": "unknown_topic", "reason": f"there is {TOPIC}"})
            )
            return
        late: list[bytes] = []

        def deliver(snapshot: bytes) -> bool:
            answer = self._connection.accept(join, snapshot)
            sent = self._watcher.send(answer)
            if not sent:
                late.append(answer)
            return sent

        try:
            params = msgspec.json.decode(join.params, type=dict[str, Any])
            self._watched = await self._hub.join(self._watcher, params, deliver)
        except (msgspec.DecodeError, JoinRefused) as exc:
            await self._answer(self._connection.refuse(join, {"code": "bad_params", "reason": str(exc)}))
        except StreamgaugeError as exc:
            log.exception("a view could not be opened")
            await self._answer(self._connection.refuse(join, {"code": "unavailable", "reason": str(exc)}))
        for answer in late:
            await self._answer(answer)

    async def _answer(self, frame: bytes) -> None:
        await self._send({"type": "websocket.send", "text": frame.decode()})

    def end(self) -> None:
        if self._watched is not None:
            self._hub.leave(self._watcher, self._watched)
            self._watched = None
