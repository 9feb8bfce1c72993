"""Raw events for the store: the columns of batches, laid out for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import Numbers, join_coded
from streamgauge.commit import RawRows, Texts
from streamgauge.errors import InternalError
from streamgauge.event import EventBatch, Lines


def raw_rows(batch: EventBatch, processed_us: int) -> RawRows:
    """Give a batch's events as rows of the table of raw events."""
    n = len(batch)
    if batch.lines is None:
        raise InternalError("a batch without its lines cannot be stored")
    return RawRows(
        seq=np.full(n, batch.seq, np.int64),
        index=batch.index,
        time_us=batch.time_us,
        received_us=np.full(n, batch.origin.at_us, np.int64),
        processed_us=np.full(n, processed_us, np.int64),
        type=batch.type,
        user_id=_identifiers(batch.identifiers("user_id")),
        event_id=_identifiers(batch.identifiers("event_id")),
        value=batch.value,
        event=event_texts(batch.lines),
    )


def event_texts(lines: Lines) -> Texts:
    """Give the lines without their newlines, one behind the other."""
    payload, starts, ends = lines
    lengths = ends - starts
    offsets = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    whole = len(payload) == int(offsets[-1]) + len(lengths)
    data = payload.replace(b"\n", b"") if whole else b"".join(lines.line(i) for i in range(len(lengths)))
    return Texts(offsets=offsets.astype(np.int32), data=data)


def _identifiers(objects: list[Any]) -> Texts | None:
    if objects.count(None) == len(objects):
        return None
    try:
        return _texts(objects, None)
    except TypeError:  # not all of them are strings
        texts = ["" if value is None else str(value) for value in objects]
        return _texts(texts, np.array([value is not None for value in objects], bool))


def _texts(texts: list[str], valid: NDArray[np.bool_] | None) -> Texts:
    joined = "\0".join([*texts, ""]).encode()
    ends = np.flatnonzero(np.frombuffer(joined, np.uint8) == 0)
    if len(ends) == len(texts):
        data = joined.replace(b"\0", b"")
        ends -= np.arange(len(texts))
    else:  # there are such characters in the texts
        data = "".join(texts).encode()
        ends = np.cumsum([len(text.encode()) for text in texts])
    offsets = np.zeros(len(texts) + 1, np.int32)
    offsets[1:] = ends
    return Texts(offsets=offsets, data=data, valid=valid)


def join_raw(rows: Sequence[RawRows], most_bytes: int = 16 * 2**20) -> list[RawRows]:
    """Join small runs of rows into few, each of some megabytes at most."""
    joined: list[RawRows] = []
    current: list[RawRows] = []
    size = 0
    for one in rows:
        if current and size + len(one.event.data) > most_bytes:
            joined.append(_join(current))
            current, size = [], 0
        current.append(one)
        size += len(one.event.data)
    if current:
        joined.append(_join(current))
    return joined


def _join(rows: list[RawRows]) -> RawRows:
    if len(rows) == 1:
        return rows[0]
    lengths = [len(row) for row in rows]
    return RawRows(
        seq=np.concatenate([row.seq for row in rows]),
        index=np.concatenate([row.index for row in rows]),
        time_us=np.concatenate([row.time_us for row in rows]),
        received_us=np.concatenate([row.received_us for row in rows]),
        processed_us=np.concatenate([row.processed_us for row in rows]),
        type=join_coded([row.type for row in rows]),
        user_id=_join_texts([row.user_id for row in rows], lengths),
        event_id=_join_texts([row.event_id for row in rows], lengths),
        value=Numbers(
            np.concatenate([row.value.values for row in rows]),
            np.concatenate([row.value.valid for row in rows]),
        ),
        event=_join_texts([row.event for row in rows], lengths) or rows[0].event,
    )


def _join_texts(columns: Sequence[Texts | None], lengths: Sequence[int]) -> Texts | None:
    if all(column is None for column in columns):
        return None
    there = [
        Texts(offsets=np.zeros(n + 1, np.int32), data=b"", valid=np.zeros(n, bool))
        if column is None
        else column
        for column, n in zip(columns, lengths, strict=True)
    ]
    first = np.cumsum([0, *(len(column.data) for column in there[:-1])])
    offsets = np.zeros(sum(lengths) + 1, np.int32)
    offsets[1:] = np.concatenate([column.offsets[1:] for column in there]) + np.repeat(first, lengths)
    valid = (
        None if all(column.valid is None for column in there) else np.concatenate([_valid(c) for c in there])
    )
    return Texts(
        offsets=offsets,
        data=b"".join(column.data for column in there),
        valid=valid,
    )


def _valid(column: Texts) -> NDArray[np.bool_]:
    return np.ones(len(column.offsets) - 1, bool) if column.valid is None else column.valid
