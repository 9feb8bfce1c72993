"""Columns for DuckDB in Arrow's layout, built on the arrays' own memory.

`ArrowTable` offers the Arrow C stream interface (https://arrow.apache.org/docs/format/CDataInterface), which DuckDB
reads without pyarrow. It may be read any number of times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import nanoarrow as na
import numpy as np
from nanoarrow.c_array_stream import CArrayStream
from numpy.typing import NDArray

from streamgauge.columns import Coded
from streamgauge.commit import Texts

Kind = Any


class Column:
    """One column: an Arrow type, its buffers, and which rows are not null (None: all)."""

    def __init__(
        self, kind: Kind, length: int, buffers: Sequence[Any], valid: NDArray[np.bool_] | None = None
    ) -> None:
        self.kind = kind
        bits = None if valid is None or valid.all() else np.packbits(valid, bitorder="little")
        self.array = na.c_array_from_buffers(kind, length, [bits, *buffers])


def int64(values: NDArray[np.int64], valid: NDArray[np.bool_] | None = None) -> Column:
    """64-bit integers."""
    return Column(na.int64(), len(values), [np.ascontiguousarray(values, np.int64)], valid)


def int32(values: NDArray[np.int32]) -> Column:
    """32-bit integers."""
    return Column(na.int32(), len(values), [np.ascontiguousarray(values, np.int32)])


def float64(values: NDArray[np.float64], valid: NDArray[np.bool_] | None = None) -> Column:
    """Doubles; NaN is null."""
    there = ~np.isnan(values) if valid is None else valid
    return Column(na.float64(), len(values), [np.ascontiguousarray(values, np.float64)], there)


def timestamp(micros: NDArray[np.int64]) -> Column:
    """Moments in UTC, from microseconds since 1970."""
    return Column(na.timestamp("us"), len(micros), [np.ascontiguousarray(micros, np.int64)])


def texts(column: Texts) -> Column:
    """Strings in Arrow's own layout."""
    return Column(na.string(), len(column.offsets) - 1, [column.offsets, column.data], column.valid)


def nulls(length: int) -> Column:
    """A column of strings that has none."""
    return Column(na.string(), length, [np.zeros(length + 1, np.int32), b""], np.zeros(length, bool))


def blobs(lengths: NDArray[np.int64], data: bytes) -> Column:
    """Byte strings that lie one behind the other in `data`."""
    return Column(na.binary(), len(lengths), [offsets_of(lengths), data])


def booleans(values: NDArray[np.bool_]) -> Column:
    """Booleans."""
    return Column(na.bool_(), len(values), [np.packbits(values, bitorder="little")])


def strings(values: Sequence[str]) -> Column:
    """A column from Python strings."""
    return texts(texts_of(values))


def constant(value: str, length: int) -> Column:
    """A column of one string."""
    data = value.encode()
    return texts(
        Texts(offsets=np.arange(length + 1, dtype=np.int32) * np.int32(len(data)), data=data * length)
    )


def coded(column: Coded) -> Column:
    """A column of dictionary-coded strings, written out."""
    data = [str(value).encode() for value in column.values]
    lengths = np.array([len(text) for text in data], np.int64)[column.codes]
    return texts(
        Texts(offsets=offsets_of(lengths), data=b"".join([data[code] for code in column.codes.tolist()]))
    )


def texts_of(values: Sequence[str], valid: NDArray[np.bool_] | None = None) -> Texts:
    """Lay strings out as Arrow does."""
    joined = "".join(values)
    data = joined.encode()
    if len(data) == len(joined):
        lengths = np.fromiter(map(len, values), np.int64, len(values))
    else:
        lengths = np.array([len(value.encode()) for value in values], np.int64)
    return Texts(offsets=offsets_of(lengths), data=data, valid=valid)


def offsets_of(lengths: NDArray[np.int64]) -> NDArray[np.int32]:
    """Give where each of a run of texts begins, and where the last one ends."""
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    return offsets.astype(np.int32)


class ArrowTable:
    """Rows for `INSERT INTO ... SELECT * FROM <registered name>`, in chunks of the same columns."""

    def __init__(self, chunks: Sequence[Mapping[str, Column]]) -> None:
        self._schema = na.c_schema(na.struct({name: column.kind for name, column in chunks[0].items()}))
        self._chunks = [self._chunk(columns) for columns in chunks]

    def _chunk(self, columns: Mapping[str, Column]) -> Any:
        children = [column.array for column in columns.values()]
        return na.c_array_from_buffers(self._schema, len(children[0]), [None], children=children)

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        stream = CArrayStream.from_c_arrays(self._chunks, self._schema, validate=False)
        return stream.__arrow_c_stream__(requested_schema)
