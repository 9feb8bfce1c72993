"""Python mappings to `EventBatch`, for where nothing keeps the events' text: columns without writing and reading JSON.

Only what is plainly right goes this way. Anything else is written as JSON and decoded like what comes over a wire, so
that there is one place that says what an event may be. Fields that nothing refers to are kept, and not looked at.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import MISSING, Coded, Missing, Numbers
from streamgauge.event import RESERVED, EventBatch, FieldMapping, Origin, encode
from streamgauge.events.clock import parse_column
from streamgauge.events.limits import EventLimits

Event = Mapping[str, Any]

MOST_TYPES: Final = 256  # whose codes are remembered; they fit into a byte
LARGEST_INTEGER: Final = 2.0**63
PLAIN: Final = frozenset({str, int, float, bool, type(None), Missing})
IDENTIFIER: Final = frozenset({str, int, float, type(None), Missing})
UNWRITABLE: Final = (TypeError, ValueError, OverflowError, RecursionError)
STAND_IN: Final = b"null"  # for an event that is no JSON: it is counted, as rejected


TAKEN: Final = ("type", "timestamp", "value", "event_id")


class _Fields(NamedTuple):
    kinds: Coded
    stamps: list[Any]
    numbers: list[Any]


class ObjectDecoder:
    """Makes batches of mappings. fields: those that metrics and expressions refer to; mapping: the fields' parts."""

    def __init__(self, fields: Iterable[str], limits: EventLimits, mapping: FieldMapping) -> None:
        parts = {part: getattr(mapping, part) for part in RESERVED}
        self._limits, self._parts = limits, parts
        self._columns = {"type", "timestamp", "value", parts["type"], parts["timestamp"], parts["value"]}
        self._looked_at = sorted({parts.get(name, name) for name in fields} - self._columns)
        getters = {name: _getter(name) for name in [*fields, *parts.values()]}
        self._getters = getters | {part: _getter(name) for part, name in parts.items()}
        self._codes: dict[str, int] = {}
        self._kinds: list[object] = []

    def decode(
        self, events: Sequence[Event], origin: Origin, *, now_us: int, first_index: int
    ) -> EventBatch | None:
        """Give the events in columns; None where any of them is doubtful, and has to be looked at as JSON."""
        try:
            kinds, stamps, numbers = self._plain(events) or self._any(events)
            times = parse_column(stamps, origin.at_us)
            value = _numbers(numbers)
        except (TypeError, ValueError, OverflowError, KeyError, AttributeError):
            return None
        if value is None or times.max() > now_us + self._limits.max_ahead_us:
            return None
        if not all(self._is_plain(events, name) for name in self._looked_at):
            return None
        return EventBatch(
            origin=origin,
            type=kinds,
            time_us=times,
            value=value,
            index=np.arange(first_index, first_index + len(events), dtype=np.int32),
            lines=None,
            rows=events,
            getters=self._getters,
        )

    def _plain(self, events: Sequence[Event]) -> _Fields | None:
        """Take the reserved fields of events that have all of them, no id, and types that are known.

        One pass, each event while it is in the processor's cache: that takes less than a comprehension for each field.
        """
        parts, codes = self._parts, self._codes
        kind, timestamp, value, event_id = (parts[name] for name in TAKEN)
        kinds = bytearray()
        stamps: list[Any] = []
        numbers: list[Any] = []
        add_kind, add_stamp, add_number = kinds.append, stamps.append, numbers.append
        try:
            for event in events:
                add_kind(codes[event[kind]])
                add_stamp(event[timestamp])
                add_number(event[value])
                if event_id in event:
                    return None
        except KeyError:
            return None
        return _Fields(Coded(np.frombuffer(kinds, np.uint8).astype(np.int32), self._kinds), stamps, numbers)

    def _any(self, events: Sequence[Event]) -> _Fields:
        """Take the reserved fields of any events; raises ValueError or TypeError for what is doubtful."""
        parts = self._parts
        if True in map(operator.contains, events, repeat(parts["event_id"])):
            raise ValueError("an id")
        kinds = self._types([event[parts["type"]] for event in events])
        return _Fields(kinds, _column(events, parts["timestamp"]), _column(events, parts["value"]))

    def _types(self, types: list[Any]) -> Coded:
        if not set(types) <= self._codes.keys():
            distinct = set(types)
            if not all(isinstance(kind, str) and self._is_text(kind) and kind for kind in distinct):
                raise ValueError("a type")
            known = distinct.union(self._codes)
            keep = known if len(known) <= MOST_TYPES else distinct
            if len(keep) > MOST_TYPES:
                return encode(types)
            self._kinds = list(keep)
            self._codes = {kind: code for code, kind in enumerate(keep)}
        return Coded(_codes([self._codes[kind] for kind in types]), self._kinds)

    def _is_text(self, text: str) -> bool:
        try:
            return len(text.encode()) <= self._limits.string_bytes
        except UnicodeEncodeError:
            return False

    def _is_plain(self, events: Sequence[Event], name: str) -> bool:
        """Tell whether a field has the same meaning here as it would have as JSON."""
        objects = [event.get(name, MISSING) for event in events]
        kinds = set(map(type, objects))
        identifies = name in {self._parts["user_id"], self._parts["event_id"]}
        if not kinds <= (IDENTIFIER if identifies else PLAIN):
            return False
        if kinds & {int, float} and not _in_range([one for one in objects if type(one) in {int, float}]):
            return False
        return str not in kinds or all(self._is_text(one) for one in set(objects) if type(one) is str)


