"""The limits that one event must keep, and `problem_of`, which says in words what is wrong with an event.

It decodes one line in full, so it is slow; `scan` finds the few lines that are worth it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgspec

from streamgauge.event import FieldMapping
from streamgauge.events.clock import parse_timestamp

INT64_MIN: Final = -(2**63)
INT64_MAX: Final = 2**63 - 1
RESERVED_PREFIX: Final = "_sg"  # the journal's own header lines begin so

LIKELY_TYPE_FIELDS: Final = ("event", "event_type", "eventType", "name", "kind", "action", "event_name")
SPANS: Final = (("days", 86_400_000_000), ("hours", 3_600_000_000))


@dataclass(frozen=True, slots=True, kw_only=True)
class EventLimits:
    """What one event may be at most. Sizes in bytes, `max_ahead_us` in microseconds."""

    event_bytes: int = 256 * 1024
    depth: int = 32
    fields: int = 256
    field_name_bytes: int = 128
    string_bytes: int = 64 * 1024
    max_ahead_us: int = 600_000_000


_ANY_SIZE: Final = 2**62
UNLIMITED: Final = EventLimits(
    event_bytes=_ANY_SIZE,
    depth=_ANY_SIZE,
    fields=_ANY_SIZE,
    field_name_bytes=_ANY_SIZE,
    string_bytes=_ANY_SIZE,
    max_ahead_us=_ANY_SIZE,
)
"""For events that were accepted before, under whatever limits there were then."""


def problem_of(line: bytes, mapping: FieldMapping, limits: EventLimits, now_us: int) -> str | None:
    """Say in one line what is wrong with one event, beginning with the field; None when nothing is."""
    problem = _problem_of(line, mapping, limits, now_us)
    return problem if problem is None or problem.isprintable() else _printable(problem)


def _problem_of(line: bytes, mapping: FieldMapping, limits: EventLimits, now_us: int) -> str | None:
    if len(line) > limits.event_bytes:
        return f"event: {len(line)} bytes; at most {limits.event_bytes} are allowed"
    try:
        event = msgspec.json.decode(line)
    except msgspec.ValidationError as exc:
        return f"event: {_lower(str(exc)).split(' - at ')[0]}"
    except UnicodeDecodeError:
        return f"event: not JSON: {not_utf8(line)}"
    except msgspec.DecodeError as exc:
        return f"event: not JSON: {_lower(str(exc))}"
    except RecursionError:
        return f"event: nested too deeply; at most {limits.depth} levels are allowed"
    if not isinstance(event, dict):
        return f"event: expected an object, got {describe(event)}"
    return _shape_problem(event, limits) or reserved_problem(event, mapping, limits, now_us)


def not_utf8(text: bytes) -> str:
    """Say which byte of a text, counted from 1, is the first that is no UTF-8, and what to do."""
    try:
        text.decode()
    except UnicodeDecodeError as exc:
        found = f"byte {exc.start + 1:,} (0x{text[exc.start]:02x}) does not belong there"
        return f"not UTF-8: {found}; convert it, as with iconv -f latin1 -t utf-8"
    return "not UTF-8"


def _shape_problem(event: dict[str, Any], limits: EventLimits) -> str | None:
    stack: list[tuple[Any, str, int]] = [(event, "", 1)]
    while stack:
        value, path, depth = stack.pop()
        if depth > limits.depth:
            return f"{path[:200] or 'event'}: nested too deeply; at most {limits.depth} levels are allowed"
        problem = _value_problem(value, path or "event", limits)
        if problem:
            return problem
        if isinstance(value, dict):
            stack += [
                (v, f"{path}.{k}" if path else k, depth + isinstance(v, (dict, list)))
                for k, v in value.items()
            ]
        elif isinstance(value, list):
            stack += [(v, f"{path}[{i}]", depth + isinstance(v, (dict, list))) for i, v in enumerate(value)]
    return None


def _value_problem(value: Any, path: str, limits: EventLimits) -> str | None:
    if isinstance(value, dict):
        return _fields_problem(value, path, limits)
    if isinstance(value, str):
        size = len(value.encode())
        if size > limits.string_bytes:
            return f"{path}: a string of {size} bytes; at most {limits.string_bytes} are allowed"
        if "\0" in value:
            return f"{path}: a string with a NUL character, which is not allowed"
    if type(value) is int and not INT64_MIN <= value <= INT64_MAX:
        return f"{path}: an integer outside of 64 bits"
    return None


def _fields_problem(fields: dict[str, Any], path: str, limits: EventLimits) -> str | None:
    if len(fields) > limits.fields:
        return f"{path}: {len(fields)} fields; at most {limits.fields} are allowed"
    for name in fields:
        if len(name.encode()) > limits.field_name_bytes:
            return f"{name[:32]}…: a field name of more than {limits.field_name_bytes} bytes"
        if not name or "\0" in name:
            return f"{path}: a field name that is empty or has a NUL character"
        if name.startswith(RESERVED_PREFIX):
            return f"{name}: field names that begin with {RESERVED_PREFIX} are reserved"
    return None


def reserved_problem(
    event: dict[str, Any], mapping: FieldMapping, limits: EventLimits, now_us: int
) -> str | None:
    """Say what is wrong with the reserved fields of a decoded event; None when nothing is."""
    kind = event.get(mapping.type)
    if kind is None:
        return missing_type(event, mapping)
    if not isinstance(kind, str) or not kind:
        return f"{mapping.type}: expected a non-empty string, got {describe(kind)}"
    value = event.get(mapping.value)
    if value is not None and type(value) not in {int, float}:
        return f"{mapping.value}: expected a number, got {describe(value)}"
    for name in (mapping.user_id, mapping.event_id):
        if event.get(name) is not None and type(event[name]) not in {str, int, float}:
            return f"{name}: expected a string or a number, got {describe(event[name])}"
    return _time_problem(event.get(mapping.timestamp), mapping, limits, now_us)


def _time_problem(stamp: Any, mapping: FieldMapping, limits: EventLimits, now_us: int) -> str | None:
    if stamp is None:
        return None
    try:
        ahead_us = parse_timestamp(stamp) - now_us
    except ValueError as exc:
        return f"{mapping.timestamp}: {exc}, got {describe(stamp)}"
    if ahead_us > limits.max_ahead_us:
        return f"{mapping.timestamp}: {_span(ahead_us)} ahead of this server's clock; at most {_span(limits.max_ahead_us)} are allowed (events.max_ahead)"
    return None


def _span(span_us: int) -> str:
    """Write a span of time in the largest unit of which it has two or more."""
    unit, size_us = next(((unit, size) for unit, size in SPANS if span_us >= 2 * size), ("s", 1_000_000))
    return f"{span_us / size_us:,.0f} {unit}" if unit in {"s", "days"} else f"{span_us / size_us:.1f} {unit}"


def missing_type(event: dict[str, Any], mapping: FieldMapping) -> str:
    """Say that the type is missing, and which of the event's fields is likely meant to be it."""
    likely = next((name for name in LIKELY_TYPE_FIELDS if isinstance(event.get(name), str)), None)
    hint = f"; did you mean to map `{likely}`?" if likely else ""
    return f"no `{mapping.type}`{hint}"


def describe(value: Any) -> str:
    """Show a value as JSON, short enough for a message."""
    text = (
        msgspec.json.encode(value).decode()
        if not isinstance(value, int) or abs(value) < 2**63
        else str(value)[:40]
    )
    return text if len(text) <= 60 else text[:57] + "…"


def _lower(text: str) -> str:
    return text if text[:2].isupper() else text[:1].lower() + text[1:]


def _printable(text: str) -> str:
    """Escape what would end the line, or turn or colour it: names of fields are in it as the sender wrote them."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
