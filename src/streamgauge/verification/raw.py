"""Raw events as they are stored, made into batches again to be counted like those that came in.

Type, time and value come from their own columns, everything else from the event's text. The columns are held against
the text too. Which field of the sender's played which part is not stored with an event: what the configuration says is
tried first, then what fitted other events, and what fits neither is worked out from the rows themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.audit import RawEvents
from streamgauge.columns import Coded, Numbers
from streamgauge.errors import InternalError
from streamgauge.event import LINE_BITS, RESERVED, EventBatch, FieldMapping, Origin, encode
from streamgauge.events.clock import parse_timestamp
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import UNLIMITED
from streamgauge.verification.findings import Findings

SLICE: Final = 4096  # events decoded without a pause: a few milliseconds
ANY_TIME_US: Final = 2**62
MOST_MAPPINGS: Final = 32
EPOCH: Final = "\x00epoch"  # no field of an event can be called so
NOT_THERE: Final = "(none)"
COLUMNS: Final = ("type", "time", "value", "user_id", "event_id")
SOURCE: Final = "verify"


@dataclass(slots=True, kw_only=True)
class RawBatch(EventBatch):
    """Raw events of any appends, with the epoch of each as a further field; `index` is their place in all."""

    epochs: NDArray[np.int64]

    def select(self, wanted: slice | NDArray[Any]) -> RawBatch:
        """Give some of the events."""
        some = EventBatch.select(self, wanted)
        return RawBatch(
            origin=some.origin,
            type=some.type,
            time_us=some.time_us,
            value=some.value,
            index=some.index,
            lines=None,
            rows=some.rows,
            getters=some.getters,
            epochs=self.epochs[wanted],
        )

    def coded(self, name: str) -> Coded:
        """Give a field as dictionary codes, the epoch too."""
        if name != EPOCH:
            return EventBatch.coded(self, name)
        epochs, codes = np.unique(self.epochs, return_inverse=True)
        return Coded(codes.astype(np.int32), epochs.tolist())


class RawReader:
    """Makes batches of raw events. fields: those that metrics refer to; mapping: what the configuration says."""

    def __init__(self, fields: Iterable[str], mapping: FieldMapping, findings: Findings) -> None:
        self._decoder = EventDecoder(fields, UNLIMITED)
        self._mappings = [mapping]
        self._findings = findings
        self._notes = True

    def batches(self, raw: RawEvents, epochs: NDArray[np.int64], *, note: bool) -> Iterator[RawBatch]:
        """Give the events in batches, a few thousand at a time. note: whether to tell whose columns and text disagree."""
        self._notes = note
        for start in range(0, len(raw), SLICE):
            yield from self._slice(raw, epochs, np.arange(start, min(start + SLICE, len(raw))))

    def _slice(
        self, raw: RawEvents, epochs: NDArray[np.int64], rows: NDArray[np.int64]
    ) -> Iterator[RawBatch]:
        left = rows
        for mapping in self._mappings:
            fits, batch = self._fitting(raw, epochs, left, mapping)
            if batch is not None:
                yield batch
            left = left[~fits]
            if not len(left):
                return
        while len(left):
            seq = raw.seq[left[0]]
            odd = raw.seq[left] == seq
            yield from self._odd(raw, epochs, left[odd], rows[raw.seq[rows] == seq])
            left = left[~odd]

    def _fitting(
        self, raw: RawEvents, epochs: NDArray[np.int64], rows: NDArray[np.int64], mapping: FieldMapping
    ) -> tuple[NDArray[np.bool_], RawBatch | None]:
        """Give which rows agree with their texts under a mapping, and a batch of them."""
        decoded, readable = self._decode([raw.event[row] for row in rows.tolist()], mapping)
        fits = readable.copy()
        if decoded is not None:
            at = rows[readable]
            wrong = _disagreeing(raw, at, decoded)
            fits[readable] = ~wrong.any(axis=0)
            if fits.any():
                return fits, _batch(raw, epochs, at, decoded).select(fits[readable])
        return fits, None

    def _decode(
        self, texts: Sequence[str], mapping: FieldMapping
    ) -> tuple[EventBatch | None, NDArray[np.bool_]]:
        payload = "\n".join([text.replace("\n", " ") for text in texts]) + "\n"
        found = self._decoder.decode(
            payload.encode(errors="surrogatepass"), Origin(SOURCE, 0, mapping), now_us=ANY_TIME_US
        )
        readable = np.ones(len(texts), bool)
        readable[[place for place, _ in found.refused]] = False
        if found.total != len(texts):  # an empty text is no event
            return None, np.zeros(len(texts), bool)
        return found.batch, readable

    def _odd(
        self, raw: RawEvents, epochs: NDArray[np.int64], rows: NDArray[np.int64], append: NDArray[np.int64]
    ) -> Iterator[RawBatch]:
        """Take events of one append that fit no known mapping: work out theirs, or note what is wrong with them."""
        mapping = _worked_out(raw, append, self._mappings[0])
        if mapping != self._mappings[0]:
            fits, batch = self._fitting(raw, epochs, rows, mapping)
            if batch is not None:
                yield batch
                if mapping not in self._mappings and len(self._mappings) < MOST_MAPPINGS:
                    self._mappings.append(mapping)
            rows = rows[~fits]
        for row in rows.tolist():
            yield self._wrong(raw, epochs, np.array([row]))

    def _wrong(self, raw: RawEvents, epochs: NDArray[np.int64], row: NDArray[np.int64]) -> RawBatch:
        """Note what is wrong with one event; it is counted all the same, as its columns say."""
        at = int(row[0])
        place = f"append {raw.seq[at]}, line {raw.index[at]}"
        decoded, _ = self._decode([raw.event[at]], self._mappings[0])
        if decoded is None:
            self._note(place, "event", "an event as JSON", raw.event[at][:200])
            decoded, _ = self._decode([_stand_in(self._mappings[0])], self._mappings[0])
        else:
            wrong = _disagreeing(raw, row, decoded)[:, 0]
            for column, (expected, found) in zip(COLUMNS, _sides(raw, at, decoded), strict=True):
                if wrong[COLUMNS.index(column)]:
                    self._note(place, column, expected, found)
        if decoded is None:
            raise InternalError(f"an event made for the mapping {self._mappings[0]} cannot be decoded")
        return _batch(raw, epochs, row, decoded)

    def _note(self, place: str, column: str, expected: object, found: object) -> None:
        if self._notes:
            self._findings.differ("raw", place, column, expected, found)


def _stand_in(mapping: FieldMapping) -> str:
    return msgspec.json.encode({mapping.type: "-"}).decode()


def _batch(
    raw: RawEvents, epochs: NDArray[np.int64], rows: NDArray[np.int64], decoded: EventBatch
) -> RawBatch:
    return RawBatch(
        origin=decoded.origin,
        type=encode([raw.type[row] for row in rows.tolist()]),
        time_us=raw.time_us[rows],
        value=Numbers(raw.value.values[rows], raw.value.valid[rows]),
        index=(raw.seq[rows] << LINE_BITS) + raw.index[rows],
        lines=None,
        rows=decoded.rows,
        getters=decoded.getters,
        epochs=epochs[rows],
    )


def _disagreeing(raw: RawEvents, rows: NDArray[np.int64], decoded: EventBatch) -> NDArray[np.bool_]:
    """Tell for each of COLUMNS and each row whether column and text disagree."""
    stored, places = decoded.rows, rows.tolist()
    kinds = decoded.type.values
    value, valid = decoded.value
    at_us = np.where([row.timestamp is None for row in stored], raw.received_us[rows], decoded.time_us)
    same_value = (raw.value.valid[rows] == valid) & (~valid | (raw.value.values[rows] == value))
    return np.stack(
        [
            np.array(
                [
                    raw.type[row] != kinds[code]
                    for row, code in zip(places, decoded.type.codes.tolist(), strict=True)
                ],
                bool,
            ),
            raw.time_us[rows] != at_us,
            ~same_value,
            _other_texts([raw.user_id[row] for row in places], [row.user_id for row in stored]),
            _other_texts([raw.event_id[row] for row in places], [row.event_id for row in stored]),
        ]
    )


def _other_texts(found: Sequence[str | None], objects: Sequence[Any]) -> NDArray[np.bool_]:
    if all(value is None for value in found) and all(value is None for value in objects):
        return np.zeros(len(found), bool)
    pairs = zip(found, objects, strict=True)
    return np.array([one != (None if other is None else str(other)) for one, other in pairs], bool)


def _sides(raw: RawEvents, row: int, decoded: EventBatch) -> list[tuple[object, object]]:
    one, value = decoded.rows[0], raw.value
    time = raw.received_us[row] if one.timestamp is None else decoded.time_us[0]
    return [
        (one.type, raw.type[row]),
        (int(time), int(raw.time_us[row])),
        (one.value, float(value.values[row]) if value.valid[row] else None),
        (one.user_id, raw.user_id[row]),
        (one.event_id, raw.event_id[row]),
    ]


def _worked_out(raw: RawEvents, rows: NDArray[np.int64], usual: FieldMapping) -> FieldMapping:
    """Find for each part a field that has, in every event of an append, what the part's column says."""
    events = []
    for row in rows.tolist():
        try:
            event = msgspec.json.decode(raw.event[row])
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append((row, event))
    taken: set[str] = set()
    found = {}
    for part in RESERVED:
        name = _player(part, getattr(usual, part), events, taken, raw)
        found[part] = name
        taken.add(name)
    try:
        return FieldMapping(**found)
    except ValueError:  # a name that cannot be one
        return usual


