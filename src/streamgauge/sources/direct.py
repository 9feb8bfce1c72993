"""Small bodies of `POST /api/events` without ASGI: for one event a request, the cycle costs more than the event.

What is not perfectly ordinary is handed to `HttpSource`, which says what is wrong with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final, Protocol

import msgspec

from streamgauge.errors import DecodeError
from streamgauge.source import Receipt, SmallDoor
from streamgauge.sources.doors import HEADER as DOOR
from streamgauge.sources.formats import FORMATS, media_type
from streamgauge.sources.http import JSON, JSON_HEADER, LINES, SOURCE, HttpSource

EVENTS_PATH: Final = b"/api/events"
UNUSUAL: Final = FORMATS.marks | {
    b"content-encoding",
    b"idempotency-key",
    b"authorization",
    b"x-api-key",
    b"origin",
    b"sec-fetch-site",
    DOOR,
}
ACCEPTED: Final = HTTPStatus.ACCEPTED.value

Header = tuple[bytes, bytes]


class Request(Protocol):
    """A request whose body has come as a whole."""

    @property
    def query(self) -> bytes:
        """What stands behind the question mark."""

    @property
    def fields(self) -> Mapping[bytes, bytes]:
        """The headers."""

    @property
    def body(self) -> bytes:
        """The whole body."""

    def answer(self, status: int, headers: Sequence[Header], body: bytes, /) -> None:
        """Answer it, once."""


class DirectIngest:
    """Takes small requests. source: what takes the others, and counts all of them. answers_to: whether a Host is ours."""

    path = EVENTS_PATH

    def __init__(self, door: SmallDoor, source: HttpSource, answers_to: Callable[[bytes], bool]) -> None:
        self._door, self._source, self._answers_to = door, source, answers_to
        self._known_host: bytes | None = None
        self._slow: set[asyncio.Task[None]] = set()

    def wants(self, fields: Mapping[bytes, bytes]) -> bool:
        """Tell whether the headers ask for nothing but JSON or lines of it, and no browser of anything."""
        host = fields.get(b"host", b"")
        if host != self._known_host:
            if not self._answers_to(host):
                return False
            self._known_host = host
        return UNUSUAL.isdisjoint(fields) and _kind(fields.get(b"content-type", b"")) is not None

    def take(self, request: Request) -> None:
        """Take one request, and answer it when its events are in the journal."""
        started = perf_counter()
        accepted = self._accept(request)
        if accepted is None:
            task = asyncio.get_running_loop().create_task(self._take_slowly(request))
            self._slow.add(task)
            task.add_done_callback(self._slow.discard)
            return

        def answer(done: asyncio.Future[Receipt]) -> None:
            error = done.exception()
            if error is None and not done.result().rejected and not done.result().duplicates:
                request.answer(ACCEPTED, (JSON_HEADER,), b'{"accepted":%d}' % done.result().accepted)
                self._source.note(ACCEPTED, started)
                return
            is_lines = bool(_kind(request.fields.get(b"content-type", b"")))
            given = self._source.answer_of(error or done.result(), is_lines=is_lines)
            request.answer(given.status, given.headers, given.body)
            self._source.note(given.status, started)

        accepted.add_done_callback(answer)

    def _accept(self, request: Request) -> asyncio.Future[Receipt] | None:
        body = request.body
        if body[:1] != b"{":
            return None
        try:
            if not _kind(request.fields.get(b"content-type", b"")):
                body = msgspec.json.format(body, indent=-1)
            return self._door.accept_now(body, SOURCE, self._source.mapping(request.query))
        except (DecodeError, msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return None

    async def _take_slowly(self, request: Request) -> None:
        """Have the ASGI application answer."""
        scope = {
            "method": "POST",
            "headers": list(request.fields.items()),
            "query_string": request.query,
        }
        start: dict[str, Any] = {}

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": request.body}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
                return
            headers = [header for header in start["headers"] if header[0].lower() != b"content-length"]
            request.answer(start["status"], headers, message["body"])

        await self._source(scope, receive, send)


@lru_cache(maxsize=256)
def _kind(content_type: bytes) -> bool | None:
    """Tell whether a body is lines of JSON, or one JSON text; None where it is something else."""
    kind = media_type(content_type)
    return True if kind in LINES else False if kind in {"", JSON} else None
