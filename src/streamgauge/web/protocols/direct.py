"""Small requests to one address that are answered without an ASGI cycle, which would cost more than their events.

A request goes this way only where nothing about it is out of the ordinary: a body of known, small length, on a
connection that has nothing else under way. Every other one reaches the application as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Final, NamedTuple, Protocol

MOST_BYTES: Final = 32 * 1024

Header = tuple[bytes, bytes]
Answer = Callable[[int, Sequence[Header], bytes], None]


class DirectRequest(NamedTuple):
    """A request whose body has come as a whole. fields: its headers, of which none came twice. answer: called once."""

    query: bytes
    fields: Mapping[bytes, bytes]
    body: bytes
    answer: Answer


class DirectHandler(Protocol):
    """What takes small POST requests to `path`."""

    path: bytes

    def wants(self, fields: Mapping[bytes, bytes]) -> bool:
        """Tell from the headers whether to take a request; no is always right."""

    def take(self, request: DirectRequest) -> None:
        """Take a request; answer it now or later."""


class _NoEvent:
    """Nobody waits for the parts of a body."""

    def set(self) -> None:
        """Do nothing."""


_NO_EVENT: Final = _NoEvent()


class DirectCycle:
    """Stands where uvicorn has the cycle of a request and its response, with what the connection looks at."""

    __slots__ = (
        "body", "disconnected", "fields", "keep_alive", "message_event", "more_body", "query",
        "response_complete", "response_started",
    )  # fmt: skip

    def __init__(self, query: bytes, fields: Mapping[bytes, bytes], *, keep_alive: bool) -> None:
        self.query, self.fields, self.keep_alive = query, fields, keep_alive
        self.body = b""
        self.message_event = _NO_EVENT
        self.more_body = True
        self.disconnected = self.response_started = self.response_complete = False


def is_small(fields: Mapping[bytes, bytes]) -> bool:
    """Tell whether a body's length is known, and small."""
    length = fields.get(b"content-length", b"")
    return len(length) <= 5 and length.isdigit() and int(length) <= MOST_BYTES


_STATUS_LINES: Final = {
    status.value: b"HTTP/1.1 %d %b\r\n" % (status, status.phrase.encode()) for status in HTTPStatus
}


def response_head(status: int, headers: Sequence[Header], length: int) -> bytes:
    """Write a response up to its body."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"%b%bcontent-length: %d\r\n\r\n" % (_STATUS_LINES[status], b"".join(lines), length)
