"""WebSocket frames as a client needs them: RFC 6455, section 5.2; no extensions, no fragments."""

from __future__ import annotations

import struct
from typing import Final

TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9
PONG: Final = 10

Frame = tuple[int, bytes]


def client_frame(payload: bytes, opcode: int = TEXT) -> bytes:
    """Write a masked frame; the mask is zero, which leaves the payload as it is and costs nothing."""
    size = len(payload)
    first = 0x80 | opcode
    if size < 126:
        head = struct.pack("!BB", first, 0x80 | size)
    elif size < 65_536:
        head = struct.pack("!BBH", first, 0x80 | 126, size)
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, size)
    return head + bytes(4) + payload


class FrameReader:
    """Cuts a server's stream into frames."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Frame]:
        """Take what came in, cut anywhere; give the frames that it completes."""
        if self._rest:
            data = self._rest + data
        frames: list[Frame] = []
        at = 0
        while (bounds := _bounds(data, at)) is not None:
            start, end = bounds
            frames.append((data[at] & 0x0F, data[start:end]))
            at = end
        self._rest = data[at:]
        return frames


def _bounds(data: bytes, at: int) -> tuple[int, int] | None:
    """Give where the payload of the frame at `at` begins and ends; None while it is not complete."""
    if len(data) < at + 2:
        return None
    size, start = data[at + 1] & 0x7F, at + 2
    if size >= 126:
        wide = 2 if size == 126 else 8
        start += wide
        if len(data) < start:
            return None
        size = int.from_bytes(data[start - wide : start], "big")
    return (start, start + size) if len(data) >= start + size else None
