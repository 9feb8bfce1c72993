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
import numpy as np

from streamgauge.claims import Claim, Claims, Request, Sorted, context_from, context_of
from streamgauge.commit import SeenIds
from streamgauge.epoch import EpochBook
from streamgauge.errors import Draining, Saturated
from streamgauge.event import EventBatch, FieldMapping, Origin
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import UNLIMITED
from streamgauge.events.objects import Event, ObjectDecoder, write_lines
from streamgauge.gathering import Gathering, Kind, Waiting, refuse
from streamgauge.journal import Entry, Journal, Record
from streamgauge.ledger import Ledger
from streamgauge.live.pulse import TAIL, SourceNote, Tail
from streamgauge.once import Answer, OnceIndex
from streamgauge.stages.producer import EventProducer

PIECE_BYTES: Final = 256 * 1024  # decoded without a pause: at some 1.5 ns a byte, well under a millisecond
PIECE_OBJECTS: Final = 16_384  # mappings, at some 0.2 us each
NEWLINE: Final = 10
PIECE_LINES: Final = 4096  # where all of them are bad, each costs several microseconds
SMALL_BYTES: Final = 32 * 1024  # payloads that are taken together with others of the same turn
MOST_ERRORS: Final = 100
RETRY_AFTER_S: Final = 10.0

LeaveOut = Callable[[EventBatch], EventBatch]


@dataclass(slots=True)
class Receipt:
    """What became of a payload. errors: (position among its events, reason), the first hundred.

    duplicates: good events whose ids had counted before. replayed: this is what an earlier request was answered.
    """

    accepted: int = 0
    rejected: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    duplicates: int = 0
    replayed: bool = False


