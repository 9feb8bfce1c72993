"""`/socket/websocket`: the Phoenix Channels protocol over WebSocket, for viewers of dashboards and senders of events."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs

import structlog

from streamgauge.channels import (
    Action,
    Close,
    Connection,
    Join,
    Leave,
    Outgoing,
    ProtocolError,
    Push,
    serializer_for,
)
from streamgauge.errors import DecodeError
from streamgauge.live.hub import STOOD_STILL_S, Hub
from streamgauge.live.hub import TOPIC as DASHBOARD
from streamgauge.sources.socket import MANY, Pushes, SocketSource
from streamgauge.sources.socket import TOPIC as EVENTS
from streamgauge.web.problem import Receive, Scope, Send
from streamgauge.web.protocols import VIEWER_EXTENSION, Viewer
from streamgauge.web.replies import Replies
from streamgauge.web.watching import DirectWatcher, Frames, QueuedWatcher, Watching

log = structlog.get_logger()

PATH: Final = "/socket/websocket"
IDLE_S: Final = 60.0  # a client's heartbeat comes every 30 s
SUBPROTOCOL: Final = "phoenix"
TOO_BIG: Final = 1009
GOING_AWAY: Final = 1001


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What a message may be at most, in bytes: any message, and one that carries `new_events`.

    idle_s: after so long without a message a connection is closed.
    """

    message_bytes: int = 2**20
    events_bytes: int = 32 * 2**20
    idle_s: float = IDLE_S


class SocketEndpoint:
    """The ASGI application behind the socket."""

    def __init__(self, hub: Hub, source: SocketSource, limits: SocketLimits | None = None) -> None:
        self._hub, self._source, self._limits = hub, source, limits or SocketLimits()
        self._framed = Frames()

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
        viewer = (scope.get("extensions") or {}).get(VIEWER_EXTENSION)
        watcher = QueuedWatcher(send) if viewer is None else DirectWatcher(viewer, self._framed)
        session = _Session(self._hub, self._source, self._limits, watcher=watcher, viewer=viewer, send=send)
        try:
            await session.run(receive)
        finally:
            session.end()


def _refusal(scope: Scope) -> str | None:
    """Say why a handshake is refused: the version of the protocol. Who may open one is asked before (`access`)."""
    query = parse_qs(scope.get("query_string", b"").decode("latin-1"))
    try:
        serializer_for(query.get("vsn", [None])[0])
    except ProtocolError as exc:
        return exc.reason
    return None


def _is_longer(frame: str | bytes, most: int) -> bool:
    """Tell whether a message has more bytes than allowed."""
    return len(frame) > most or (
        isinstance(frame, str) and not frame.isascii() and len(frame.encode()) > most
    )


class _Session:
    """One connection: what it has joined, and what it is answered."""

    def __init__(
        self,
        hub: Hub,
        source: SocketSource,
        limits: SocketLimits,
        *,
        watcher: DirectWatcher | QueuedWatcher,
        viewer: Viewer | None,
        send: Send,
    ) -> None:
        self._limits, self._viewer, self._send, self._source = limits, viewer, send, source
        self._connection = Connection()
        self._watching = Watching(hub, watcher, self._connection, self._answer)
        self._pushes = Pushes(source, Replies(send, viewer))
        self._loop = asyncio.get_running_loop()
        self._silent_since: float | None = None
        self._timer = self._loop.call_later(limits.idle_s, self._look_at_the_clock)
        self._last_words: asyncio.Task[None] | None = None

    async def run(self, receive: Receive) -> None:
        """Take messages until the connection ends, or has to."""
        while True:
            self._silent_since = self._loop.time()
            message = await receive()
            self._silent_since = None
            if message["type"] == "websocket.disconnect":
                if message.get("code") == TOO_BIG:
                    self._source.refuse()
                return
            frame = message.get("text")
            if not await self._take(message.get("bytes", b"") if frame is None else frame):
                return

    def _look_at_the_clock(self) -> None:
        """Close a connection that has been silent; one timer an idle time costs the messages nothing.

        After the loop stood still, as in a process that was stopped, what came meanwhile has to be read first.
        """
        idle_s, now = self._limits.idle_s, self._loop.time()
        silent_s = 0.0 if self._silent_since is None else now - self._silent_since
        if now - self._timer.when() > STOOD_STILL_S:
            self._timer = self._loop.call_later(STOOD_STILL_S, self._look_at_the_clock)
        elif silent_s >= idle_s:
            self._last_words = self._loop.create_task(self._close(GOING_AWAY, "no heartbeat"))
        else:
            self._timer = self._loop.call_later(idle_s - silent_s, self._look_at_the_clock)

    async def _take(self, frame: str | bytes) -> bool:
        """Do what a frame asks for; False where the connection has been closed."""
        most = self._limits.message_bytes
        is_long = _is_longer(frame, most)
        for action in self._connection.receive(frame):
            if isinstance(action, Close):
                await self._close(action.code, action.reason)
                return False
            if is_long and not _carries_many(action):
                self._source.refuse()
                await self._close(TOO_BIG, f"a message of more than {most} bytes")
                return False
            await self._act(action)
        return True

    async def _act(self, action: Action) -> None:
        if isinstance(action, Push):
            await self._push(action)
        elif isinstance(action, Outgoing):
            await self._answer(action.data)
        elif isinstance(action, Join):
            await self._join(action)
        elif isinstance(action, Leave):
            self._leave(action.topic)

    async def _push(self, push: Push) -> None:
        message = push.message
        if message.topic == EVENTS:
            await self._pushes.take(message)
            return
        reason = {"code": "unknown_event", "reason": f"{message.topic} takes no {message.event!r}"}
        await self._answer(self._connection.reply(push, "error", reason))

    async def _join(self, join: Join) -> None:
        if join.topic == DASHBOARD:
            await self._watching.join(join)
            return
        if join.topic != EVENTS:
            unknown = {"code": "unknown_topic", "reason": f"there are {EVENTS} and {DASHBOARD}"}
            await self._answer(self._connection.refuse(join, unknown))
            return
        try:
            self._pushes.join(join.params)
        except DecodeError as exc:
            await self._answer(self._connection.refuse(join, {"code": exc.code, "reason": exc.problem}))
            return
        self._allow(max(self._limits.events_bytes, self._limits.message_bytes))
        await self._answer(self._connection.accept(join))

    def _leave(self, topic: str) -> None:
        if topic == DASHBOARD:
            self._watching.end()
        elif topic == EVENTS:
            self._allow(self._limits.message_bytes)

    def _allow(self, message_bytes: int) -> None:
        if self._viewer is not None:
            self._viewer.max_message_bytes = message_bytes

    async def _answer(self, frame: bytes) -> None:
        await self._send({"type": "websocket.send", "text": frame.decode()})

    async def _close(self, code: int, reason: str) -> None:
        with suppress(OSError, RuntimeError):  # it has ended in the meantime; `receive` says so too
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def end(self) -> None:
        """Watch no longer, and wait for nothing."""
        self._timer.cancel()
        self._watching.end()


def _carries_many(action: Action) -> bool:
    return isinstance(action, Push) and (action.message.topic, action.message.event) == (EVENTS, MANY)
