"""Which ids have counted already: an index of 128-bit hashes, bounded in number and in time. No clock, no I/O.

    IdTable     a hash table of ids in arrays: 40 bytes an id, whole batches at once
    IdWindow    two tables, a newer and an older one: when the newer is full or old, the older is dropped
    Answers     what requests with a key were answered
    OnceIndex   all of it for one shard; what it has forgotten shows in its horizon

The index is derived: the store holds the same ids, and the journal those that the store does not hold yet.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.identity import DEAD_LETTERS, HASH_BYTES

FEW: Final = 48  # up to so many ids, one after the other is quicker than arrays
SMALL_SLOTS: Final = 2**15  # a table begins with these: 655 KB
DAY_S: Final = 86_400
FOR_EVER_S: Final = 2**31
MICROSECONDS: Final = 1_000_000

Words = NDArray[np.uint64]


class IdTable:
    """Ids and the second in which each counted: open addressing with linear probing, at most 60 % full.

    It has few slots until they are filled, and then as many as it will ever need: moving a few thousand ids takes a
    millisecond, moving half a million would stop everything else for a tenth of a second.
    """

    def __init__(self, most: int) -> None:
        self.most, self.count = most, 0
        self._slots_at_most = _power_of_two(max(16, most * 5 // 3 + 1))
        self._make(min(SMALL_SLOTS, self._slots_at_most))

    def _make(self, slots: int) -> None:
        self._mask = slots - 1
        self._low, self._high = np.zeros(slots, np.uint64), np.zeros(slots, np.uint64)
        self._second = np.zeros(slots, np.uint32)
        self._views = self._low.data, self._high.data, self._second.data

    def seconds_of(self, ids: Words) -> NDArray[np.int64]:
        """Give when each id counted, in seconds above 0; 0 for those that are not here. ids: uint64[n, 2]."""
        if len(ids) <= FEW:
            return np.array([self._second_of(low, high) for low, high in ids.tolist()], np.int64)
        found, place = self._find(ids[:, 0], ids[:, 1])
        return np.where(found, self._second[place], 0).astype(np.int64)

    def _second_of(self, low: int, high: int) -> int:
        lows, _, seconds = self._views
        place = self._place_of(low, high)
        return int(seconds[place]) if lows[place] else 0

    def _place_of(self, low: int, high: int) -> int:
        lows, highs, _ = self._views
        place = low & self._mask
        while (stored := lows[place]) and (stored != low or highs[place] != high):
            place = (place + 1) & self._mask
        return place

    def _find(self, low: Words, high: Words) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
        """Give for each id whether it is here, and the slot where it is or would be."""
        place = (low & np.uint64(self._mask)).astype(np.int64)
        rest = np.arange(len(low))
        while len(rest):
            at = place[rest]
            stored = self._low[at]
            go_on = (stored != 0) & ((stored != low[rest]) | (self._high[at] != high[rest]))
            rest = rest[go_on]
            place[rest] = (place[rest] + 1) & self._mask
        return self._low[place] != 0, place

    def add(self, ids: Words, seconds: NDArray[np.int64]) -> None:
        """Put ids in, at most `most` of them in all; what is here already gets the new second."""
        if (self.count + len(ids)) * 5 > (self._mask + 1) * 3 and self._mask + 1 < self._slots_at_most:
            self._grow()
        if len(ids) <= FEW:
            for (low_word, high_word), when in zip(ids.tolist(), seconds.tolist(), strict=True):
                self._add_one(low_word, high_word, when)
            return
        low, high, second = ids[:, 0], ids[:, 1], seconds.astype(np.uint32)
        while len(low):
            found, place = self._find(low, high)
            self._low[place], self._high[place], self._second[place] = low, high, second
            # of several that wanted the same free slot one has it now; the others look on
            lost = (self._low[place] != low) | (self._high[place] != high)
            self.count += len(np.unique(place[~found]))
            low, high, second = low[lost], high[lost], second[lost]

    def _add_one(self, low: int, high: int, second: int) -> None:
        lows, highs, seconds = self._views
        place = self._place_of(low, high)
        self.count += not lows[place]
        lows[place], highs[place], seconds[place] = low, high, second

    def remove(self, ids: Words) -> None:
        """Take back ids: they are not here any more, though their slots stay taken."""
        found, place = self._find(ids[:, 0], ids[:, 1])
        self._second[place[found]] = 0

    def _grow(self) -> None:
        there = self._low != 0
        ids = np.stack([self._low[there], self._high[there]], axis=1)
        seconds = self._second[there].astype(np.int64)
        self.count = 0
        self._make(self._slots_at_most)
        self.add(ids, seconds)


class IdWindow:
    """The ids of the last `horizon_s` seconds, as far as `most` of them reach."""

    def __init__(self, most: int, horizon_s: int) -> None:
        self._half, self._horizon_s = max(1, most // 2), horizon_s
        self._new, self._old = IdTable(self._half), IdTable(1)
        self._begun_s = self._newest_s = self._old_newest_s = 0
        self.forgotten_s = -1  # the latest second of what had to go before its time

    @property
    def count(self) -> int:
        """How many ids it holds."""
        return self._new.count + self._old.count

    def known(self, ids: Words, now_s: int) -> NDArray[np.bool_]:
        """Tell which ids have counted within the horizon. ids: uint64[n, 2] (`words_of`)."""
        since_s = max(1, now_s - self._horizon_s)
        latest_s = self._new.seconds_of(ids)
        if self._old.count:
            latest_s = np.maximum(latest_s, self._old.seconds_of(ids))
        return latest_s >= since_s

    def add(self, ids: Words, seconds: NDArray[np.int64], now_s: int) -> None:
        """Note ids that have counted, with the second of each, about in order."""
        start = 0
        while start < len(ids):
            full = self._new.count >= self._half
            if full or (self._new.count and now_s - self._begun_s > self._horizon_s):
                self._turn(now_s)
            if not self._new.count:
                self._begun_s, self._newest_s = int(seconds[start]), 0
            end = start + self._half - self._new.count
            self._new.add(ids[start:end], seconds[start:end])
            self._newest_s = max(self._newest_s, int(seconds[start:end].max()))
            start = end

    def remove(self, ids: Words) -> None:
        """Take back ids that have not counted after all."""
        self._new.remove(ids)
        self._old.remove(ids)

    def _turn(self, now_s: int) -> None:
        if self._old.count and self._old_newest_s >= now_s - self._horizon_s:
            self.forgotten_s = max(self.forgotten_s, self._old_newest_s)
        self._old, self._old_newest_s = self._new, self._newest_s
        self._new = IdTable(self._half)

    def horizon_s(self, now_s: int) -> int:
        """Give how many seconds back it certainly remembers: whatever is younger than this."""
        return max(0, min(self._horizon_s, now_s - self.forgotten_s))


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request with a key was answered. body: 16 bytes that stand for its body."""

    body: bytes
    second: int
    accepted: int
    rejected: int
    duplicates: int


