"""Rows in columns: what an expression or a metric runs over, whether events or series.

Here is only the shape; who holds rows (a batch of events, a list of series) implements it.
"""

from collections.abc import Sequence
from enum import Enum
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class Missing(Enum):
    """The type of `MISSING`; an enum because type checkers can tell its one member apart."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return self.value


MISSING: Final = Missing.MISSING
"""Stands for the value of a field that a row does not have, which is not the same as a JSON null."""


class Coded(NamedTuple):
    """A field of n rows as codes into the few different values that it has.

    codes: int32, shape (n,); row i has the value `values[codes[i]]`.
    values: what the codes stand for: str, bool, int or float; None for JSON null; MISSING where a row has no
        such field; any other object for an array or an object, kept as raw JSON. A value may occur twice and
        may be unused. True, 1 and 1.0 are equal to Python but have to have codes of their own, so a dictionary
        that finds the code of a value needs the type in its key.
    """

    codes: NDArray[np.int32]
    values: list[object]


def join_coded(columns: Sequence[Coded]) -> Coded:
    """Join columns whose codes each count into their own list; the values of all are strings."""
    lookup: dict[object, int] = {}
    places = [lookup.setdefault(value, len(lookup)) for column in columns for value in column.values]
    codes = np.concatenate([column.codes for column in columns])
    first = np.cumsum([0, *(len(column.values) for column in columns[:-1])])
    first_of_each = np.repeat(first, [len(column.codes) for column in columns])
    return Coded(np.array(places, np.int32)[codes + first_of_each], list(lookup))


class Numbers(NamedTuple):
    """The numbers of n rows.

    values: float64, shape (n,); unspecified (but any float) where not valid.
    valid: bool, shape (n,); False where the row has no such field, null, or something that is not a number.
        Booleans are not numbers.
    """

    values: NDArray[np.float64]
    valid: NDArray[np.bool_]


class Columns(Protocol):
    """Rows that give their fields as columns.

    Fields are asked for by name, any number of times; an implementation that decodes should remember. A field
    that no row has is no error: every row is then MISSING, or not valid. Arrays given out are not written to.
    """

    def __len__(self) -> int:
        """Give n, the number of rows."""
        ...

    def coded(self, field: str) -> Coded:
        """Give the field of each row, whatever its type."""
        ...

    def numbers(self, field: str) -> Numbers:
        """Give the field of each row where it is a number."""
        ...