def _player(
    part: str, usual: str, events: Sequence[tuple[int, dict[str, Any]]], taken: set[str], raw: RawEvents
) -> str:
    names = {usual: None, **dict.fromkeys(name for _, event in events for name in event)}
    fitting = [
        name
        for name in names
        if name not in taken and all(_plays(part, event.get(name), raw, row) for row, event in events)
    ]
    there = [name for name in fitting if any(event.get(name) is not None for _, event in events)]
    if there or fitting:
        return (there or fitting)[0]
    # where the usual field cannot play the part, another one did that these events do not have
    unusable = all(_plays(part, None, raw, row) for row, _ in events) and not all(
        _usable(part, event.get(usual)) for _, event in events
    )
    return f"{NOT_THERE} {part}" if unusable else usual


def _usable(part: str, value: object) -> bool:
    if part == "timestamp":
        return _time_of(value, 0) is not None
    if part == "type":
        return type(value) is str
    return value is None or type(value) in {int, float} or (part != "value" and type(value) is str)


def _plays(part: str, value: object, raw: RawEvents, row: int) -> bool:
    """Tell whether a field's value in an event is what the column of a part says."""
    if part == "type":
        return isinstance(value, str) and value == raw.type[row]
    if part == "timestamp":
        return _time_of(value, int(raw.received_us[row])) == int(raw.time_us[row])
    if part == "value":
        if not isinstance(value, int | float) or isinstance(value, bool):
            return value is None and not raw.value.valid[row]
        return bool(raw.value.valid[row]) and bool(float(value) == raw.value.values[row])
    text = raw.user_id[row] if part == "user_id" else raw.event_id[row]
    return (None if value is None else str(value)) == text


def _time_of(value: object, received_us: int) -> int | None:
    if value is None:
        return received_us
    try:
        return parse_timestamp(value)
    except (ValueError, OverflowError):
        return None


__all__ = ["EPOCH", "RawBatch", "RawReader"]