@dataclass(slots=True)
class _Decoded:
    batches: list[EventBatch] = field(default_factory=list)
    receipt: Receipt = field(default_factory=Receipt)
    refused: list[int] = field(default_factory=list)
    claim: Claim | None = None

    def leave_out(self, found: Sorted) -> None:
        """Go on with the events that did not come before."""
        self.batches, self.claim = found.batches, found.claim
        self.receipt.accepted -= len(found.repeated)
        self.receipt.duplicates += len(found.repeated)

    def take(self, batch: EventBatch | None, refused: list[tuple[int, str]], first: int) -> None:
        receipt = self.receipt
        if batch is not None:
            self.batches.append(batch)
            receipt.accepted += len(batch)
        receipt.rejected += len(refused)
        self.refused += [first + position for position, _ in refused]
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
        retry_after_s: Callable[[], float] = lambda: RETRY_AFTER_S,
        keep_lines: bool,
        claims: Claims | None = None,
    ) -> None:
        self.claims = claims or Claims(OnceIndex())
        self._journal, self._book, self._producer = journal, book, producer
        self._ledger, self.now_us, self._patience_s = ledger, now_us, patience_s
        self._has_room, self._room, self._retry_after_s = has_room, room, retry_after_s
        self.use(decoder, keep_lines=keep_lines)
        self._small: Gathering[Receipt] = Gathering(self._take_small)
        self.draining = False
        self._appends: set[asyncio.Future[int]] = set()
        self.tail = Tail()
        self.notes: dict[str, SourceNote] = {}

    def use(self, decoder: EventDecoder, *, keep_lines: bool) -> None:
        """Decode by this from here on. keep_lines: whether anything behind needs the events' text."""
        self._decoder, self._keep_lines = decoder, keep_lines
        self._replay_decoder = EventDecoder(decoder.properties, UNLIMITED)
        self.keeps_text = keep_lines or self._journal.keeps_text
        self._object_decoder = lru_cache(maxsize=8)(
            lambda mapping: ObjectDecoder(decoder.fields, decoder.limits, mapping)
        )

    async def accept(
        self,
        payload: bytes,
        source: str,
        mapping: FieldMapping,
        *,
        scope: str = "",
        ids: Sequence[str] | None = None,
    ) -> Receipt:
        """Accept a payload of newline-delimited JSON. Raises Saturated, and then has accepted nothing.

        scope: whose ids the events' ids are; each counts once in it. ids: one for each event of the payload, where
        they are not the events' own; they stand in the journal's header, so give some thousands at most.
        """
        await self._enter()
        if len(payload) <= SMALL_BYTES and ids is None:
            return await self._add_small(payload, source, mapping, scope)
        origin = Origin(source, self.now_us(), mapping)
        decoded = await self._decode(payload, origin, self._decoder)
        if ids is not None:
            refused = set(decoded.refused)
            ids = [name for place, name in enumerate(ids) if place not in refused]
        return await self._hand_in(decoded, origin, scope, ids=ids)

    async def accept_once(
        self, payload: bytes, source: str, mapping: FieldMapping, key: str, *, scope: str = ""
    ) -> Receipt:
        """Accept a payload as `accept` does, unless a request with this key was; then give its answer again.

        Raises IdempotencyKeyReused where the request with this key had another payload or mapping.
        """
        self._refuse_while_draining()
        async with self.claims.request(key, scope, payload, mapping) as request:
            origin = Origin(source, self.now_us(), mapping)
            if request.answer is not None:
                return await self._repeat(payload, origin, request.answer)
            await self._enter()
            decoded = await self._decode(payload, origin, self._decoder)
            return await self._hand_in(decoded, origin, scope, request=request)

    async def _repeat(self, payload: bytes, origin: Origin, answer: Answer) -> Receipt:
        """Give an answer again. The events have come twice, and are counted: none of them as accepted."""
        again = Receipt(rejected=answer.rejected, duplicates=answer.accepted + answer.duplicates)
        self._count_refused(origin.source, again)
        errors = []
        if answer.rejected:  # the same events are bad for the same reasons
            errors = (await self._decode(payload, origin, self._decoder)).receipt.errors
        return Receipt(answer.accepted, answer.rejected, errors, answer.duplicates, replayed=True)

    async def _hand_in(
        self,
        decoded: _Decoded,
        origin: Origin,
        scope: str,
        *,
        ids: Sequence[str] | None = None,
        request: Request | None = None,
    ) -> Receipt:
        """Sort out what came before, and have the rest written; what is written is accepted, whoever has gone."""
        found = await self.claims.sort(decoded.batches, scope, ids, request)
        decoded.leave_out(found)
        if self.draining:
            self._end_claim(decoded)
            raise Draining
        repeated = set(found.repeated.tolist()) if ids else ()
        fresh = [name for place, name in enumerate(ids or ()) if place not in repeated]
        appended = self._accept_decoded(decoded, origin, fresh)
        if appended is not None:
            if request is not None:
                request.appended = appended
            await asyncio.shield(appended)
        return decoded.receipt

    def _end_claim(self, decoded: _Decoded) -> None:
        if decoded.claim is not None:
            self.claims.end(decoded.claim)

    async def _enter(self) -> None:
        """Wait for room. Raises Saturated where there is none in time, and while draining."""
        self._refuse_while_draining()
        if not self._has_room():
            await self._wait_for_room()
            self._refuse_while_draining()

    def accept_now(
        self, payload: bytes, source: str, mapping: FieldMapping
    ) -> asyncio.Future[Receipt] | None:
        """Accept a small payload as `accept` does; None, and nothing done, where that would have to wait or refuse."""
        if self.draining or len(payload) > SMALL_BYTES or not self._has_room():
            return None
        return self._add_small(payload, source, mapping)

    def _add_small(
        self, payload: bytes, source: str, mapping: FieldMapping, scope: str = ""
    ) -> asyncio.Future[Receipt]:
        whole = payload if payload.endswith(b"\n") else payload + b"\n"
        return self._small.add(whole, Kind(source, mapping, scope))

    def _refuse_while_draining(self) -> None:
        if self.draining:
            raise Draining

    async def written(self) -> None:
        """Wait until the journal has taken or refused all that was handed to it; for the time after `draining`."""
        await asyncio.sleep(0)  # small payloads are handed over at the end of a turn
        if self._appends:
            await asyncio.wait(self._appends)

    def _accept_decoded(
        self, decoded: _Decoded, origin: Origin, ids: Sequence[str] = ()
    ) -> asyncio.Future[int] | None:
        """Hand the good events to the journal; None where there is none, and then the others are booked."""
        receipt = decoded.receipt
        note = self.notes.setdefault(origin.source, SourceNote())
        note.last_ms = origin.at_us // 1000
        if receipt.errors:
            note.problem = receipt.errors[-1][1]
        if decoded.batches:
            note.watermark_us = max(note.watermark_us, *(int(b.time_us.max()) for b in decoded.batches))
            return self._append(decoded, origin, ids)
        self._end_claim(decoded)
        self._count_refused(origin.source, receipt)
        return None

    def _count_refused(self, source: str, receipt: Receipt) -> None:
        counts = self._ledger.of(source)
        counts.received += receipt.rejected + receipt.duplicates
        counts.rejected += receipt.rejected
        counts.duplicate += receipt.duplicates

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
        found = self.claims.sort_now(decoded.batches, kind.scope)
        if isinstance(found, Claim):
            self._take_small_later(kind, waiting, found)
            return
        decoded.leave_out(found)
        if len(waiting) == 1:
            receipts = [decoded.receipt]
        else:
            repeated = found.repeated_by(counts)
            receipts = [
                Receipt(count - again, duplicates=again)
                for count, again in zip(counts, repeated, strict=True)
            ]
        appended = self._accept_decoded(decoded, origin)
        if appended is None:
            _answer(waiting, receipts)
        else:
            appended.add_done_callback(lambda done: _answer(waiting, receipts, done.exception()))

    def _take_small_later(self, kind: Kind, waiting: list[Waiting[Receipt]], claim: Claim) -> None:
        """Take payloads of which one brings an id that is just being written: that one when it is, the others now."""
        if len(waiting) > 1:
            for one in waiting:
                self._take_small(kind, [one])
            return

        def again(_: object) -> None:
            try:
                self._refuse_while_draining()
                self._take_small(kind, waiting)
            except Exception as exc:  # noqa: BLE001  whoever waits is told, whatever it is
                refuse(waiting, exc)

        claim.done.add_done_callback(again)

    def _decode_now(self, payload: bytes, origin: Origin) -> _Decoded:
        decoded = _Decoded()
        found = self._decoder.decode(payload, origin, now_us=origin.at_us)
        decoded.take(found.batch, found.refused, 0)
        return decoded

    def refuse(self, source: str) -> None:
        """Count a request that was refused unread."""
        self._ledger.of(source).requests_refused += 1

    def reject(self, source: str, problem: str) -> None:
        """Count an event that its source could not read."""
        counts, note = self._ledger.of(source), self.notes.setdefault(source, SourceNote())
        counts.received += 1
        counts.rejected += 1
        note.last_ms, note.problem = self.now_us() // 1000, problem

    async def accept_objects(self, events: Sequence[Event], source: str, mapping: FieldMapping) -> Receipt:
        """Accept events that are mappings; they must not change after this. Raises Saturated, as `accept` does."""
        await self._enter()
        origin = Origin(source, self.now_us(), mapping)
        decoded = _Decoded()
        for start in range(0, len(events), PIECE_OBJECTS):
            if start:
                await asyncio.sleep(0)
            self._decode_objects(events[start : start + PIECE_OBJECTS], origin, decoded, start)
        return await self._hand_in(decoded, origin, "")

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
            raise Saturated("the pipeline has no room for more events", self._retry_after_s()) from None

    async def _decode(self, payload: bytes, origin: Origin, decoder: EventDecoder) -> _Decoded:
        decoded = _Decoded()
        now_us, seen = origin.at_us, 0
        for number, piece in enumerate(pieces(payload)):
            if number:
                await asyncio.sleep(0)
            found = decoder.decode(piece, origin, now_us=now_us, first_index=decoded.receipt.accepted)
            if found.batch is not None and self._keep_lines:
                found.batch.identifiers("user_id")  # for the store; now they are at hand
            decoded.take(found.batch, found.refused, seen)
            seen += found.total
        return decoded

    def _append(self, decoded: _Decoded, origin: Origin, ids: Sequence[str]) -> asyncio.Future[int]:
        receipt, counts, claim = decoded.receipt, self._ledger.of(origin.source), decoded.claim

        def written(seq: int) -> None:
            counts.received += receipt.accepted
            self._count_refused(origin.source, receipt)
            answer = (receipt.accepted, receipt.rejected, receipt.duplicates)
            seen = self.claims.written(claim, seq, origin.at_us, answer) if claim else ()
            self._flow(seq, decoded.batches, receipt.accepted, seen)

        context = {} if origin.mapping == FieldMapping() else {"mapping": msgspec.to_builtins(origin.mapping)}
        context |= context_of(claim, ids, receipt.rejected, receipt.duplicates)
        entry = Entry(
            payload=b"".join(batch.lines.payload for batch in decoded.batches if batch.lines),
            count=receipt.accepted,
            at_us=origin.at_us,
            source=origin.source,
            context=context,
            ledger=self._ledger.at_the_door(),
            idempotency=claim.request.key.hex() if claim and claim.request else None,
        )
        try:
            appended = self._journal.append(entry, written)
        except BaseException:
            self._end_claim(decoded)
            raise
        if claim is not None:  # before anybody who waits for the append hears of it
            appended.add_done_callback(lambda _: self._end_claim(decoded))
        self._appends.add(appended)
        appended.add_done_callback(self._appends.discard)
        return appended

    def _flow(
        self,
        seq: int,
        batches: list[EventBatch],
        events: int,
        seen: Sequence[SeenIds],
        leave_out: LeaveOut | None = None,
    ) -> None:
        epoch = self._book.admit(seq, events, seen)
        for each in batches:
            each.seq, each.epoch = seq, epoch
            batch = each if leave_out is None else leave_out(each)
            if not len(batch):
                continue
            if batch.lines is not None:
                self.tail.note(batch.origin, batch.lines)
            self._producer.push(batch)

    async def replay(self, record: Record, leave_out: LeaveOut | None = None) -> int:
        """Take an append back from the journal; give how many of its events could not be decoded again.

        It was accepted, so the limits of today do not matter. leave_out: settles the events of a batch that are not to
        be counted, and gives the others.
        """
        entry = record.entry
        if not self._has_room():
            await self._room()
        mapping = msgspec.convert(entry.context.get("mapping", {}), FieldMapping)
        decoded = await self._decode(
            entry.payload, Origin(entry.source, entry.at_us, mapping), self._replay_decoder
        )
        seen = await self.claims.replayed(record, context_from(entry.context), decoded.batches)
        self._ledger.of(entry.source).received += entry.count
        self._flow(record.seq, decoded.batches, entry.count, seen, leave_out)
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
    octets = np.frombuffer(payload, np.uint8)
    start = 0
    while start < len(payload):
        end = _line_end(payload, start + PIECE_BYTES)
        lines = int(np.count_nonzero(octets[start:end] == NEWLINE))
        if lines > PIECE_LINES:
            end = _line_end(payload, start + PIECE_BYTES * PIECE_LINES // lines)
        yield payload[start:end]
        start = end


def _line_end(payload: bytes, place: int) -> int:
    return payload.find(b"\n", place) + 1 if place < len(payload) else len(payload)
