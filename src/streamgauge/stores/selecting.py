"""How the DuckDB store answers a SELECT: within its time, with as many rows as are allowed, and times in UTC."""

from __future__ import annotations

import re
import threading
from collections.abc import Sequence
from typing import Any, Final

import duckdb

from streamgauge.errors import QueryError, QueryTimeout
from streamgauge.store import Table

ZONED: Final = "TIMESTAMP WITH TIME ZONE"
NO_COLUMN: Final = re.compile(r'(?:Referenced column|does not have a column named) "(.{1,100}?)"')
PLAIN: Final = re.compile(r"\w+")


def select(
    cursor: duckdb.DuckDBPyConnection, sql: str, params: Sequence[Any], *, timeout_s: float, max_rows: int
) -> Table:
    """Answer one SELECT. Raises QueryTimeout after `timeout_s`, and QueryError for what cannot be answered."""
    timer = threading.Timer(timeout_s, cursor.interrupt)
    timer.start()
    try:
        return _select(cursor, sql, list(params), max_rows)
    except duckdb.InterruptException:
        fix = "narrow it with WHERE time > ..."
        raise QueryTimeout(f"the query took longer than {timeout_s:g} s; {fix}") from None
    except (duckdb.Error, ValueError, OverflowError) as exc:  # the last two: a value that Python cannot hold
        raise QueryError(_in_words(str(exc))) from exc
    finally:
        timer.cancel()


def _in_words(problem: str) -> str:
    """Give what DuckDB says, without the query; of a column that there is not, how a field of events is read."""
    said = problem.split("\n\n", maxsplit=1)[0]
    missing = NO_COLUMN.search(said)
    if missing is None:
        return said
    field = missing[1] if PLAIN.fullmatch(missing[1]) else f'"{missing[1]}"'
    return f"{said}\nfields of an event are read as event->>'$.{field}'; see docs/sql.md"


def _select(cursor: duckdb.DuckDBPyConnection, sql: str, params: list[Any], max_rows: int) -> Table:
    # the parser that will run it has the last word on what another parser took for one SELECT
    kinds = [statement.type for statement in cursor.extract_statements(sql)]
    if kinds != [duckdb.StatementType.SELECT]:
        raise QueryError(
            f"sql: expected one SELECT, got {', '.join(kind.name for kind in kinds) or 'nothing'}"
        )
    result = cursor.execute(sql, params)
    description = result.description or []
    if ZONED in {str(column[1]) for column in description}:
        result = cursor.execute(_in_utc(sql, [str(column[1]) for column in description]), params)
    rows = result.fetchmany(max_rows + 1)
    return Table(
        columns=[column[0] for column in description], rows=rows[:max_rows], truncated=len(rows) > max_rows
    )


def _in_utc(sql: str, kinds: Sequence[str]) -> str:
    """Give the query with its moments in UTC without a zone, as the columns of the views are."""
    names = [f"column_{place}" for place in range(len(kinds))]
    picked = [
        f"timezone('UTC', {name})" if kind == ZONED else name for name, kind in zip(names, kinds, strict=True)
    ]
    return f"SELECT {', '.join(picked)} FROM ({sql.rstrip().rstrip(';')}\n) AS answer({', '.join(names)})"
