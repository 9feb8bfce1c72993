"""Rows to run expressions over, and what an expression says of them as plain lists."""

from collections.abc import Mapping, Sequence

import numpy as np

from streamgauge.columns import MISSING, Coded, Numbers
from streamgauge.metrics.expression import Expression

Event = Mapping[str, object]


class Events:
    """The simplest columns: events as dictionaries."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self.asked: dict[str, Numbers] = {}

    def __len__(self) -> int:
        return len(self.events)

    def coded(self, field: str) -> Coded:
        codes: dict[str, int] = {}
        values: list[object] = []
        rows = []
        for event in self.events:
            value = event.get(field, MISSING)
            key = f"{type(value).__name__} {value!r}"
            if key not in codes:
                codes[key] = len(values)
                values.append(value)
            rows.append(codes[key])
        return Coded(np.array(rows, dtype=np.int32), values)

    def numbers(self, field: str) -> Numbers:
        found = [event.get(field) for event in self.events]
        numbers = [
            float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
            for value in found
        ]
        filled = np.array([np.nan if number is None else number for number in numbers], dtype=np.float64)
        valid = np.array([number is not None for number in numbers], dtype=np.bool_)
        return self.asked.setdefault(field, Numbers(filled, valid))


def holds(text: str, *events: Event) -> list[bool]:
    answer = Expression.parse(text).condition(Events(events))
    assert answer.dtype == np.bool_
    return [bool(row) for row in answer]


def calculates(text: str, *events: Event) -> list[float | None]:
    values, valid = Expression.parse(text).number(Events(events))
    return [float(value) if known else None for value, known in zip(values, valid, strict=True)]
