"""The numbers of an expression: fields, literals and what is calculated from them, live and as DuckDB SQL.

The live form and the SQL form of each stand side by side because they must give the same results.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import Columns, Numbers

Kind = Literal["text", "number", "boolean", "any"]
ColumnSql = Callable[[str, Kind], str]
"""Gives the SQL of a field as one kind: NULL wherever the field is not of that kind, is null or is missing."""

ARITHMETIC: Final[Mapping[str, Callable[..., NDArray[np.float64]]]] = MappingProxyType(
    {"+": np.add, "-": np.subtract, "*": np.multiply, "/": np.divide}
)


class Number(NamedTuple):
    """Something that is a number or NULL for each row.

    formula: its SQL, of which infinity or NaN may come.
    checks: the formulas that all have to be finite, or the result is NULL; its own is the last.
    """

    numbers: Callable[[Columns], Numbers]
    formula: Callable[[ColumnSql], str]
    checks: tuple[Callable[[ColumnSql], str], ...] = ()

    def sql(self, column: ColumnSql) -> str:
        """Write it as SQL that is finite or NULL."""
        if not self.checks:
            return self.formula(column)
        finite = " AND ".join(f"isfinite({check(column)})" for check in self.checks)
        return f"CASE WHEN {finite} THEN {self.formula(column)} END"


def field_number(name: str) -> Number:
    """Take a field as a number."""
    return Number(lambda columns: columns.numbers(name), lambda column: column(name, "number"))


def literal(value: float | None) -> Number:
    """Give the number that is the same for every row; None is NULL."""

    def numbers(columns: Columns) -> Numbers:
        rows = len(columns)
        return Numbers(np.full(rows, 0.0 if value is None else value), np.full(rows, value is not None))

    return Number(numbers, lambda _: quoted(value))


ZERO: Final = literal(0.0)


def calculated(symbol: str, left: Number, right: Number) -> Number:
    """Calculate with + - * or / in float64; what is not finite (so, any division by zero) is NULL."""
    calculate = ARITHMETIC[symbol]

    def numbers(columns: Columns) -> Numbers:
        first, second = left.numbers(columns), right.numbers(columns)
        with np.errstate(all="ignore"):
            values = calculate(first.values, second.values)
        return Numbers(values, first.valid & second.valid & np.isfinite(values))

    def formula(column: ColumnSql) -> str:
        return f"({left.formula(column)} {symbol} {right.formula(column)})"

    # infinity and NaN survive every step except being divided by, so that no other inner step needs a check
    divisor = right.checks if symbol == "/" else right.checks[:-1]
    return Number(numbers, formula, (*left.checks[:-1], *divisor, formula))


def quoted(value: str | float | bool | None) -> str:  # noqa: FBT001 - any literal
    """Write a literal as DuckDB SQL: a string, a DOUBLE, a boolean or a NULL of numbers."""
    match value:
        case None:
            return "CAST(NULL AS DOUBLE)"
        case bool():
            return str(value).upper()
        case str():
            return "'" + value.replace("'", "''") + "'"
        case _:
            digits = repr(float(value))
            return digits if "e" in digits else f"{digits}e0"  # without an exponent it would be a DECIMAL
