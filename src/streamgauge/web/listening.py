"""Ceasing to listen without resetting anybody who got through.

The system completes connections before we accept them, and a sender may have sent its whole request by then. Closing the
listening socket resets those; so first nobody new is let through, then the last ones are accepted, and only then it is
closed.
"""

import ctypes
import socket
import struct
import sys
from contextlib import suppress
from typing import Final

_ATTACH_FILTER: Final = 26  # SO_ATTACH_FILTER of Linux
_DROP_EVERYTHING: Final = struct.pack("HBBI", 0x06, 0, 0, 0)  # the packet filter "return 0 bytes"


def accept_the_last(listening: socket.socket) -> list[socket.socket]:
    """Let nobody new through and accept all that were; the socket is of no use any more and should be closed.

    Elsewhere than on Linux somebody can still get through in between.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # without the filter the gap is as small as it was
            _drop_what_comes(listening)
    accepted: list[socket.socket] = []
    while True:
        try:
            connection, _ = listening.accept()
        except OSError:  # nobody is left, or the one who was has gone
            return accepted
        connection.setblocking(False)  # noqa: FBT003  the system's own name for it
        accepted.append(connection)


def _drop_what_comes(listening: socket.socket) -> None:
    program = ctypes.create_string_buffer(_DROP_EVERYTHING)
    listening.setsockopt(socket.SOL_SOCKET, _ATTACH_FILTER, struct.pack("HL", 1, ctypes.addressof(program)))
