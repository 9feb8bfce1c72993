"""Opening the file of a DuckDB store, whatever a crash or a disk has done to it, and telling its errors apart.

The journal holds everything since the last proven checkpoint, that is, everything that stands only in DuckDB's own log.
So a log that cannot be read is put aside and the file is opened without it: what it held comes back from the journal.
"""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import Final

import duckdb
import structlog

from streamgauge.durable import make_folder, sync_folder
from streamgauge.errors import StoreError, StoreInvalid, StoreRefused
from streamgauge.stores.schema import FORMAT, TABLES

log = structlog.get_logger()

OLDEST_DUCKDB: Final = (2, 0)
NEVER_BY_ITSELF: Final = "1TB"
SPARE_BYTES: Final = 2**20  # what a checkpoint writes besides the rows
NO_DATABASE: Final = "not a valid DuckDB database"
UNREADABLE_LOG: Final = "replaying WAL"  # DuckDB has no code for it


def connect(path: Path | None, memory_limit_bytes: int) -> duckdb.DuckDBPyConnection:
    """Open the database in a file, which is made where there is none, or one in memory. Raises StoreError."""
    version = tuple(int(part) for part in duckdb.__version__.split(".")[:2])
    if version < OLDEST_DUCKDB:
        raise StoreRefused(
            f"DuckDB {duckdb.__version__} is too old: it can lose committed rows; install 2.0 or later"
        )
    try:
        return _connect(None, memory_limit_bytes) if path is None else _open_file(path, memory_limit_bytes)
    except (duckdb.Error, OSError) as exc:
        kind = StoreRefused if NO_DATABASE in str(exc) else StoreError
        raise kind(f"{path or 'memory'}: cannot be opened as a store: {exc}") from exc


def _open_file(path: Path, memory_limit_bytes: int) -> duckdb.DuckDBPyConnection:
    _discard(_unfinished(path))
    if not path.exists():
        _create(path)
    try:
        return _connect(path, memory_limit_bytes)
    except duckdb.Error as exc:
        if UNREADABLE_LOG not in str(exc):
            raise
        _put_aside(log_of(path), str(exc))
    return _connect(path, memory_limit_bytes)


def _put_aside(file: Path, problem: str) -> None:
    aside = file.with_name(
        f"{file.name}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{time.time_ns() % 10**9:09d}"
    )
    file.rename(aside)
    sync_folder(file.parent)
    log.warning(
        "the store's own log is damaged; what it held is taken from the journal",
        kept_as=str(aside),
        problem=problem,
    )


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


def _create(path: Path) -> None:
    """Make the file under another name first: a crash while it is made must not leave one that cannot be opened."""
    make_folder(path.parent)
    unfinished = _unfinished(path)
    try:
        with duckdb.connect(str(unfinished)) as connection:
            connection.execute(TABLES)
            connection.execute("INSERT INTO about VALUES (?, now()::TIMESTAMP)", [FORMAT])
            connection.execute("CHECKPOINT")
        _sync(unfinished)
    except BaseException:
        _discard(unfinished)
        raise
    unfinished.rename(path)
    sync_folder(path.parent)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _discard(path: Path) -> None:
    for leftover in (path, log_of(path)):
        leftover.unlink(missing_ok=True)


def log_of(path: Path) -> Path:
    """Give the file of DuckDB's own log beside a database."""
    return path.with_name(path.name + ".wal")


def check_room(path: Path) -> None:
    """Raise StoreError where a checkpoint could run out of room, which would make the database unusable until a restart.

    It writes what stands in the log once more; compressed, so that this much is enough.
    """
    file = log_of(path)
    needed = (file.stat().st_size if file.exists() else 0) + SPARE_BYTES
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise StoreError(f"{path}: a checkpoint may need {needed} bytes; the disk has {free} left; make room")


def store_error(error: duckdb.Error, doing: str) -> StoreError:
    """Translate an error of DuckDB's: StoreInvalid where the database has given up, else one that may pass."""
    if isinstance(error, duckdb.FatalException | duckdb.InternalException):
        return StoreInvalid(f"{doing}: {error}")
    return StoreError(f"{doing}: {error}")


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
