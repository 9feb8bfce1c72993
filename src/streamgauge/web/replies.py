"""Answers on a socket that must not be skipped: those of one turn of the event loop leave together."""

from __future__ import annotations

import asyncio

from streamgauge.web.problem import Send
from streamgauge.web.protocols import Viewer, frame_text


class Replies:
    """Sends answers. viewer: the way past ASGI on our own server, where each message alone is a call of the system."""

    def __init__(self, send: Send, viewer: Viewer | None) -> None:
        self._send, self._viewer = send, viewer
        self._frames: list[bytes] = []

    def send_now(self, frame: bytes) -> bool:
        """Send a frame, unless that would have to wait; False, and nothing is sent, then."""
        if self._viewer is None or self._viewer.behind_since is not None:
            return False
        if not self._frames:
            asyncio.get_running_loop().call_soon(self._flush, self._viewer)
        self._frames.append(frame_text(frame))
        return True

    async def send(self, frame: bytes) -> None:
        """Send a frame; waits while the peer takes nothing. Nothing is sent once the connection has ended."""
        if self.send_now(frame):
            return
        try:
            await self._send({"type": "websocket.send", "text": frame.decode()})
        except (OSError, RuntimeError):
            return  # the connection has ended; `receive` says so too

    def _flush(self, viewer: Viewer) -> None:
        frames, self._frames = self._frames, []
        viewer.send(b"".join(frames))
