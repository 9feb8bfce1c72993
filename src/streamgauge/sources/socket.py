"""Topic `events` of the socket: `new_event` takes one event, `new_events` takes `{"events": [...]}`.

Each push is answered by itself, in any order; many are taken at the same time. What speaks WebSocket and who has
joined what is not here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from time import perf_counter
from typing import Any, Final

import msgspec
import structlog

from streamgauge.channels import Message, Status, encode_reply
from streamgauge.distribution import Distribution
from streamgauge.errors import DecodeError, JournalError, OptionError, Saturated, StreamgaugeError
from streamgauge.event import RESERVED, FieldMapping
from streamgauge.events.containers import WHITESPACE, first_of, lines_of_json
from streamgauge.source import Door, Receipt
from streamgauge.sources.http import receipt_body
from streamgauge.sources.room import Room
from streamgauge.web.problem import response_to

log = structlog.get_logger()

TOPIC: Final = "events"
SOURCE: Final = "websocket"
ONE: Final = "new_event"
MANY: Final = "new_events"
MOST_PUSHES: Final = 256  # of one connection under way at once; further ones stay unread
MOST_BYTES: Final = 64 * 2**20  # of all connections together
LONGEST_CHECKED: Final = 2**20  # up to here a payload may be looked through in one step
STORAGE_RETRY_MS: Final = 5000
MANY_HEAD: Final = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
WANTED: Final = 'new_events: expected {"events": [...]}'

Answer = Callable[[bytes], Awaitable[None]]


class _Many(msgspec.Struct):
    events: msgspec.Raw


class SocketSource:
    """What all connections share: the door, and how much of theirs is under way. mapping: unless a join says others."""

    def __init__(self, door: Door, *, mapping: FieldMapping) -> None:
        self._door, self._mapping = door, mapping
        self._under_way: set[asyncio.Task[None]] = set()
        self.room = Room(MOST_BYTES)
        self.durations = Distribution()
        self.answers: dict[int, int] = {}

    def use(self, mapping: FieldMapping) -> None:
        """Take these as the fields' parts from here on; who has joined keeps what was said at the join."""
        self._mapping = mapping

    def mapping_of(self, params: msgspec.Raw) -> FieldMapping:
        """Read the fields' parts from a join such as `{"type": "event", "timestamp": "ts"}`; raises DecodeError."""
        try:
            given = msgspec.json.decode(params, type=dict[str, Any])
            named = {part: given[part] for part in RESERVED if part in given}
            return msgspec.convert({**msgspec.structs.asdict(self._mapping), **named}, FieldMapping)
        except (msgspec.DecodeError, OptionError) as exc:
            raise DecodeError(f"join: {exc}", code="bad_mapping") from exc

    async def accept(self, message: Message, mapping: FieldMapping) -> tuple[Status, Any]:
        """Take a push; give the answer to it."""
        started = perf_counter()
        try:
            lines = await _lines_of(message)
            receipt = await self._door.accept(lines, SOURCE, mapping)
        except (DecodeError, Saturated, JournalError) as exc:
            self._door.refuse(SOURCE)
            self._count(response_to(exc).status_code, started)
            return "error", refusal_of(exc)
        if receipt.accepted or receipt.duplicates or not receipt.rejected:
            self._count(HTTPStatus.ACCEPTED, started)
            return "ok", msgspec.Raw(receipt_body(receipt))
        self._count(HTTPStatus.UNPROCESSABLE_ENTITY, started)
        return "error", _rejection_of(receipt)

    def _count(self, status: int, started: float) -> None:
        """Count an answer under the status that it would have over HTTP."""
        self.answers[status] = self.answers.get(status, 0) + 1
        self.durations.observe(perf_counter() - started)

    def start(self, task: asyncio.Task[None]) -> None:
        """Hold on to a push until it is answered."""
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def answered(self, timeout_s: float) -> None:
        """Wait until every push that was read has its answer; for the time after new ones are refused."""
        if self._under_way:
            await asyncio.wait(tuple(self._under_way), timeout=timeout_s)


