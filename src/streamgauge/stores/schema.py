"""The tables of the DuckDB store, and the views that queries see.

Times are UTC. Rows are only ever added, merged by the compactor, or expired; nothing is updated, and the schema does
not change while the program runs.
"""

from __future__ import annotations

from typing import Final

FORMAT: Final = 1

TABLES: Final = """
CREATE TABLE about (format INTEGER NOT NULL, created_at TIMESTAMP NOT NULL);

CREATE TABLE positions (
    shard VARCHAR NOT NULL, epoch BIGINT NOT NULL, previous_seq BIGINT NOT NULL, last_seq BIGINT NOT NULL,
    incarnation VARCHAR NOT NULL, committed_at TIMESTAMP NOT NULL, ledger VARCHAR NOT NULL
);

CREATE TABLE raw_events (
    shard VARCHAR NOT NULL, seq BIGINT NOT NULL, index INTEGER NOT NULL,
    time TIMESTAMP NOT NULL, received_at TIMESTAMP NOT NULL, processed_at TIMESTAMP NOT NULL,
    type VARCHAR NOT NULL, user_id VARCHAR, event_id VARCHAR, value DOUBLE, event VARCHAR NOT NULL
);

CREATE TABLE rollup_rows (
    shard VARCHAR NOT NULL, metric VARCHAR NOT NULL, definition VARCHAR NOT NULL, resolution INTEGER NOT NULL,
    bucket BIGINT NOT NULL, received_day INTEGER NOT NULL, epoch BIGINT NOT NULL,
    series VARCHAR NOT NULL, is_other BOOLEAN NOT NULL,
    count BIGINT NOT NULL, n_values BIGINT NOT NULL, sum DOUBLE, sum_low DOUBLE, min DOUBLE, max DOUBLE,
    last DOUBLE, last_time BIGINT, last_order BIGINT, histogram BLOB
);

CREATE VIEW events AS
    SELECT time, received_at, processed_at, type, user_id, value, event_id, event::JSON AS event FROM raw_events;

CREATE VIEW rollups AS
    SELECT metric, resolution, make_timestamp(bucket * 1000000) AS bucket, series::JSON AS series, is_other,
           count, n_values, sum, min, max, last, received_day, shard, epoch
    FROM rollup_rows;
"""

# tables that a file of this format may not have yet: they are made when it is opened
ADDED_TABLES: Final = {
    "seen": """
CREATE TABLE seen (
    scope VARCHAR NOT NULL, hash128 BLOB NOT NULL, body_hash BLOB NOT NULL, "at" TIMESTAMP NOT NULL,
    shard VARCHAR NOT NULL, seq BIGINT NOT NULL, answer VARCHAR
)""",
    "dead_letters": """
CREATE TABLE dead_letters (
    shard VARCHAR NOT NULL, seq BIGINT NOT NULL, idx INTEGER NOT NULL, hash128 BLOB NOT NULL,
    "at" TIMESTAMP NOT NULL, received_at TIMESTAMP NOT NULL, source VARCHAR NOT NULL, stage VARCHAR NOT NULL,
    reason VARCHAR NOT NULL, traceback VARCHAR NOT NULL, mapping VARCHAR NOT NULL, payload BLOB NOT NULL
)""",
    "discarded": """
CREATE TABLE discarded (shard VARCHAR NOT NULL, seq BIGINT NOT NULL, idx INTEGER NOT NULL, "at" TIMESTAMP NOT NULL)""",
}

STATE_COLUMNS: Final = (
    "count", "n_values", "sum", "sum_low", "min", "max", "last", "last_time", "last_order",
)  # fmt: skip
PUBLIC_VIEWS: Final = frozenset({"events", "rollups"})
