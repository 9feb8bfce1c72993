"""Dead letters in the DuckDB store: rows are added, and a letter's state is read from what else was added since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import duckdb
import numpy as np

from streamgauge.commit import DeadLetter, DeadLetterName
from streamgauge.identity import DEAD_LETTERS, hash_of
from streamgauge.store import KeptDeadLetter
from streamgauge.stores import arrow

NAMES: Final = "discarded_names"
REPLAYED: Final = f"EXISTS (FROM seen WHERE scope = '{DEAD_LETTERS}' AND seen.hash128 = letters.hash128)"
DISCARDED: Final = (
    "EXISTS (FROM discarded AS d"
    " WHERE d.shard = letters.shard AND d.seq = letters.seq AND d.idx = letters.idx)"
)
STATE: Final = f"CASE WHEN {REPLAYED} THEN 'replayed' WHEN {DISCARDED} THEN 'discarded' ELSE 'open' END"
LETTERS: Final = f"""
SELECT shard, seq, idx, epoch_us("at"), epoch_us(received_at), source, stage, reason, traceback, mapping, payload,
       {STATE} AS state
FROM dead_letters AS letters
"""


def letter_chunk(shard: str, letters: Sequence[DeadLetter]) -> Mapping[str, arrow.Column]:
    """Give dead letters as rows of their table, whose columns these are in order."""
    n = len(letters)
    payloads = [bytes(one.payload) for one in letters]
    hashes = [hash_of(DEAD_LETTERS, DeadLetterName(shard, one.seq, one.index).id) for one in letters]
    return {
        "shard": arrow.constant(shard, n),
        "seq": arrow.int64(np.array([one.seq for one in letters], np.int64)),
        "idx": arrow.int32(np.array([one.index for one in letters], np.int32)),
        "hash128": arrow.blobs(np.full(n, 16, np.int64), b"".join(hashes)),
        "at": arrow.timestamp(np.array([one.at_us for one in letters], np.int64)),
        "received_at": arrow.timestamp(np.array([one.received_us for one in letters], np.int64)),
        "source": arrow.strings([one.source for one in letters]),
        "stage": arrow.strings([one.stage for one in letters]),
        "reason": arrow.strings([one.reason for one in letters]),
        "traceback": arrow.strings([one.traceback for one in letters]),
        "mapping": arrow.strings([one.mapping for one in letters]),
        "payload": arrow.blobs(np.array([len(one) for one in payloads], np.int64), b"".join(payloads)),
    }


def list_letters(
    cursor: duckdb.DuckDBPyConnection, limit: int, before: DeadLetterName | None, *, only_open: bool
) -> list[KeptDeadLetter]:
    """Give letters, the last appends first."""
    conditions, params = ["true"], list[Any]()
    if before is not None:
        conditions.append("row(seq, idx, shard) < row(?, ?, ?)")
        params += [before.seq, before.index, before.shard]
    if only_open:
        conditions.append(f"NOT {REPLAYED} AND NOT {DISCARDED}")
    found = cursor.execute(
        f"{LETTERS} WHERE {' AND '.join(conditions)} ORDER BY seq DESC, idx DESC, shard DESC LIMIT ?",
        [*params, limit],
    )
    return [_kept(row) for row in found.fetchall()]


def find_letter(cursor: duckdb.DuckDBPyConnection, name: DeadLetterName) -> KeptDeadLetter | None:
    """Give one letter by its name."""
    params = [name.shard, name.seq, name.index]
    found = cursor.execute(f"{LETTERS} WHERE shard = ? AND seq = ? AND idx = ?", params).fetchall()
    return _kept(found[0]) if found else None


def count_open(cursor: duckdb.DuckDBPyConnection) -> int:
    """Count the letters that are neither replayed nor discarded."""
    sql = f"SELECT count(*) FROM dead_letters AS letters WHERE NOT {REPLAYED} AND NOT {DISCARDED}"
    return int(cursor.execute(sql).fetchall()[0][0])


def discard(connection: duckdb.DuckDBPyConnection, names: Sequence[DeadLetterName], at_us: int) -> int:
    """Add a row for each named letter that is open."""
    if not names:
        return 0
    chunk = {
        "shard": arrow.strings([name.shard for name in names]),
        "seq": arrow.int64(np.array([name.seq for name in names], np.int64)),
        "idx": arrow.int64(np.array([name.index for name in names], np.int64)),
    }
    connection.register(NAMES, arrow.ArrowTable([chunk]))
    try:
        return int(
            connection.execute(
                "INSERT INTO discarded SELECT shard, seq, idx, make_timestamp(?) FROM dead_letters AS letters"
                f" WHERE row(shard, seq, idx) IN (SELECT row(shard, seq, idx) FROM {NAMES})"
                f" AND NOT {REPLAYED} AND NOT {DISCARDED}",
                [at_us],
            ).fetchall()[0][0]
        )
    finally:
        connection.unregister(NAMES)


def _kept(row: Sequence[Any]) -> KeptDeadLetter:
    shard, seq, index, at_us, received_us, source, stage, reason, traceback, mapping, payload, state = row
    letter = DeadLetter(
        seq=seq,
        index=index,
        at_us=at_us,
        received_us=received_us,
        source=source,
        stage=stage,
        reason=reason,
        traceback=traceback,
        mapping=mapping,
        payload=bytes(payload),
    )
    return KeptDeadLetter(shard, letter, state)
