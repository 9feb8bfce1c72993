"""How a viewer of the dashboard `overview` begins, as bytes."""

from __future__ import annotations

from typing import Final

from benchmarks.programs.frames import client_frame

END_OF_HEAD: Final = b"\r\n\r\n"
HANDSHAKE: Final = (
    b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: c3RyZWFtZ2F1Z2V2aWV3cw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
JOIN: Final = client_frame(b'["1","1","dashboard:overview","phx_join",{}]')