class Answers:
    """The answers of the last requests that had a key, by its hash."""

    def __init__(self, most: int, horizon_s: int) -> None:
        self._most, self._horizon_s = most, horizon_s
        self._answers: OrderedDict[bytes, Answer] = OrderedDict()
        self.forgotten_s = -1

    def __len__(self) -> int:
        return len(self._answers)

    def find(self, key: bytes, now_s: int) -> Answer | None:
        """Give what the first request with this key was answered, within the horizon."""
        answer = self._answers.get(key)
        return None if answer is None or answer.second < now_s - self._horizon_s else answer

    def add(self, key: bytes, answer: Answer, now_s: int) -> None:
        """Note an answer."""
        self._answers[key] = answer
        self._answers.move_to_end(key)
        while len(self._answers) > self._most:
            _, gone = self._answers.popitem(last=False)
            if gone.second >= now_s - self._horizon_s:
                self.forgotten_s = max(self.forgotten_s, gone.second)

    def horizon_s(self, now_s: int) -> int:
        """Give how many seconds back it certainly remembers: whatever is younger than this."""
        return max(0, min(self._horizon_s, now_s - self.forgotten_s))


class OnceIndex:
    """The ids of one shard that have counted. Ids in the scope `DEAD_LETTERS` are remembered whatever their age.

    most_ids, most_requests: how many are remembered; horizon_s: for how long. Times are in seconds, of one clock.
    """

    def __init__(
        self, *, most_ids: int = 1_000_000, most_requests: int = 100_000, horizon_s: int = DAY_S
    ) -> None:
        self.most_ids, self.horizon_limit_s = most_ids, horizon_s
        self._ids = IdWindow(most_ids, horizon_s)
        self._letters = IdWindow(most_ids, FOR_EVER_S)
        self.answers = Answers(most_requests, horizon_s)

    @property
    def count(self) -> int:
        """How many ids are remembered, of events and of requests."""
        return self._ids.count + self._letters.count + len(self.answers)

    def horizon_s(self, now_s: int) -> int:
        """Give how far back every id is remembered: at most `horizon_s`, less where there were too many."""
        return min(self._ids.horizon_s(now_s), self.answers.horizon_s(now_s))

    def known(self, scope: str, ids: Words, now_s: int) -> NDArray[np.bool_]:
        """Tell which ids of a scope have counted. ids: uint64[n, 2], the hashes of `identity` as words."""
        return self._window(scope).known(ids, now_s)

    def add(self, scope: str, ids: Words, seconds: NDArray[np.int64], now_s: int) -> None:
        """Note ids that have counted."""
        self._window(scope).add(ids, seconds, now_s)

    def remove(self, scope: str, ids: Words) -> None:
        """Take back ids that have not counted after all."""
        self._window(scope).remove(ids)

    def forget_before(self, second: int) -> None:
        """Say that there may have been more ids up to a second, which are not known here."""
        for part in (self._ids, self.answers):
            part.forgotten_s = max(part.forgotten_s, second)

    def _window(self, scope: str) -> IdWindow:
        return self._letters if scope == DEAD_LETTERS else self._ids


def words_of(hashes: bytes | memoryview) -> Words:
    """Give hashes, 16 bytes each, as uint64[n, 2]; the first word is never zero, which marks a free slot."""
    words = np.frombuffer(hashes, np.uint64).reshape(-1, HASH_BYTES // 8)
    if not words[:, 0].all():
        words = words.copy()
        words[words[:, 0] == 0, 0] = 1
    return words


def first_of_each(hashes: Sequence[bytes]) -> list[bool]:
    """Tell for each hash whether it is the first of its kind here."""
    if len(set(hashes)) == len(hashes):
        return [True] * len(hashes)
    met: set[bytes] = set()
    return [not (one in met or met.add(one)) for one in hashes]  # type: ignore[func-returns-value]


def _power_of_two(least: int) -> int:
    return 1 << (least - 1).bit_length()
