"""What an event is, and `EventBatch`: many events in columns, the unit that moves.

An event is one JSON object. Five of its fields are reserved (`type`, `timestamp`, `value`, `user_id`,
`event_id`); which field of the sender's plays which part is a `FieldMapping`. Every other field is a
property and is kept. How bytes become a batch is in `events/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import MISSING, Coded, Numbers, join_coded
from streamgauge.errors import OptionError

LINE_BITS = 24  # an append has fewer than 2^24 lines: 128 MiB hold no more events than that
LONGEST_NAME = 128
UNNAMEABLE = re.compile(r'["\\\x00-\x1f\ud800-\udfff]')  # what the names of a decoded struct cannot hold
RESERVED = ("type", "timestamp", "value", "user_id", "event_id")

Selection = slice | NDArray[Any]


class FieldMapping(msgspec.Struct, frozen=True, omit_defaults=True):
    """Which field of the sender's events plays which reserved part.

    Raises OptionError where two parts are played by one field, or a name cannot be one: `check_name`.
    """

    type: str = "type"
    timestamp: str = "timestamp"
    value: str = "value"
    user_id: str = "user_id"
    event_id: str = "event_id"

    def __post_init__(self) -> None:
        names = msgspec.structs.astuple(self)
        for part, name in zip(RESERVED, names, strict=True):
            check_name(f"events.{part}", name)
        if len(set(names)) < len(names):
            problem = f"the fields for {', '.join(RESERVED)} must differ, got {', '.join(names)}"
            raise OptionError("events", problem, "name each field once")


def check_name(path: str, name: str) -> None:
    """Raise OptionError unless a field of this name can be decoded into a column."""
    if UNNAMEABLE.search(name) or not 0 < len(name.encode()) <= LONGEST_NAME:
        problem = f'expected a field name of 1 to {LONGEST_NAME} bytes without ", \\ or control characters'
        raise OptionError(path, f"{problem}, got {name[:60]!r}", "choose another field")


class Origin(msgspec.Struct, frozen=True):
    """What the sender's context adds to its events; replay needs nothing else."""

    source: str
    at_us: int
    mapping: FieldMapping = FieldMapping()


class Lines(NamedTuple):
    """The events' own bytes: line i is payload[starts[i]:ends[i]], without its newline."""

    payload: bytes
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]

    def line(self, index: int) -> bytes:
        """Give one event as it was journaled."""
        return self.payload[self.starts[index] : self.ends[index]]

    def select(self, wanted: Selection) -> Lines:
        """Give some of the lines, of the same payload."""
        return Lines(self.payload, self.starts[wanted], self.ends[wanted])


