"""The contract of a store: where rollups, raw events, positions and the ledger are kept.

Every call blocks and is made from a thread of its own, never from the event loop. `commit` is called from one thread
at a time; reads may run beside it, each in one snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from streamgauge.commit import Frame
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
    """How long what is kept, in seconds since arrival. tiers: (resolution, age up to which it is kept at that)."""

    raw_s: float
    tiers: Sequence[tuple[int, float]]


class Store(Protocol):
    """Where everything is kept that is to outlive the process."""

    def positions(self) -> dict[str, Position]:
        """Give how far each shard is committed."""

    def commit(self, frames: Sequence[Frame]) -> None:
        """Store one epoch whole (`commit.decode_commit` reads the frames), or nothing of it.

        An epoch that is stored already is accepted again and changes nothing. Raises StoreError where the shard does
        not stand at the commit's `previous_seq`, and for any failure of the store.
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

    def maintain(self, now_us: int, retention: Retention) -> int:
        """Compact and expire; give how many rows that removed."""

    def size_bytes(self) -> int:
        """Give how much room the store takes on disk."""

    def close(self) -> None:
        """Let go of the store; what is committed stays."""
