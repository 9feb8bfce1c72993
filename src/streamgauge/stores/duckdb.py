"""The embedded store: one DuckDB file, owned by one process.

Writes go through one connection and one thread, reads through cursors of their own, each in one snapshot. Checkpoints
are ours to call: DuckDB's own are switched off, because a journal segment may only be deleted once a checkpoint has
been proved.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from streamgauge.commit import DeadLetterName, EpochCommit, Frame, SeenIds, decode_commit
from streamgauge.errors import StoreError, StoreInvalid, StoreRefused
from streamgauge.store import KeptDeadLetter, Position, Retention, Snapshot, Table
from streamgauge.stores import compaction
from streamgauge.stores.arrow import ArrowTable
from streamgauge.stores.audit import DuckDBAudit
from streamgauge.stores.ids import expire_step, read_seen, seen_chunk
from streamgauge.stores.letters import count_open, discard, find_letter, letter_chunk, list_letters
from streamgauge.stores.opening import check_room, connect, log_of, store_error
from streamgauge.stores.rows import partials_of, raw_chunk, rollup_chunk
from streamgauge.stores.schema import ADDED_TABLES, FORMAT, STATE_COLUMNS, TABLES
from streamgauge.stores.selecting import select

RAW_CHUNK_NAME: Final = "incoming_raw"
ROLLUP_CHUNK_NAME: Final = "incoming_rollups"
SEEN_CHUNK_NAME: Final = "incoming_ids"
LETTER_CHUNK_NAME: Final = "incoming_dead_letters"


class DuckDBStore:
    """A store in one DuckDB file, or in memory where `path` is None."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path | None) -> None:
        self._connection = connection
        self._path = path
        self._writing = threading.Lock()

    @classmethod
    def open(cls, path: Path | None, *, memory_limit_bytes: int = 2**30) -> DuckDBStore:
        """Open the store, creating it where there is none. Raises StoreError where it cannot be used."""
        connection = connect(path, memory_limit_bytes)
        try:
            _prepare(connection, path)
        except BaseException:
            connection.close()
            raise
        return cls(connection, path)

    def positions(self) -> dict[str, Position]:
        """Give how far each shard is committed."""
        with self._cursor() as cursor:
            rows = cursor.execute(
                "SELECT shard, epoch, last_seq, ledger FROM positions"
                " QUALIFY row_number() OVER (PARTITION BY shard ORDER BY epoch DESC) = 1"
            ).fetchall()
        return {
            shard: Position(epoch=epoch, last_seq=last_seq, ledger=msgspec.json.decode(ledger))
            for shard, epoch, last_seq, ledger in rows
        }

    def commit(self, frames: Sequence[Frame]) -> None:
        """Store one epoch whole, or nothing of it."""
        commit = decode_commit(frames)
        with self._writing, self._transaction() as connection:
            if not _is_stored(connection, commit):
                self._insert(connection, commit)

    def _insert(self, connection: duckdb.DuckDBPyConnection, commit: EpochCommit) -> None:
        raw = [raw_chunk(commit.shard, rows) for rows in commit.raw if len(rows)]
        rollups = [rollup_chunk(commit, metric) for metric in commit.metrics if len(metric.partials)]
        seen = [seen_chunk(commit.shard, ids) for ids in commit.seen if len(ids)]
        dead = [letter_chunk(commit.shard, commit.dead_letters)] if commit.dead_letters else []
        for name, table, chunks in (
            (RAW_CHUNK_NAME, "raw_events", raw),
            (ROLLUP_CHUNK_NAME, "rollup_rows", rollups),
            (SEEN_CHUNK_NAME, "seen", seen),
            (LETTER_CHUNK_NAME, "dead_letters", dead),
        ):
            if chunks:
                insert_rows(connection, name, table, chunks)
        connection.execute(
            "INSERT INTO positions VALUES (?, ?, ?, ?, ?, make_timestamp(?), ?)",
            [
                commit.shard, commit.epoch, commit.previous_seq, commit.last_seq, commit.incarnation,
                commit.at_us, msgspec.json.encode(commit.ledger).decode(),
            ],
        ).fetchall()  # fmt: skip

    def read(
        self,
        name: str,
        definition: str,
        by: Sequence[str],
        states: tuple[str, ...],
        *,
        start: int | None,
        end: int | None,
    ) -> Snapshot:
        """Give a metric's partials of a range, not merged, and which epochs they include."""
        columns = ", ".join(("bucket", "series", "is_other", *STATE_COLUMNS, "histogram"))
        with self._cursor() as cursor:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
            epochs = dict(cursor.execute("SELECT shard, max(epoch) FROM positions GROUP BY shard").fetchall())
            rows = cursor.execute(
                f"SELECT {columns} FROM rollup_rows WHERE metric = ? AND definition = ?"
                " AND bucket >= coalesce(?, -9223372036854775807) AND bucket < coalesce(?, 9223372036854775807)",
                [name, definition, start, end],
            ).fetchnumpy()
            cursor.execute("COMMIT")
        return Snapshot(partials=partials_of(rows, by, states), epochs=epochs)

    def extent(self, name: str) -> tuple[int, int] | None:
        """Give the first and last bucket of a metric; None where it has none."""
        with self._cursor() as cursor:
            first, last = cursor.execute(
                "SELECT min(bucket), max(bucket) FROM rollup_rows WHERE metric = ?", [name]
            ).fetchall()[0]
        return None if first is None else (first, last)

    def query(self, sql: str, params: Sequence[Any], *, timeout_s: float, max_rows: int) -> Table:
        """Answer one SELECT; the caller has made sure that it is one, over the public views only."""
        with self._cursor() as cursor:
            return select(cursor, sql, params, timeout_s=timeout_s, max_rows=max_rows)

    def checkpoint(self) -> dict[str, int]:
        """Write everything into the file itself, prove it, and give each shard's last append."""
        with self._writing:
            if self._path is not None:
                check_room(self._path)
            try:
                self._connection.execute("CHECKPOINT")
            except duckdb.Error as exc:
                raise store_error(exc, "checkpoint failed") from exc
            if self._path is not None:
                log = log_of(self._path)
                if log.exists() and log.stat().st_size:
                    raise StoreError(f"checkpoint left {log.stat().st_size} bytes in {log}")
        return {shard: position.last_seq for shard, position in self.positions().items()}

    def maintain(self, now_us: int, retention: Retention) -> int:
        """Merge quiet rows into coarser ones, and drop what is older than its retention."""
        with self._writing, self._transaction() as connection:
            removed = compaction.maintain(connection, now_us, retention)
        return removed + self.forget(now_us, retention)

    def forget(self, now_us: int, retention: Retention) -> int:
        """Drop ids and dead letters beyond their bounds, in small transactions."""
        removed = 0
        while True:
            with self._writing, self._transaction() as connection:
                step = expire_step(connection, now_us, retention)
            if not step:
                return removed
            removed += step

    def seen(self, shard: str, since_us: int, most: int) -> Iterator[SeenIds]:
        """Give the newest ids of a shard, oldest first, after those of its replayed dead letters."""
        with self._cursor() as cursor:
            yield from read_seen(cursor, shard, since_us, most)

    def dead_letters(
        self, limit: int, *, before: DeadLetterName | None = None, only_open: bool = True
    ) -> list[KeptDeadLetter]:
        """Give dead letters, the last appends first."""
        with self._cursor() as cursor:
            return list_letters(cursor, limit, before, only_open=only_open)

    def dead_letter(self, name: DeadLetterName) -> KeptDeadLetter | None:
        """Give one dead letter; None where there is none of that name."""
        with self._cursor() as cursor:
            return find_letter(cursor, name)

    def discard_dead_letters(self, names: Sequence[DeadLetterName], at_us: int) -> int:
        """Mark open letters as dealt with; give how many were open."""
        with self._writing, self._transaction() as connection:
            return discard(connection, names, at_us)

    def open_dead_letters(self) -> int:
        """Count the letters that are open."""
        with self._cursor() as cursor:
            return count_open(cursor)

    def skip(self, shard: str, to_seq: int) -> None:
        """Let a shard go on behind an append, though what comes before it is not here and is lost."""
        position = self.positions().get(shard, Position(epoch=0, last_seq=0, ledger={}))
        with self._writing, self._transaction() as connection:
            connection.execute(
                "INSERT INTO positions VALUES (?, ?, ?, ?, 'skipped', now()::TIMESTAMP, ?)",
                [
                    shard, position.epoch + 1, position.last_seq, to_seq,
                    msgspec.json.encode(position.ledger).decode(),
                ],
            ).fetchall()  # fmt: skip

    def audit(self) -> DuckDBAudit:
        """Give one snapshot of everything."""
        return DuckDBAudit(self._connection.cursor())

    def size_bytes(self) -> int:
        """Give how much room the file and its log take."""
        if self._path is None:
            return 0
        files = (self._path, log_of(self._path))
        return sum(file.stat().st_size for file in files if file.exists())

    def close(self) -> None:
        """Let go of the file."""
        with self._writing:
            self._connection.close()

    @contextmanager
    def _cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            cursor = self._connection.cursor()
            try:
                yield cursor
            finally:
                cursor.close()
        except duckdb.Error as exc:
            raise store_error(exc, "reading failed") from exc

    @contextmanager
    def _transaction(self) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self._connection
        try:
            connection.execute("BEGIN TRANSACTION")
            yield connection
            connection.execute("COMMIT")
        except BaseException as exc:
            _roll_back(connection)
            if isinstance(exc, duckdb.Error):
                raise store_error(exc, "writing failed") from exc
            raise


