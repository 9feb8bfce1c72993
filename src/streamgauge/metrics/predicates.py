"""The conditions of an expression: comparisons, tests and logic that run over columns, live and as DuckDB SQL.

The live form and the SQL form of each part stand side by side because they must give the same results. The types
are those of JSON: strings compare with strings, numbers with numbers, booleans with booleans, and every other pair is
NULL. Nothing here knows how an expression is spelled; that is `syntax.py`.
"""

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import MISSING, Coded, Columns
from streamgauge.metrics.arithmetic import ColumnSql, Kind, Number, field_number, literal, quoted

Flags = NDArray[np.bool_]

COMPARISONS: Final[Mapping[str, Callable[..., Any]]] = MappingProxyType(
    {
        "=": operator.eq,
        "<>": operator.ne,
        "<": operator.lt,
        "<=": operator.le,
        ">": operator.gt,
        ">=": operator.ge,
    }
)
MIRRORED: Final[Mapping[str, str]] = MappingProxyType(
    {"=": "=", "<>": "<>", "<": ">", "<=": ">=", ">": "<", ">=": "<="}
)


class Truth(NamedTuple):
    """Three-valued answers for n rows: true where `yes`, false where `no`, NULL where neither."""

    yes: Flags
    no: Flags


class Condition(NamedTuple):
    """Something true, false or NULL of each row."""

    truth: Callable[[Columns], Truth]
    sql: Callable[[ColumnSql], str]


@dataclass(frozen=True)
class Field:
    """A field of the row, by name; its type is known only row by row."""

    name: str


@dataclass(frozen=True)
class Constant:
    """A literal of the expression; None is NULL."""

    value: str | float | bool | None


Operand = Field | Constant | Number


def number_of(operand: Operand) -> Number | None:
    """Take the operand as a number; None if it can never be one."""
    match operand:
        case Number():
            return operand
        case Field(name):
            return field_number(name)
        case Constant(float() | None as value):
            return literal(value)
        case _:
            return None


def condition_of(operand: Operand) -> Condition | None:
    """Take the operand itself as a condition, as in `WHERE active`; None if it can never be one."""
    match operand:
        case Field(name):
            return _lookup(name, "boolean", bool, "= TRUE")
        case Constant(bool() | None as value):
            return always(value)
        case _:
            return None


def always(value: bool | None) -> Condition:  # noqa: FBT001 - a constant of three-valued logic, not a switch
    """Give the condition that has the same answer for every row."""

    def truth(columns: Columns) -> Truth:
        rows = len(columns)
        return Truth(np.full(rows, value is True), np.full(rows, value is False))

    return Condition(truth, lambda _: "CAST(NULL AS BOOLEAN)" if value is None else str(value).upper())


def negation(part: Condition) -> Condition:
    """Give NOT."""
    return Condition(
        lambda columns: Truth(*reversed(part.truth(columns))), lambda column: f"(NOT {part.sql(column)})"
    )


def all_of(parts: Sequence[Condition]) -> Condition:
    """Give AND of one or more: false as soon as one is false, else NULL as soon as one is NULL."""

    def truth(columns: Columns) -> Truth:
        yes, no = parts[0].truth(columns)
        for part in parts[1:]:
            answer = part.truth(columns)
            yes, no = yes & answer.yes, no | answer.no
        return Truth(yes, no)

    return Condition(truth, lambda column: f"({' AND '.join(part.sql(column) for part in parts)})")


def any_of(parts: Sequence[Condition]) -> Condition:
    """Give OR of one or more: true as soon as one is true, else NULL as soon as one is NULL."""

    def truth(columns: Columns) -> Truth:
        yes, no = parts[0].truth(columns)
        for part in parts[1:]:
            answer = part.truth(columns)
            yes, no = yes | answer.yes, no & answer.no
        return Truth(yes, no)

    return Condition(truth, lambda column: f"({' OR '.join(part.sql(column) for part in parts)})")


def compare(symbol: str, left: Operand, right: Operand) -> Condition:
    """Compare with = <> < <= > or >=; NULL where the two are not of one type."""
    match left, right:
        case Field(first_name), Field(second_name):
            return _compare_fields(symbol, first_name, second_name)
        case Field(name), Constant(str() | bool() as value):
            test = partial(COMPARISONS[MIRRORED[symbol]], value)
            kind: Literal["text", "boolean"] = "text" if isinstance(value, str) else "boolean"
            return _lookup(name, kind, test, f"{symbol} {quoted(value)}")
        case Constant(), Field():
            return compare(MIRRORED[symbol], right, left)
        case (Constant(str() as first), Constant(str() as second)) | (
            Constant(bool() as first),
            Constant(bool() as second),
        ):
            return always(bool(COMPARISONS[symbol](first, second)))
    first_number, second_number = number_of(left), number_of(right)
    if first_number is None or second_number is None:
        return always(None)
    return _compare_numbers(symbol, first_number, second_number)


def between(operand: Operand, low: Operand, high: Operand) -> Condition:
    """Give `operand >= low AND operand <= high`."""
    return all_of([compare(">=", operand, low), compare("<=", operand, high)])


