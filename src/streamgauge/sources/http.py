"""`POST /api/events`: one event, an array, or one a line; plain, gzip or zstd. Plain ASGI, for speed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec
import structlog

from streamgauge.errors import DecodeError, JournalError, Saturated, StreamgaugeError, TooLarge, UnsupportedEncoding
from streamgauge.event import RESERVED, FieldMapping
from streamgauge.events.compression import DecodedLimits, inflate
from streamgauge.events.containers import lines_of_json
from streamgauge.source import Door, Receipt
from streamgauge.web.problem import MEDIA_TYPE, Receive, Scope, Send, body_of, response_to

log = structlog.get_logger()

SOURCE: Final = "http"
JSON: Final = "application/json"
LINES: Final = ("application/x-ndjson", "application/jsonl", "application/ndjson")
JSON_HEADER: Final = (b"content-type", b"application/json")


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a body may be at most: bytes on the wire, and what it may inflate to."""

    body_bytes: int = 32 * 2**20
    decoded: DecodedLimits = DecodedLimits()


class SenderGone(Exception):
    """The sender left before its body was complete; there is nobody to answer."""


class HttpSource:
    """The ASGI application behind `POST /api/events`. mapping: the fields' parts, unless the query string says others."""

    def __init__(self, door: Door, *, mapping: FieldMapping, limits: HttpLimits) -> None:
        self._door, self._limits = door, limits
        self._mapping = lru_cache(maxsize=256)(lambda query: mapping_of(query, mapping))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request."""
        try:
            if scope["method"] != "POST":
                await _answer(send, HTTPStatus.METHOD_NOT_ALLOWED, _not_post(scope["method"]), [(b"allow", b"POST")])
                return
            receipt = await self._accept(scope, receive)
            status = HTTPStatus.ACCEPTED if receipt.accepted or not receipt.rejected else HTTPStatus.UNPROCESSABLE_ENTITY
            await _answer(send, status, receipt_body(receipt))
        except SenderGone:
            return
        except (DecodeError, Saturated, JournalError) as exc:
            if not isinstance(exc, DecodeError) or isinstance(exc, TooLarge | UnsupportedEncoding):
                self._door.refuse(SOURCE)
            await _answer_error(send, exc)

    async def _accept(self, scope: Scope, receive: Receive) -> Receipt:
        headers = _headers(scope)
        is_lines = _is_lines(headers.get(b"content-type", b""))
        mapping = self._mapping(scope["query_string"])
        body = await self._read(receive)
        encoding = headers.get(b"content-encoding")
        if encoding is not None:
            body = await inflate(body, encoding.decode("latin-1").strip().lower(), self._limits.decoded)
        if not is_lines:
            return await self._door.accept(await lines_of_json(body), SOURCE, mapping)
        receipt = await self._door.accept(body, SOURCE, mapping)
        if receipt.rejected and not receipt.accepted and all(": not JSON" in problem for _, problem in receipt.errors):
            raise DecodeError(f"body: no line of it is JSON; the first: {receipt.errors[0][1]}")
        return receipt

    async def _read(self, receive: Receive) -> bytes:
        message = await receive()
        body: bytes = message.get("body", b"")
        if not message.get("more_body", False) and message["type"] == "http.request":
            return self._within(body, len(body))
        parts, size = [body], len(body)
        while message.get("more_body", False):
            message = await receive()
            if message["type"] != "http.request":
                raise SenderGone
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            self._within(b"", size)
        if message["type"] != "http.request":
            raise SenderGone
        return b"".join(parts)

    def _within(self, body: bytes, size: int) -> bytes:
        if size > self._limits.body_bytes:
            raise TooLarge(f"body: more than {self._limits.body_bytes} bytes; send several requests")
        return body


def _not_post(method: str) -> bytes:
    return body_of(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", f"{method}: events are sent with POST")


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    return dict(scope["headers"])


@lru_cache(maxsize=256)
def _is_lines(content_type: bytes) -> bool:
    """Tell whether the body is one event a line; without a content type it is JSON."""
    kind = content_type.split(b";")[0].strip().lower().decode("latin-1")
    if kind in LINES:
        return True
    if kind in {"", JSON, "text/json"}:
        return False
    raise UnsupportedEncoding(f"Content-Type: expected {JSON} or {LINES[0]}, got {kind[:80]!r}; add -H 'Content-Type: {JSON}'")


def mapping_of(query: bytes, default: FieldMapping) -> FieldMapping:
    """Read the fields' parts from a query string such as `type=event&timestamp=ts`."""
    named = {name: value for name, value in parse_qsl(query.decode("latin-1"), max_num_fields=32) if name in RESERVED}
    if not named:
        return default
    mapping = FieldMapping(**{**msgspec.structs.asdict(default), **named})
    fields = msgspec.structs.astuple(mapping)
    if len(set(fields)) != len(fields) or any(len(field) > 128 for field in fields):
        raise DecodeError(f"query: the fields for {', '.join(RESERVED)} must differ, got {', '.join(fields)[:200]}", code="bad_mapping")
    return mapping


def receipt_body(receipt: Receipt) -> bytes:
    """Write a receipt as the answer's body."""
    if not receipt.rejected:
        return b'{"accepted":%d}' % receipt.accepted
    problems = [{"index": index, "error": problem} for index, problem in receipt.errors]
    return msgspec.json.encode({"accepted": receipt.accepted, "rejected": receipt.rejected, "errors": problems})


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    kind = JSON_HEADER if status != HTTPStatus.METHOD_NOT_ALLOWED else (b"content-type", MEDIA_TYPE.encode())
    lines: list[Any] = [kind, (b"content-length", b"%d" % len(body)), *(headers or ())]
    await send({"type": "http.response.start", "status": int(status), "headers": lines})
    await send({"type": "http.response.body", "body": body})


async def _answer_error(send: Send, error: StreamgaugeError) -> None:
    answer = response_to(error)
    headers = list(answer.raw_headers)
    if isinstance(error, TooLarge):
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": answer.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
