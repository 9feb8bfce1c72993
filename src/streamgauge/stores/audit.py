"""The DuckDB store as `verify` reads it: one snapshot, in portions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import duckdb
import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregates import HISTOGRAM, STATES
from streamgauge.audit import Flaw, PositionRow, RawEvents, RollupGroup, RollupRows, Stray
from streamgauge.columns import Numbers
from streamgauge.errors import StoreError
from streamgauge.stores.rows import CELL, DAY_US, parse_series, partials_of
from streamgauge.stores.schema import FORMAT, STATE_COLUMNS

PAGE: Final = 1_000  # positions
STEP: Final = 1_000  # rows that become Python's at once
KINDS: Final = {"BIGINT": np.int64, "INTEGER": np.int64, "DOUBLE": np.float64, "BOOLEAN": np.bool_}
MOST_FLAWS: Final = 1000
DAY_OF: Final = f"(epoch_us(committed_at) // {DAY_US})"
RAW_COLUMNS: Final = (
    "seq, index, epoch_us(time) AS time_us, epoch_us(received_at) AS received_us,"
    " epoch_us(processed_at) AS processed_us, type, user_id, event_id, value, event"
)
ROLLUP_COLUMNS: Final = ", ".join(
    ("resolution", "bucket", "epoch", "series", "is_other", *STATE_COLUMNS, "histogram")
)


class DuckDBAudit:
    """One snapshot of a store; `cursor` is its own."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        self._run("BEGIN TRANSACTION READ ONLY")
        self._ask("SELECT count(*) FROM about")  # a snapshot is taken with the first question

    @classmethod
    def open(cls, path: Path, *, memory_limit_bytes: int) -> DuckDBAudit:
        """Open a file that nobody has open, without changing anything of it. Raises StoreError."""
        config: dict[str, Any] = {
            "threads": 1,
            "memory_limit": f"{memory_limit_bytes // 2**20}MiB",
            "enable_external_access": False,
        }
        try:
            connection = duckdb.connect(str(path), read_only=True, config=config)
        except (duckdb.Error, OSError) as exc:
            raise StoreError(f"{path}: cannot be opened as a store: {exc}") from exc
        try:
            connection.execute("SET GLOBAL TimeZone = 'UTC'")
            found = connection.execute("SELECT max(format) FROM about").fetchall()[0][0]
            if found == FORMAT:
                return cls(connection)
            problem = f"written in format {found}; this program reads format {FORMAT}"
        except duckdb.Error as exc:
            problem = f"a DuckDB file, but not one of ours: {exc}"
        connection.close()
        raise StoreError(f"{path}: {problem}")

    def shards(self) -> Sequence[str]:
        """Give every shard that anything is stored of."""
        tables = ("positions", "raw_events", "rollup_rows")
        sql = " UNION ".join(f"SELECT shard FROM {table}" for table in tables)
        return [shard for (shard,) in self._ask(f"{sql} ORDER BY shard")]

    def positions(self, shard: str) -> Iterator[PositionRow]:
        """Give a shard's epochs in order."""
        offset = 0
        while True:
            rows = self._ask(
                "SELECT epoch, previous_seq, last_seq, incarnation, epoch_us(committed_at), ledger"
                f" FROM positions WHERE shard = ? ORDER BY epoch, last_seq LIMIT {PAGE} OFFSET {offset}",
                shard,
            )
            for epoch, previous_seq, last_seq, incarnation, at_us, ledger in rows:
                yield PositionRow(epoch, previous_seq, last_seq, incarnation, at_us, _ledger(ledger))
            if len(rows) < PAGE:
                return
            offset += PAGE

    def raw(self, shard: str, after_seq: int, upto_seq: int) -> RawEvents:
        """Give the raw events of a run of appends."""
        rows = self._columns(
            f"SELECT {RAW_COLUMNS} FROM raw_events WHERE shard = ? AND seq > ? AND seq <= ?",
            shard, after_seq, upto_seq,
        )  # fmt: skip
        order = np.lexsort((rows["index"], rows["seq"]))
        value = rows["value"][order]
        return RawEvents(
            seq=_int64(rows["seq"])[order],
            index=_int64(rows["index"])[order],
            time_us=_int64(rows["time_us"])[order],
            received_us=_int64(rows["received_us"])[order],
            processed_us=_int64(rows["processed_us"])[order],
            type=rows["type"][order].tolist(),
            user_id=_texts(rows["user_id"][order]),
            event_id=_texts(rows["event_id"][order]),
            value=Numbers(np.asarray(np.ma.filled(value, 0.0), np.float64), ~np.ma.getmaskarray(value)),
            event=rows["event"][order].tolist(),
        )

    def rollup_groups(self, shard: str) -> Sequence[RollupGroup]:
        """Give which rollups there are."""
        rows = self._ask(
            "SELECT metric, definition, received_day, count(*), count(*) FILTER (epoch = 0), sum(count)"
            " FROM rollup_rows WHERE shard = ? GROUP BY ALL ORDER BY ALL",
            shard,
        )
        return [RollupGroup(*row) for row in rows]

    def rollups(
        self,
        shard: str,
        group: tuple[str, str, int],
        by: Sequence[str],
        states: tuple[str, ...],
        *,
        epochs: tuple[int, int] | None = None,
        buckets: tuple[int | None, int | None] = (None, None),
    ) -> RollupRows:
        """Give rows of a (metric, definition, day)."""
        least, most = -(2**63) + 1, 2**63 - 1
        first, last = epochs or (least, most)
        start, end = (
            (least if buckets[0] is None else buckets[0]),
            (most if buckets[1] is None else buckets[1]),
        )
        rows = self._columns(
            f"SELECT {ROLLUP_COLUMNS} FROM rollup_rows WHERE shard = ? AND metric = ? AND definition = ?"
            " AND received_day = ? AND epoch >= ? AND epoch <= ? AND bucket >= ? AND bucket < ?",
            shard, *group, first, last, start, end,
        )  # fmt: skip
        flaws, usable = _flaws(rows, by, states)
        if not usable.all():
            rows = {name: column[usable] for name, column in rows.items()}
        return RollupRows(
            partials=partials_of(rows, by, states),
            epoch=_int64(rows["epoch"]),
            resolution=_int64(rows["resolution"]),
            flaws=flaws,
        )

    def hours(self, shard: str, group: tuple[str, str, int]) -> Sequence[tuple[int, int]]:
        """Give how many rows lie in each hour."""
        return self._ask(
            "SELECT (bucket - (bucket % 3600 + 3600) % 3600) AS hour, count(*) FROM rollup_rows"
            " WHERE shard = ? AND metric = ? AND definition = ? AND received_day = ? GROUP BY ALL ORDER BY ALL",
            shard, *group,
        )  # fmt: skip

    def strays(self, shard: str, after_epoch: int) -> Sequence[Stray]:
        """Give rows that belong to no epoch, though the epochs of their time are known."""
        raw = self._ask(
            "SELECT count(*), min(seq), max(seq) FROM raw_events WHERE shard = $1 AND NOT EXISTS ("
            " FROM (SELECT min(previous_seq) AS first, max(last_seq) AS last FROM positions WHERE shard = $1)"
            " WHERE seq > first AND seq <= last)",
            shard,
        )
        rollups = self._ask(
            f"WITH known AS (SELECT epoch, {DAY_OF} AS day FROM positions WHERE shard = $1)"
            " SELECT count(*), min(metric), min(rollup_rows.epoch), min(received_day) FROM rollup_rows"
            " LEFT JOIN known ON known.epoch = rollup_rows.epoch"
            " WHERE shard = $1 AND received_day IS DISTINCT FROM day AND (rollup_rows.epoch > $2"
            "  OR rollup_rows.epoch = 0 AND received_day NOT IN (SELECT day FROM known))"
            " AND received_day >= (SELECT coalesce(min(day), -2147483648) FROM known)",
            shard,
            after_epoch,
        )
        found = []
        for rows, first, last in raw:
            if rows:
                found.append(Stray("raw_events", rows, f"appends {first} to {last}"))
        for rows, metric, epoch, day in rollups:
            if rows:
                found.append(Stray("rollup_rows", rows, f"metric {metric}, epoch {epoch}, day {day}"))
        return found

    def dead_letters(self, shard: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Give seq and index of the events that were set aside and are still kept."""
        if not self._ask("SELECT 1 FROM duckdb_tables() WHERE table_name = 'dead_letters'"):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        rows = self._columns("SELECT seq, idx FROM dead_letters WHERE shard = ? ORDER BY seq, idx", shard)
        return _int64(rows["seq"]), _int64(rows["idx"])

    def close(self) -> None:
        """Let go of the snapshot."""
        self._cursor.close()

    def _ask(self, sql: str, *params: Any) -> list[Any]:
        return self._run(sql, *params).fetchall()

    def _columns(self, sql: str, *params: Any) -> dict[str, Any]:
        """Fetch in steps: one call for all of it would hold the interpreter, and everybody else in the process."""
        result = self._run(sql, *params)
        names = [(column[0], KINDS.get(str(column[1]), object)) for column in result.description or ()]
        found: dict[str, list[Any]] = {name: [] for name, _ in names}
        while rows := self._step(result):
            for (name, kind), values in zip(names, zip(*rows, strict=True), strict=True):
                found[name].append(_column(values, kind))
        return {
            name: np.ma.concatenate(found[name]) if found[name] else np.ma.array([], kind)  # type: ignore[no-untyped-call]
            for name, kind in names
        }

    def _step(self, result: duckdb.DuckDBPyConnection) -> list[Any]:
        try:
            return result.fetchmany(STEP)
        except duckdb.Error as exc:
            raise StoreError(f"reading for verify failed: {exc}") from exc

    def _run(self, sql: str, *params: Any) -> duckdb.DuckDBPyConnection:
        try:
            return self._cursor.execute(sql, list(params))
        except duckdb.Error as exc:
            raise StoreError(f"reading for verify failed: {exc}") from exc


def _ledger(text: str) -> dict[str, dict[str, int]] | None:
    try:
        return msgspec.json.decode(text, type=dict[str, dict[str, int]])
    except msgspec.DecodeError:
        return None


def _column(values: tuple[Any, ...], kind: type) -> Any:
    null = np.array([value is None for value in values], bool)
    if kind is object:
        column = np.empty(len(values), object)
        column[:] = values
    else:
        column = np.array([0 if value is None else value for value in values], kind)
    return np.ma.array(column, mask=null)


def _int64(column: Any) -> NDArray[np.int64]:
    return np.asarray(np.ma.filled(column, 0), np.int64)


def _texts(column: Any) -> list[str | None]:
    mask = np.ma.getmaskarray(column)
    found: list[str | None] = np.ma.getdata(column).tolist()
    return (
        [None if null else text for text, null in zip(found, mask.tolist(), strict=True)]
        if mask.any()
        else found
    )


def _flaws(
    rows: dict[str, Any], by: Sequence[str], states: tuple[str, ...]
) -> tuple[list[Flaw], NDArray[np.bool_]]:
    """Look at rows by themselves; give what is wrong, and which rows can be read."""
    n = len(rows["bucket"])
    flaws: list[Flaw] = []

    def note(wrong: NDArray[np.bool_], column: str, expected: str) -> None:
        for row in np.flatnonzero(wrong)[: MOST_FLAWS - len(flaws)].tolist():
            place = int(rows["bucket"][row]), int(rows["resolution"][row]), str(rows["series"][row])
            flaws.append(Flaw(*place, column, expected, _shown(rows[column][row])))

    texts, others = rows["series"], np.asarray(rows["is_other"], bool)
    readable = _readable(texts, by)
    note(~readable, "series", f"an object with {', '.join(by) or 'no names'}")
    note(others & (texts != "{}"), "is_other", "false, since it names a series")
    note(others & (not by), "is_other", "false, since the metric has one series only")
    resolution, bucket = _int64(rows["resolution"]), _int64(rows["bucket"])
    sound = resolution > 0
    note(~sound, "resolution", "seconds")
    note(sound & (bucket % np.maximum(resolution, 1) != 0), "bucket", "a multiple of the resolution")
    note((resolution == 1) == (rows["epoch"] == 0), "epoch", "0 where, and only where, rows were compacted")
    kept = {name for state in states if state in STATES for name in STATES[state].columns}
    for name in STATE_COLUMNS:
        null = np.ma.getmaskarray(rows[name])
        if name not in kept:
            note(~null, name, "nothing, since the metric does not keep it")
        elif name in {"sum", "sum_low"}:
            note(null, name, "a number")
    blobs = rows["histogram"]
    sizes = np.fromiter((len(blob or b"") for blob in np.ma.filled(blobs, b"").tolist()), np.int64, n)
    whole = sizes % CELL.itemsize == 0
    note(~whole, "histogram", f"cells of {CELL.itemsize} bytes")
    if HISTOGRAM not in states:
        note(sizes > 0, "histogram", "nothing, since the metric does not keep it")
    return flaws, readable & sound & whole


def _readable(texts: Any, by: Sequence[str]) -> NDArray[np.bool_]:
    known: dict[str, bool] = {}
    for text in set(texts.tolist()):
        try:
            parse_series(text, by)
            known[text] = set(msgspec.json.decode(text)) <= set(by)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError, TypeError):
            known[text] = False
    return np.fromiter((known[text] for text in texts.tolist()), bool, len(texts))


def _shown(value: Any) -> str:
    return "nothing" if value is np.ma.masked or value is None else str(value)[:200]


__all__ = ["DuckDBAudit"]
