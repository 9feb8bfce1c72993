"""Bad lines, media types and compressed bodies, as `POST /api/events` answers them: a table."""

from __future__ import annotations

import contextlib
import gzip
import socket
import struct
import time
import zlib
from typing import Any, Final

import pytest
import zstandard

from wire import JSON, LINES, WAIT_S, Bytes, Input, Target, check_in_the_end, check_input, request, rows

MIB: Final = 2**20
EVENT: Final = b'{"type":"line"}'
HUNDRED: Final = [EVENT] * 100
MEMBER: Final = gzip.compress(EVENT + b"\n", mtime=0)


def taken(number: str, name: str, *sent: Bytes, accepted: int = 1, **more: Any) -> Input:
    return Input(number, name, sent, 202, accepted=accepted, **more)


def lines(number: str, name: str, *sent: Bytes, accepted: int) -> Input:
    return taken(number, name, *sent, accepted=accepted, headers=LINES)


def kind(number: str, name: str, status: int, *headers: bytes, says: str = "", **more: Any) -> Input:
    """An event, sent with these headers instead of the usual one."""
    return Input(number, name, (EVENT,), status, says, int(status == 202), headers, **more)


def coded(
    number: str, name: str, coding: str, *sent: Bytes, status: int = 400, says: str = "malformed"
) -> Input:
    headers = (*LINES, b"Content-Encoding: " + coding.encode())
    return Input(number, name, sent, status, says, int(status == 202), headers)


def with_line(bad: bytes, place: int) -> bytes:
    return b"\n".join([*HUNDRED[:place], bad, *HUNDRED[place + 1 :]])


