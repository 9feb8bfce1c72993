"""Frames that are made once for everybody, and the viewers that they are written to."""

import socket
import struct
from typing import TYPE_CHECKING, Final, cast

from streamgauge.errors import InternalError

if TYPE_CHECKING:
    from streamgauge.web.protocols.websocket import WebSocketProtocol

VIEWER_EXTENSION: Final = "streamgauge.viewer"
"""Where an application finds its `Viewer` in `scope["extensions"]`; absent under any other server."""


def frame_text(payload: bytes) -> bytes:
    """Make the one unmasked text frame that every viewer gets. `payload`: UTF-8. RFC 6455, section 5.2."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


class Viewer:
    """A browser that watches, on a WebSocket that was accepted: frames go straight to its connection.

    `writable`: whether `write` would send. `behind_since`: since when the peer has not taken what was written
    (the clock of `time.monotonic`), or None. A viewer that is behind needs full state once it is writable again.
    """

    __slots__ = ("_protocol", "_transport", "_viewing", "behind_since")

    def __init__(self, protocol: "WebSocketProtocol") -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._viewing = False
        self.behind_since: float | None = None

    @property
    def writable(self) -> bool:
        """Whether a frame would be sent now. False before `become_viewer()` and after the connection's end."""
        return (
            self._viewing
            and self.behind_since is None
            and not self._protocol.close_sent
            and not self._transport.is_closing()
        )

    @property
    def viewing(self) -> bool:
        """Whether `become_viewer()` was called."""
        return self._viewing

    @property
    def max_message_bytes(self) -> int:
        """The largest message that this connection may send; what is larger closes it with 1009.

        Setting it holds from the next message on of which nothing has arrived yet.
        """
        return cast("int", self._protocol.conn.max_message_size)

    @max_message_bytes.setter
    def max_message_bytes(self, size: int) -> None:
        self._protocol.conn.max_message_size = size

    def become_viewer(self) -> None:
        """Let this connection notice after a few frames that its peer does not read.

        Otherwise the kernel would take up to 4 MB of frames, half an hour's worth, before anybody noticed.
        Raises InternalError before the application has accepted the WebSocket.
        """
        if self._transport.is_closing():
            return  # the peer left before it was accepted, which is nobody's mistake
        if not self._protocol.handshake_complete:
            raise InternalError("become_viewer() was called before the WebSocket was accepted")
        connection = self._transport.get_extra_info("socket")
        not_sent = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS
        if (
            not_sent is not None
            and connection is not None
            and connection.family in {socket.AF_INET, socket.AF_INET6}
        ):
            connection.setsockopt(socket.IPPROTO_TCP, not_sent, 4096)
        self._transport.set_write_buffer_limits(high=0)
        self._viewing = True

    def write(self, frame: bytes) -> bool:
        """Send one whole frame, as `frame_text` makes it. False: nothing was sent, because the peer is behind."""
        if not self.writable:
            return False
        self._transport.write(frame)
        return True

    def send(self, frames: bytes) -> None:
        """Send whole frames that may not be skipped, also when the peer is behind; nothing after the connection's end.

        Whoever calls it looks at `behind_since` first, so that little piles up.
        """
        if not self._protocol.close_sent and not self._transport.is_closing():
            self._transport.write(frames)

    def close(self, code: int, reason: str = "") -> None:
        """End the connection: `code` as in RFC 6455, 7.4, `reason` of at most 123 bytes. Twice is as once.

        The application receives `websocket.disconnect`. A peer that does not answer is cut off.
        Raises InternalError before the application has accepted the WebSocket.
        """
        if not self._protocol.handshake_complete and not self._transport.is_closing():
            raise InternalError("close() was called before the WebSocket was accepted")
        self._protocol.end(code, reason)
