"""What an SQL question may be: one SELECT over the public views, without anything that reaches beyond the data.

`DESCRIBE` of a view, which gives its columns, is taken too.
"""

from __future__ import annotations

import re
from typing import Final

import sqlglot
from sqlglot import exp
from sqlglot.errors import ParseError, SqlglotError

from streamgauge.errors import QueryError

MOST_CHARACTERS: Final = 100_000
VIEWS: Final = ("events", "rollups")
DESCRIBED: Final = re.compile(rf"\s*DESCRIBE\s+(?:{'|'.join(VIEWS)})\s*;?\s*", re.IGNORECASE)
TABLE_FUNCTIONS: Final = frozenset({"unnest", "generate_series", "range"})
FORBIDDEN_PREFIXES: Final = (
    "read_",
    "duckdb_",
    "pragma_",
    "sniff_",
    "parquet_",
    "glob",
    "getenv",
    "query",
    "which_",
    "sleep_",
    "pg_sleep",
)
FORBIDDEN: Final = frozenset(
    {
        "current_setting",
        "getvariable",
        "setval",
        "nextval",
        "from_substrait",
        "write_log",
        "json_execute_serialized_sql",
        "add_parquet_key",
    }
)


def check_select(sql: str) -> str:
    """Give the SQL text if it may run; raises QueryError that says what is allowed."""
    if len(sql) > MOST_CHARACTERS:
        raise QueryError(f"sql: {len(sql)} characters; at most {MOST_CHARACTERS} are allowed")
    if DESCRIBED.fullmatch(sql):
        return sql
    try:
        statements = sqlglot.parse(sql, dialect="duckdb")
    except (SqlglotError, RecursionError) as exc:
        raise QueryError(f"sql: cannot be parsed: {_syntax_problem(exc)}") from None
    if len(statements) != 1 or statements[0] is None:
        raise QueryError(f"sql: expected one SELECT, got {len([s for s in statements if s])} statements")
    tree = statements[0]
    if not isinstance(tree, exp.Query):
        seen = f"; DESCRIBE {VIEWS[0]} tells its columns" if tree.key in {"show", "describe"} else ""
        raise QueryError(
            f"sql: expected a SELECT, got {tree.key.upper()}; there are the views {' and '.join(VIEWS)}{seen}"
        )
    if any(
        True for _ in tree.find_all(exp.Into, exp.Command, exp.DML, exp.DDL) if not isinstance(_, exp.Query)
    ):
        raise QueryError("sql: only SELECT is allowed")
    for table in tree.find_all(exp.Table, exp.Lateral):
        _check_table(table)
    for function in tree.find_all(exp.Func):
        _check_function(function)
    return sql


def _syntax_problem(error: Exception) -> str:
    """Say which word cannot stand where it does, and where that is."""
    if isinstance(error, RecursionError):
        return "nested too deeply"
    found = error.errors[0] if isinstance(error, ParseError) and error.errors else None
    if found is None:
        return "a quote or a comment is not closed, or there is a character that SQL does not have"
    word, before = str(found["highlight"])[:60], " ".join(str(found["start_context"]).split())[-60:]
    column = max(1, int(found["col"]) - len(word) + 1)
    what = "something is missing at" if "Required" in str(found["description"]) else "did not expect"
    after = f", after `{before}`" if before else ""
    return f"{what} `{word}` (line {found['line']}, column {column}){after}"


def _check_table(table: exp.Expr) -> None:
    if isinstance(table.this, exp.Func):
        name = _name_of(table.this)
        if name not in TABLE_FUNCTIONS:
            raise QueryError(
                f"sql: {name}(...) may not be used as a table; there are the views {' and '.join(VIEWS)}"
            )
        return
    if not isinstance(table, exp.Table):
        return
    name = table.name.lower()
    if table.db or table.catalog or (name not in VIEWS and name not in _named_around(table)):
        shown = table.sql(dialect="duckdb")[:80]
        raise QueryError(f"sql: there is no table {shown}; there are the views {' and '.join(VIEWS)}")


def _named_around(table: exp.Table) -> set[str]:
    """Give the names that WITH clauses have for the place where a table is named, as DuckDB resolves them.

    `WITH t AS (SELECT * FROM t)` means the stored table inside, and so does a `t` beside the query that names it.
    """
    named: set[str] = set()
    inner: exp.Expr = table
    recursive_term = False
    while inner.parent is not None:
        outer = inner.parent
        clause = outer.args.get("with_")
        if isinstance(outer, exp.With):
            earlier = outer.expressions[: outer.expressions.index(inner)]
            named |= {cte.alias.lower() for cte in earlier}
            if outer.args.get("recursive") and recursive_term:
                named.add(inner.alias.lower())
        elif clause is not None and clause is not inner:
            named |= {cte.alias.lower() for cte in clause.expressions}
        if isinstance(outer, exp.CTE):
            recursive_term = isinstance(inner, exp.SetOperation) and recursive_term
        elif isinstance(outer, exp.SetOperation):
            recursive_term = outer.expression is inner
        inner = outer
    return named


def _check_function(function: exp.Func) -> None:
    name = _name_of(function)
    if name in FORBIDDEN or name.startswith(FORBIDDEN_PREFIXES):
        raise QueryError(f"sql: the function {name} may not be used")


def _name_of(function: exp.Func) -> str:
    return (function.name if isinstance(function, exp.Anonymous) else function.sql_name()).lower()
