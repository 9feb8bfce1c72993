"""Rows of Parquet files as lines of JSON, read by DuckDB in a private database that knows nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Container, Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import duckdb

MAGIC: Final = b"PAR1"
ROWS_AT_ONCE: Final = 2000
MEMORY: Final = "512MiB"
FLOATS: Final = frozenset({"FLOAT", "DOUBLE"})


def rows_of(path: Path, *, as_text: Container[str], read: Callable[[int], None]) -> Iterator[bytes]:
    """Give a file's rows as JSON objects, without newlines; what is NULL or no finite number is left out.

    as_text: columns that become text. read: told how many bytes of the file that was, about. Raises duckdb.Error.
    """
    with tempfile.TemporaryDirectory() as folder, closing(_connect()) as connection:
        link = Path(folder, "events.parquet")  # a name may hold what DuckDB takes for a pattern or an address
        link.symlink_to(path.resolve())
        name = str(link)
        [total] = connection.execute("SELECT count(*) FROM read_parquet(?)", [name]).fetchone() or (0,)
        described = connection.execute("DESCRIBE SELECT * FROM read_parquet(?)", [name]).fetchall()
        changes = [change for row in described if (change := _change(row[0], row[1], as_text))]
        columns = f"* REPLACE ({', '.join(changes)})" if changes else "*"
        connection.execute(
            f"SELECT json_merge_patch('{{}}', to_json(line))::VARCHAR FROM (SELECT {columns} FROM read_parquet(?)) AS line",
            [name],
        )
        size, done, told = path.stat().st_size, 0, 0
        while rows := connection.fetchmany(ROWS_AT_ONCE):
            done += len(rows)
            read(size * done // total - told)
            told = size * done // total
            for (text,) in rows:
                yield text.encode()


def _connect() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(
        ":memory:",
        config={
            "threads": 1,
            "memory_limit": MEMORY,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        },
    )
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _change(column: str, kind: str, as_text: Container[str]) -> str:
    """Say in SQL how a column is written; nothing where as it is."""
    name = '"' + column.replace('"', '""') + '"'
    if kind.startswith("TIMESTAMP"):
        return f"strftime(CAST({name} AS TIMESTAMP), '%Y-%m-%dT%H:%M:%S.%fZ') AS {name}"
    if column in as_text:
        return f"CAST({name} AS VARCHAR) AS {name}"
    if kind in FLOATS:
        return f"CASE WHEN isfinite({name}) THEN {name} END AS {name}"
    return ""
