"""One life of a shard's engine: which process commits, and what it computes. Every position carries its text.

`verify` needs it: a rollup is to be there for the events that were stored while its metric was computed, and for those
alone.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping

import msgspec

SKIPPED = "skipped"  # stands in a position by which appends were given up, as their owner wished


class Incarnation(msgspec.Struct, frozen=True, kw_only=True):
    """What every epoch of one life has in common.

    replayed_to: appends up to this one were in the journal when it began; the latency of their events is not counted.
    raw_events: whether they are kept; rewritten: whether they are stored otherwise than they were journaled.
    metrics: the definition of each metric that is computed.
    """

    id: str
    replayed_to: int
    raw_events: bool
    metrics: dict[str, str]
    rewritten: bool = False

    @property
    def text(self) -> str:
        """What positions say."""
        return msgspec.json.encode(self, order="sorted").decode()


def begin(*, replayed_to: int, raw_events: bool, rewritten: bool, metrics: Mapping[str, str]) -> Incarnation:
    """Begin a life, under a name that no other has."""
    return Incarnation(
        id=uuid.uuid4().hex,
        replayed_to=replayed_to,
        raw_events=raw_events,
        rewritten=rewritten,
        metrics=dict(metrics),
    )


def read(text: str) -> Incarnation | None:
    """Read what a position says; None where it was written before lives were described."""
    try:
        return msgspec.json.decode(text, type=Incarnation)
    except msgspec.DecodeError:
        return None
