"""WebSocket handshakes and frames that break the rules or the limits, byte by byte over a socket: a table."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import zlib
from dataclasses import dataclass
from typing import Final

import pytest

from wire import WAIT_S, Bytes, Target, made, received

PATH: Final = b"/socket/websocket?vsn=2.0.0"
KEY: Final = b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA=="
LINES: Final = (
    b"Host: localhost",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Version: 13",
    KEY,
)
HANDSHAKE: Final = b"\r\n".join([b"GET " + PATH + b" HTTP/1.1", *LINES, b"", b""])
MIB: Final = 2**20
TEXT, CONTINUED, CLOSE, PING = 1, 0, 8, 9


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, first: int = 0, size: int | None = None
) -> bytes:
    """Write a masked frame whose mask is zero. first: bits to add; size: what to claim instead of the truth."""
    size = len(payload) if size is None else size
    head = bytes([opcode | (0x80 if fin else 0) | first])
    if size < 126:
        head += bytes([0x80 | size])
    else:
        head += (
            bytes([0xFE]) + struct.pack("!H", size)
            if size < 2**16
            else bytes([0xFF]) + struct.pack("!Q", size)
        )
    return head + bytes(4) + payload


def closing(code: int, reason: bytes = b"") -> bytes:
    return frame(CLOSE, struct.pack("!H", code) + reason)


def deflated() -> bytes:
    """100 MiB, compressed as permessage-deflate would (RFC 7692), which was not agreed on."""
    squeezer = zlib.compressobj(9, wbits=-15)
    return (
        b"".join(squeezer.compress(bytes(MIB)) for _ in range(100)) + squeezer.flush(zlib.Z_SYNC_FLUSH)[:-4]
    )


@dataclass(frozen=True)
class Frames:
    """One row: what each of `sent` closes the socket with."""

    number: str
    name: str
    sent: tuple[Bytes, ...]
    code: int


FRAMES: Final = [
    Frames("I-096", "unmasked", (b"\x81\x01x", b"\x89\x00"), 1002),
    Frames(
        "I-096", "reserved bits", tuple(frame(TEXT, b"[]", first=bit) for bit in (0x40, 0x20, 0x10)), 1002
    ),
    Frames(
        "I-096", "unknown opcodes", tuple(frame(code) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)), 1002
    ),
    Frames("I-096", "control in fragments", (frame(PING, fin=False), frame(CLOSE, fin=False)), 1002),
    Frames("I-096", "long control", (frame(PING, bytes(126)), frame(CLOSE, b"\x03\xe8" + bytes(124))), 1002),
    Frames("I-096", "a continuation of nothing", (frame(CONTINUED, b"x"),), 1002),
    Frames("I-096", "a message inside another", (frame(TEXT, b"[", fin=False) + frame(TEXT, b"]"),), 1002),
    Frames(
        "I-096",
        "codes that nobody sends",
        tuple(closing(code) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000)),
        1002,
    ),
    Frames("I-096", "a close of one byte", (frame(CLOSE, b"\x03"),), 1002),
    Frames(
        "I-096",
        "no UTF-8",
        (frame(TEXT, b"\xff"), frame(TEXT, b"\xed\xa0\x80"), closing(1000, b"\xff")),
        1007,
    ),
    Frames(
        "I-096",
        "no UTF-8 across fragments",
        (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONTINUED, b"x"),),
        1007,
    ),
    Frames("I-097", "2^62 bytes announced", (frame(TEXT, size=2**62), frame(TEXT, size=2**30)), 1009),
    Frames("I-097", "2^63 bytes announced", (frame(TEXT, size=2**63),), 1009),
    Frames("I-098", "more than any message may be", (frame(TEXT, size=33 * MIB),), 1009),
    Frames(
        "I-098",
        "60 MB in four fragments",
        (
            lambda: (
                frame(TEXT, b"x" * 15_000_000, fin=False) + frame(CONTINUED, b"x" * 15_000_000, fin=False) * 3
            ),
        ),
        1009,
    ),
    Frames(
        "I-098",
        "a million empty fragments",
        (lambda: frame(TEXT, fin=False) + frame(CONTINUED, fin=False) * 10**6,),
        1009,
    ),
    Frames(
        "I-099", "a message that inflates to 100 MiB", (lambda: frame(TEXT, deflated(), first=0x40),), 1002
    ),
    Frames("I-100", "a flood of pings", (lambda: frame(PING, b"hello") * 100_000,), 1008),
    Frames("I-096", "a good-bye", (closing(1000, b"bye"),), 1000),
]


@pytest.mark.parametrize("given", [pytest.param(one, id=f"{one.number} {one.name}") for one in FRAMES])
def test_frames_that_break_the_rules_close_the_socket_with_the_right_code(
    our_target: Target, given: Frames
) -> None:
    for sent in given.sent:
        assert close_code(our_target, made(sent)) == given.code
    assert_unharmed(our_target)


def close_code(our_target: Target, sent: bytes) -> int:
    """Shake hands, send, and read until the server has closed the connection; give the code that it gave."""
    with socket.create_connection(("127.0.0.1", our_target.port), timeout=WAIT_S) as connection:
        connection.sendall(HANDSHAKE)
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += connection.recv(1)
        assert b" 101 " in answer, answer
        assert b"permessage-deflate" not in answer
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        return last_close(b"".join(received(connection)))


def last_close(answers: bytes) -> int:
    place = 0
    while answers[place] != 0x88:
        place += 2 + answers[place + 1]
    return int(struct.unpack_from("!H", answers, place + 2)[0])


def assert_unharmed(our_target: Target) -> None:
    our_target.accept_a_good_event()
    assert our_target.process.poll() is None


def shaken(*lines: bytes, start: bytes = b"GET " + PATH + b" HTTP/1.1", body: bytes = b"") -> bytes:
    return b"\r\n".join([start, *lines, b"", body])


def without(name: bytes, *more: bytes) -> bytes:
    return shaken(*(line for line in LINES if not line.startswith(name)), *more)


HANDSHAKES: Final = {
    "I-093 no key": (without(b"Sec-WebSocket-Key"), 400),
    "I-093 keys that are none": (without(b"Sec-WebSocket-Key", b"Sec-WebSocket-Key: short"), 400),
    "I-093 two keys": (shaken(*LINES, b"Sec-WebSocket-Key: BBBBBBBBBBBBBBBBBBBBBB=="), 400),
    "I-093 version 12": (without(b"Sec-WebSocket-Version", b"Sec-WebSocket-Version: 12"), 400),
    "I-093 HTTP/1.0": (shaken(*LINES, start=b"GET " + PATH + b" HTTP/1.0"), 400),
    "I-093 a body": (shaken(*LINES, b"Content-Length: 5", body=b"hello"), 400),
    "I-093 a body in chunks": (
        shaken(*LINES, b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n\r\n"),
        400,
    ),
    "I-093 POST": (shaken(*LINES, start=b"POST " + PATH + b" HTTP/1.1"), 405),
    "I-093 no host": (without(b"Host"), 400),
    "I-094 another origin": (shaken(*LINES, b"Origin: https://evil.example"), 403),
    "I-094 no origin": (shaken(*LINES, b"Origin: null"), 403),
    "I-094 an origin that begins alike": (shaken(*LINES, b"Origin: http://localhost.evil.example"), 403),
    "I-094 another port": (shaken(*LINES, b"Origin: http://localhost:1"), 403),
    "I-094 two origins": (shaken(*LINES, b"Origin: http://localhost", b"Origin: https://evil.example"), 400),
    "I-099 50 extensions": (shaken(*LINES, *[b"Sec-WebSocket-Extensions: permessage-deflate"] * 100), 431),
}


@pytest.mark.parametrize(("sent", "status"), HANDSHAKES.values(), ids=HANDSHAKES.keys())
def test_a_handshake_that_is_none_is_refused_and_the_connection_closed(
    our_target: Target, sent: bytes, status: int
) -> None:
    reply = our_target.exchange(sent)
    assert reply.status == status, reply.raw
    assert len(reply.statuses) == 1
    assert_unharmed(our_target)


def test_ten_thousand_fragments_of_one_byte_are_a_message(our_target: Target) -> None:
    """I-098."""
    message = b"[" + b" " * 9_998
    fragments = [frame(CONTINUED, message[place : place + 1], fin=False) for place in range(1, len(message))]
    sent = frame(TEXT, message[:1], fin=False) + b"".join(fragments) + frame(CONTINUED, b"]") + closing(1000)
    assert close_code(our_target, sent) in {1000, 1003, 1007, 1008}  # it is no message of the protocol
    assert_unharmed(our_target)


def test_connections_that_ended_leave_no_open_files(our_target: Target) -> None:
    before = len(os.listdir(our_target.process_folder / "fd"))  # noqa: PTH208  (names are enough)
    for _ in range(50):
        assert close_code(our_target, frame(3)) == 1002
    our_target.accept_a_good_event()
    assert len(os.listdir(our_target.process_folder / "fd")) <= before + 3  # noqa: PTH208
