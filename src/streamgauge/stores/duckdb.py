"""The embedded store: one DuckDB file, owned by one process.

Writes go through one connection and one thread, reads through cursors of their own, each in one snapshot. Checkpoints
are ours to call: DuckDB's own are switched off, because a journal segment may only be deleted once a checkpoint has
been proved.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec

from streamgauge.commit import EpochCommit, Frame, decode_commit
from streamgauge.errors import StoreError
from streamgauge.store import Position, Retention, Snapshot, Table
from streamgauge.stores import compaction
from streamgauge.stores.arrow import ArrowTable
from streamgauge.stores.rows import partials_of, raw_chunk, rollup_chunk
from streamgauge.stores.schema import FORMAT, STATE_COLUMNS, TABLES
from streamgauge.stores.selecting import select

OLDEST_DUCKDB: Final = (2, 0)
RAW_CHUNK_NAME: Final = "incoming_raw"
ROLLUP_CHUNK_NAME: Final = "incoming_rollups"
NEVER_BY_ITSELF: Final = "1TB"


class DuckDBStore:
    """A store in one DuckDB file, or in memory where `path` is None."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: Path | None) -> None:
        self._connection = connection
        self._path = path
        self._writing = threading.Lock()

    @classmethod
    def open(cls, path: Path | None, *, memory_limit_bytes: int = 2**30) -> DuckDBStore:
        """Open the store, creating it where there is none. Raises StoreError where it cannot be used."""
        version = tuple(int(part) for part in duckdb.__version__.split(".")[:2])
        if version < OLDEST_DUCKDB:
            raise StoreError(
                f"DuckDB {duckdb.__version__} is too old: it can lose committed rows; install 2.0 or later"
            )
        try:
            if path is not None and not path.exists():
                _create(path)
            connection = _connect(path, memory_limit_bytes)
        except (duckdb.Error, OSError) as exc:
            raise StoreError(f"{path or 'memory'}: cannot be opened as a store: {exc}") from exc
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
        for name, table, chunks in (
            (RAW_CHUNK_NAME, "raw_events", raw),
            (ROLLUP_CHUNK_NAME, "rollup_rows", rollups),
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
            try:
                self._connection.execute("CHECKPOINT")
            except duckdb.Error as exc:
                raise StoreError(f"checkpoint failed: {exc}") from exc
            if self._path is not None:
                log = self._path.with_name(self._path.name + ".wal")
                if log.exists() and log.stat().st_size:
                    raise StoreError(f"checkpoint left {log.stat().st_size} bytes in {log}")
        return {shard: position.last_seq for shard, position in self.positions().items()}

    def maintain(self, now_us: int, retention: Retention) -> int:
        """Merge quiet rows into coarser ones, and drop what is older than its retention."""
        with self._writing, self._transaction() as connection:
            return compaction.maintain(connection, now_us, retention)

    def size_bytes(self) -> int:
        """Give how much room the file and its log take."""
        if self._path is None:
            return 0
        files = (self._path, self._path.with_name(self._path.name + ".wal"))
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
            raise StoreError(str(exc)) from exc

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
                raise StoreError(str(exc)) from exc
            raise


def _is_stored(connection: duckdb.DuckDBPyConnection, commit: EpochCommit) -> bool:
    """Tell whether an epoch is there already; raises StoreError where it is neither that nor the next one."""
    found = connection.execute(
        "SELECT epoch, last_seq, incarnation FROM positions WHERE shard = ? ORDER BY epoch DESC LIMIT 1",
        [commit.shard],
    ).fetchall()
    epoch, last_seq, incarnation = found[0] if found else (0, 0, commit.incarnation)
    if epoch == commit.epoch and (last_seq, incarnation) != (commit.last_seq, commit.incarnation):
        raise StoreError(
            f"shard {commit.shard}: epoch {epoch} was committed by another process; stop one of the two"
        )
    if epoch >= commit.epoch:
        return True
    if last_seq != commit.previous_seq:
        raise StoreError(
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


def _connect(path: Path | None, memory_limit_bytes: int) -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:" if path is None else str(path),
        config={
            "threads": 1,
            "memory_limit": f"{memory_limit_bytes // 2**20}MiB",
            "enable_external_access": False,
            "checkpoint_threshold": NEVER_BY_ITSELF,
            "preserve_insertion_order": True,
        },
    )
    connection.execute("SET force_compression = 'zstd'")
    # times are stored in UTC, and `time > now()` compares by the session's zone, which would be the machine's
    connection.execute("SET GLOBAL TimeZone = 'UTC'")
    connection.execute("PRAGMA disable_checkpoint_on_shutdown")
    connection.execute("SET lock_configuration = true")
    return connection


def _prepare(connection: duckdb.DuckDBPyConnection, path: Path | None) -> None:
    """Make the tables of a store in memory; look at the format of one in a file."""
    if path is None:
        connection.execute(TABLES)
        return
    try:
        found = connection.execute("SELECT max(format) FROM about").fetchall()[0][0]
    except duckdb.Error as exc:
        raise StoreError(
            f"{path}: a DuckDB file, but not one of ours; choose another place for the store"
        ) from exc
    if found != FORMAT:
        fix = "use the version of the program that wrote it, or another place"
        raise StoreError(f"{path}: written in format {found}; this program reads format {FORMAT}; {fix}")


def _create(path: Path) -> None:
    """Make the file under another name first: a crash while it is made must not leave one that cannot be opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".new")
    for leftover in (unfinished, unfinished.with_name(unfinished.name + ".wal")):
        leftover.unlink(missing_ok=True)
    connection = duckdb.connect(str(unfinished))
    connection.execute(TABLES)
    connection.execute("INSERT INTO about VALUES (?, now()::TIMESTAMP)", [FORMAT])
    connection.execute("CHECKPOINT")
    connection.close()
    _sync(unfinished)
    unfinished.rename(path)
    _sync(path.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


__all__ = ["DuckDBStore", "insert_rows"]
