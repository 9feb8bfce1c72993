"""The one way in: every source hands its payloads to `Intake`, whatever it speaks to its senders.

    wait for room -> decode and validate, in pieces -> journal -> epoch and pipeline -> receipt

What is in the journal is accepted and flows on, also when the sender has gone in the meantime.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

import msgspec

from streamgauge.epoch import EpochBook
from streamgauge.errors import Saturated
from streamgauge.event import EventBatch, FieldMapping, Origin
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import UNLIMITED
from streamgauge.events.objects import Event, ObjectDecoder, write_lines
from streamgauge.gathering import Gathering, Kind, Waiting, refuse
from streamgauge.journal import Entry, Journal, Record
from streamgauge.ledger import Ledger
from streamgauge.live.pulse import TAIL, SourceNote, Tail
from streamgauge.stages.producer import EventProducer

PIECE_BYTES: Final = 256 * 1024  # decoded without a pause: at some 1.5 ns a byte, well under a millisecond
PIECE_OBJECTS: Final = 16_384  # mappings, at some 0.2 us each
PIECE_LINES: Final = 4096  # where all of them are bad, each costs several microseconds
SMALL_BYTES: Final = 32 * 1024  # payloads that are taken together with others of the same turn
MOST_ERRORS: Final = 100


@dataclass(slots=True)
class Receipt:
    """What became of a payload. errors: (position among its events, reason), the first hundred."""

    accepted: int = 0
    rejected: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class _Decoded:
    batches: list[EventBatch] = field(default_factory=list)
    receipt: Receipt = field(default_factory=Receipt)

    def take(self, batch: EventBatch | None, refused: list[tuple[int, str]], first: int) -> None:
        receipt = self.receipt
        if batch is not None:
            self.batches.append(batch)
            receipt.accepted += len(batch)
        receipt.rejected += len(refused)
        room = MOST_ERRORS - len(receipt.errors)
        receipt.errors += [(first + position, problem) for position, problem in refused[:room]]


class Intake:
    """Accepts payloads for one shard. has_room: whether the later stages keep up; room: waits until they do."""

    def __init__(
        self,
        *,
        decoder: EventDecoder,
        journal: Journal,
        book: EpochBook,
        producer: EventProducer,
        ledger: Ledger,
        now_us: Callable[[], int],
        has_room: Callable[[], bool],
        room: Callable[[], Awaitable[None]],
        patience_s: float,
        keep_lines: bool,
    ) -> None:
        self._replay_decoder = EventDecoder(decoder.properties, UNLIMITED)
        self._decoder, self._journal, self._book, self._producer = decoder, journal, book, producer
        self._ledger, self.now_us, self._patience_s = ledger, now_us, patience_s
        self._has_room, self._room = has_room, room
        self._keep_lines = keep_lines
        self.keeps_text = keep_lines or journal.keeps_text
        self._object_decoder = lru_cache(maxsize=8)(
            lambda mapping: ObjectDecoder(decoder.fields, decoder.limits, mapping)
        )
        self._small: Gathering[Receipt] = Gathering(self._take_small)
        self.draining = False
        self._appends: set[asyncio.Future[int]] = set()
        self.tail = Tail()
        self.notes: dict[str, SourceNote] = {}

    async def accept(self, payload: bytes, source: str, mapping: FieldMapping) -> Receipt:
        """Accept a payload of newline-delimited JSON. Raises Saturated, and then has accepted nothing."""
        self._refuse_while_draining()
        if not self._has_room():
            await self._wait_for_room()
            self._refuse_while_draining()
        if len(payload) <= SMALL_BYTES:
            whole = payload if payload.endswith(b"\n") else payload + b"\n"
            return await self._small.add(whole, Kind(source, mapping))
        origin = Origin(source, self.now_us(), mapping)
        decoded = await self._decode(payload, origin, self._decoder)
        self._refuse_while_draining()
        appended = self._accept_decoded(decoded, origin)
        if appended is not None:
            await asyncio.shield(appended)
        return decoded.receipt

    def _refuse_while_draining(self) -> None:
        if self.draining:
            raise Saturated("the server is shutting down", 5.0)

    async def written(self) -> None:
        """Wait until the journal has taken or refused all that was handed to it; for the time after `draining`."""
        await asyncio.sleep(0)  # small payloads are handed over at the end of a turn
        if self._appends:
            await asyncio.wait(self._appends)

    def _accept_decoded(self, decoded: _Decoded, origin: Origin) -> asyncio.Future[int] | None:
        """Hand the good events to the journal; None where there is none, and then the others are booked."""
        receipt, counts = decoded.receipt, self._ledger.of(origin.source)
        note = self.notes.setdefault(origin.source, SourceNote())
        note.last_ms = origin.at_us // 1000
        if receipt.errors:
            note.problem = receipt.errors[-1][1]
        if decoded.batches:
            note.watermark_us = max(note.watermark_us, *(int(b.time_us.max()) for b in decoded.batches))
            return self._append(decoded, origin)
        counts.received += receipt.rejected
        counts.rejected += receipt.rejected
        return None

    def _take_small(self, kind: Kind, waiting: list[Waiting[Receipt]]) -> None:
        """Take small payloads together; where any of their events is doubtful, each by itself."""
        counts = [one.payload.count(b"\n") for one in waiting]
        origin = Origin(kind.source, self.now_us(), kind.mapping)
        decoded = self._decode_now(b"".join([one.payload for one in waiting]), origin)
        if decoded.receipt.rejected or decoded.receipt.accepted != sum(counts):
            if len(waiting) > 1:
                for one in waiting:
                    self._take_small(kind, [one])
                return
            counts = [decoded.receipt.accepted]
        receipts = [Receipt(accepted=count) for count in counts]
        if len(waiting) == 1:
            receipts = [decoded.receipt]
        appended = self._accept_decoded(decoded, origin)
        if appended is None:
            _answer(waiting, receipts)
        else:
            appended.add_done_callback(lambda done: _answer(waiting, receipts, done.exception()))

    def _decode_now(self, payload: bytes, origin: Origin) -> _Decoded:
        decoded = _Decoded()
        found = self._decoder.decode(payload, origin, now_us=origin.at_us)
        decoded.take(found.batch, found.refused, 0)
        return decoded

    def refuse(self, source: str) -> None:
        """Count a request that was refused unread."""
        self._ledger.of(source).requests_refused += 1

    async def accept_objects(self, events: Sequence[Event], source: str, mapping: FieldMapping) -> Receipt:
        """Accept events that are mappings; they must not change after this. Raises Saturated, as `accept` does."""
        self._refuse_while_draining()
        if not self._has_room():
            await self._wait_for_room()
        origin = Origin(source, self.now_us(), mapping)
        decoded = _Decoded()
        for start in range(0, len(events), PIECE_OBJECTS):
            if start:
                await asyncio.sleep(0)
            self._decode_objects(events[start : start + PIECE_OBJECTS], origin, decoded, start)
        self._refuse_while_draining()
        appended = self._accept_decoded(decoded, origin)
        if appended is not None:
            await asyncio.shield(appended)
        return decoded.receipt

    def _decode_objects(self, events: Sequence[Event], origin: Origin, decoded: _Decoded, seen: int) -> None:
        accepted = decoded.receipt.accepted
        if not self.keeps_text:
            decoder = self._object_decoder(origin.mapping)
            batch = decoder.decode(events, origin, now_us=origin.at_us, first_index=accepted)
            if batch is not None:
                decoded.take(batch, [], seen)
                self.tail.note(origin, events[-TAIL:])
                return
        payload, unwritable = write_lines(events)
        found = self._decoder.decode(payload, origin, now_us=origin.at_us, first_index=accepted)
        refused = [(place, unwritable.get(place, problem)) for place, problem in found.refused]
        decoded.take(found.batch, refused, seen)

    async def _wait_for_room(self) -> None:
        try:
            async with asyncio.timeout(self._patience_s):
                await self._room()
        except TimeoutError:
            raise Saturated("the pipeline has no room for more events", max(1.0, self._patience_s)) from None

    async def _decode(self, payload: bytes, origin: Origin, decoder: EventDecoder) -> _Decoded:
        decoded = _Decoded()
        now_us, seen = origin.at_us, 0
        for number, piece in enumerate(pieces(payload)):
            if number:
                await asyncio.sleep(0)
            found = decoder.decode(piece, origin, now_us=now_us, first_index=decoded.receipt.accepted)
            decoded.take(found.batch, found.refused, seen)
            seen += found.total
        return decoded

    def _append(self, decoded: _Decoded, origin: Origin) -> asyncio.Future[int]:
        receipt, counts = decoded.receipt, self._ledger.of(origin.source)

        def written(seq: int) -> None:
            counts.received += receipt.accepted + receipt.rejected
            counts.rejected += receipt.rejected
            self._flow(seq, decoded.batches, receipt.accepted)

        context = {} if origin.mapping == FieldMapping() else {"mapping": msgspec.to_builtins(origin.mapping)}
        entry = Entry(
            payload=b"".join(batch.lines.payload for batch in decoded.batches if batch.lines),
            count=receipt.accepted,
            at_us=origin.at_us,
            source=origin.source,
            context=context,
            ledger=self._ledger.rejected(),
        )
        appended = self._journal.append(entry, written)
        self._appends.add(appended)
        appended.add_done_callback(self._appends.discard)
        return appended

    def _flow(self, seq: int, batches: list[EventBatch], events: int) -> None:
        epoch = self._book.admit(seq, events)
        for batch in batches:
            batch.seq, batch.epoch = seq, epoch
            if batch.lines is not None:
                self.tail.note(batch.origin, batch.lines)
            if not self._keep_lines:
                batch.lines = None
            self._producer.push(batch)

    async def replay(self, record: Record) -> int:
        """Take an append back from the journal; give how many of its events could not be decoded again.

        It was accepted, so the limits of today do not matter.
        """
        entry = record.entry
        if not self._has_room():
            await self._room()
        mapping = msgspec.convert(entry.context.get("mapping", {}), FieldMapping)
        decoded = await self._decode(
            entry.payload, Origin(entry.source, entry.at_us, mapping), self._replay_decoder
        )
        self._ledger.of(entry.source).received += entry.count
        self._flow(record.seq, decoded.batches, entry.count)
        return entry.count - decoded.receipt.accepted


def _answer(
    waiting: list[Waiting[Receipt]], receipts: list[Receipt], error: BaseException | None = None
) -> None:
    if error is not None:
        refuse(waiting, error)
        return
    for one, receipt in zip(waiting, receipts, strict=True):
        if not one.answer.done():
            one.answer.set_result(receipt)


def pieces(payload: bytes) -> Iterator[bytes]:
    """Cut a payload behind newlines into pieces that can each be decoded without holding up the event loop."""
    if payload and payload[-1:] != b"\n":
        payload += b"\n"
    start = 0
    while start < len(payload):
        end = _line_end(payload, start + PIECE_BYTES)
        lines = payload.count(b"\n", start, end)
        if lines > PIECE_LINES:
            end = _line_end(payload, start + PIECE_BYTES * PIECE_LINES // lines)
        yield payload[start:end]
        start = end


def _line_end(payload: bytes, place: int) -> int:
    return payload.find(b"\n", place) + 1 if place < len(payload) else len(payload)
