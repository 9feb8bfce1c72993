"""A limit to compare with: DuckDB reads a file with the same events and computes the same aggregates, once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgspec

from benchmarks.data import make_events
from benchmarks.row import BenchmarkFailed, Row, Setting, measured

SPAN_MS = 60_000
AGGREGATES = """
    SELECT type, date_trunc('second', timestamp) AS second, count(*), sum(value), avg(value), min(value), max(value),
        quantile_cont(value, [0.5, 0.95, 0.99])
    FROM read_json(?, format = 'newline_delimited',
        columns = {type: 'VARCHAR', timestamp: 'TIMESTAMP', user_id: 'VARCHAR', value: 'DOUBLE'})
    GROUP BY ALL
"""
COUNT = 2  # the column of AGGREGATES that counts


def run(setting: Setting) -> Iterator[Row]:
    events = setting.choose(full=2_000_000, quick=300_000)
    file = setting.folder / "events.ndjson"
    now_ms = time.time_ns() // 1_000_000
    file.write_bytes(
        msgspec.json.Encoder().encode_lines(make_events(events, start_ms=now_ms, span_ms=SPAN_MS))
    )
    try:
        for threads in (1, 2):
            what = "DuckDB over a file: count, sum, avg, min, max, exact quantiles by type and second"
            rate = events / _seconds(file, events, threads)
            name = f"DuckDB, {threads} thread" if threads == 1 else f"DuckDB, {threads} threads"
            yield measured(
                name, what, rate, "events/s", notes="a limit, not a peer: once, from a file, nothing kept"
            )
    finally:
        file.unlink()


def _seconds(file: Path, events: int, threads: int) -> float:
    """Give the better of two times: the first one warms the file cache."""
    times = []
    with duckdb.connect(config={"threads": threads}) as connection:
        for _ in range(2):
            started = time.perf_counter()
            rows = connection.execute(AGGREGATES, [str(file)]).fetchall()
            times.append(time.perf_counter() - started)
    if (found := sum(row[COUNT] for row in rows)) != events:
        raise BenchmarkFailed(f"store_reference: DuckDB counted {found:,} of {events:,} events")
    return min(times)
