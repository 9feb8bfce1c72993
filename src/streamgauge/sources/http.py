"""`POST /api/events`: one event, an array, or one a line; plain, gzip or zstd. Plain ASGI, for speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from streamgauge.distribution import Distribution
from streamgauge.errors import (
    DecodeError,
    JournalError,
    Saturated,
    StreamgaugeError,
    TooLarge,
    UnsupportedEncoding,
)
from streamgauge.event import RESERVED, FieldMapping
from streamgauge.events.compression import DecodedLimits, inflate
from streamgauge.events.containers import first_of, lines_of_json
from streamgauge.source import Door, Receipt
from streamgauge.web.problem import MEDIA_TYPE, Receive, Scope, Send, body_of, response_to

SOURCE: Final = "http"
NOT_JSON: Final = "event: not JSON: "
JSON: Final = "application/json"
LINES: Final = ("application/x-ndjson", "application/jsonl", "application/ndjson")
CLIENT_CLOSED: Final = 499  # as nginx counts it; never sent
JSON_HEADER: Final = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a body may be at most: bytes on the wire, and what it may inflate to."""

    body_bytes: int = 32 * 2**20
    decoded: DecodedLimits = field(default_factory=DecodedLimits)


class NoJson(DecodeError):
    """Nothing of the body is JSON; its events are counted as rejected."""


class SenderGone(Exception):
    """The sender left before its body was complete; there is nobody to answer."""


class HttpSource:
    """The ASGI application behind `POST /api/events`. mapping: the fields' parts, unless the query string says others."""

    def __init__(self, door: Door, *, mapping: FieldMapping, limits: HttpLimits) -> None:
        self._door, self._limits = door, limits
        self._mapping = lru_cache(maxsize=256)(lambda query: mapping_of(query, mapping))
        self.durations = Distribution()
        self.answers: dict[int, int] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request, and record how it was answered and how long that took."""
        started = perf_counter()
        status = await self._serve(scope, receive, send)
        self.durations.observe(perf_counter() - started)
        self.answers[status] = self.answers.get(status, 0) + 1

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> int:
        """Answer one request; give the status, 499 where the sender has gone before the end."""
        try:
            if scope["method"] != "POST":
                await _answer(
                    send, HTTPStatus.METHOD_NOT_ALLOWED, _not_post(scope["method"]), [(b"allow", b"POST")]
                )
                return HTTPStatus.METHOD_NOT_ALLOWED
            receipt = await self._accept(scope, receive)
            status = HTTPStatus.ACCEPTED if receipt.accepted else HTTPStatus.UNPROCESSABLE_ENTITY
            await _answer(send, status, receipt_body(receipt))
        except SenderGone:
            return CLIENT_CLOSED
        except (DecodeError, Saturated, JournalError) as exc:
            if not isinstance(exc, NoJson):  # its lines have been counted
                self._door.refuse(SOURCE)
            return await _answer_error(send, exc)
        return status

    async def _accept(self, scope: Scope, receive: Receive) -> Receipt:
        headers = _headers(scope)
        is_lines = _is_lines(headers.get(b"content-type", b""))
        mapping = self._mapping(scope["query_string"])
        body = await self._read(receive)
        if b"content-encoding" in headers:
            body = await inflate(body, _encoding(scope), self._limits.decoded)
        if is_lines:
            first_of(body)
        else:
            body = await lines_of_json(body)
        receipt = await self._door.accept(body, SOURCE, mapping)
        if (
            receipt.rejected
            and not receipt.accepted
            and all(_is_no_json(problem) for _, problem in receipt.errors)
        ):
            what = "no line of it is JSON; the first" if is_lines else "not JSON"
            raise NoJson(f"body: {what}: {receipt.errors[0][1].removeprefix(NOT_JSON)}")
        return receipt

    async def _read(self, receive: Receive) -> bytes:
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise SenderGone
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size > self._limits.body_bytes:
                raise TooLarge(f"body: more than {self._limits.body_bytes} bytes; send several requests")
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


def _not_post(method: str) -> bytes:
    return body_of(
        HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", f"{method}: events are sent with POST"
    )


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    return dict(scope["headers"])


def _encoding(scope: Scope) -> str:
    """Give the content encodings as one list, on however many header lines they stand."""
    lines = [value for name, value in scope["headers"] if name == b"content-encoding"]
    return b", ".join(lines).decode("latin-1").strip().lower()


def _is_no_json(problem: str) -> bool:
    return problem.startswith(NOT_JSON)


@lru_cache(maxsize=256)
def _is_lines(content_type: bytes) -> bool:
    """Tell whether the body is one event a line; without a content type it is JSON."""
    kind = content_type.split(b";")[0].strip().lower().decode("latin-1")
    if kind in LINES:
        return True
    if kind in {"", JSON, "text/json"}:
        return False
    raise UnsupportedEncoding(
        f"Content-Type: expected {JSON} or {LINES[0]}, got {kind[:80]!r}; add -H 'Content-Type: {JSON}'"
    )


def mapping_of(query: bytes, default: FieldMapping) -> FieldMapping:
    """Read the fields' parts from a query string such as `type=event&timestamp=ts`; raises DecodeError."""
    try:
        pairs = parse_qsl(query.decode(), keep_blank_values=True, max_num_fields=32)
        named = {name: value for name, value in pairs if name in RESERVED}
        return FieldMapping(**{**msgspec.structs.asdict(default), **named}) if named else default
    except ValueError as exc:
        raise DecodeError(f"query: {exc}", code="bad_mapping") from exc


def receipt_body(receipt: Receipt) -> bytes:
    """Write a receipt as the answer's body."""
    if receipt.accepted and not receipt.rejected:
        return b'{"accepted":%d}' % receipt.accepted
    problems = [{"index": index, "error": problem} for index, problem in receipt.errors]
    return msgspec.json.encode(
        {"accepted": receipt.accepted, "rejected": receipt.rejected, "errors": problems}
    )


async def _answer(
    send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    kind = JSON_HEADER if status != HTTPStatus.METHOD_NOT_ALLOWED else (b"content-type", MEDIA_TYPE.encode())
    lines: list[Any] = [kind, (b"content-length", b"%d" % len(body)), *(headers or ())]
    await send({"type": "http.response.start", "status": int(status), "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def _answer_error(send: Send, error: StreamgaugeError) -> int:
    answer = response_to(error)
    headers = list(answer.raw_headers)
    if isinstance(error, TooLarge):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
    return answer.status_code
