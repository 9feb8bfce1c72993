"""Topic `events` of the socket: `new_event` takes one event, `new_events` takes `{"events": [...]}`.

Each push is answered by itself, in any order; many are taken at the same time. A small one is taken at once and
answered when it is in the journal; a task of its own, which would cost more than an event, is for those that have to
wait, are long, or are not as they should be. What speaks WebSocket and who has joined what is not here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from functools import partial
from http import HTTPStatus
from time import monotonic, perf_counter
from typing import Any, Final, Protocol

import msgspec
import structlog

from streamgauge.channels import Message, Status, encode_reply
from streamgauge.distribution import Distribution
from streamgauge.errors import DecodeError, JournalError, OptionError, Saturated, StreamgaugeError
from streamgauge.event import RESERVED, FieldMapping
from streamgauge.events.containers import WHITESPACE, first_of, lines_now, lines_of_json
from streamgauge.source import Receipt, SmallDoor
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
SMALL_BYTES: Final = 32 * 1024  # up to here a push may be taken at once
LONGEST_CHECKED: Final = 2**20  # up to here a payload may be looked through in one step
STORAGE_RETRY_MS: Final = 5000
MANY_HEAD: Final = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"events"[ \t\r\n]*:[ \t\r\n]*(?=\[)')
WANTED: Final = 'new_events: expected {"events": [...]}'


class Answers(Protocol):
    """Sends frames to one connection, and nothing once that has gone."""

    def send_now(self, frame: bytes) -> bool:
        """Send a frame, unless that would have to wait; False, and nothing is sent, then."""

    async def send(self, frame: bytes) -> None:
        """Send a frame; waits while the peer takes nothing."""


class _Many(msgspec.Struct):
    events: msgspec.Raw


class SocketSource:
    """What all connections share: the door, and how much of theirs is under way. mapping: unless a join says others."""

    def __init__(self, door: SmallDoor, *, mapping: FieldMapping) -> None:
        self._door, self._mapping = door, mapping
        self._under_way: set[asyncio.Future[Any]] = set()
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
            return self.answer_of(exc, started)
        return self.answer_of(receipt, started)

    def accept_now(self, message: Message, mapping: FieldMapping) -> asyncio.Future[Receipt] | None:
        """Take a small push at once; None, and nothing done, where `accept` would have to wait or refuse."""
        if len(message.payload) > SMALL_BYTES:
            return None
        try:
            lines = _lines_now(message)
            return None if lines is None else self._door.accept_now(lines, SOURCE, mapping)
        except DecodeError:
            return None

    def answer_of(self, result: Receipt | BaseException, started: float) -> tuple[Status, Any]:
        """Give the answer to a push from what became of its events, and count it; raises what is a bug of ours."""
        if isinstance(result, DecodeError | Saturated | JournalError):
            self._door.refuse(SOURCE)
            self._count(response_to(result).status_code, started)
            return "error", refusal_of(result)
        if isinstance(result, BaseException):
            raise result
        if result.accepted or result.duplicates or not result.rejected:
            self._count(HTTPStatus.ACCEPTED, started)
            return "ok", msgspec.Raw(receipt_body(result))
        self._count(HTTPStatus.UNPROCESSABLE_ENTITY, started)
        return "error", _rejection_of(result)

    def refuse(self) -> None:
        """Count a message that is too large, which closes its connection unread."""
        self._door.refuse(SOURCE)

    def _count(self, status: int, started: float) -> None:
        """Count an answer under the status that it would have over HTTP."""
        self.answers[status] = self.answers.get(status, 0) + 1
        self.durations.observe(perf_counter() - started)

    def hold(self, push: asyncio.Future[Any]) -> None:
        """Hold on to a push, which is under way."""
        self._under_way.add(push)

    def let_go(self, push: asyncio.Future[Any]) -> None:
        """Let go of a push, which has its answer."""
        self._under_way.discard(push)

    async def answered(self, timeout_s: float) -> None:
        """Wait until every push that was read has its answer; for the time after new ones are refused."""
        deadline = monotonic() + timeout_s
        while self._under_way and (left_s := deadline - monotonic()) > 0:
            await asyncio.wait(tuple(self._under_way), timeout=left_s)


class Pushes:
    """What one connection pushes to `events`."""

    def __init__(self, source: SocketSource, answers: Answers) -> None:
        self._source, self._answers = source, answers
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
            await self._answers.send(
                encode_reply(message, "error", {"code": "unknown_event", "reason": reason})
            )
            return
        size = len(message.payload)
        await self._room.take(1)
        try:
            await self._source.room.take(size)
        except BaseException:
            self._room.give_back(1)
            raise
        try:
            self._begin(message, size)
        except BaseException:
            self._give_back(size)
            raise

    def _begin(self, message: Message, size: int) -> None:
        started = perf_counter()
        accepted = self._source.accept_now(message, self._mapping)
        if accepted is None:
            self._start(self._serve(message, self._mapping), size)
            return
        self._source.hold(accepted)
        accepted.add_done_callback(partial(self._answer_now, message, size, started))

    def _answer_now(
        self, message: Message, size: int, started: float, accepted: asyncio.Future[Receipt]
    ) -> None:
        """Answer a push that was taken at once; where its sender does not read, a task waits for that."""
        try:
            status, response = self._source.answer_of(accepted.exception() or accepted.result(), started)
            frame = encode_reply(message, status, response)
        except Exception:
            log.exception("a push failed", push=message.event)
            frame = _failure(message)
        if self._answers.send_now(frame):
            self._give_back(size)
        else:
            self._start(self._answers.send(frame), size)
        self._source.let_go(accepted)

    async def _serve(self, message: Message, mapping: FieldMapping) -> None:
        try:
            status, response = await self._source.accept(message, mapping)
            frame = encode_reply(message, status, response)
        except Exception:
            log.exception("a push failed", push=message.event)
            frame = _failure(message)
        await self._answers.send(frame)

    def _start(self, work: Coroutine[Any, Any, None], size: int) -> None:
        """Do what is left of a push in a task, which holds its room."""
        task = asyncio.get_running_loop().create_task(work)
        self._source.hold(task)
        task.add_done_callback(partial(self._done, size))

    def _done(self, size: int, task: asyncio.Task[None]) -> None:
        self._give_back(size)
        self._source.let_go(task)

    def _give_back(self, size: int) -> None:
        self._room.give_back(1)
        self._source.room.give_back(size)


def _failure(message: Message) -> bytes:
    failure = {"code": "internal", "reason": "a bug of ours; the server's log has the details"}
    return encode_reply(message, "error", failure)


def _lines_now(message: Message) -> bytes | None:
    """Write a small push as lines; None, or DecodeError, where it has to be looked at more closely."""
    payload = bytes(message.payload)
    if message.event == MANY:
        array = _array_of(payload)
        return None if array is None else lines_now(array)
    return lines_now(payload) if payload[:1] == b"{" else None


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
