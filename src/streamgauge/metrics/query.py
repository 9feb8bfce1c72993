"""Answers to questions about a metric: totals and series of a range, from stored and open partials alike."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregates import AGGREGATES, states_of
from streamgauge.columns import MISSING, Coded, Numbers
from streamgauge.errors import QueryError
from streamgauge.event import as_numbers
from streamgauge.metric import Metric
from streamgauge.metrics.expression import Expression
from streamgauge.partials import ALL_TIME, OTHER, Partials, Series, merge

STEPS_S: Final = (
    1,
    5,
    10,
    15,
    30,
    60,
    300,
    600,
    900,
    1800,
    3600,
    10_800,
    21_600,
    43_200,
    86_400,
    604_800,
    2_592_000,
)
LIKELY_POINTS: Final = 200
MOST_POINTS: Final = 11_000
MOST_SERIES: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked of a metric. start, end: seconds since 1970, end excluded; None: wherever the data begins or ends."""

    start: int | None
    end: int | None
    step: int
    by: tuple[str, ...]
    aggregates: tuple[str, ...]
    top: int | None = None
    where: Expression | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesAnswer:
    """One series: its group values, its totals over the range, and its points (time in seconds)."""

    by: Mapping[str, object]
    is_other: bool
    totals: Mapping[str, int | float | None]
    time: Sequence[int]
    points: Mapping[str, Sequence[int | float | None]]


def ask(
    metric: Metric,
    *,
    start: int | None,
    end: int | None,
    step: int | None = None,
    by: Sequence[str] | None = None,
    aggregates: Sequence[str] | None = None,
    top: int | None = None,
    where: str | None = None,
) -> Question:
    """Check a question against the metric; raises QueryError that says what the metric can answer."""
    wanted_by = tuple(metric.by if by is None else by)
    for name in wanted_by:
        if name not in metric.by:
            raise QueryError(
                f"by: metric {metric.name} is not grouped by {name!r}; it is by {_list(metric.by)}"
            )
    wanted = tuple(metric.aggregates if aggregates is None else aggregates)
    for name in wanted:
        if name not in AGGREGATES or not set(states_of((name,))) <= set(metric.states):
            raise QueryError(
                f"aggregates: metric {metric.name} does not keep {name!r}; it has {_list(metric.aggregates)}"
            )
    if start is not None and end is not None and start >= end:
        raise QueryError("from: must be before `to`")
    if top is not None and not 1 <= top <= MOST_SERIES:
        raise QueryError(f"top: expected 1 to {MOST_SERIES}, got {top}")
    return Question(
        start=start,
        end=end,
        step=_step(start, end, step),
        by=wanted_by,
        aggregates=wanted,
        top=top,
        where=_condition(metric, where),
    )


def _condition(metric: Metric, where: str | None) -> Expression | None:
    if where is None:
        return None
    condition = Expression.parse_condition(where)
    unknown = condition.fields - set(metric.by)
    if unknown:
        raise QueryError(
            f"where: metric {metric.name} is not grouped by {min(unknown)!r}; it is by {_list(metric.by)}"
        )
    return condition


def _list(names: Sequence[str]) -> str:
    return ", ".join(names) or "nothing"


def _step(start: int | None, end: int | None, step: int | None) -> int:
    if step is not None and step < 1:
        raise QueryError(f"step: expected 1 s or more, got {step}")
    if start is None or end is None:
        return step or 3600
    span = end - start
    if step is None:
        return natural_step(span)
    if span / step > MOST_POINTS:
        raise QueryError(
            f"step: {step} s over {span} s would be more than {MOST_POINTS} points; at least {math.ceil(span / MOST_POINTS)} s"
        )
    return step


def natural_step(span_s: float) -> int:
    """Give the step, in seconds, that cuts a span into at most some two hundred points."""
    return next((step for step in STEPS_S if span_s / step <= LIKELY_POINTS), STEPS_S[-1])


def answer(metric: Metric, question: Question, parts: Sequence[Partials]) -> list[SeriesAnswer]:
    """Answer from partials of the range and beyond; series with the greatest counts come first."""
    states = states_of(question.aggregates)
    narrowed = [_narrow(metric, question, part) for part in parts if len(part)]
    points = merge(narrowed, states, question.step)
    totals = merge([points], states, ALL_TIME)
    ranked = np.argsort(-totals.columns["count"], kind="stable")[: question.top or MOST_SERIES]
    figures = {name: AGGREGATES[name].finish(points) for name in question.aggregates}
    sums = {name: AGGREGATES[name].finish(totals) for name in question.aggregates}
    return [_series(question, points, figures, totals, sums, row=row) for row in ranked.tolist()]


def _narrow(metric: Metric, question: Question, part: Partials) -> Partials:
    """Keep the rows of the range that the condition holds for, grouped by what is asked."""
    wanted = np.ones(len(part), bool)
    if question.start is not None:
        wanted &= part.bucket >= question.start
    if question.end is not None:
        wanted &= part.bucket < question.end
    if question.where is not None:
        # what is under (other) is of unknown values, so no condition holds for it, not even `IS NULL`
        holds = question.where.condition(SeriesColumns(metric.by, part.series))
        wanted &= (holds & [one is not OTHER for one in part.series])[part.code]
    kept = part.select(wanted)
    if question.by == metric.by:
        return kept
    places = [metric.by.index(name) for name in question.by]
    return kept.regroup([OTHER if one is OTHER and places else _pick(one, places) for one in kept.series])


def _pick(series: Series, places: Sequence[int]) -> Series:
    return tuple(series[place] for place in places)


class SeriesColumns:
    """A metric's series as the columns that a condition runs over."""

    def __init__(self, by: Sequence[str], series: Sequence[Series]) -> None:
        self._by, self._series = tuple(by), series

    def __len__(self) -> int:
        return len(self._series)

    def _values(self, field: str) -> list[Any]:
        place = self._by.index(field)
        return [MISSING if one is OTHER else one[place] for one in self._series]

    def coded(self, field: str) -> Coded:
        """Give a `by` value of each series."""
        return Coded(np.arange(len(self._series), dtype=np.int32), self._values(field))

    def numbers(self, field: str) -> Numbers:
        """Give the numbers among a `by` value."""
        return as_numbers(self._values(field))


def _series(
    question: Question,
    points: Partials,
    figures: Mapping[str, NDArray[np.float64]],
    totals: Partials,
    sums: Mapping[str, NDArray[np.float64]],
    *,
    row: int,
) -> SeriesAnswer:
    code = int(totals.code[row])
    series = totals.series[code]
    wanted = points.code == code
    is_other = series is OTHER
    values = zip(question.by, series, strict=True) if not is_other else ()
    return SeriesAnswer(
        by={name: value for name, value in values if value is not MISSING},
        is_other=is_other,
        totals={name: plain(column[row : row + 1], name)[0] for name, column in sums.items()},
        time=points.bucket[wanted].tolist(),
        points={name: plain(column[wanted], name) for name, column in figures.items()},
    )


def plain(values: NDArray[np.float64], aggregate: str) -> list[int | float | None]:
    """Give figures as JSON has them: counts as integers, null for no value."""
    if aggregate == "count":
        return [int(value) for value in values.tolist()]
    return [value if math.isfinite(value) else None for value in values.tolist()]
