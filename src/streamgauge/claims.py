"""Exactly once at the door: which events of a payload are new, which came before, and whom they have to wait for.

An id belongs to the first append that brings it, from before that is written. Whoever brings it meanwhile waits: when
the append was written, it is a duplicate; when it was refused, the id is free again. Nobody waits while others wait for
him, except behind one lock.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import compress
from typing import Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.commit import SeenIds
from streamgauge.errors import IdempotencyKeyReused
from streamgauge.event import MISSING, EventBatch, FieldMapping, Lines
from streamgauge.identity import DEAD_LETTERS, body_hash_of, hash_of, hashes_of
from streamgauge.journal import Record
from streamgauge.once import MICROSECONDS, Answer, OnceIndex, Words, first_of_each, words_of

REQUESTS: Final = "Idempotency-Key "  # before the scope, so that a request's key is never an event's id
SLOW_BYTES: Final = 2**20  # a body that takes a millisecond to hash
TAKEN_AT_ONCE: Final = 4096  # ids, some milliseconds' worth


class Ids(NamedTuple):
    """The ids of some of a batch's events. places: their positions in the batch."""

    places: NDArray[np.int64]
    hashes: list[bytes]


class Context(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the header of an append says about its ids, so that a replay knows them.

    scope: whose ids they are. ids: of each of its events, where they are not the events' own.
    body, rejected, duplicates: of the request, where it had a key.
    """

    scope: str = ""
    ids: Sequence[str] = ()
    body: str = ""
    rejected: int = 0
    duplicates: int = 0


@dataclass(eq=False, slots=True)
class Request:
    """A request with a key. answer: what the first with this key was answered; None where this is the first.

    appended: its append, where it came so far; the key stays taken until that is written or refused.
    """

    key: bytes
    body: bytes
    answer: Answer | None = None
    appended: asyncio.Future[int] | None = None


@dataclass(eq=False, slots=True)
class Claim:
    """The ids that one append brings first. done: resolved when it is known whether it was written."""

    scope: str
    done: asyncio.Future[None]
    hashes: set[bytes] = field(default_factory=set)
    words: list[Words] = field(default_factory=list)
    written: bool = False
    request: Request | None = None


@dataclass(frozen=True, slots=True)
class Sorted:
    """A payload's batches without the events that came before. repeated: places of those among its good events."""

    batches: list[EventBatch]
    repeated: NDArray[np.int64]
    claim: Claim | None = None

    def repeated_by(self, counts: Sequence[int]) -> list[int]:
        """Give how many came before of each of several payloads, whose good events are counted."""
        if not len(self.repeated):
            return [0] * len(counts)
        owners = np.searchsorted(np.cumsum(counts), self.repeated, side="right")
        return [int(some) for some in np.bincount(owners, minlength=len(counts))]


NONE_REPEATED: Final[NDArray[np.int64]] = np.zeros(0, np.int64)


class Claims:
    """The ids that have counted and those that are about to, of one shard. seconds: a clock that is never set."""

    def __init__(self, index: OnceIndex, *, seconds: Callable[[], int] | None = None) -> None:
        self.index = index
        self._seconds = seconds or steady_seconds()
        self._open: set[Claim] = set()
        self._requests: dict[bytes, asyncio.Future[None]] = {}
        self._turn = asyncio.Lock()

    @property
    def status(self) -> dict[str, int]:
        """Give how many ids are remembered, and how far back certainly all of them."""
        return {"ids": self.index.count, "horizon_s": self.index.horizon_s(self._seconds())}

    def sort_now(self, batches: list[EventBatch], scope: str) -> Sorted | Claim:
        """Sort out at most one batch; or give the claim whose end has to be awaited first."""
        ids = ids_of(batches[0], scope) if batches else None
        if ids is None:
            return Sorted(batches, NONE_REPEATED)
        claim = self._begin(scope)
        repeated = self._take(claim, ids)
        if isinstance(repeated, Claim):
            self.end(claim)
            return repeated
        if len(repeated):
            kept = _without(batches[0], repeated, 0)
            batches = [kept] if len(kept) else []
        return Sorted(batches, repeated, claim)

    async def sort(
        self,
        batches: list[EventBatch],
        scope: str,
        names: Sequence[str] | None = None,
        request: Request | None = None,
    ) -> Sorted:
        """Sort out a payload's batches, waiting where others bring the same ids.

        names: the events' ids, where they are not their own. The caller ends the claim, if there is one.
        """
        ids = await _ids_of_all(batches, scope, names)
        if ids is None and request is None:
            return Sorted(batches, NONE_REPEATED)
        claim = self._begin(scope, request)
        if ids is None:
            return Sorted(batches, NONE_REPEATED, claim)
        turn = self._turn if len(ids.hashes) > TAKEN_AT_ONCE else nullcontext()
        try:
            async with turn:  # only who holds it may wait while some of his ids are claimed already
                repeated = await self._take_all(claim, ids)
            return Sorted(await _without_all(batches, repeated), repeated, claim)
        except BaseException:
            self.end(claim)
            raise

    async def _take_all(self, claim: Claim, ids: Ids) -> NDArray[np.int64]:
        """Claim ids, a few thousand at a time; give the places of those that came before."""
        parts = [NONE_REPEATED]
        for start in range(0, len(ids.hashes), TAKEN_AT_ONCE):
            if start:
                await asyncio.sleep(0)
            end = start + TAKEN_AT_ONCE
            part = Ids(ids.places[start:end], ids.hashes[start:end])
            while isinstance(repeated := self._take(claim, part), Claim):
                await asyncio.wait([repeated.done])
            parts.append(repeated)
        return np.concatenate(parts)

    def _begin(self, scope: str, request: Request | None = None) -> Claim:
        claim = Claim(scope, asyncio.get_running_loop().create_future(), request=request)
        self._open.add(claim)
        return claim

    def _take(self, claim: Claim, ids: Ids) -> NDArray[np.int64] | Claim:
        """Claim ids; give the places of those that came before, or whose claim has to be awaited, and claim none."""
        now_s, words = self._seconds(), words_of(b"".join(ids.hashes))
        known = self.index.known(claim.scope, words, now_s)
        if known.any():
            other = self._holder(claim, [ids.hashes[place] for place in np.flatnonzero(known)])
            if other is not None:
                return other
        new = ~known & np.array(first_of_each(ids.hashes), bool)
        self.index.add(claim.scope, words[new], np.full(int(new.sum()), now_s, np.int64), now_s)
        claim.words.append(words[new])
        claim.hashes.update(compress(ids.hashes, new.tolist()))
        repeated: NDArray[np.int64] = ids.places[~new]
        return repeated

    def _holder(self, claim: Claim, hashes: Iterable[bytes]) -> Claim | None:
        """Give another claim that holds any of these ids."""
        wanted = set(hashes)
        others = (one for one in self._open if one is not claim and one.hashes and not one.written)
        return next((other for other in others if not other.hashes.isdisjoint(wanted)), None)

    def end(self, claim: Claim) -> None:
        """Say that an append was written, or, where it was not, that its ids are free again."""
        if claim not in self._open:
            return
        self._open.remove(claim)
        if not claim.written:
            for words in claim.words:
                self.index.remove(claim.scope, words)
        claim.done.set_result(None)

    def written(self, claim: Claim, seq: int, at_us: int, answer: tuple[int, int, int]) -> list[SeenIds]:
        """Note that an append was written; give its ids for the store. answer: accepted, rejected, duplicates."""
        claim.written = True
        seen = _seen(claim.scope, claim.words, seq, at_us)
        request = claim.request
        if request is None:
            return seen
        return [*seen, self._note(request, claim.scope, Answer(request.body, self._seconds(), *answer), seq)]

    def _note(self, request: Request, scope: str, answer: Answer, seq: int) -> SeenIds:
        self.index.answers.add(request.key, answer, self._seconds())
        counts = {name: getattr(answer, name) for name in ("accepted", "rejected", "duplicates")}
        return SeenIds(
            scope=scope,
            hashes=request.key,
            bodies=request.body,
            answers=(msgspec.json.encode(counts).decode(),),
            at_us=np.array([answer.second * MICROSECONDS], np.int64),
            seq=np.array([seq], np.int64),
        )

    @asynccontextmanager
    async def request(
        self, key: str, scope: str, payload: bytes, mapping: FieldMapping
    ) -> AsyncIterator[Request]:
        """Give a request with what the first of its key was answered; None in it where this is the first.

        Waits while another with this key is under way. Raises IdempotencyKeyReused where that had another body.
        """
        name, parts = hash_of(REQUESTS + scope, key), (msgspec.json.encode(mapping), payload)
        slow = len(payload) > SLOW_BYTES
        body = await asyncio.to_thread(body_hash_of, *parts) if slow else body_hash_of(*parts)
        while (other := self._requests.get(name)) is not None:
            await asyncio.wait([other])
        answer = self.index.answers.find(name, self._seconds())
        if answer is not None:
            if answer.body != body:
                raise IdempotencyKeyReused
            yield Request(name, body, answer)
            return
        request = Request(name, body)
        self._requests[name] = asyncio.get_running_loop().create_future()
        try:
            yield request
        finally:
            if request.appended is None or request.appended.done():
                self._release(name)
            else:  # the sender has gone, but what it sent is on its way
                request.appended.add_done_callback(lambda _: self._release(name))

    def _release(self, name: bytes) -> None:
        self._requests.pop(name).set_result(None)

    async def replayed(
        self, record: Record, context: Context, batches: Sequence[EventBatch]
    ) -> list[SeenIds]:
        """Take in the ids of an append that comes back from the journal; give them for the store."""
        entry, scope, now_s = record.entry, context.scope, self._seconds()
        second = max(1, min(now_s, entry.at_us // MICROSECONDS))
        ids = await _ids_of_all(batches, scope, context.ids or None)
        words = words_of(b"".join(ids.hashes if ids else ()))
        for start in range(0, len(words), TAKEN_AT_ONCE):
            some = words[start : start + TAKEN_AT_ONCE]
            self.index.add(scope, some, np.full(len(some), second, np.int64), now_s)
            await asyncio.sleep(0)
        seen = _seen(scope, [words], record.seq, entry.at_us)
        if entry.idempotency is None or not context.body:
            return seen
        request = Request(bytes.fromhex(entry.idempotency), bytes.fromhex(context.body))
        answer = Answer(request.body, second, entry.count, context.rejected, context.duplicates)
        return [*seen, self._note(request, scope, answer, record.seq)]

    def load(self, runs: Iterable[SeenIds], most: int) -> None:
        """Take in what the store remembers, before anything else. most: how many at most it was asked for.

        Blocks; about a second for a million.
        """
        now_s, found, oldest_s = self._seconds(), 0, 0
        for run in runs:
            seconds = np.clip(run.at_us // MICROSECONDS, 1, now_s)
            if run.bodies:
                self._load_answers(run, seconds.tolist(), now_s)
            else:
                self.index.add(run.scope, words_of(run.hashes), seconds, now_s)
            if run.scope != DEAD_LETTERS:
                found, oldest_s = found + len(run), oldest_s or int(seconds[0])
        if found >= most:  # the store may have had more
            self.index.forget_before(oldest_s)

    def _load_answers(self, run: SeenIds, seconds: list[int], now_s: int) -> None:
        hashes, bodies = bytes(run.hashes), bytes(run.bodies)
        for place, (second, text) in enumerate(zip(seconds, run.answers, strict=True)):
            here = slice(16 * place, 16 * place + 16)
            counts = msgspec.json.decode(text, type=dict[str, int])
            self.index.answers.add(hashes[here], Answer(bodies[here], second, **counts), now_s)


def steady_seconds() -> Callable[[], int]:
    """Give a clock of seconds since 1970 that goes on evenly when the machine's clock is set."""
    offset_s = time.time() - time.monotonic()
    return lambda: int(time.monotonic() + offset_s)


def ids_of(batch: EventBatch, scope: str) -> Ids | None:
    """Give the ids of a batch's events; None where none has one. An empty id is none.

    Events that were never bytes have none: those with an id are written as JSON first.
    """
    if batch.lines is None:
        return None
    found = batch.identifiers("event_id")
    if found.count(None) == len(found):
        return None
    places = [
        place for place, one in enumerate(found) if one is not None and one is not MISSING and one != ""
    ]
    if not places:
        return None
    names = [one if type(one := found[place]) is str else str(one) for place in places]
    return Ids(np.array(places, np.int64), hashes_of(scope, names))


async def _ids_of_all(batches: Sequence[EventBatch], scope: str, names: Sequence[str] | None) -> Ids | None:
    """Give the ids of a payload's events, by their places among all of them; None where none has one.

    names: their ids, one for each, where they are not their own.
    """
    if names is not None:
        return Ids(np.arange(len(names)), hashes_of(scope, names))
    places, hashes, first = list[NDArray[np.int64]](), list[bytes](), 0
    for batch in batches:
        ids = ids_of(batch, scope)
        if ids is not None:
            places.append(ids.places + first)
            hashes += ids.hashes
            await asyncio.sleep(0)
        first += len(batch)
    return Ids(np.concatenate(places), hashes) if hashes else None


async def _without_all(batches: list[EventBatch], repeated: NDArray[np.int64]) -> list[EventBatch]:
    """Leave events out, by their places among all, and number the others as the lines of one append."""
    if not len(repeated):
        return batches
    kept, start, line = list[EventBatch](), 0, int(batches[0].index[0])
    for batch in batches:
        end = start + len(batch)
        places = repeated[(repeated >= start) & (repeated < end)] - start
        rest = _without(batch, places, line)
        if len(rest):
            kept.append(rest)
        start, line = end, line + len(rest)
        await asyncio.sleep(0)
    return kept


def _without(batch: EventBatch, places: NDArray[np.int64], first: int) -> EventBatch:
    """Leave events out of a batch; first: the line of its first event in the append."""
    if len(places):
        keep = np.ones(len(batch), bool)
        keep[places] = False
        batch = _select(batch, keep)
    return replace(batch, index=np.arange(first, first + len(batch), dtype=np.int32))


def _select(batch: EventBatch, keep: NDArray[np.bool_]) -> EventBatch:
    rest = batch.select(keep)
    if rest.lines is None or not len(rest):
        return rest
    lines = [rest.lines.line(place) for place in range(len(rest))]
    ends = np.cumsum([len(line) + 1 for line in lines]) - 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    return replace(rest, lines=Lines(b"\n".join([*lines, b""]), starts, ends))


def _seen(scope: str, words: Sequence[Words], seq: int, at_us: int) -> list[SeenIds]:
    n = sum(map(len, words))
    if not n:
        return []
    return [
        SeenIds(
            scope=scope,
            hashes=b"".join([some.tobytes() for some in words]),
            at_us=np.full(n, at_us, np.int64),
            seq=np.full(n, seq, np.int64),
        )
    ]


def join_seen(runs: Sequence[SeenIds]) -> list[SeenIds]:
    """Join the ids of many appends into few columns."""
    kinds: dict[tuple[str, bool], list[SeenIds]] = {}
    for run in runs:
        kinds.setdefault((run.scope, bool(run.bodies)), []).append(run)
    return [
        SeenIds(
            scope=scope,
            hashes=b"".join([run.hashes for run in several]),
            at_us=np.concatenate([run.at_us for run in several]),
            seq=np.concatenate([run.seq for run in several]),
            bodies=b"".join([run.bodies for run in several]),
            answers=tuple(answer for run in several for answer in run.answers),
        )
        for (scope, _), several in kinds.items()
    ]


def context_of(
    claim: Claim | None, names: Sequence[str], rejected: int, duplicates: int
) -> dict[str, object]:
    """Give what an append's header has to say about its ids, beside the rest of its context."""
    if claim is None:
        return {}
    request = claim.request
    body = (request.body.hex(), rejected, duplicates) if request is not None else ()
    context = msgspec.to_builtins(Context(claim.scope, names, *body))
    return {"once": context} if context else {}


def context_from(context: Mapping[str, object]) -> Context:
    """Read what an append's header says about its ids."""
    return msgspec.convert(context.get("once", {}), Context)