def _is_stored(connection: duckdb.DuckDBPyConnection, commit: EpochCommit) -> bool:
    """Tell whether an epoch is there already; raises StoreError where it is neither that nor the next one."""
    found = connection.execute(
        "SELECT epoch, last_seq, incarnation FROM positions WHERE shard = ? ORDER BY epoch DESC LIMIT 1",
        [commit.shard],
    ).fetchall()
    epoch, last_seq, incarnation = found[0] if found else (0, 0, commit.incarnation)
    if epoch == commit.epoch and (last_seq, incarnation) != (commit.last_seq, commit.incarnation):
        raise StoreInvalid(
            f"shard {commit.shard}: epoch {epoch} was committed by another process; stop one of the two"
        )
    if epoch >= commit.epoch:
        return True
    if last_seq != commit.previous_seq:
        raise StoreInvalid(
            f"shard {commit.shard} stands at append {last_seq}; epoch {commit.epoch} follows {commit.previous_seq}"
        )
    return False


def insert_rows(
    connection: duckdb.DuckDBPyConnection, name: str, table: str, chunks: Sequence[Mapping[str, Any]]
) -> None:
    """Insert chunks of columns, whose order is the table's, through a name registered for the while."""
    connection.register(name, ArrowTable(chunks))
    try:
        connection.execute(f"INSERT INTO {table} SELECT * FROM {name}").fetchall()
    finally:
        connection.unregister(name)


