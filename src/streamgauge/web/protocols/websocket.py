"""WebSocket connections: uvicorn's, bounded in every direction."""

import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from streamgauge.web.protocols.outgoing import Outgoing
from streamgauge.web.protocols.refusal import Refusal
from streamgauge.web.protocols.viewer import VIEWER_EXTENSION, Viewer

if TYPE_CHECKING:
    import asyncio

    from uvicorn.server import ServerState
    from websockets.frames import Frame

    from streamgauge.web.server import ServerConfig


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that offers its `Viewer` to the application, and is bounded in every direction.

    Passed to uvicorn as `ws=` by `uvicorn_config`. Too large a message or too many fragments end it with 1009,
    a flood of pings with 1008; a peer that takes nothing is cut off.
    """

    config: "ServerConfig"
    viewer: Viewer

    def __init__(
        self,
        config: "ServerConfig",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: "asyncio.AbstractEventLoop | None" = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._outgoing = Outgoing()
        self._pings = 0

    def connection_made(self, transport: "asyncio.BaseTransport") -> None:
        """Start the clock."""
        super().connection_made(transport)
        self.viewer = Viewer(self)
        self.config.watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self.config.watch.discard(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note since when the peer is behind."""
        self._outgoing.stuck_since = self.loop.time()
        self.viewer.behind_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the peer has caught up."""
        self._outgoing.stuck_since = 0.0
        self.viewer.behind_since = None
        super().resume_writing()

    def check(self, now: float, elapsed: float) -> None:  # noqa: ARG002  (see `Watched`)
        """End the connection if its peer takes nothing; see `Watched`."""
        self._pings = 0
        timeout_s = self._limits.viewer_timeout_s if self.viewer.viewing else self._limits.write_timeout_s
        if self._outgoing.is_overdue(self.transport, now, timeout_s):
            self.transport.abort()

    def forgive(self, lost_s: float) -> None:
        """Move the deadline; see `Watched`."""
        self._outgoing.forgive(lost_s)

    async def run_asgi(self) -> None:
        """Run the application, with the viewer among its scope's extensions."""
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions[VIEWER_EXTENSION] = self.viewer
        await super().run_asgi()

    def refuse_handshake(self) -> None:
        """Answer a handshake that could not even be read, which uvicorn leaves open."""
        self.config.count_refused("handshake")
        answer = b"".join(self.conn.data_to_send())
        problem = Refusal(HTTPStatus.BAD_REQUEST, "handshake", "the WebSocket handshake cannot be read")
        self.transport.write(answer or problem.response(self.default_headers))
        self.transport.close()

    def end(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's as long as uvicorn would; nothing if that was done already."""
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def handle_cont(self, event: "Frame") -> None:
        """Bound the number of fragments: empty ones never reach the limit on bytes."""
        if self.close_sent:
            return
        if len(self.frames) >= self._limits.websocket_fragments:
            self.conn.fail(1009, f"a message of more than {self._limits.websocket_fragments} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer, unless there are too many, or the peer does not read the answers. RFC 6455, section 5.5.3."""
        if self.close_sent:
            return
        self._pings += 1
        if self._pings > self._limits.websocket_pings:
            self.conn.fail(1008, "too many pings")
            self.handle_parser_exception()
        elif self._outgoing.stuck_since:
            self.conn.data_to_send()  # taken out and left unsent, so that nothing piles up
        else:
            super().handle_ping()

    def handle_parser_exception(self) -> None:
        """End the connection; uvicorn expects that it was accepted before it went wrong."""
        if self.conn.close_sent is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
            # as after a lost connection, so that accepting it is no error of the application
            self.close_sent = self.disconnected = self.handshake_complete = True
            self.transport.close()
            return
        super().handle_parser_exception()
