"""Epochs: runs of consecutive appends to the journal, and what they add, in memory until the store has it.

Accumulators belong to an epoch, never to a stage: batches of the next epoch flow on into the next accumulators while
one is being committed. An epoch may be committed once everything that was journaled in it has been settled (stored,
filtered, ...), and epochs are committed in order. A reader that started before a commit still finds the epoch's memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from streamgauge.commit import DeadLetter, RawRows, SeenIds
from streamgauge.errors import InternalError
from streamgauge.partials import Partials, merge

if TYPE_CHECKING:
    from streamgauge.term import Term

LETTER_BYTES = 512  # of memory for a dead letter, besides its event and its traceback
MERGE_AT = 48  # parts of one metric that are kept apart before they are merged into one


@dataclass(slots=True, kw_only=True)
class Contribution:
    """What a set of batches of one epoch adds, computed in full before any of it is booked."""

    epoch: int
    settled: Mapping[str, Mapping[str, int]]  # by source: {"stored": n, "filtered": m}
    partials: Mapping[str, Partials] = field(default_factory=dict)
    raw: Sequence[RawRows] = ()
    dead_letters: Sequence[DeadLetter] = ()

    @property
    def events(self) -> int:
        """How many events it settles."""
        return sum(sum(counts.values()) for counts in self.settled.values())

    @property
    def raw_bytes(self) -> int:
        """The size of the events that the store is to keep as they are."""
        letters = sum(len(one.payload) + len(one.traceback) + LETTER_BYTES for one in self.dead_letters)
        return letters + sum(len(rows.event.data) for rows in self.raw)


@dataclass(slots=True, kw_only=True)
class Epoch:
    """One run of appends, previous_seq + 1 to last_seq, and what it has added so far. term: what is computed in it."""

    number: int
    previous_seq: int
    last_seq: int
    opened_at: float
    term: Term | None = None
    accepted: int = 0
    settled_events: int = 0
    closed: bool = False
    settled: dict[str, dict[str, int]] = field(default_factory=dict)
    partials: dict[str, list[Partials]] = field(default_factory=dict)
    fresh: dict[str, int] = field(default_factory=dict)  # how many parts, at the end, were never merged
    raw: list[RawRows] = field(default_factory=list)
    dead_letters: list[DeadLetter] = field(default_factory=list)
    seen: list[SeenIds] = field(default_factory=list)
    raw_bytes: int = 0  # of events as they are kept, dead letters among them

    @property
    def complete(self) -> bool:
        """Everything that was journaled in it has been settled."""
        return self.settled_events == self.accepted

    @property
    def rows(self) -> int:
        """How many rows of partials it holds."""
        return sum(len(part) for parts in self.partials.values() for part in parts)

    def add(self, contribution: Contribution) -> None:
        """Book what a set of batches adds; nothing in it can fail half-way."""
        for source, counts in contribution.settled.items():
            row = self.settled.setdefault(source, {})
            for name, number in counts.items():
                row[name] = row.get(name, 0) + number
                self.settled_events += number
        for name, partials in contribution.partials.items():
            self.partials.setdefault(name, []).append(partials)
            self.fresh[name] = self.fresh.get(name, 0) + 1
        self.raw.extend(contribution.raw)
        self.dead_letters.extend(contribution.dead_letters)
        self.raw_bytes += contribution.raw_bytes

    def compact(self) -> None:
        """Merge the parts of each metric where there are many.

        Only with parts of about its own size a part is merged again, so that each row is merged a few times at most,
        however many there are.
        """
        for name, fresh in self.fresh.items():
            if fresh < MERGE_AT - 1:
                continue
            parts = self.partials[name]
            start, rows = len(parts) - fresh, sum(len(part) for part in parts[-fresh:])
            while start and len(parts[start - 1]) <= 2 * rows:
                start -= 1
                rows += len(parts[start])
            parts[start:] = [merge(parts[start:], parts[0].states, 1)]
            self.fresh[name] = 0

    def merged(self) -> dict[str, Partials]:
        """Give one `Partials` for each metric."""
        return {name: merge(parts, parts[0].states, 1) for name, parts in self.partials.items()}


class EpochBook:
    """The epochs of one shard that the store does not hold yet, oldest first; the last one is open."""

    def __init__(
        self, *, shard: str, committed_seq: int, next_number: int, now: float, term: Term | None = None
    ) -> None:
        self.shard = shard
        self.committed = next_number - 1
        self.committed_seq = committed_seq
        self._epochs: deque[Epoch] = deque()
        self._kept: deque[Epoch] = deque()  # committed, but a reader that started before may still need them
        self._readers: dict[int, int] = {}
        self._open(next_number, committed_seq, now, term)

    def _open(self, number: int, previous_seq: int, now: float, term: Term | None) -> None:
        self._epochs.append(
            Epoch(number=number, previous_seq=previous_seq, last_seq=previous_seq, opened_at=now, term=term)
        )

    def __len__(self) -> int:
        return len(self._epochs)

    @property
    def open(self) -> Epoch:
        """The epoch that appends go into."""
        return self._epochs[-1]

    @property
    def oldest(self) -> Epoch:
        """The next epoch to be committed."""
        return self._epochs[0]

    def epochs(self) -> Iterable[Epoch]:
        """Give every epoch that is not committed yet, oldest first."""
        return tuple(self._epochs)

    def admit(self, seq: int, events: int, seen: Sequence[SeenIds] = ()) -> int:
        """Take an append, with the ids that it brought, into the open epoch; give the epoch's number.

        Appends come in order.
        """
        epoch = self.open
        if seq <= epoch.last_seq:
            raise InternalError(f"append {seq} follows append {epoch.last_seq}")
        epoch.last_seq = seq
        epoch.accepted += events
        epoch.seen.extend(seen)
        return epoch.number

    def epoch(self, number: int) -> Epoch:
        """Give an epoch that is not committed yet."""
        place = number - self.oldest.number
        if not 0 <= place < len(self._epochs):
            raise InternalError(f"epoch {number} is not open; the oldest is {self.oldest.number}")
        return self._epochs[place]

    def add(self, contribution: Contribution) -> None:
        """Book what a set of batches adds to their epoch."""
        epoch = self.epoch(contribution.epoch)
        settled = epoch.settled_events + contribution.events
        if settled > epoch.accepted:
            raise InternalError(
                f"epoch {epoch.number} took in {epoch.accepted} events; {settled} were settled"
            )
        epoch.add(contribution)
        epoch.compact()

    def close(self, now: float, *, empty: bool = False) -> None:
        """Close the open epoch, if anything is in it, and open the next. empty: also where nothing is."""
        epoch = self.open
        if empty or epoch.last_seq > epoch.previous_seq:
            epoch.closed = True
            self._open(epoch.number + 1, epoch.last_seq, now, epoch.term)

    def begin_term(self, term: Term, now: float) -> None:
        """Compute what is admitted from here on by other rules, and what was admitted before by those that it has."""
        self.close(now)
        self.open.term = term

    def ready(self) -> Epoch | None:
        """Give the oldest epoch if it is closed and complete."""
        oldest = self.oldest
        return oldest if oldest.closed and oldest.complete else None

    def mark_committed(self, number: int) -> None:
        """Drop the oldest epoch, which the store holds now, as soon as no reader needs it."""
        epoch = self.oldest
        if epoch.number != number:
            raise InternalError(f"epoch {number} was committed before epoch {epoch.number}")
        if not (epoch.closed and epoch.complete):
            raise InternalError(f"epoch {number} was committed before it was closed and settled")
        self._epochs.popleft()
        self.committed, self.committed_seq = epoch.number, epoch.last_seq
        epoch.raw.clear()
        epoch.dead_letters.clear()
        epoch.seen.clear()
        if self._readers:
            self._kept.append(epoch)

    def begin_read(self) -> int:
        """Note a reader: epochs committed from here on keep their memory until `end_read`."""
        self._readers[self.committed] = self._readers.get(self.committed, 0) + 1
        return self.committed

    def end_read(self, started_at: int) -> None:
        """Let go of a reader."""
        self._readers[started_at] -= 1
        if not self._readers[started_at]:
            del self._readers[started_at]
        oldest = min(self._readers, default=self.committed)
        while self._kept and self._kept[0].number <= oldest:
            self._kept.popleft()

    def memory(self, metric: str, after_epoch: int, definition: str | None = None) -> list[Partials]:
        """Give what epochs after `after_epoch` (which a snapshot of the store holds) add to a metric.

        definition: only of epochs in which the metric was defined so.
        """
        epochs: Iterable[Epoch] = [
            epoch
            for epoch in (*self._kept, *self._epochs)
            if epoch.number > after_epoch
            and (definition is None or epoch.term is None or epoch.term.definitions.get(metric) == definition)
        ]
        return [part for epoch in epochs for part in epoch.partials.get(metric, ())]
