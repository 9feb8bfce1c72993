"""Fields that are computed of others: SQL expressions over a batch's columns, written into the events' own text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from streamgauge.columns import MISSING, Coded, Numbers
from streamgauge.errors import ExpressionError, InternalError, OptionError
from streamgauge.event import RESERVED, EventBatch, FieldMapping, as_numbers, check_name, encode
from streamgauge.metrics.expression import Expression

OPTION: Final = "transform.derive"

Texts = list[bytes | None]  # one for each event, None where it gets no such field

_RAW_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


def read_derive(texts: Mapping[str, str]) -> dict[str, Expression]:
    """Read the expressions of derived fields. Raises OptionError for a name or an expression that cannot be used."""
    expressions = {}
    for name, text in texts.items():
        path = f"{OPTION}.{name}"
        check_name(path, name)
        if name in RESERVED and name != "value":
            raise OptionError(
                path, f"`{name}` cannot be derived", "choose another name, or use transform.module"
            )
        if name.startswith("_sg"):
            raise OptionError(path, "field names that begin with _sg are reserved", "choose another name")
        try:
            expressions[name] = Expression.parse(text)
        except ExpressionError as exc:
            raise OptionError(
                path, str(exc), "see docs/transforms.md for what an expression may use"
            ) from exc
    return expressions


class Derivation:
    """Derives fields, in the order in which they are given; an expression may refer to fields derived before it.

    A field is null where its expression is, and takes the place of a field of that name. An expression that is the
    bare name of a field copies it, whatever it is, and adds nothing where an event does not have it.
    """

    def __init__(self, expressions: Mapping[str, Expression]) -> None:
        self._expressions = dict(expressions)

    @property
    def fields(self) -> frozenset[str]:
        """The fields that it reads and that are not its own."""
        read = {field for expression in self._expressions.values() for field in expression.fields}
        return frozenset(read)

    def lines(self, events: EventBatch) -> list[bytes]:
        """Give the events' text with the derived fields in it."""
        if events.lines is None:
            raise InternalError("events without their text cannot be given more fields")
        columns = _Columns(events)
        for name, expression in self._expressions.items():
            columns.derived[name] = _objects(expression, columns)
        names = {name: _in_event(name, events.origin.mapping) for name in columns.derived}
        texts = {names[name]: _texts(objects) for name, objects in columns.derived.items()}
        return _with_fields([events.lines.line(place) for place in range(len(events))], texts)


class _Columns:
    """A batch's columns, and those derived of them."""

    def __init__(self, events: EventBatch) -> None:
        self._events = events
        self.derived: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self._events)

    def objects(self, name: str) -> list[Any]:
        return self.derived[name] if name in self.derived else self._events.objects(name)

    def coded(self, name: str) -> Coded:
        return encode(self.derived[name]) if name in self.derived else self._events.coded(name)

    def numbers(self, name: str) -> Numbers:
        return as_numbers(self.derived[name]) if name in self.derived else self._events.numbers(name)


def _objects(expression: Expression, columns: _Columns) -> list[Any]:
    """Give what an expression is for each event, as JSON values."""
    if expression.is_number and expression.is_condition and expression.fields:
        (field,) = expression.fields
        return columns.objects(field)
    if expression.is_number:
        values, valid = expression.number(columns)
        found: list[Any] = values.tolist()
        return (
            found
            if valid.all()
            else [one if there else None for one, there in zip(found, valid, strict=True)]
        )
    yes, no = expression.truth(columns)
    answers = np.full(len(columns), None, object)
    answers[yes], answers[no] = True, False
    return list(answers)


def _texts(objects: list[Any]) -> Texts:
    if set(map(type, objects)) <= {float, bool, type(None)}:
        return list(msgspec.json.encode(objects)[1:-1].split(b","))
    return [None if one is MISSING else msgspec.json.encode(one) for one in objects]


def _in_event(name: str, mapping: FieldMapping) -> str:
    """Give the sender's name of a field."""
    field: str = getattr(mapping, name) if name in RESERVED else name
    return field


def _with_fields(lines: Sequence[bytes], texts: Mapping[str, Texts]) -> list[bytes]:
    """Add fields at the end of each object; where one may be there already, it is replaced."""
    heads = {name: b",%s:" % msgspec.json.encode(name) for name in texts}
    telling = [head[1:-1] for head in heads.values()]
    columns = [
        [b"" if text is None else heads[name] + text for text in column] for name, column in texts.items()
    ]
    changed = []
    for place, (line, more) in enumerate(zip(lines, zip(*columns, strict=True), strict=True)):
        if b"\\u" in line or any(name in line for name in telling):
            changed.append(_replaced(line, {name: column[place] for name, column in texts.items()}))
        else:
            changed.append(b"%s%s}" % (line[: line.rindex(b"}")], b"".join(more)))
    return changed


def _replaced(line: bytes, fields: Mapping[str, bytes | None]) -> bytes:
    event = _RAW_OBJECT.decode(line)
    event |= {name: msgspec.Raw(text) for name, text in fields.items() if text is not None}
    return msgspec.json.encode(event)
