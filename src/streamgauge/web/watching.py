"""A dashboard that somebody has open on a socket: the join, and how its frames reach the browser."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import structlog

from streamgauge.channels import Connection, Join
from streamgauge.errors import StreamgaugeError
from streamgauge.live.hub import Hub, JoinRefused
from streamgauge.live.view import Range
from streamgauge.web.problem import Send
from streamgauge.web.protocols import Viewer, frame_text

log = structlog.get_logger()


class Frames:
    """Remembers the framing of the last message, which is the same for every viewer."""

    def __init__(self) -> None:
        self._message = self._frame = b""

    def __call__(self, message: bytes) -> bytes:
        """Give the frame of a message."""
        if message is not self._message:
            self._message, self._frame = message, frame_text(message)
        return self._frame


class DirectWatcher:
    """A viewer on our own server: ready frames go straight to its connection."""

    def __init__(self, viewer: Viewer, framed: Frames) -> None:
        self._viewer, self._framed = viewer, framed

    def begin(self) -> None:
        """Notice from now on after a few frames that the peer does not read."""
        if not self._viewer.viewing:
            self._viewer.become_viewer()

    def send(self, frame: bytes) -> bool:
        """Send a frame; False where the viewer is behind."""
        return self._viewer.write(self._framed(frame))

    def ready(self) -> bool:
        """Whether a frame would be sent now."""
        return self._viewer.writable

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        self._viewer.close(code, reason)


class QueuedWatcher:
    """A viewer under another ASGI server: one message under way at a time, the next is refused until it has gone."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._task: asyncio.Task[None] | None = None
        self._last_words: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Nothing has to be set up."""

    def send(self, frame: bytes) -> bool:
        """Send a frame; False where the one before has not gone yet."""
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
        """Whether a frame would be sent now."""
        return self._last_words is None and (self._task is None or self._task.done())

    def close(self, code: int, reason: str) -> None:
        """End the connection."""
        if self._last_words is None:
            self._last_words = self._deliver({"type": "websocket.close", "code": code, "reason": reason})


class Watching:
    """The dashboard that one connection has open, if any. answer: sends a frame that must not be skipped."""

    def __init__(
        self,
        hub: Hub,
        watcher: DirectWatcher | QueuedWatcher,
        connection: Connection,
        answer: Callable[[bytes], Awaitable[None]],
    ) -> None:
        self._hub, self._watcher, self._connection, self._answer = hub, watcher, connection, answer
        self._range: Range | None = None

    async def join(self, join: Join) -> None:
        """Answer a join with a snapshot, or say why not."""
        late: list[bytes] = []
        self._watcher.begin()

        def deliver(snapshot: bytes) -> bool:
            answer = self._connection.accept(join, snapshot)
            sent = self._watcher.send(answer)
            if not sent:
                late.append(answer)
            return sent

        try:
            params = msgspec.json.decode(join.params, type=dict[str, Any])
            self._range = await self._hub.join(self._watcher, params, deliver)
        except (msgspec.DecodeError, JoinRefused) as exc:
            await self._answer(self._connection.refuse(join, {"code": "bad_params", "reason": str(exc)}))
        except StreamgaugeError as exc:
            log.exception("a view could not be opened")
            await self._answer(self._connection.refuse(join, {"code": "unavailable", "reason": str(exc)}))
        for answer in late:
            await self._answer(answer)

    def end(self) -> None:
        """Watch no longer."""
        if self._range is not None:
            self._hub.leave(self._watcher, self._range)
            self._range = None
