"""How partials and raw events stand in rows of the store, and how rows become partials again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregate import Columns
from streamgauge.aggregates import HISTOGRAM, STATES
from streamgauge.aggregates.last import NEVER
from streamgauge.columns import MISSING
from streamgauge.commit import EpochCommit, MetricPartials, RawRows
from streamgauge.event import JsonText
from streamgauge.partials import OTHER, Cells, Partials, Series, empty, no_cells
from streamgauge.stores import arrow
from streamgauge.stores.schema import STATE_COLUMNS

CELL: Final = np.dtype([("key", "<i4"), ("count", "<u4")])
CELL_MOST: Final = 2**32 - 1
DAY_US: Final = 86_400_000_000
INTEGERS: Final = frozenset({"count", "n_values", "last_time", "last_order"})


def series_text(series: Series, by: Sequence[str]) -> str:
    """Write a series as a JSON object in the order of `by`; a missing value leaves its name out."""
    if series is OTHER:
        return "{}"
    parts = [
        f"{_json(name)}:{value if isinstance(value, JsonText) else _json(value)}"
        for name, value in zip(by, series, strict=True)
        if value is not MISSING
    ]
    return "{" + ",".join(parts) + "}"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def parse_series(text: str, by: Sequence[str]) -> Series:
    """Read a series back."""
    found = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    return tuple(_value(found[name]) if name in found else MISSING for name in by)


def _value(raw: msgspec.Raw) -> object:
    if bytes(raw)[:1] in {b"[", b"{"}:
        return JsonText(bytes(raw).decode())
    return msgspec.json.decode(raw)


def rollup_chunk(commit: EpochCommit, metric: MetricPartials) -> Mapping[str, arrow.Column]:
    """Give a metric's partials as rows."""
    partials = metric.partials
    day = commit.at_us // DAY_US
    return rollup_columns(commit.shard, metric, np.full(len(partials), day, np.int32), commit.epoch)


def rollup_columns(
    shard: str, metric: MetricPartials, received_day: NDArray[np.int32], epoch: int
) -> Mapping[str, arrow.Column]:
    """Give partials as rows of the table of rollups, whose columns these are in order."""
    partials, n = metric.partials, len(metric.partials)
    texts = [series_text(one, metric.by) for one in partials.series]
    codes = partials.code.tolist()
    is_other = np.array([one is OTHER for one in partials.series], bool)
    columns = {
        "shard": arrow.constant(shard, n),
        "metric": arrow.constant(metric.name, n),
        "definition": arrow.constant(metric.definition, n),
        "resolution": arrow.int32(np.full(n, partials.resolution, np.int32)),
        "bucket": arrow.int64(partials.bucket),
        "received_day": arrow.int32(received_day),
        "epoch": arrow.int64(np.full(n, epoch, np.int64)),
        "series": arrow.strings([texts[code] for code in codes]),
        "is_other": arrow.booleans(is_other[partials.code]),
    }
    for name in STATE_COLUMNS:
        columns[name] = _state_column(partials, name)
    return {**columns, "histogram": _histogram(partials)}


def _state_column(partials: Partials, name: str) -> arrow.Column:
    n = len(partials)
    if name in INTEGERS:
        values = partials.columns.get(name)
        there = None if values is not None and name in {"count", "n_values"} else np.zeros(n, bool)
        if values is not None and there is not None:
            there = values != NEVER
        return arrow.int64(np.zeros(n, np.int64) if values is None else values, there)
    return arrow.float64(partials.columns.get(name, np.full(n, np.nan)))


def _histogram(partials: Partials) -> arrow.Column:
    rows, keys, counts = partials.cells
    while (
        len(counts) and counts.max() > CELL_MOST
    ):  # cells of one key add up, so a large one is written as several
        rest = np.maximum(counts - CELL_MOST, 0)
        more = rest > 0
        rows, keys = np.concatenate([rows, rows[more]]), np.concatenate([keys, keys[more]])
        counts = np.concatenate([np.minimum(counts, CELL_MOST), rest[more]])
        order = np.argsort(rows, kind="stable")
        rows, keys, counts = rows[order], keys[order], counts[order]
    cells = np.empty(len(keys), CELL)
    cells["key"], cells["count"] = keys, counts
    lengths = np.bincount(rows, minlength=len(partials)) * CELL.itemsize
    return arrow.blobs(lengths.astype(np.int64), cells.tobytes())


def raw_chunk(shard: str, raw: RawRows) -> Mapping[str, arrow.Column]:
    """Give raw events as rows of their table, whose columns these are in order."""
    n = len(raw)
    return {
        "shard": arrow.constant(shard, n),
        "seq": arrow.int64(raw.seq),
        "index": arrow.int32(raw.index),
        "time": arrow.timestamp(raw.time_us),
        "received_at": arrow.timestamp(raw.received_us),
        "processed_at": arrow.timestamp(raw.processed_us),
        "type": arrow.coded(raw.type),
        "user_id": arrow.nulls(n) if raw.user_id is None else arrow.texts(raw.user_id),
        "event_id": arrow.nulls(n) if raw.event_id is None else arrow.texts(raw.event_id),
        "value": arrow.float64(raw.value.values, raw.value.valid),
        "event": arrow.texts(raw.event),
    }


def partials_of(rows: Mapping[str, Any], by: Sequence[str], states: tuple[str, ...]) -> Partials:
    """Turn rows of the table of rollups (columns of NumPy arrays) into partials, not merged, at 1 s."""
    n = len(rows["bucket"])
    if not n:
        return empty(states)
    lookup: dict[tuple[str, bool], int] = {}
    keys = zip(rows["series"].tolist(), rows["is_other"].tolist(), strict=True)
    code = np.fromiter((lookup.setdefault(key, len(lookup)) for key in keys), np.int32, n)
    series = [OTHER if other else parse_series(text, by) for text, other in lookup]
    names = [name for state in states if state in STATES for name in STATES[state].columns]
    columns: Columns = {name: _filled(rows[name], name) for name in names}
    return Partials(
        states=states,
        resolution=1,
        series=series,
        code=code,
        bucket=np.asarray(rows["bucket"], np.int64),
        columns=columns,
        cells=_cells(rows["histogram"]) if HISTOGRAM in states else no_cells(),
    )


def _filled(values: Any, name: str) -> NDArray[Any]:
    """Give a column with its nulls as our arrays have them."""
    if name in INTEGERS:
        return np.asarray(np.ma.filled(values, NEVER if name.startswith("last") else 0), np.int64)
    return np.asarray(np.ma.filled(values, 0.0 if name.startswith("sum") else np.nan), np.float64)


def _cells(blobs: Any) -> Cells:
    found = [bytes(blob) if blob else b"" for blob in np.ma.filled(blobs, b"").tolist()]
    cells = np.frombuffer(b"".join(found), CELL)
    lengths = np.fromiter(map(len, found), np.int64, len(found)) // CELL.itemsize
    rows = np.repeat(np.arange(len(found)), lengths)
    return Cells(rows, cells["key"].astype(np.int64), cells["count"].astype(np.int64))
