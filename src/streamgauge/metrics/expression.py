"""SQL expressions of the configuration: read once, then run over columns or written as SQL for history.

How they are spelled is in `syntax.py`, what their parts do in `predicates.py` and `arithmetic.py`.
"""

from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import Columns, Numbers
from streamgauge.errors import ExpressionError
from streamgauge.metrics.arithmetic import ColumnSql, Number
from streamgauge.metrics.predicates import Condition, Truth
from streamgauge.metrics.syntax import read


@dataclass(frozen=True)
class Expression:
    """An SQL expression over the fields of a row: a condition (`where`, `keep`), a number (`value`), or both.

    A bare field is both: a condition where it is true or false, a number where it is a number. Types are those of
    JSON and are never converted: strings compare with strings (by code point), numbers with numbers (as float64, so
    integers beyond 2^53 may be rounded), booleans with booleans; any other comparison is NULL. A field that is
    missing is NULL, like one that is null. A result of + - * / that is not finite, as from a division by zero,
    is NULL.

    text: the expression as it was written.
    fields: the names of the fields that it reads, as written.
    doubts: what it is allowed to say, and hardly ever meant to.
    """

    text: str
    fields: frozenset[str] = field(compare=False)
    doubts: tuple[str, ...] = field(compare=False)
    _condition: Condition | None = field(compare=False, repr=False)
    _number: Number | None = field(compare=False, repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an expression in DuckDB's SQL.

        Raises ExpressionError, saying what is wrong and what is allowed, for anything but comparisons, AND, OR, NOT,
        IN with literals, BETWEEN, LIKE, IS NULL and + - * / over fields and literals; for more than 4096 characters;
        and for nesting deeper than 64 levels or than the parser can follow.
        """
        reading = read(text)
        return cls(text, reading.fields, reading.doubts, reading.condition, reading.number)

    @classmethod
    def parse_condition(cls, text: str) -> Self:
        """Read an expression that is to be a condition. Raises ExpressionError as `parse` does, and where it is none."""
        found = cls.parse(text)
        if found.is_condition:
            return found
        raise _no_condition(text)

    @classmethod
    def parse_number(cls, text: str) -> Self:
        """Read an expression that is to be a number. Raises ExpressionError as `parse` does, and where it is none."""
        found = cls.parse(text)
        if found.is_number:
            return found
        raise _no_number(text)

    @property
    def is_condition(self) -> bool:
        """Whether it can be asked for `condition`: `where` and `keep` need that."""
        return self._condition is not None

    @property
    def is_number(self) -> bool:
        """Whether it can be asked for `number`: `value` needs that."""
        return self._number is not None

    def condition(self, columns: Columns) -> NDArray[np.bool_]:
        """Tell for each row whether the condition holds: bool, shape (n,); NULL counts as false.

        Raises ExpressionError if it is not a condition.
        """
        return self._as_condition().truth(columns).yes

    def truth(self, columns: Columns) -> Truth:
        """Tell for each row whether the condition holds, does not hold, or is NULL.

        Raises ExpressionError if it is not a condition.
        """
        return self._as_condition().truth(columns)

    def number(self, columns: Columns) -> Numbers:
        """Give the number of each row; for a bare field the very columns that `columns.numbers` gives.

        Raises ExpressionError if it is not a number.
        """
        return self._as_number().numbers(columns)

    def sql(self, column: ColumnSql) -> str:
        """Write it as one DuckDB SQL expression: the condition if it is one, else the number.

        column: gives the SQL of a field as a kind, "text", "number" (DOUBLE), "boolean" or "any": NULL in rows
            where the field is not of that kind, null or missing. For "any" only NULL or not matters.
        A row that `condition` calls false may be FALSE or NULL in SQL; to WHERE that is the same.
        """
        return self.number_sql(column) if self._condition is None else self._condition.sql(_enclosed(column))

    def number_sql(self, column: ColumnSql) -> str:
        """Write the number as one DuckDB SQL expression, a DOUBLE; `column` is as for `sql`.

        Raises ExpressionError if it is not a number.
        """
        return self._as_number().sql(_enclosed(column))

    def _as_condition(self) -> Condition:
        if self._condition is None:
            raise _no_condition(self.text)
        return self._condition

    def _as_number(self) -> Number:
        if self._number is None:
            raise _no_number(self.text)
        return self._number


def _no_condition(text: str) -> ExpressionError:
    return ExpressionError(text, "this is a number, not a condition; compare it, as in `… > 0`")


def _no_number(text: str) -> ExpressionError:
    return ExpressionError(text, "this is a condition, not a number; name a field, or calculate with + - * /")


def _enclosed(column: ColumnSql) -> ColumnSql:
    return lambda name, kind: f"({column(name, kind)})"
