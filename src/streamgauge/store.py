"""The contract of a store: where rollups, raw events, positions and the ledger are kept.

Every call blocks and is made from a thread of its own, never from the event loop. `commit` is called from one thread
at a time; reads may run beside it, each in one snapshot.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from streamgauge.audit import Audit
from streamgauge.commit import DeadLetter, DeadLetterName, Frame, SeenIds
from streamgauge.partials import Partials


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """How far a shard is committed: its last epoch and append, and the ledger as it stood then."""

    epoch: int
    last_seq: int
    ledger: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A metric's stored partials of a range, and the last epoch of each shard that they include."""

    partials: Partials
    epochs: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The answer to an SQL query. truncated: there were more rows than the limit."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    truncated: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """How long what is kept, in seconds since arrival. tiers: (resolution, age up to which it is kept at that).

    seen_s, seen_ids: how long, and how many of each shard, ids are kept that counted. dead_letters_s, dead_letters,
    dead_letter_bytes: how long events that were set aside are kept, how many, and how large all of them may be; the
    oldest leave first.
    """

    raw_s: float
    tiers: Sequence[tuple[int, float]]
    seen_s: float = 86_400.0
    seen_ids: int = 1_000_000
    dead_letters_s: float = 30 * 86_400.0
    dead_letters: int = 100_000
    dead_letter_bytes: int = 2**30


@dataclass(frozen=True, slots=True)
class KeptDeadLetter:
    """An event that was set aside, as the store has it. state: "open", "replayed" or "discarded"."""

    shard: str
    letter: DeadLetter
    state: str

    @property
    def name(self) -> DeadLetterName:
        """What it is called."""
        return DeadLetterName(self.shard, self.letter.seq, self.letter.index)


class Store(Protocol):
    """Where everything is kept that is to outlive the process."""

    def positions(self) -> dict[str, Position]:
        """Give how far each shard is committed."""

    def commit(self, frames: Sequence[Frame]) -> None:
        """Store one epoch whole (`commit.decode_commit` reads the frames), or nothing of it.

        An epoch that is stored already is accepted again and changes nothing. Raises StoreError where the shard does
        not stand at the commit's `previous_seq`, and for any failure of the store; StoreInvalid where trying again is of
        no use.
        """

    def read(
        self,
        name: str,
        definition: str,
        by: Sequence[str],
        states: tuple[str, ...],
        *,
        start: int | None,
        end: int | None,
    ) -> Snapshot:
        """Give a metric's partials with start <= bucket < end (seconds; None: no bound), as they are stored."""

    def extent(self, name: str) -> tuple[int, int] | None:
        """Give the first and last bucket of a metric, in seconds; None where it has none."""

    def query(self, sql: str, params: Sequence[Any], *, timeout_s: float, max_rows: int) -> Table:
        """Answer one SELECT over the views `events` and `rollups`."""

    def checkpoint(self) -> dict[str, int]:
        """Make everything durable without the store's own log, prove it, and give each shard's last append."""

    def skip(self, shard: str, to_seq: int) -> None:
        """Let a shard go on behind append `to_seq`; what lies between its position and that is lost."""

    def maintain(self, now_us: int, retention: Retention) -> int:
        """Compact and expire; give how many rows that removed. Raises StoreError; what was done till then stays."""

    def forget(self, now_us: int, retention: Retention) -> int:
        """Drop ids and dead letters beyond their bounds, as `maintain` does too; give how many rows went."""

    def seen(self, shard: str, since_us: int, most: int) -> Iterable[SeenIds]:
        """Give the newest ids of a shard, at most `most` of them and none older than `since_us`, oldest first within each scope.

        Those of replayed dead letters are all given, before the others, whatever their age and number.
        """

    def dead_letters(
        self, limit: int, *, before: DeadLetterName | None = None, only_open: bool = True
    ) -> list[KeptDeadLetter]:
        """Give dead letters, the last appends first; `before`: the name of the last one given, to go on from.

        A letter is open until it is discarded, or an event with its id has been committed in the scope of replays.
        """

    def dead_letter(self, name: DeadLetterName) -> KeptDeadLetter | None:
        """Give one dead letter, whatever its state; None where there is none of that name."""

    def discard_dead_letters(self, names: Sequence[DeadLetterName], at_us: int) -> int:
        """Mark open letters as dealt with; give how many were open. Names of others change nothing."""

    def open_dead_letters(self) -> int:
        """Count the letters that are open."""

    def audit(self) -> Audit:
        """Give everything as it is at this moment, for a verification; to be closed after it, by the same thread."""

    def size_bytes(self) -> int:
        """Give how much room the store takes on disk."""

    def close(self) -> None:
        """Let go of the store; what is committed stays."""
