"""Batches of events whose text has changed: decoded again, under the names that the events have for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np

from streamgauge.errors import InternalError
from streamgauge.event import EventBatch, Lines, concatenate
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import UNLIMITED
from streamgauge.transform.module import Failure

PIECE_BYTES: Final = 256 * 1024  # decoded without a pause
PIECE_LINES: Final = 4096


class Rebuilt(NamedTuple):
    """The events as they are now (None: no event is left), and those that are events no more."""

    events: EventBatch | None
    failures: list[Failure]


async def rebuild(
    events: EventBatch, positions: Sequence[int], lines: Sequence[bytes], decoder: EventDecoder
) -> Rebuilt:
    """Decode the new text of some of a batch's events, as at the door.

    positions: of the events that are left, rising; lines: their new text. Times are checked against the arrival, so
    that replay finds what was found at first.
    """
    found: list[EventBatch] = []
    failures: list[Failure] = []
    for number, (start, end) in enumerate(_cuts(lines)):
        if number:
            await asyncio.sleep(0)
        piece, places = b"\n".join([*lines[start:end], b""]), positions[start:end]
        decoded = decoder.decode(piece, events.origin, now_us=events.origin.at_us)
        failures += [
            Failure(places[line], f"after the transform: {problem}", "") for line, problem in decoded.refused
        ]
        if decoded.batch is not None:
            found.append(
                _renamed(decoded.batch, events, _left(places, {line for line, _ in decoded.refused}))
            )
    return Rebuilt(joined(found) if found else None, failures)


async def decoded_again(events: EventBatch, decoder: EventDecoder) -> EventBatch:
    """Decode the same events for other fields. They were accepted, so the limits of today do not matter."""
    if events.lines is None:
        raise InternalError("events without their text cannot be decoded again")
    lines = [events.lines.line(place) for place in range(len(events))]
    found = await rebuild(events, range(len(events)), lines, EventDecoder(decoder.properties, UNLIMITED))
    if found.events is None or found.failures:
        raise InternalError(f"accepted events cannot be decoded again: {found.failures[:1]}")
    found.events.accepted = events.accepted
    return found.events


def _cuts(lines: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    start = size = 0
    for place, line in enumerate(lines):
        size += len(line) + 1
        if size >= PIECE_BYTES or place - start >= PIECE_LINES:
            yield start, place + 1
            start, size = place + 1, 0
    if start < len(lines):
        yield start, len(lines)


def _left(places: Sequence[int], refused: set[int]) -> Sequence[int]:
    return [place for line, place in enumerate(places) if line not in refused] if refused else places


def _renamed(batch: EventBatch, events: EventBatch, positions: Sequence[int]) -> EventBatch:
    """Give a decoded batch the place that its events have in the journal."""
    whole = len(positions) == len(events)
    wanted = slice(None) if whole else np.array(positions, np.int64)
    accepted = events.accepted or events.lines
    batch.index = events.index[wanted]
    batch.seq, batch.epoch = events.seq, events.epoch
    batch.accepted = accepted and accepted.select(wanted)
    return batch


def joined(batches: Sequence[EventBatch]) -> EventBatch:
    """Join batches of one append into one that has all that they have, lines too."""
    if len(batches) == 1:
        return batches[0]
    lines = [batch.lines for batch in batches if batch.lines is not None]
    begins = list(accumulate((len(one.payload) for one in lines), initial=0))
    return replace(
        concatenate(batches),
        index=np.concatenate([batch.index for batch in batches]),
        seq=batches[0].seq,
        rows=[row for batch in batches for row in batch.rows],
        parts=(),
        lines=Lines(
            b"".join([one.payload for one in lines]),
            np.concatenate([one.starts + begin for one, begin in zip(lines, begins, strict=False)]),
            np.concatenate([one.ends + begin for one, begin in zip(lines, begins, strict=False)]),
        ),
        accepted=_joined_accepted(batches),
    )


def _joined_accepted(batches: Sequence[EventBatch]) -> Lines | None:
    accepted = [batch.accepted for batch in batches]
    first = accepted[0]
    if first is None:
        return None
    there = [one for one in accepted if one is not None]  # all of them are lines of the same payload
    return Lines(
        first.payload,
        np.concatenate([one.starts for one in there]),
        np.concatenate([one.ends for one in there]),
    )
