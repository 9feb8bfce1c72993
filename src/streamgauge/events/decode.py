"""Bytes to `EventBatch`, on arrival and on replay alike.

A payload is newline-delimited JSON. The fast way decodes all of it at once into structs made for exactly the fields
that are needed, and scans the rest for what decoding does not see. Where anything is doubtful the lines in question are
looked at one by one, the bad ones are set aside with their reasons, and the good ones go the fast way.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import MISSING, Coded, Numbers
from streamgauge.errors import InternalError
from streamgauge.event import RESERVED, EventBatch, FieldMapping, Lines, Origin, as_numbers, encode
from streamgauge.events.clock import parse_column
from streamgauge.events.limits import EventLimits, problem_of, suspicious_lines

NEWLINE: Final = 10
BLANK: Final = b" \t\r"
FLOAT_EXACT: Final = 2.0**53


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of a payload: a batch of the good events (None when there is none) and what was refused.

    refused: (position among the payload's events, reason). total: how many events the payload had.
    """

    batch: EventBatch | None
    refused: list[tuple[int, str]]
    total: int


class _Doubt(Exception):
    """The payload cannot go the fast way as it is; `lines` says where, None for anywhere."""

    def __init__(self, lines: NDArray[np.int64] | None = None) -> None:
        self.lines = lines


class EventDecoder:
    """Decodes payloads; told once which properties the configured metrics refer to."""

    def __init__(self, properties: Iterable[str] = (), limits: EventLimits | None = None) -> None:
        self.properties = tuple(sorted(set(properties) - set(RESERVED)))
        self.limits = limits or EventLimits()
        self._schema = lru_cache(maxsize=64)(self._make_schema)

    def decode(self, payload: bytes, origin: Origin, *, now_us: int, first_index: int = 0) -> Decoded:
        """Turn newline-delimited JSON into a batch; one bad event never costs the good ones."""
        try:
            batch = self._fast(payload, origin, now_us, first_index)
        except _Doubt as doubt:
            return self._sift(payload, origin, now_us, first_index, doubt.lines)
        return Decoded(batch, [], 0 if batch is None else len(batch))

    def _sift(
        self, payload: bytes, origin: Origin, now_us: int, first_index: int, suspects: NDArray[np.int64] | None
    ) -> Decoded:
        lines = payload.split(b"\n")
        if suspects is None:
            lines = [line for line in (line.strip() for line in lines) if line]
            positions: Iterable[int] = range(len(lines))
        else:
            lines.pop() if not lines[-1] else None
            positions = suspects.tolist()
        refused = []
        for position in positions:
            problem = problem_of(lines[position], origin.mapping, self.limits, now_us)
            if problem:
                refused.append((position, problem))
        bad = {position for position, _ in refused}
        good = [line for position, line in enumerate(lines) if position not in bad]
        if not good:
            return Decoded(None, refused, len(lines))
        kept = b"\n".join([*good, b""])
        try:
            batch = self._fast(kept, origin, now_us, first_index, checked=True)
        except _Doubt as doubt:
            if suspects is not None:  # there is more wrong than the scan pointed at
                return self._sift(payload, origin, now_us, first_index, None)
            raise InternalError(f"lines that were found good cannot be decoded: {kept[:200]!r}") from doubt
        return Decoded(batch, refused, len(lines))

    def _fast(
        self, payload: bytes, origin: Origin, now_us: int, first_index: int, *, checked: bool = False
    ) -> EventBatch | None:
        if not payload:
            return None
        lines = _find_lines(payload)
        if not checked:
            _check_text(payload)
            octets = np.frombuffer(payload, np.uint8)
            suspects = suspicious_lines(payload, octets, lines.starts, lines.ends, self.limits)
            if len(suspects):
                raise _Doubt(suspects)
        schema = self._schema(origin.mapping)
        try:
            rows = schema.decoder.decode_lines(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _Doubt from None
        if len(rows) != len(lines.starts):
            raise _Doubt
        kinds = encode([row.type for row in rows])
        if "" in kinds.values:
            raise _Doubt
        return EventBatch(
            origin=origin,
            type=kinds,
            time_us=self._times(rows, origin, now_us),
            value=_values([row.value for row in rows]),
            index=np.arange(first_index, first_index + len(rows), dtype=np.int32),
            lines=lines,
            rows=rows,
            getters=schema.getters,
        )

    def _times(self, rows: list[Any], origin: Origin, now_us: int) -> NDArray[np.int64]:
        try:
            times = parse_column([row.timestamp for row in rows], origin.at_us)
        except (ValueError, OverflowError):
            raise _Doubt from None
        if times.max() > now_us + self.limits.max_ahead_us:
            raise _Doubt
        return times

    def _make_schema(self, mapping: FieldMapping) -> _Schema:
        names = {part: getattr(mapping, part) for part in RESERVED}
        properties = [name for name in self.properties if name not in names.values()]
        attributes = {name: f"property_{number}" for number, name in enumerate(properties)}
        fields: list[Any] = [("type", str)]
        fields += [(part, kind | None, None) for part, kind in _RESERVED_KINDS.items()]
        fields += [(attribute, Any, MISSING) for attribute in attributes.values()]
        rename = {**names, **{attribute: name for name, attribute in attributes.items()}}
        struct = msgspec.defstruct("Event", fields, rename=rename, gc=False)
        getters: dict[str, Callable[[Any], Any]] = {part: operator.attrgetter(part) for part in RESERVED}
        getters |= {name: operator.attrgetter(attribute) for name, attribute in attributes.items()}
        for part, name in names.items():
            if name in self.properties and name not in RESERVED:
                getters[name] = operator.attrgetter(part)
        return _Schema(msgspec.json.Decoder(struct), getters)


_RESERVED_KINDS: Final[dict[str, Any]] = {
    "timestamp": str | int | float,
    "value": int | float,
    "user_id": str | int | float,
    "event_id": str | int | float,
}


@dataclass(frozen=True, slots=True)
class _Schema:
    decoder: msgspec.json.Decoder[Any]
    getters: Mapping[str, Callable[[Any], Any]]


def _find_lines(payload: bytes) -> Lines:
    """Find the lines; in doubt unless each is one object from its first byte to its last."""
    if payload[-1] != NEWLINE:
        raise _Doubt
    octets = np.frombuffer(payload, np.uint8)
    ends = np.flatnonzero(octets == NEWLINE)
    starts = np.empty_like(ends)
    starts[0] = 0
    starts[1:] = ends[:-1] + 1
    if not (octets[starts] == ord("{")).all() or not (octets[ends - 1] == ord("}")).all():
        raise _Doubt
    return Lines(payload, starts, ends)


def _check_text(payload: bytes) -> None:
    if payload.isascii():
        return
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise _Doubt from None


def _values(objects: list[int | float | None]) -> Numbers:
    return as_numbers(objects)


def text_of(coded: Coded) -> list[Any]:
    """Give back the values of a dictionary-coded column, one for each event."""
    return [coded.values[code] for code in coded.codes.tolist()]
