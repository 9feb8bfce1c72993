"""`POST /api/events`: one event, an array, or one a line; plain, gzip or zstd. Plain ASGI, for speed."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache, partial
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final
from urllib.parse import parse_qsl

import msgspec

from streamgauge.distribution import Distribution
from streamgauge.errors import (
    DecodeError,
    Draining,
    JournalError,
    Saturated,
    StreamgaugeError,
    TooLarge,
    UnsupportedEncoding,
)
from streamgauge.event import RESERVED, FieldMapping
from streamgauge.events.compression import DecodedLimits, inflate
from streamgauge.events.containers import first_of, lines_of_json
from streamgauge.source import OnceDoor, Receipt
from streamgauge.sources.bodies import Bodies, Body
from streamgauge.sources.converted import Sent
from streamgauge.sources.doors import HEADER, door_notes
from streamgauge.sources.formats import Answer, Format, Formats, media_type
from streamgauge.web.problem import MEDIA_TYPE, Receive, Scope, Send, body_of, response_to

SOURCE: Final = "http"
NOT_JSON: Final = "event: not JSON: "
JSON: Final = "application/json"
LINES: Final = ("application/x-ndjson", "application/jsonl", "application/ndjson")
CLIENT_CLOSED: Final = 499  # as nginx counts it; never sent
JSON_HEADER: Final = (b"content-type", b"application/json")
KEY_HEADER: Final = b"idempotency-key"
LONGEST_KEY: Final = 255
VISIBLE: Final = re.compile(rb"[!-~]{1,%d}" % LONGEST_KEY)
BAD_KEY: Final = "bad_idempotency_key"
REPLAYED: Final = (b"idempotency-replayed", b"true")
Accept = Callable[[bytes, str, FieldMapping], Awaitable[Receipt]]


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What a body may be at most: bytes on the wire, and what it may inflate to; and what all may hold together."""

    body_bytes: int = 32 * 2**20
    bodies_bytes: int = 256 * 2**20
    decoded: DecodedLimits = field(default_factory=DecodedLimits)


@dataclass(slots=True)
class _Nothing:
    """The receipt of a batch that may be empty, and was."""

    accepted: int = 0
    rejected: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    duplicates: int = 0
    replayed: bool = False


NOTHING: Final = _Nothing()


class NoJson(DecodeError):
    """Nothing of the body is JSON; its events are counted as rejected."""


class SenderGone(Exception):
    """The sender left before its body was complete; there is nobody to answer."""


