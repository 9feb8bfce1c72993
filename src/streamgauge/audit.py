"""What `verify` reads of a store: an `Audit` sees all of it as it was at one moment, and changes nothing.

Rows come in portions that the caller chooses (runs of appends, of epochs, of buckets), so that memory stays bounded
however much there is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import Numbers
from streamgauge.partials import Partials


class PositionRow(NamedTuple):
    """One epoch as it was committed. ledger: the counts of each source after it; None where they cannot be read."""

    epoch: int
    previous_seq: int
    last_seq: int
    incarnation: str
    at_us: int
    ledger: Mapping[str, Mapping[str, int]] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEvents:
    """Rows of raw events in columns, ordered by (seq, index). Times in microseconds; user_id, event_id: None is null."""

    seq: NDArray[np.int64]
    index: NDArray[np.int64]
    time_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    processed_us: NDArray[np.int64]
    type: Sequence[str]
    user_id: Sequence[str | None]
    event_id: Sequence[str | None]
    value: Numbers
    event: Sequence[str]

    def __len__(self) -> int:
        return len(self.seq)


class RollupGroup(NamedTuple):
    """Rollup rows of one metric's definition that were received on one day (counted from 1970).

    compacted: how many of them the compactor wrote. events: the sum of their counts.
    """

    metric: str
    definition: str
    day: int
    rows: int
    compacted: int
    events: int


class Flaw(NamedTuple):
    """A stored row that no program of ours would write. series: as it is stored."""

    bucket: int
    resolution: int
    series: str
    column: str
    expected: str
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RollupRows:
    """Stored rows of one metric, as they stand: `partials` has buckets at each row's own `resolution`, in seconds.

    epoch: int64[n], 0 where rows were compacted. flaws: what is wrong with rows by themselves; a row whose series
    cannot be read is only there.
    """

    partials: Partials
    epoch: NDArray[np.int64]
    resolution: NDArray[np.int64]
    flaws: Sequence[Flaw]


class Stray(NamedTuple):
    """Rows that belong to no epoch: which table, how many, and an example in words."""

    table: str
    rows: int
    example: str


class Audit(Protocol):
    """A store at one moment. Every call blocks."""

    def shards(self) -> Sequence[str]:
        """Give every shard that anything is stored of."""

    def positions(self, shard: str) -> Iterator[PositionRow]:
        """Give a shard's epochs in order, as long as their positions are kept."""

    def raw(self, shard: str, after_seq: int, upto_seq: int) -> RawEvents:
        """Give the raw events with after_seq < seq <= upto_seq."""

    def rollup_groups(self, shard: str) -> Sequence[RollupGroup]:
        """Give which rollups there are, by metric, definition and received day."""

    def rollups(
        self,
        shard: str,
        group: tuple[str, str, int],
        by: Sequence[str],
        states: tuple[str, ...],
        *,
        epochs: tuple[int, int] | None = None,
        buckets: tuple[int | None, int | None] = (None, None),
    ) -> RollupRows:
        """Give rows of a (metric, definition, day): of epochs from first to last, with start <= bucket < end."""

    def hours(self, shard: str, group: tuple[str, str, int]) -> Sequence[tuple[int, int]]:
        """Give how many rows of a (metric, definition, day) lie in each hour: (its start in seconds, rows), in order."""

    def strays(self, shard: str, after_epoch: int) -> Sequence[Stray]:
        """Give rows of raw events or rollups that belong to no epoch, though the epochs of their time are known.

        after_epoch: rollups of epochs up to this one do not count, since their positions may be gone.
        """

    def dead_letters(self, shard: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give seq and index of the events that were set aside and are still kept, whatever became of them, in order."""

    def close(self) -> None:
        """Let go of the moment."""


__all__ = [
    "Audit",
    "Flaw",
    "PositionRow",
    "RawEvents",
    "RollupGroup",
    "RollupRows",
    "Stray",
]