def gzip_bomb(mebibytes: int) -> bytes:
    """Zeros, compressed a mebibyte at a time: the same few bytes again and again."""
    squeezer = zlib.compressobj(9, wbits=31)
    head = squeezer.compress(bytes(MIB)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    again = squeezer.compress(bytes(MIB)) + squeezer.flush(zlib.Z_FULL_FLUSH)
    return head + again * (mebibytes - 1) + squeezer.flush()


def zstd_bomb() -> bytes:
    squeezer = zstandard.ZstdCompressor(level=1).compressobj()
    return b"".join(squeezer.compress(bytes(MIB)) for _ in range(512)) + squeezer.flush()


def zstd_frame(descriptor: int, rest: bytes) -> bytes:
    """Write the head of a frame. RFC 8878, section 3.1.1.1."""
    return b"\x28\xb5\x2f\xfd" + bytes([descriptor]) + rest


ZIPPED: Final = gzip.compress(EVENT, mtime=0)
SQUEEZED: Final = zstandard.ZstdCompressor(write_checksum=True).compress(EVENT)

TABLE: Final = [
    lines("I-046", "no newline at the end", EVENT, accepted=1),
    lines("I-046", "CRLF", EVENT + b"\r\n" + EVENT + b"\r\n", EVENT + b"\r\n" + EVENT, accepted=2),
    Input("I-046", "CR alone", (EVENT + b"\r" + EVENT,), 400, "no line of it is JSON", headers=LINES),
    lines("I-046", "blank lines", b"\n\n" + EVENT + b"\n \n\t\n" + EVENT + b"\n\n", accepted=2),
    lines("I-046", "a million blank lines", lambda: b"\n" * 10**6 + EVENT, accepted=1),
    Input("I-046", "nothing but blank lines", (b"\n" * 10**6, b"\r\n"), 400, "empty_body", headers=LINES),
    Input("I-046", "U+2028 between events", (EVENT + "\u2028".encode() + EVENT,), 400, "JSON", headers=LINES),
    *(
        Input(
            "I-047",
            f"a bad line in place {place}",
            (with_line(bad, place),),
            202,
            f'"index":{place},',
            99,
            LINES,
        )
        for place in (0, 50, 99)
        for bad in (
            b"{",
            b'{"type":"a","x":"\xff"}',
            b"42",
            b'{"type":""}',
            b'{"type":"a","x":"\xed\xa0\x80"}',
        )
    ),
    Input(
        "I-047",
        "two events on a line",
        (with_line(EVENT + EVENT, 50), with_line(EVENT + b"," + EVENT, 50)),
        202,
        '"rejected":1',
        99,
        LINES,
    ),
    Input(
        "I-048",
        "a line of more than 256 KiB among others",
        (lambda: with_line(b'{"type":"a","x":["' + b'","'.join([b"x" * 1000] * 300) + b'"]}', 7),),
        202,
        "at most 262144",
        99,
        LINES,
    ),
    Input(
        "I-048",
        "10 MiB without a newline",
        (lambda: b'{"type":"' + b"x" * 10 * MIB + b'"}',),
        422,
        "bytes",
        headers=LINES,
    ),
    kind("I-058", "no media type", 202),
    kind("I-058", "text", 415, b"Content-Type: text/plain", says="unsupported_media_type"),
    kind(
        "I-058",
        "JSON in other letters, with a charset",
        202,
        b"Content-Type: application/JSON; charset=latin-1",
    ),
    kind("I-058", "two in one", 415, b"Content-Type: application/json, text/html"),
    kind(
        "I-058",
        "twice",
        400,
        *JSON,
        b"Content-Type: application/x-ndjson",
        says="Content-Type",
        ours_only=True,
    ),
    kind("I-058", "a form", 415, b"Content-Type: multipart/form-data; boundary=x"),
    kind("I-058", "8 KiB of it", 415, b"Content-Type: " + b"x" * 8192),
    kind(
        "I-058",
        "64 KiB of it",
        431,
        b"Content-Type: " + b"x" * 65_536,
        says="header_too_large",
        ours_only=True,
    ),
    kind(
        "I-058",
        "a colour of the terminal in it",
        400,
        b"Content-Type: application/json\x1b[31m",
        says="malformed",
        ours_only=True,
    ),
    coded("I-059", "gzip that is none", "gzip", EVENT, b"", b"\x1f\x8b", SQUEEZED),
    Input("I-059", "gzip that is not announced", (ZIPPED,), 400, "not JSON"),
    coded("I-059", "gzip cut off anywhere", "gzip", *(ZIPPED[:end] for end in range(1, len(ZIPPED)))),
    coded("I-059", "a wrong checksum", "gzip", ZIPPED[:-8] + b"\0" * 8, ZIPPED[:-4] + b"\0" * 4),
    coded("I-059", "more behind the end", "gzip", ZIPPED + b"garbage", ZIPPED + b"\0"),
    Input("I-059", "two members", (MEMBER * 2,), 202, "", 2, (*LINES, b"Content-Encoding: gzip")),
    coded("I-059", "zstd that is none", "zstd", EVENT, b"", ZIPPED, b"\x28\xb5\x2f\xfd"),
    coded("I-059", "zstd cut off anywhere", "zstd", *(SQUEEZED[:end] for end in range(1, len(SQUEEZED)))),
    coded("I-059", "zstd with a wrong checksum", "zstd", SQUEEZED[:-4] + b"\0\0\0\0"),
    coded("I-060", "gzip of 64 MiB", "gzip", lambda: gzip_bomb(64), status=413, says="100 times"),
    coded("I-060", "gzip of 10 GiB", "gzip", lambda: gzip_bomb(10_240), status=413, says="too_large"),
    coded("I-061", "zstd of 512 MiB", "zstd", zstd_bomb, status=413, says="100 times"),
    coded(
        "I-061",
        "a window of 2 GiB",
        "zstd",
        zstd_frame(0x00, bytes([21 << 3]) + b"\x01\0\0"),
        status=413,
        says="window",
    ),
    coded("I-061", "a skippable frame of 4 GiB", "zstd", b"\x50\x2a\x4d\x18\xff\xff\xff\xff" + b"x" * 100),
    coded(
        "I-061",
        "a frame that says it holds 2^63",
        "zstd",
        zstd_frame(0xE0, struct.pack("<Q", 2**63) + b"\x01\0\0"),
        status=413,
        says="window",
    ),
    *(
        coded("I-062", f"the coding {coding!r}", coding, ZIPPED, status=415, says="unsupported_encoding")
        for coding in (
            ", ".join(["gzip"] * 10),
            "gzip, gzip",
            "deflate",
            "br",
            "x",
            "identity;q=0",
            "gzip;q=1",
            "zstd,gzip",
            "*",
        )
    ),
    coded(
        "I-062",
        "two lines of codings",
        "gzip\r\nContent-Encoding: gzip",
        ZIPPED,
        status=415,
        says="unsupported_encoding",
    ),
    coded("I-062", "gzip in other letters", "GZip", ZIPPED, status=202, says=""),
    kind("I-062", "the coding that is none", 202, b"Content-Encoding: identity"),
]


@pytest.mark.parametrize("given", rows(TABLE))
def test_an_input_is_answered_as_documented_and_harms_nobody(target: Target, given: Input) -> None:
    check_input(target, given)


@pytest.mark.parametrize("reset", [False, True], ids=["ends the connection", "resets the connection"])
def test_nothing_is_taken_of_a_body_whose_sender_leaves_in_the_middle(target: Target, *, reset: bool) -> None:
    before = target.ledger()
    whole = request(b"\n".join(HUNDRED), LINES)
    with socket.create_connection(("127.0.0.1", target.port), timeout=WAIT_S) as connection:
        connection.sendall(whole[:-700])
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            connection.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert b" 202 " not in connection.recv(65_536)
    target.accept_a_good_event()
    after = target.ledger()
    assert after["received"] == before["received"] + 1


def test_a_bomb_is_refused_before_it_costs_time_or_memory(target: Target) -> None:
    bomb, headers = gzip_bomb(10_240), (*LINES, b"Content-Encoding: gzip")
    before = memory_bytes(target)
    begun = time.monotonic()
    assert target.post(bomb, headers).status == 413
    assert time.monotonic() - begun < 20
    assert memory_bytes(target) - before < 400 * MIB


def memory_bytes(target: Target) -> int:
    """Give the most memory that the server has had, which the kernel knows."""
    status = (target.process_folder / "status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) * 1024


def test_everything_that_was_accepted_and_nothing_else_is_stored_as_it_was_sent(target: Target) -> None:
    check_in_the_end(target)