class HttpSource:
    """The ASGI application behind `POST /api/events`. mapping: the fields' parts, unless the query string says others.

    formats: those that are taken beside JSON. doors: what came of those doors that are told apart, by name.
    """

    def __init__(
        self, door: OnceDoor, *, mapping: FieldMapping, limits: HttpLimits, formats: Formats
    ) -> None:
        self._door, self._limits, self.formats = door, limits, formats
        self.use(mapping)
        self.doors = door_notes(formats.doors)
        self.bodies = Bodies(limits.bodies_bytes)
        self.durations = Distribution()
        self.answers: dict[int, int] = {}

    def use(self, mapping: FieldMapping) -> None:
        """Take these as the fields' parts from here on."""
        self.mapping = lru_cache(maxsize=256)(lambda query: mapping_of(query, mapping))

    async def __call__(self, scope: Scope, receive: Receive, send: Send, form: Format | None = None) -> None:
        """Take one request, and record how it was answered and how long that took.

        form: how its body is written, where the address says so (`formats.paths`).
        """
        started = perf_counter()
        status = await self._serve(scope, receive, send, form)
        self.note(status, started)

    def note(self, status: int, started: float) -> None:
        """Record how a request was answered, and how long that took from `started` (of the performance counter)."""
        self.durations.observe(perf_counter() - started)
        self.answers[status] = self.answers.get(status, 0) + 1

    def answer_of(self, result: Receipt | BaseException, *, is_lines: bool) -> Answer:
        """Give the answer to a request of JSON from what became of its events."""
        try:
            if isinstance(result, BaseException):
                raise result
            receipt = checked(result, is_lines=is_lines)
        except (DecodeError, Saturated, JournalError) as exc:
            if not isinstance(exc, NoJson):
                self._door.refuse(SOURCE)
            return _answer_to(exc, may_close=False)
        return _answer_of(receipt)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, form: Format | None) -> int:
        """Answer one request; give the status, 499 where the sender has gone before the end."""
        if scope["method"] != "POST":
            await _answer(send, _not_post(scope["method"]))
            return HTTPStatus.METHOD_NOT_ALLOWED
        outcome: Receipt | StreamgaugeError
        try:
            form = form or self._form_of(scope)
            outcome = await self._accept(scope, receive, form)
            usual = _answer_of(outcome)
        except SenderGone:
            return CLIENT_CLOSED
        except (DecodeError, Saturated, JournalError) as exc:
            if not isinstance(exc, NoJson):  # its lines have been counted
                self._door.refuse(SOURCE)
            outcome, usual = exc, _answer_to(exc)
        answer = usual if form is None else form.answer(outcome, usual)
        await _answer(send, answer)
        return answer.status

    def _form_of(self, scope: Scope) -> Format | None:
        """Give the format of a request; None where it is JSON or lines of it."""
        headers = _headers(scope)
        if self.formats.marks.isdisjoint(headers):
            kind = headers.get(b"content-type", b"")
            if is_lines(kind) is not None:
                return None
            if not self.formats.is_known(media_type(kind)):
                raise UnsupportedEncoding(
                    f"Content-Type: expected {JSON} or {LINES[0]}, got {media_type(kind)[:80]!r}; add -H 'Content-Type: {JSON}'"
                )
        return self.formats.of(headers)

    async def _accept(self, scope: Scope, receive: Receive, form: Format | None) -> Receipt:
        headers = _headers(scope)
        door = self.doors.get(headers.get(HEADER, b"").decode("latin-1") if form is None else form.door)
        try:
            receipt = await self._take(scope, receive, headers, form)
        except DecodeError as exc:
            if door is not None:
                door.problem = str(exc)
            raise
        if door is not None:
            door.add(receipt)
        if form is not None:
            return receipt
        return checked(receipt, is_lines=bool(is_lines(headers.get(b"content-type", b""))))

    async def _take(
        self, scope: Scope, receive: Receive, headers: Mapping[bytes, bytes], form: Format | None
    ) -> Receipt:
        query = scope["query_string"]
        mapping = self.mapping(query if form is None or not form.paths else b"")
        accept = self._door.accept
        if KEY_HEADER in headers:
            accept = partial(self._door.accept_once, key=idempotency_key(scope["headers"]))
        with self.bodies.begin() as held:
            held.hold(self._announced(headers))  # so that none is refused half-way that is let in
            body = await self._read(receive, held)
            if b"content-encoding" in headers:
                wire_bytes, body = len(body), await inflate(body, _encoding(scope), self._limits.decoded)
                held.hold(wire_bytes + len(body))
            if form is not None:
                return await _accept_converted(accept, form, Sent(body, headers, query, mapping))
            if is_lines(headers.get(b"content-type", b"")):
                first_of(body)
            else:
                body = await lines_of_json(body)
            return await accept(body, SOURCE, mapping)

    def _announced(self, headers: Mapping[bytes, bytes]) -> int:
        """Give the bytes that a body is said to have; servers that are not ours let any number through."""
        length = headers.get(b"content-length", b"")
        size = int(length) if length.isdigit() else 0
        if size > self._limits.body_bytes:
            raise self._too_large()
        return size

    def _too_large(self) -> TooLarge:
        return TooLarge(f"body: more than {self._limits.body_bytes} bytes; send several requests")

    async def _read(self, receive: Receive, held: Body) -> bytes:
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            if message["type"] != "http.request":
                raise SenderGone
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size > self._limits.body_bytes:
                raise self._too_large()
            held.hold(size)
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


async def _accept_converted(accept: Accept, form: Format, sent: Sent) -> Receipt:
    converted = await form.convert(sent)
    if not converted.lines:
        return NOTHING
    receipt = await accept(converted.lines, SOURCE, sent.mapping)
    receipt.errors[:] = converted.explain(receipt.errors)
    return receipt