@dataclass(slots=True, kw_only=True)
class EventBatch:
    """Many events in columns, all of one append to the journal. Sliced with `batch[a:b]` or `select`.

    seq: the append that journaled them (0: none yet). index: int32[n], the line of each event in that append.
    type: dictionary codes; every value is a non-empty string. time_us: int64[n], microseconds since 1970 UTC.
    value: float64[n] and whether it is there. lines: the raw bytes. rows: the decoded reserved fields and
    the properties that metrics refer to, which `coded` and `numbers` turn into columns when asked.
    """

    origin: Origin
    type: Coded
    time_us: NDArray[np.int64]
    value: Numbers
    index: NDArray[Any]
    lines: Lines | None
    rows: Sequence[Any]
    getters: Mapping[str, Callable[[Any], Any]]
    seq: int = 0
    epoch: int = 0
    parts: Sequence[EventBatch] = ()  # of which it was joined; their rows are its rows
    accepted: Lines | None = None  # the events as they were accepted, where a transform has changed them
    _coded: dict[str, Coded] = field(default_factory=dict)
    _numbers: dict[str, Numbers] = field(default_factory=dict)
    _identifiers: dict[str, list[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.time_us)

    def __getitem__(self, wanted: slice) -> EventBatch:
        return self.select(wanted)

    def select(self, wanted: Selection) -> EventBatch:
        """Give the events that a slice, a boolean mask or an array of positions names, in that order."""
        rows = self._all_rows()
        rows = rows[wanted] if isinstance(wanted, slice) else _pick(rows, wanted)
        lines = self.lines
        return EventBatch(
            origin=self.origin,
            type=Coded(self.type.codes[wanted], self.type.values),
            time_us=self.time_us[wanted],
            value=Numbers(self.value.values[wanted], self.value.valid[wanted]),
            index=self.index[wanted],
            lines=lines and lines.select(wanted),
            rows=rows,
            getters=self.getters,
            seq=self.seq,
            epoch=self.epoch,
            accepted=self.accepted and self.accepted.select(wanted),
        )

    @property
    def order(self) -> NDArray[np.int64]:
        """The place of each event in its shard's order of arrival: int64[n], append and line in one number."""
        return self.index.astype(np.int64) + (self.seq << LINE_BITS)

    def coded(self, name: str) -> Coded:
        """Give any field as dictionary codes; a property must be one that the decoder was told of."""
        if name == "type":
            return self.type
        if name not in self._coded:
            self._coded[name] = encode(self.objects(name))
        return self._coded[name]

    def numbers(self, name: str) -> Numbers:
        """Give the numbers of a field; `timestamp` counts in milliseconds since 1970."""
        if name == "value":
            return self.value
        if name == "timestamp":
            return Numbers(self.time_us / 1000.0, np.ones(len(self), bool))
        if name not in self._numbers:
            self._numbers[name] = as_numbers(self.objects(name))
        return self._numbers[name]

    def objects(self, name: str) -> list[Any]:
        """Give the decoded values of a field, `MISSING` where an event has none.

        A reserved field that is null counts as missing, by whatever name it is asked for; a property may be null.
        """
        getter = self.getters[name]
        found = [getter(row) for row in self._all_rows()]
        reserved = name in RESERVED or name in msgspec.structs.astuple(self.origin.mapping)
        return [MISSING if value is None else value for value in found] if reserved else found

    def identifiers(self, name: str) -> list[Any]:
        """Give the `user_id` or `event_id` of each event as it was decoded, and remember it.

        The first to ask should be whoever has just decoded them, while they are in the processor's cache.
        """
        found = self._identifiers.get(name)
        if found is None:
            getter = self.getters[name]
            found = self._identifiers[name] = list(map(getter, self._all_rows()))
        return found

    def _all_rows(self) -> Sequence[Any]:
        return [row for part in self.parts for row in part.rows] if self.parts else self.rows


def _pick(rows: Sequence[Any], wanted: NDArray[Any]) -> list[Any]:
    positions = np.flatnonzero(wanted) if wanted.dtype == np.bool_ else wanted
    return [rows[i] for i in positions.tolist()]


def encode(objects: Sequence[Any]) -> Coded:
    """Turn values into codes into a list of the distinct ones, which is local to this call.

    Distinct are `true`, `1`, `"1"`, null and missing; 1 and 1.0 are the same number. Arrays and objects
    are compared by their JSON text (spaces between tokens left out) and never taken apart.
    """
    kinds = set(map(type, objects))
    if not kinds & {list, dict} and not (bool in kinds and kinds & {int, float}):
        return encode_plain(objects)
    values: list[Any] = []
    lookup: dict[Any, int] = {}
    codes = np.empty(len(objects), np.int32)
    for position, raw in enumerate(objects):
        value = JsonText(msgspec.json.encode(raw).decode()) if isinstance(raw, (list, dict)) else raw
        key = (isinstance(value, bool), value)
        code = lookup.setdefault(key, len(values))
        if code == len(values):
            values.append(value)
        codes[position] = code
    return Coded(codes, values)


def encode_plain(objects: Sequence[Any]) -> Coded:
    """Turn values of which equal ones are the same, such as strings, into codes."""
    values: list[Any] = list(set(objects))
    lookup = {value: code for code, value in enumerate(values)}
    return Coded(np.fromiter(map(lookup.__getitem__, objects), np.int32, len(objects)), values)


class JsonText(str):
    """An array or object as JSON text: a group value that is never taken apart and equals no string."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, JsonText) and str.__eq__(self, other)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((JsonText, str(self)))


def as_numbers(objects: Sequence[Any]) -> Numbers:
    """Give float64[n] and a mask of which values are numbers (booleans are not).

    Integers beyond 2^53 are kept to the precision of a double, about 16 digits; `encode` keeps them exactly.
    """
    kinds = set(map(type, objects))
    if kinds <= {int, float}:
        return Numbers(np.array(objects, np.float64), np.ones(len(objects), bool))
    numeric = [value if type(value) in {int, float} else np.nan for value in objects]
    values = np.array(numeric, np.float64)
    valid = ~np.isnan(values)
    return Numbers(np.where(valid, values, 0.0), valid)


def concatenate(batches: Sequence[EventBatch]) -> EventBatch:
    """Join batches of one epoch and schema into one, to be counted together; it has no lines of its own."""
    if len(batches) == 1:
        return batches[0]
    first = batches[0]
    return EventBatch(
        origin=first.origin,
        type=join_coded([batch.type for batch in batches]),
        time_us=np.concatenate([batch.time_us for batch in batches]),
        value=Numbers(
            np.concatenate([batch.value.values for batch in batches]),
            np.concatenate([batch.value.valid for batch in batches]),
        ),
        index=np.concatenate([batch.order for batch in batches]),
        lines=None,
        rows=(),
        parts=tuple(batches),
        getters=first.getters,
        epoch=first.epoch,
    )


__all__ = [
    "LINE_BITS",
    "MISSING",
    "RESERVED",
    "EventBatch",
    "FieldMapping",
    "JsonText",
    "Lines",
    "Origin",
    "as_numbers",
    "check_name",
    "concatenate",
    "encode",
    "encode_plain",
]
