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

from streamgauge.columns import MISSING
from streamgauge.errors import InternalError
from streamgauge.event import (
    RESERVED,
    EventBatch,
    FieldMapping,
    Lines,
    Origin,
    as_numbers,
    check_name,
    encode_plain,
)
from streamgauge.events.clock import parse_column
from streamgauge.events.limits import EventLimits, problem_of
from streamgauge.events.scan import doubtful_text, is_plain_text, suspicious_lines

NEWLINE: Final = 10
BLANK: Final = b" \t\r"
SHORT_BYTES: Final = 3072  # up to here a search is cheaper than the scan in columns


@dataclass(frozen=True, slots=True)
class Decoded:
    """What came out of a payload: a batch of the good events (None when there is none) and what was refused.

    refused: (position among the payload's events, reason). total: how many events the payload had.
    """

    batch: EventBatch | None
    refused: list[tuple[int, str]]
    total: int


class _Doubt(Exception):
    """The payload cannot go the fast way as it is. refused: what is wrong with it, None where that is unknown."""

    def __init__(self, refused: list[tuple[int, str]] | None = None) -> None:
        self.refused = refused


class EventDecoder:
    """Decodes payloads; told once which properties the configured metrics refer to.

    Raises OptionError for a property whose name cannot be one (`event.check_name`).
    """

    def __init__(self, properties: Iterable[str] = (), limits: EventLimits | None = None) -> None:
        self.fields = frozenset(properties)
        self.properties = tuple(sorted(self.fields - set(RESERVED)))
        for name in self.properties:
            check_name("metric", name)
        self.limits = limits or EventLimits()
        self._short = min(SHORT_BYTES, self.limits.event_bytes, self.limits.string_bytes)
        self._doubtful = doubtful_text(self.limits)
        self._schema = lru_cache(maxsize=64)(self._make_schema)

    def decode(self, payload: bytes, origin: Origin, *, now_us: int, first_index: int = 0) -> Decoded:
        """Turn newline-delimited JSON into a batch; one bad event never costs the good ones.

        Blank lines are no events. first_index: the place of the first good event in the append.
        """
        task = _Task(origin, now_us, first_index)
        if payload.endswith(b"\r\n"):
            payload = payload.replace(b"\r\n", b"\n")
        try:
            batch = self._fast(payload, task) if payload else None
        except _Doubt as doubt:
            return self._sift(payload, task, doubt.refused)
        return Decoded(batch, [], 0 if batch is None else len(batch))

    def _sift(self, payload: bytes, task: _Task, refused: list[tuple[int, str]] | None) -> Decoded:
        """Leave out the bad lines. refused: the only ones as far as is known; None to look at every line."""
        if refused is None:
            lines = [line for line in (line.strip(BLANK) for line in payload.split(b"\n")) if line]
            bad = self._problems(enumerate(lines), task)
        else:
            lines, bad = payload.split(b"\n")[:-1], refused
        positions = {position for position, _ in bad}
        good = [line for position, line in enumerate(lines) if position not in positions]
        if not good:
            return Decoded(None, bad, len(lines))
        kept = b"\n".join([*good, b""])
        try:
            batch = self._fast(kept, task, checked=True)
        except _Doubt:
            if refused is not None:  # there is more wrong than the scan pointed at
                return self._sift(payload, task, None)
            batch = self._slow(kept, good, task)
        return Decoded(batch, bad, len(lines))

    def _problems(self, lines: Iterable[tuple[int, bytes]], task: _Task) -> list[tuple[int, str]]:
        mapping, limits, now_us = task.origin.mapping, self.limits, task.now_us
        found = ((position, problem_of(line, mapping, limits, now_us)) for position, line in lines)
        return [(position, problem) for position, problem in found if problem]

    def _fast(self, payload: bytes, task: _Task, *, checked: bool = False) -> EventBatch:
        lines = _find_lines(payload)
        if not checked:
            most = self.limits.event_bytes
            if len(payload) > most and int((lines.ends - lines.starts).max()) > most:
                raise _Doubt
            if not self._is_plain(payload):
                self._scan(payload, lines, task)
        schema = self._schema(task.origin.mapping)
        try:
            rows = schema.decoder.decode_lines(payload)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise _Doubt from None
        if len(rows) != len(lines.starts):
            raise _Doubt
        return self._batch(rows, lines, schema, task)

    def _is_plain(self, payload: bytes) -> bool:
        """Tell whether a short payload certainly keeps every limit; for one event this is much less than the scan."""
        return (
            len(payload) <= self._short
            and payload.isascii()
            and payload.count(b'"') < 2 * self.limits.fields
            and payload.count(b"{") + payload.count(b"[") <= self.limits.depth
            and (is_plain_text(payload, self.limits) or self._doubtful.search(payload) is None)
        )

    def _scan(self, payload: bytes, lines: Lines, task: _Task) -> None:
        """Look for lines that break a limit which decoding does not see; in doubt where there are any."""
        _check_text(payload)
        octets = np.frombuffer(payload, np.uint8)
        suspects = suspicious_lines(payload, octets, lines.starts, lines.ends, self.limits)
        refused = self._problems(((line, lines.line(line)) for line in suspects.tolist()), task)
        if refused:
            raise _Doubt(refused)

    def _slow(self, payload: bytes, lines: list[bytes], task: _Task) -> EventBatch:
        """Decode good events one by one: where a name comes twice, only its last value has to be right."""
        schema = self._schema(task.origin.mapping)
        rows = [msgspec.convert(msgspec.json.decode(line), schema.struct) for line in lines]
        try:
            return self._batch(rows, _find_lines(payload), schema, task)
        except _Doubt as doubt:
            raise InternalError(
                f"events that were found good cannot be decoded: {payload[:200]!r}"
            ) from doubt

    def _batch(self, rows: list[Any], lines: Lines, schema: _Schema, task: _Task) -> EventBatch:
        kinds = encode_plain([row.type for row in rows])
        if "" in kinds.values:
            raise _Doubt
        return EventBatch(
            origin=task.origin,
            type=kinds,
            time_us=self._times(rows, task),
            value=as_numbers([row.value for row in rows]),
            index=np.arange(task.first_index, task.first_index + len(rows), dtype=np.int32),
            lines=lines,
            rows=rows,
            getters=schema.getters,
        )

    def _times(self, rows: list[Any], task: _Task) -> NDArray[np.int64]:
        try:
            times = parse_column([row.timestamp for row in rows], task.origin.at_us)
        except ValueError:
            raise _Doubt from None
        if times.max() > task.now_us + self.limits.max_ahead_us:
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
        return _Schema(struct, msgspec.json.Decoder(struct), getters)


_RESERVED_KINDS: Final[dict[str, Any]] = {
    "timestamp": str | int | float,
    "value": int | float,
    "user_id": str | int | float,
    "event_id": str | int | float,
}


@dataclass(frozen=True, slots=True)
class _Task:
    origin: Origin
    now_us: int
    first_index: int


@dataclass(frozen=True, slots=True)
class _Schema:
    struct: type[msgspec.Struct]
    decoder: msgspec.json.Decoder[Any]
    getters: Mapping[str, Callable[[Any], Any]]


def _find_lines(payload: bytes) -> Lines:
    """Find the lines; in doubt unless each is one object from its first byte to its last."""
    if payload[-1] != NEWLINE:
        raise _Doubt
    if payload.find(b"\n") == len(payload) - 1:
        if payload[:1] != b"{" or payload[-2:-1] != b"}":
            raise _Doubt
        return Lines(payload, np.zeros(1, np.int64), np.array([len(payload) - 1]))
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