def _codes(codes: list[int]) -> NDArray[np.int32]:
    return np.frombuffer(bytes(codes), np.uint8).astype(np.int32)


def _getter(name: str) -> Callable[[Event], Any]:
    return lambda event: event.get(name, MISSING)


def _column(events: Sequence[Event], name: str) -> list[Any]:
    try:
        return [event[name] for event in events]
    except KeyError:
        return [event.get(name) for event in events]


def _numbers(objects: list[Any]) -> Numbers | None:
    """Give numbers in a column; None where anything else is among them, or a number that is out of range."""
    try:
        plain = msgspec.convert(objects, list[float])  # all are numbers, as a rule; this is the quickest look
    except msgspec.ValidationError:
        plain = None
    if plain is not None:
        values = np.fromiter(plain, np.float64, len(plain))
        if float(np.abs(values).max()) < LARGEST_INTEGER:  # NaN is not
            return Numbers(values, np.ones(len(values), bool))
    kinds = set(map(type, objects))
    if not kinds <= {int, float}:
        if not kinds <= {int, float, type(None)}:
            return None
        valid = np.array([one is not None for one in objects], bool)
        objects = [0.0 if one is None else one for one in objects]
    else:
        valid = np.ones(len(objects), bool)
    values = np.fromiter(objects, np.float64, len(objects))
    if not _finite(values, whole=int in kinds):
        return None
    return Numbers(values, valid)


def _finite(values: NDArray[np.float64], *, whole: bool) -> bool:
    sizes = np.abs(values)
    return bool(sizes.max() < LARGEST_INTEGER) if whole else bool(np.isfinite(sizes).all())


def _in_range(numbers: list[float]) -> bool:
    return _finite(np.array(numbers, np.float64), whole=True)


def write_lines(events: Sequence[Event]) -> tuple[bytes, dict[int, str]]:
    """Write events as lines of JSON; and say, by their positions, which of them cannot be written and why."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    try:
        return encoder.encode_lines(events), {}
    except UNWRITABLE:
        pass  # one by one then, so that the bad ones do not cost the others
    lines, problems = [], {}
    for place, event in enumerate(events):
        try:
            lines.append(encoder.encode(event))
        except UNWRITABLE as exc:
            lines.append(STAND_IN)
            problems[place] = f"event: cannot be written as JSON: {exc}"
    return b"\n".join(lines) + b"\n", problems