class Pushes:
    """What one connection pushes to `events`. answer: sends a frame; does nothing once the connection has gone."""

    def __init__(self, source: SocketSource, answer: Answer) -> None:
        self._source, self._answer = source, answer
        self._room = Room(MOST_PUSHES)
        self._mapping = FieldMapping()

    def join(self, params: msgspec.Raw) -> None:
        """Take the fields' parts from the parameters of a join; raises DecodeError."""
        self._mapping = self._source.mapping_of(params)

    async def take(self, message: Message) -> None:
        """Begin with a push; comes back when the next one may be read, which is how a sender is held back.

        What was begun is finished, also when the connection has gone.
        """
        if message.event not in {ONE, MANY}:
            reason = f"{TOPIC} takes {ONE} and {MANY}, not {message.event!r}"
            await self._answer(encode_reply(message, "error", {"code": "unknown_event", "reason": reason}))
            return
        size = len(message.payload)
        await self._room.take(1)
        try:
            await self._source.room.take(size)
        except BaseException:
            self._room.give_back(1)
            raise
        self._source.start(asyncio.create_task(self._serve(message, size, self._mapping)))

    async def _serve(self, message: Message, size: int, mapping: FieldMapping) -> None:
        try:
            status, response = await self._source.accept(message, mapping)
            await self._answer(encode_reply(message, status, response))
        except Exception:
            log.exception("a push failed", push=message.event)
            failure = {"code": "internal", "reason": "a bug of ours; the server's log has the details"}
            await self._answer(encode_reply(message, "error", failure))
        finally:
            self._room.give_back(1)
            self._source.room.give_back(size)


async def _lines_of(message: Message) -> bytes:
    payload = bytes(message.payload)
    if message.event == MANY:
        return await _lines_of_many(payload)
    if first_of(payload) != b"{":
        raise DecodeError(f"{ONE}: expected one event, a JSON object; send several with {MANY}")
    return await lines_of_json(payload)


async def _lines_of_many(payload: bytes) -> bytes:
    """Cut the array out of `{"events": [...]}` as bytes; where the object holds more than that, by decoding it."""
    problem = DecodeError(f"{WANTED}, with nothing beside it where it is longer than {LONGEST_CHECKED} bytes")
    array = _array_of(payload)
    if array is not None:
        try:
            return await lines_of_json(array)
        except DecodeError as exc:
            problem = exc
    if len(payload) > LONGEST_CHECKED:
        raise problem
    try:
        array = bytes(msgspec.json.decode(payload, type=_Many).events)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise DecodeError(f"{WANTED}: {exc}") from exc
    if first_of(array) != b"[":
        raise DecodeError(f"{WANTED}, got {array[:20]!r} as events")
    return await lines_of_json(array)


def _array_of(payload: bytes) -> bytes | None:
    """Give what stands between the first bracket and the last; None where that is not all of the object."""
    head = MANY_HEAD.match(payload)
    whole = payload.rstrip(WHITESPACE)
    if head is None or not whole.endswith(b"}"):
        return None
    array = whole[head.end() : -1].rstrip(WHITESPACE)
    return array if array.endswith(b"]") else None


def refusal_of(error: StreamgaugeError) -> dict[str, Any]:
    """Write why nothing was taken. With `retry_after_ms` the same push may be accepted later, without it never."""
    refusal: dict[str, Any] = {"code": getattr(error, "code", "storage_error"), "reason": str(error)}
    if isinstance(error, Saturated):
        refusal["retry_after_ms"] = max(1, round(error.retry_after_s * 1000))
    elif isinstance(error, JournalError):
        refusal["retry_after_ms"] = STORAGE_RETRY_MS
    return refusal


def _rejection_of(receipt: Receipt) -> dict[str, Any]:
    """Write why every event of a push was rejected."""
    counts = msgspec.json.decode(receipt_body(receipt), type=dict[str, Any])
    return {"code": "rejected", "reason": receipt.errors[0][1], **counts}
