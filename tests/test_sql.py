"""What SQL may be asked, and that nothing else gets through to the data or beyond it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from aggregation_tools import tick
from store_tools import Shard, open_file, rows
from streamgauge.errors import QueryError
from streamgauge.store import Store
from streamgauge.stores.duckdb import DuckDBStore
from streamgauge.web.sql import MOST_CHARACTERS, check_select

ALLOWED = [
    "SELECT 1",
    "SELECT 1;",
    "  select Type, count(*) from EVENTS group by all order by 2 desc limit 10 -- the commonest",
    "SELECT * FROM events /* all of them /* really */ */",
    'SELECT * FROM "events"',
    "FROM events",
    "FROM events SELECT type",
    "SELECT metric, sum(count) FROM rollups WHERE resolution = 1 GROUP BY metric",
    "SELECT event->>'$.shop', json_extract(event, '$.value') FROM events",
    "SELECT time_bucket(INTERVAL 1 MINUTE, time) AS minute, count(*) FILTER (WHERE value > 1) FROM events GROUP BY minute",
    "SELECT quantile_cont(value, 0.9), approx_count_distinct(user_id) FROM events WHERE time > now() - INTERVAL 1 HOUR",
    "SELECT * EXCLUDE (event) FROM events WHERE type IN (SELECT type FROM events GROUP BY type HAVING count(*) > 1)",
    "SELECT (SELECT count(*) FROM rollups), max(value) OVER (PARTITION BY type) FROM events QUALIFY row_number() OVER () = 1",
    "SELECT type FROM events UNION ALL SELECT metric FROM rollups",
    "SELECT type FROM events INTERSECT SELECT 'a'",
    "(SELECT 1) EXCEPT (SELECT 2)",
    "SELECT a.type FROM events AS a JOIN events b ON a.user_id = b.user_id LEFT JOIN rollups ON false",
    "SELECT * FROM events, rollups LIMIT 0",
    "WITH few AS (SELECT * FROM events LIMIT 5), fewer AS (SELECT * FROM few LIMIT 1) SELECT * FROM fewer, few",
    "WITH raw_events AS (SELECT 1 AS mine) SELECT mine FROM raw_events",
    "SELECT * FROM (WITH t AS (SELECT 1) SELECT * FROM t)",
    "WITH RECURSIVE n AS (SELECT 1 AS i UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT sum(i) FROM n",
    "WITH t AS (WITH u AS (SELECT 1 AS a) SELECT * FROM u) SELECT * FROM t WHERE a IN (SELECT a FROM T)",
    "SELECT * FROM generate_series(1, 3)",
    "SELECT * FROM range(3) AS r(i), LATERAL (SELECT i + 1)",
    "SELECT * FROM unnest([1, 2, 3])",
    "SELECT unnest(range(3))",
    "SELECT * FROM (VALUES (1), (2)) AS v(a)",
    "SELECT * FROM events PIVOT (count(*) FOR type IN ('a', 'b'))",
    "SELECT list_transform([1, 2], lambda x: x + 1)",
    "SELECT 'DROP TABLE raw_events; SELECT * FROM raw_events'",
    "SELECT $$ FROM raw_events $$",
    "SELECT 'größe'",
    "DESCRIBE events",
    " describe Rollups ;\n",
]

REFUSED = {
    # no SELECT
    "": "expected one SELECT, got 0",
    " ; ; ": "expected",
    "-- nothing": "expected",
    "SELECT 1; SELECT 2": "expected one SELECT, got 2 statements",
    "SELECT 1; DROP TABLE raw_events": "expected one SELECT, got 2 statements",
    "INSERT INTO events VALUES (1)": "expected a SELECT, got INSERT",
    "INSERT INTO raw_events SELECT * FROM events": "expected a SELECT, got INSERT",
    "DELETE FROM raw_events": "expected a SELECT, got DELETE",
    "UPDATE raw_events SET value = 1": "expected a SELECT, got UPDATE",
    "MERGE INTO raw_events USING events ON true WHEN MATCHED THEN DELETE": "expected a SELECT, got MERGE",
    "TRUNCATE raw_events": "expected a SELECT",
    "CREATE TABLE t AS SELECT * FROM events": "expected a SELECT, got CREATE",
    "CREATE OR REPLACE VIEW events AS SELECT 1": "expected a SELECT, got CREATE",
    "CREATE MACRO f() AS 1": "expected a SELECT",
    "DROP TABLE raw_events": "expected a SELECT, got DROP",
    "ALTER TABLE raw_events DROP COLUMN event": "expected a SELECT, got ALTER",
    "SELECT * INTO t FROM events": "only SELECT",
    "WITH gone AS (DELETE FROM raw_events RETURNING *) SELECT * FROM gone": "only SELECT",
    "COPY events TO 'out.csv'": "expected a SELECT, got COPY",
    "COPY (SELECT 1) TO 'out.csv'": "expected a SELECT, got COPY",
    "ATTACH 'other.db'": "expected a SELECT, got ATTACH",
    "DETACH store": "expected a SELECT",
    "USE other": "expected a SELECT",
    "INSTALL httpfs": "expected a SELECT",
    "LOAD httpfs": "expected a SELECT",
    "SET threads = 8": "expected a SELECT, got SET",
    "RESET threads": "expected a SELECT",
    "SET VARIABLE x = 1": "expected a SELECT",
    "PRAGMA database_list": "expected a SELECT, got PRAGMA",
    "CALL pragma_version()": "expected a SELECT",
    "CHECKPOINT": "expected a SELECT",
    "VACUUM": "expected a SELECT",
    "BEGIN": "expected a SELECT",
    "COMMIT": "expected a SELECT",
    "EXPLAIN SELECT 1": "expected a SELECT",
    "EXPORT DATABASE 'x'": "cannot be parsed",
    "DESCRIBE raw_events": "expected a SELECT, got DESCRIBE",
    "DESCRIBE main.events": "expected a SELECT",
    "DESCRIBE events; SELECT 1": "expected one SELECT, got 2 statements",
    "DESCRIBE SELECT * FROM raw_events": "expected a SELECT",
    "DESCRIBE 'secret.csv'": "expected a SELECT",
    "SUMMARIZE events": "expected a SELECT",
    "SHOW TABLES": "got SHOW; there are the views events and rollups; DESCRIBE events tells its columns",
    "VALUES (1)": "expected a SELECT",
    "PREPARE p AS SELECT 1": "expected a SELECT",
    # tables that are not the views
    "SELECT * FROM raw_events": "there is no table raw_events; there are the views events and rollups",
    'SELECT * FROM "raw_events"': "there is no table",
    "SELECT * FROM RAW_EVENTS": "there is no table",
    "SELECT * FROM main.raw_events": "there is no table main.raw_events",
    "SELECT * FROM memory.main.raw_events": "there is no table",
    "SELECT * FROM main.events": "there is no table main.events",
    "SELECT * FROM rollup_rows": "there is no table",
    "SELECT * FROM positions": "there is no table",
    "SELECT * FROM events, positions": "there is no table positions",
    "SELECT * FROM events JOIN raw_events ON true": "there is no table raw_events",
    "SELECT (SELECT count(*) FROM raw_events)": "there is no table raw_events",
    "SELECT 1 WHERE EXISTS (FROM raw_events)": "there is no table raw_events",
    "SELECT * FROM events UNION SELECT * FROM raw_events": "there is no table raw_events",
    "FROM raw_events": "there is no table raw_events",
    "TABLE raw_events": "there is no table raw_events",
    "SELECT * FROM information_schema.tables": "there is no table",
    "SELECT * FROM sqlite_master": "there is no table sqlite_master",
    "SELECT * FROM duckdb_tables": "there is no table duckdb_tables",
    "SELECT * FROM pg_catalog.pg_tables": "there is no table",
    "SELECT * FROM (DESCRIBE raw_events)": "there is no table",
    "SELECT * FROM (SUMMARIZE raw_events)": "there is no table",
    "WITH t AS (SELECT * FROM raw_events) SELECT * FROM t": "there is no table raw_events",
    # a name of a WITH clause, where that clause does not reach
    "WITH raw_events AS (SELECT * FROM raw_events) SELECT * FROM raw_events": "there is no table raw_events",
    "WITH a AS (SELECT * FROM positions), positions AS (SELECT 1) SELECT * FROM a": "there is no table positions",
    "SELECT * FROM raw_events, (WITH raw_events AS (SELECT 1) SELECT * FROM raw_events)": "there is no table raw_events",
    "WITH t AS (WITH positions AS (SELECT 1) SELECT * FROM positions) SELECT * FROM positions": "there is no table positions",
    "WITH RECURSIVE about AS (SELECT * FROM about) SELECT * FROM about": "there is no table about",
    "WITH RECURSIVE about AS (SELECT format FROM about UNION ALL SELECT 1) SELECT * FROM about": "there is no table about",
    "WITH t AS (SELECT 1) SELECT * FROM main.t": "there is no table main.t",
    # files and the outside
    "SELECT * FROM 'secret.csv'": "there is no table",
    'SELECT * FROM "/etc/passwd"': "there is no table",
    "SELECT * FROM read_csv('x.csv')": "may not be used",
    "SELECT * FROM READ_TEXT('/etc/passwd')": "may not be used",
    "SELECT * FROM read_blob('/etc/passwd')": "may not be used",
    "SELECT * FROM read_parquet(['a'])": "may not be used",
    "SELECT * FROM read_json_auto('x')": "may not be used",
    "SELECT * FROM parquet_scan('x')": "may not be used",
    "SELECT * FROM sniff_csv('x')": "may not be used",
    "SELECT * FROM glob('*')": "may not be used",
    "SELECT * FROM events, LATERAL read_text('x')": "may not be used",
    "SELECT * FROM events CROSS JOIN LATERAL glob('*')": "may not be used",
    # tables that are functions
    "SELECT * FROM query('SELECT * FROM raw_events')": "may not be used",
    "SELECT * FROM query_table('raw_events')": "may not be used",
    "SELECT * FROM duckdb_settings()": "may not be used",
    "SELECT * FROM events, LATERAL force_checkpoint()": "may not be used",
    "SELECT * FROM force_checkpoint()": "may not be used",
    "SELECT * FROM pragma_table_info('raw_events')": "may not be used",
    "SELECT * FROM seq_scan('raw_events')": "may not be used",
    "SELECT * FROM json_execute_serialized_sql('{}')": "may not be used",
    # functions that read settings or the environment, wait, or write
    "SELECT current_setting('threads')": "current_setting may not be used",
    "SELECT CURRENT_SETTING('threads')": "current_setting may not be used",
    "SELECT \"current_setting\"('threads')": "current_setting may not be used",
    "SELECT 'threads'.current_setting()": "current_setting may not be used",
    "SELECT system.main.current_setting('threads')": "current_setting may not be used",
    "SELECT * FROM events WHERE current_setting('threads') = '1'": "current_setting may not be used",
    "SELECT getenv('HOME')": "getenv may not be used",
    "SELECT getvariable('x')": "getvariable may not be used",
    "SELECT sleep_ms(1000)": "sleep_ms may not be used",
    "SELECT pg_sleep(10)": "pg_sleep may not be used",
    "SELECT nextval('s')": "nextval may not be used",
    "SELECT write_log('x')": "write_log may not be used",
    # nonsense
    "SELECT FROM WHERE": "sql: ",
    "SELECT (": "cannot be parsed",
    "SELECT 'a": "cannot be parsed",
    "hello": "expected a SELECT",
    "SELECT " + "(" * 5000 + "1" + ")" * 5000: "cannot be parsed",
}


@pytest.fixture
def store() -> Iterator[Store]:
    opened = DuckDBStore.open(None)
    Shard(opened).commit([tick("a", value=1, user_id="u"), tick("b", value=2), tick("b")])
    yield opened
    opened.close()


@pytest.mark.parametrize("sql", ALLOWED)
def test_a_select_over_the_views_may_run_and_runs(store: Store, sql: str) -> None:
    assert check_select(sql) == sql
    assert store.query(sql, [], timeout_s=10.0, max_rows=100).columns


@pytest.mark.parametrize(("sql", "says"), REFUSED.items(), ids=[sql[:60] for sql in REFUSED])
def test_anything_else_is_refused_and_told_what_is_allowed(sql: str, says: str) -> None:
    with pytest.raises(QueryError, match=r"^sql: ") as refused:
        check_select(sql)
    assert says in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "SELECT * FROM events GRUOP BY type",
            "`BY` (line 1, column 28), after `SELECT * FROM events GRUOP`",
        ),
        ("SELECT type\nFORM events", "`events` (line 2, column 6)"),
        ("SELECT a FROM events WHERE", "something is missing at `WHERE` (line 1, column 22)"),
        ("SELECT 'a FROM events", "a quote or a comment is not closed"),
    ],
)
def test_a_mistake_in_the_syntax_is_told_with_its_word_and_its_place(sql: str, says: str) -> None:
    with pytest.raises(QueryError) as refused:
        check_select(sql)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("sql", "field"),
    [
        ("SELECT country, p99 FROM events", "country"),
        ("SELECT e.country FROM events AS e", "country"),
        ('SELECT "ship to" FROM events', '"ship to"'),
    ],
)
def test_a_column_that_is_a_field_of_events_is_told_how_to_be_read(
    store: Store, sql: str, field: str
) -> None:
    with pytest.raises(QueryError) as refused:
        store.query(check_select(sql), [], timeout_s=10.0, max_rows=1)
    way = f"event->>'$.{field}'"
    assert f"\nfields of an event are read as {way}; see docs/sql.md" in str(refused.value)
    assert store.query(f"SELECT {way} FROM events", [], timeout_s=10.0, max_rows=9).columns


def test_a_text_that_is_too_long_is_not_even_read() -> None:
    with pytest.raises(QueryError, match=rf"at most {MOST_CHARACTERS} are allowed"):
        check_select("SELECT 1" + " " * MOST_CHARACTERS)


def test_parameters_may_stand_in_a_query(store: Store) -> None:
    sql = check_select("SELECT type FROM events WHERE value = $1 OR value = $2")
    assert [tuple(row) for row in store.query(sql, [1, 5], timeout_s=5.0, max_rows=5).rows] == [("a",)]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM read_text('{secret}')",
        "SELECT * FROM read_csv('{secret}')",
        "SELECT * FROM '{secret}'",
        "SELECT * FROM glob('{folder}/*')",
        "SELECT * FROM read_blob('{folder}/other.duckdb')",
        "SELECT * FROM parquet_scan('{secret}')",
        "SELECT * FROM query('FROM read_text(''{secret}'')')",
    ],
)
def test_a_query_that_slipped_through_could_still_not_read_a_file(tmp_path: Path, sql: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("a,b\n1,2\n")
    store = open_file(tmp_path)
    with pytest.raises(QueryError, match=r"(?i)disabled|permission"):
        store.query(sql.format(secret=secret, folder=tmp_path), [], timeout_s=5.0, max_rows=10)
    store.close()


@pytest.mark.parametrize(
    "sql",
    [
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET threads = 8",
        "LOAD httpfs",
        "INSTALL httpfs",
    ],
)
def test_the_settings_of_an_open_store_cannot_be_changed(sql: str) -> None:
    store = DuckDBStore.open(None)
    with pytest.raises(duckdb.Error):
        store._connection.execute(sql)
    assert rows(store, "SELECT current_setting('enable_external_access')") == [(False,)]
    store.close()


@pytest.mark.parametrize(
    "sql",
    ["COPY (SELECT 1) TO '{folder}/out.csv'", "ATTACH '{folder}/other.db'", "EXPORT DATABASE '{folder}/all'"],
)
def test_no_statement_can_write_a_file(tmp_path: Path, sql: str) -> None:
    store = DuckDBStore.open(None)
    with pytest.raises(QueryError, match="expected"):
        store.query(sql.format(folder=tmp_path), [], timeout_s=5.0, max_rows=1)
    with pytest.raises(duckdb.Error):
        store._connection.execute(sql.format(folder=tmp_path))
    assert list(tmp_path.iterdir()) == []
    store.close()
