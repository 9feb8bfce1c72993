"""Compaction and retention: quiet rows become fewer and coarser, old ones leave. Ages run from arrival.

Rows are merged only with rows of the same shard, metric, definition and received day, so that a day's rollups can
always be checked against that day's raw events. An epoch is received when it is committed: that is the one day on which
all its rows agree, raw events and rollups alike, also when it was midnight in between. The rows that were read are deleted by their ids, and their merge is
inserted, in the caller's one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import duckdb
import msgspec
import numpy as np

from streamgauge.aggregates import HISTOGRAM
from streamgauge.commit import MetricPartials
from streamgauge.partials import merge
from streamgauge.store import Retention
from streamgauge.stores.arrow import ArrowTable
from streamgauge.stores.rows import DAY_US, partials_of, rollup_columns
from streamgauge.stores.schema import STATE_COLUMNS

MOST_ROWS: Final = 200_000  # of one group at a time; what is left is next time's
DAY_S: Final = 86_400
NAME: Final = "compacted_rollups"
EXPIRE_RAW: Final = """
DELETE FROM raw_events
USING (SELECT shard, max(last_seq) AS seq FROM positions WHERE committed_at < make_timestamp(?) GROUP BY shard) AS old
WHERE raw_events.shard = old.shard AND raw_events.seq <= old.seq
"""
EXPIRE_POSITIONS: Final = """
DELETE FROM positions
USING (SELECT shard, max(epoch) AS epoch FROM positions GROUP BY shard) AS newest
WHERE positions.shard = newest.shard AND positions.epoch < newest.epoch AND committed_at < make_timestamp(?)
"""


def maintain(connection: duckdb.DuckDBPyConnection, now_us: int, retention: Retention) -> int:
    """Compact and expire; give how many rows went."""
    removed = _expire(connection, now_us, retention)
    for (fine, age_s), (coarse, _) in pairwise(retention.tiers):
        before = _day(now_us, age_s)
        groups = connection.execute(
            "SELECT shard, metric, definition, received_day FROM rollup_rows"
            " WHERE resolution = ? AND received_day < ? GROUP BY ALL ORDER BY ALL",
            [fine, before],
        ).fetchall()
        for group in groups:
            removed += _compact(connection, group, fine, coarse)
    return removed


def _day(now_us: int, age_s: float) -> int:
    """The first received day, counted from 1970, that may still have rows younger than an age."""
    return int((now_us - age_s * 1e6) // DAY_US)


def _expire(connection: duckdb.DuckDBPyConnection, now_us: int, retention: Retention) -> int:
    raw_before = _day(now_us, retention.raw_s) * DAY_US
    oldest = _day(now_us, retention.tiers[-1][1])
    removed = [
        connection.execute(sql, params).fetchall()[0][0]
        for sql, params in (
            (EXPIRE_RAW, [raw_before]),
            (EXPIRE_POSITIONS, [raw_before]),
            ("DELETE FROM rollup_rows WHERE received_day < ? AND bucket < ?", [oldest, oldest * DAY_S]),
        )
    ]
    return sum(removed)


def _compact(connection: duckdb.DuckDBPyConnection, group: Sequence[Any], fine: int, coarse: int) -> int:
    shard, metric, definition, received_day = group
    columns = ", ".join(("bucket", "series", "is_other", *STATE_COLUMNS, "histogram"))
    rows = connection.execute(
        f"SELECT rowid AS id, {columns} FROM rollup_rows WHERE shard = ? AND metric = ? AND definition = ?"
        f" AND received_day = ? AND resolution = ? ORDER BY bucket LIMIT {MOST_ROWS}",
        [shard, metric, definition, received_day, fine],
    ).fetchnumpy()
    by, states = _shape(rows)
    merged = merge([partials_of(rows, by, states)], states, coarse)
    ids = np.asarray(rows["id"], np.int64)
    connection.execute("DELETE FROM rollup_rows WHERE rowid IN (SELECT unnest(?))", [ids.tolist()]).fetchall()
    whole = MetricPartials(name=metric, definition=definition, by=by, partials=merged)
    day = np.full(len(merged), received_day, np.int32)
    connection.register(NAME, ArrowTable([rollup_columns(shard, whole, day, 0)]))
    try:
        connection.execute(f"INSERT INTO rollup_rows SELECT * FROM {NAME}").fetchall()
    finally:
        connection.unregister(NAME)
    return len(ids) - len(merged)


def _shape(rows: Any) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Tell from the rows themselves what their series are named by and which states they hold."""
    names: dict[str, None] = {}
    for text in set(rows["series"].tolist()):
        names |= dict.fromkeys(msgspec.json.decode(text))
    kept = {"sum": "sum", "extremes": "min", "last": "last_time", HISTOGRAM: HISTOGRAM}
    states = [state for state, column in kept.items() if not np.ma.getmaskarray(rows[column]).all()]
    return tuple(names), ("count", *states)