def checked(receipt: Receipt, *, is_lines: bool) -> Receipt:
    """Give the receipt back; raises NoJson where nothing of the body was JSON."""
    if (
        receipt.rejected
        and not receipt.accepted
        and not receipt.duplicates
        and all(_is_no_json(problem) for _, problem in receipt.errors)
    ):
        what = "no line of it is JSON; the first" if is_lines else "not JSON"
        raise NoJson(f"body: {what}: {receipt.errors[0][1].removeprefix(NOT_JSON)}")
    return receipt


def status_of(receipt: Receipt) -> HTTPStatus:
    """Give the status that a receipt is answered with."""
    taken = receipt.accepted or receipt.duplicates or receipt is NOTHING
    return HTTPStatus.ACCEPTED if taken else HTTPStatus.UNPROCESSABLE_ENTITY


def _answer_of(receipt: Receipt) -> Answer:
    """Say what became of events."""
    headers = (JSON_HEADER, REPLAYED) if receipt.replayed else (JSON_HEADER,)
    return Answer(status_of(receipt), headers, receipt_body(receipt))


def _answer_to(error: StreamgaugeError, *, may_close: bool = True) -> Answer:
    """Say why nothing was taken. may_close: whether the connection may be ended with the answer."""
    answer = response_to(error)
    headers = [line for line in answer.raw_headers if line[0] != b"content-length"]
    if may_close and isinstance(error, TooLarge | Draining):
        headers.append((b"connection", b"close"))
    return Answer(answer.status_code, tuple(headers), bytes(answer.body))


def _not_post(method: str) -> Answer:
    status = HTTPStatus.METHOD_NOT_ALLOWED
    body = body_of(status, "method_not_allowed", f"{method}: events are sent with POST")
    return Answer(status, ((b"content-type", MEDIA_TYPE.encode()), (b"allow", b"POST")), body)


def _headers(scope: Scope) -> Mapping[bytes, bytes]:
    return dict(scope["headers"])


def _encoding(scope: Scope) -> str:
    """Give the content encodings as one list, on however many header lines they stand."""
    lines = [value for name, value in scope["headers"] if name == b"content-encoding"]
    return b", ".join(lines).decode("latin-1").strip().lower()


def idempotency_key(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Give a request's `Idempotency-Key`: one, of 1 to 255 visible ASCII characters. Raises DecodeError."""
    keys = [value for name, value in headers if name == KEY_HEADER]
    if len(keys) > 1:
        raise DecodeError(f"Idempotency-Key: expected one, got {len(keys)}", code=BAD_KEY)
    if not VISIBLE.fullmatch(keys[0]):
        found = f"{len(keys[0])} bytes" if len(keys[0]) > LONGEST_KEY else repr(keys[0].decode("latin-1"))
        problem = f"expected 1 to {LONGEST_KEY} visible ASCII characters, got {found}"
        raise DecodeError(f"Idempotency-Key: {problem}; use for instance a UUID", code=BAD_KEY)
    return keys[0].decode()


def _is_no_json(problem: str) -> bool:
    return problem.startswith(NOT_JSON)


@lru_cache(maxsize=256)
def is_lines(content_type: bytes) -> bool | None:
    """Tell whether a body is one event a line (without a content type it is JSON); None for another format."""
    kind = media_type(content_type)
    if kind in LINES:
        return True
    return False if kind in {"", JSON, "text/json"} else None


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
    if receipt.accepted and not receipt.rejected and not receipt.duplicates:
        return b'{"accepted":%d}' % receipt.accepted
    answer: dict[str, Any] = {"accepted": receipt.accepted}
    if receipt.duplicates:
        answer["duplicates"] = receipt.duplicates
    if receipt.rejected or not receipt.duplicates:
        problems = [{"index": index, "error": problem} for index, problem in receipt.errors]
        answer |= {"rejected": receipt.rejected, "errors": problems}
    return msgspec.json.encode(answer)


async def _answer(send: Send, answer: Answer) -> None:
    headers = [*answer.headers, (b"content-length", b"%d" % len(answer.body))]
    await send({"type": "http.response.start", "status": int(answer.status), "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