def is_in(operand: Operand, choices: Sequence[Constant]) -> Condition:
    """Give OR of `operand = choice` over one or more choices, in one look-up for the strings and one for the numbers."""
    texts = sorted({choice.value for choice in choices if isinstance(choice.value, str)})
    numbers = sorted({choice.value for choice in choices if isinstance(choice.value, float)})
    parts = [compare("=", operand, choice) for choice in choices if not isinstance(choice.value, str | float)]
    if texts and isinstance(operand, Field):
        parts.append(_lookup(operand.name, "text", frozenset(texts).__contains__, _listed(texts)))
    elif texts:
        parts.extend(compare("=", operand, Constant(text)) for text in texts)
    number = number_of(operand)
    if numbers:
        parts.append(always(None) if number is None else _number_in(number, numbers))
    return any_of(parts)


def is_like(field: Field, pattern: str) -> Condition:
    """Give LIKE: `%` is any run of characters, `_` any one character; there is no escape character."""
    first, *others = [".".join(map(re.escape, part.split("_"))) for part in pattern.split("%")]
    # the leftmost match of each middle part is always good enough, so atomic groups keep long strings from costing more
    middle = "".join(f"(?>.*?{part})" for part in others[:-1])
    last = f".*{others[-1]}" if others else ""
    matcher = re.compile(first + middle + last, re.DOTALL)
    return _lookup(
        field.name, "text", lambda text: matcher.fullmatch(text) is not None, f"LIKE {quoted(pattern)}"
    )


def is_null(operand: Operand) -> Condition:
    """Give IS NULL, which is never NULL itself; missing and null are the same to it."""
    match operand:
        case Constant(value):
            return always(value is None)
        case Field(name):
            return _field_is_null(name)
        case Number() as number:

            def truth(columns: Columns) -> Truth:
                valid = number.numbers(columns).valid
                return Truth(~valid, valid)

            return Condition(truth, lambda column: f"({number.sql(column)} IS NULL)")


def _field_is_null(name: str) -> Condition:
    def truth(columns: Columns) -> Truth:
        coded = columns.coded(name)
        return _gather(coded, [value is None or value is MISSING for value in coded.values])

    return Condition(truth, lambda column: f"({column(name, 'any')} IS NULL)")


def _gather(coded: Coded, verdicts: Sequence[int]) -> Truth:
    """Give each row the verdict on its value: 1 is true, 0 is false, -1 is NULL."""
    rows = np.array(verdicts, dtype=np.int8).take(coded.codes)
    return Truth(rows == 1, rows == 0)


def _lookup(field: str, kind: Literal["text", "boolean"], test: Callable[..., bool], sql: str) -> Condition:
    wanted = str if kind == "text" else bool

    def truth(columns: Columns) -> Truth:
        coded = columns.coded(field)
        return _gather(coded, [test(value) if isinstance(value, wanted) else -1 for value in coded.values])

    return Condition(truth, lambda column: f"({column(field, kind)} {sql})")


def _compare_numbers(symbol: str, left: Number, right: Number) -> Condition:
    def truth(columns: Columns) -> Truth:
        first, second = left.numbers(columns), right.numbers(columns)
        valid = first.valid & second.valid
        answer = COMPARISONS[symbol](first.values, second.values)
        return Truth(answer & valid, ~answer & valid)

    return Condition(truth, lambda column: f"({left.sql(column)} {symbol} {right.sql(column)})")


def _number_in(number: Number, choices: Sequence[float]) -> Condition:
    wanted = np.array(choices)

    def truth(columns: Columns) -> Truth:
        values, valid = number.numbers(columns)
        found = np.isin(values, wanted)
        return Truth(found & valid, ~found & valid)

    return Condition(truth, lambda column: f"({number.sql(column)} {_listed(choices)})")


def _compare_fields(symbol: str, left: str, right: str) -> Condition:
    numbers = _compare_numbers(symbol, field_number(left), field_number(right))

    def truth(columns: Columns) -> Truth:
        yes, no = numbers.truth(columns)
        first, second = columns.coded(left), columns.coded(right)
        for kind in (str, bool):
            answer = _compare_ranks(symbol, first, second, kind)
            yes, no = yes | answer.yes, no | answer.no
        return Truth(yes, no)

    def sql(column: ColumnSql) -> str:
        kinds: tuple[Kind, ...] = ("number", "text", "boolean")
        return (
            f"coalesce({', '.join(f'{column(left, kind)} {symbol} {column(right, kind)}' for kind in kinds)})"
        )

    return Condition(truth, sql)


def _compare_ranks(symbol: str, left: Coded, right: Coded, kind: type[str] | type[bool]) -> Truth:
    """Compare the values of one kind by their places in the order of all of them, so that rows compare as integers."""
    distinct = {value for coded in (left, right) for value in coded.values if isinstance(value, kind)}
    ranks = {value: rank for rank, value in enumerate(sorted(distinct))}

    def ranked(coded: Coded) -> NDArray[np.int64]:
        places = [ranks[value] if isinstance(value, kind) else -1 for value in coded.values]
        return np.array(places, dtype=np.int64)[coded.codes]

    first, second = ranked(left), ranked(right)
    valid = (first >= 0) & (second >= 0)
    answer = COMPARISONS[symbol](first, second)
    return Truth(answer & valid, ~answer & valid)


def _listed(choices: Sequence[str] | Sequence[float]) -> str:
    return f"IN ({', '.join(map(quoted, choices))})"