def _roll_back(connection: duckdb.DuckDBPyConnection) -> None:
    try:
        connection.execute("ROLLBACK")
    except duckdb.Error:
        return  # the transaction is gone already, which is what was wanted


def _prepare(connection: duckdb.DuckDBPyConnection, path: Path | None) -> None:
    """Make the tables of a store in memory; look at the format of one in a file."""
    if path is None:
        connection.execute(TABLES)
        _add_tables(connection)
        return
    try:
        found = connection.execute("SELECT max(format) FROM about").fetchall()[0][0]
    except duckdb.Error as exc:
        raise StoreRefused(
            f"{path}: a DuckDB file, but not one of ours; choose another place for the store"
        ) from exc
    if found != FORMAT:
        fix = "use the version of the program that wrote it, or another place"
        raise StoreRefused(f"{path}: written in format {found}; this program reads format {FORMAT}; {fix}")
    try:
        _add_tables(connection)
    except duckdb.Error as exc:
        raise StoreError(f"{path}: its missing tables cannot be made: {exc}") from exc


def _add_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the tables that this program has beyond those the file was made with; a file that has them is not written."""
    there = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    missing = [sql for name, sql in ADDED_TABLES.items() if name not in there]
    if missing:
        connection.execute(";".join(["BEGIN TRANSACTION", *missing, "COMMIT"]))


__all__ = ["DuckDBStore", "insert_rows"]
