"""Requests built once and sent many times, and the answers to them: pure, without sockets.

Building bodies while sending would measure the sender. So the bodies stand ready, and only the second in their
timestamps is written anew, once a second and in place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

STAMP: Final = len("2026-01-31T12:34:56")
FIELD: Final = b'"timestamp":"'
END_OF_HEAD: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"


def stamp_of(second: int) -> bytes:
    """Write a second since 1970 as the first 19 characters of an ISO 8601 time."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()


class StampedRequest:
    """A POST of events whose `timestamp`s are moved to the second of sending; milliseconds stay as they are."""

    def __init__(self, lines: Sequence[bytes], media_type: str, path: str = "/api/events") -> None:
        body = b"\n".join(lines) + b"\n"
        head = (
            f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {media_type}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode()
        starts = np.cumsum([len(head), *(len(line) + 1 for line in lines[:-1])])
        offsets = [line.index(FIELD) + len(FIELD) for line in lines]
        self.events = len(lines)
        self._places = (starts + offsets)[:, None] + np.arange(STAMP)
        self._buffer = bytearray(head + body)
        self._octets = np.frombuffer(self._buffer, np.uint8)
        self._second = -1
        self._stamp = np.zeros(STAMP, np.uint8)

    def at(self, second: int) -> bytearray:
        """Give the request as of a second since 1970; valid, and not to be changed, until the next call."""
        if second != self._second:
            stamp = np.frombuffer(stamp_of(second), np.uint8)
            changed = np.flatnonzero(stamp != self._stamp)  # mostly one digit of nineteen
            self._octets[self._places[:, changed]] = stamp[changed]
            self._second, self._stamp = second, stamp
        return self._buffer


class Receipt(msgspec.Struct, frozen=True):
    """The body of an answer to sent events."""

    accepted: int = 0
    rejected: int = 0


class Answer(msgspec.Struct, frozen=True):
    """A complete answer. retry_after_s: 0 unless the header is there."""

    status: int
    receipt: Receipt
    retry_after_s: float = 0.0


_RECEIPTS: Final = msgspec.json.Decoder(Receipt)


def read_answer(data: bytes) -> Answer | None:
    """Read an answer from the beginning of `data`; None while it is not complete."""
    end = data.find(END_OF_HEAD)
    if end < 0:
        return None
    head = data[:end].lower()
    start = end + len(END_OF_HEAD)
    size = start + int(_header(head, LENGTH) or 0)
    if len(data) < size:
        return None
    status = int(head.split(b" ", 2)[1])
    receipt = _RECEIPTS.decode(data[start:size]) if size > start else Receipt()
    return Answer(status, receipt, float(_header(head, b"retry-after:") or 0))


def _header(head: bytes, name: bytes) -> bytes:
    _, found, rest = head.partition(b"\r\n" + name)
    return rest.split(b"\r\n", 1)[0].strip() if found else b""


def everything_accepted(events: int) -> bytes:
    """Give the end of an answer that accepts all of a request's events: what nearly every answer ends with."""
    return b'\r\n\r\n{"accepted":%d}' % events
