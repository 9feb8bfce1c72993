"""Viewers of the dashboard `overview` that join and then never read: plain sockets whose kernel buffers are small."""

from __future__ import annotations

import socket
import sys
from typing import Final

from benchmarks.plans import IdlePlan
from benchmarks.programs.joining import END_OF_HEAD, HANDSHAKE, JOIN
from benchmarks.programs.talk import hear, say

RECEIVE_BUFFER: Final = 4096  # bytes; the kernel doubles it for its own account
PATIENCE_S: Final = 30.0


def join(port: int) -> socket.socket:
    """Open a socket and join; nothing after the handshake's answer is ever read."""
    viewer = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    viewer.setsockopt(
        socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER
    )  # before connecting: it sets the window
    viewer.settimeout(PATIENCE_S)
    viewer.connect(("127.0.0.1", port))
    viewer.sendall(HANDSHAKE)
    head = b""
    while END_OF_HEAD not in head:
        part = viewer.recv(1)
        if not part:
            raise RuntimeError(f"the connection was lost after {head!r}")
        head += part
    if not head.startswith(b"HTTP/1.1 101"):
        raise RuntimeError(f"the server refused: {head!r}")
    viewer.sendall(JOIN)
    return viewer


def main() -> None:
    plan = hear(IdlePlan)
    say("ready")
    kept: list[socket.socket] = []  # open until this process ends
    while sys.stdin.readline():
        kept += [join(plan.port) for _ in range(plan.viewers)]
        say(len(kept))


if __name__ == "__main__":
    main()
