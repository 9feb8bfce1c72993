"""Ids that counted, in the DuckDB store: how they are added, read again at a start, and forgotten."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import duckdb
import numpy as np

from streamgauge.commit import SeenIds
from streamgauge.identity import DEAD_LETTERS, HASH_BYTES
from streamgauge.store import Retention
from streamgauge.stores import arrow

STEP_ROWS: Final = 200_000  # of one transaction, so that nothing waits long for it
CHUNK_ROWS: Final = 100_000
COLUMNS: Final = 'scope, hash128, body_hash, epoch_us("at") AS at_us, seq, answer'
PERMANENT: Final = f"SELECT {COLUMNS} FROM seen WHERE shard = ? AND scope = ? ORDER BY rowid"
NEWEST: Final = f"""
SELECT * EXCLUDE place FROM (
    SELECT {COLUMNS}, rowid AS place FROM seen
    WHERE shard = ? AND scope <> ? AND "at" >= make_timestamp(?) ORDER BY rowid DESC LIMIT ?
) ORDER BY place
"""
EXPIRE_SEEN: Final = f"""
DELETE FROM seen WHERE rowid IN (
    SELECT rowid FROM seen
    WHERE shard = $shard AND scope <> $letters AND ("at" < make_timestamp($before) OR seq < (
        SELECT coalesce(min(seq), 0) FROM (
            SELECT seq FROM seen WHERE shard = $shard AND scope <> $letters ORDER BY seq DESC LIMIT 1 OFFSET $most
        )
    )) LIMIT {STEP_ROWS}
)
"""
EXPIRE_LETTERS: Final = f"""
DELETE FROM dead_letters WHERE rowid IN (
    SELECT id FROM (
        SELECT rowid AS id, "at", row_number() OVER newest AS place, sum(octet_length(payload)) OVER newest AS bytes
        FROM dead_letters WINDOW newest AS (ORDER BY seq DESC, idx DESC, shard DESC)
    ) WHERE "at" < make_timestamp($before) OR place > $most OR bytes > $most_bytes LIMIT {STEP_ROWS}
)
"""
FORGET_DISCARDED: Final = """
DELETE FROM discarded WHERE row(shard, seq, idx) NOT IN (SELECT row(shard, seq, idx) FROM dead_letters)
"""
FORGET_REPLAYED: Final = """
DELETE FROM seen WHERE scope = $letters AND "at" < make_timestamp($before)
AND hash128 NOT IN (SELECT hash128 FROM dead_letters)
"""


def seen_chunk(shard: str, seen: SeenIds) -> Mapping[str, arrow.Column]:
    """Give ids as rows of their table, whose columns these are in order."""
    n = len(seen)
    return {
        "scope": arrow.constant(seen.scope, n),
        "hash128": arrow.blobs(np.full(n, HASH_BYTES, np.int64), bytes(seen.hashes)),
        "body_hash": arrow.blobs(np.full(n, HASH_BYTES if seen.bodies else 0, np.int64), bytes(seen.bodies)),
        "at": arrow.timestamp(seen.at_us),
        "shard": arrow.constant(shard, n),
        "seq": arrow.int64(seen.seq),
        "answer": arrow.strings(seen.answers) if seen.answers else arrow.nulls(n),
    }


def read_seen(cursor: duckdb.DuckDBPyConnection, shard: str, since_us: int, most: int) -> Iterator[SeenIds]:
    """Give the ids of replayed dead letters, and then the newest of the others, oldest first."""
    parts = ((PERMANENT, [shard, DEAD_LETTERS]), (NEWEST, [shard, DEAD_LETTERS, since_us, most]))
    for sql, params in parts:
        found = cursor.execute(sql, params)
        while rows := found.fetchmany(CHUNK_ROWS):
            yield from _runs(rows)


def _runs(rows: list[tuple[Any, ...]]) -> Iterator[SeenIds]:
    """Turn rows into columns, one for each scope and kind."""
    kinds: dict[tuple[str, bool], list[tuple[Any, ...]]] = {}
    for row in rows:
        kinds.setdefault((row[0], bool(row[2])), []).append(row)
    for (scope, is_request), several in kinds.items():
        columns = list(zip(*several, strict=True))
        yield SeenIds(
            scope=scope,
            hashes=b"".join(columns[1]),
            bodies=b"".join(columns[2]),
            at_us=np.array(columns[3], np.int64),
            seq=np.array(columns[4], np.int64),
            answers=tuple(answer or "" for answer in columns[5]) if is_request else (),
        )


def expire_step(connection: duckdb.DuckDBPyConnection, now_us: int, retention: Retention) -> int:
    """Forget some of what is too old or too much; give how many rows went: 0 when there is nothing more."""
    before = {"letters": DEAD_LETTERS, "before": now_us - int(retention.seen_s * 1e6)}
    removed = 0
    for (shard,) in connection.execute("SELECT DISTINCT shard FROM seen ORDER BY shard").fetchall():
        most = max(retention.seen_ids - 1, 0)
        removed += _count(connection, EXPIRE_SEEN, {**before, "shard": shard, "most": most})
    bounds = {
        "before": now_us - int(retention.dead_letters_s * 1e6),
        "most": retention.dead_letters,
        "most_bytes": retention.dead_letter_bytes,
    }
    removed += _count(connection, EXPIRE_LETTERS, bounds)
    removed += _count(connection, FORGET_DISCARDED, {})
    return removed + _count(connection, FORGET_REPLAYED, before)


def _count(connection: duckdb.DuckDBPyConnection, sql: str, params: Mapping[str, Any]) -> int:
    return int(connection.execute(sql, dict(params)).fetchall()[0][0])
