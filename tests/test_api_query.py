"""What `POST /api/query` answers, what it refuses, and what it waits for."""

from __future__ import annotations

import asyncio
import csv
import io
import time
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from streamgauge.errors import Saturated
from streamgauge.web import api, service
from streamgauge.web.service import COVERED_S, Service
from web_tools import LONG, Served, problem, serving, until

pytestmark = pytest.mark.asyncio(loop_scope="module")
HEAVY = "SELECT count(*) FROM range(100000) a, range(100000) b WHERE a.range + b.range = 3"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server() -> AsyncIterator[Served]:
    """A server with three events in its store."""
    async with serving(store={"commit_interval": LONG}, query={"max_rows": 50, "timeout": "250ms"}) as served:
        await served.send(
            {"type": "view", "timestamp": 1_700_000_000, "user_id": 7, "page": "/", "deep": {"x": [1, 2]}},
            {"type": "sale", "timestamp": "2023-11-14T22:13:21.5Z", "value": 2.5, "event_id": "e1"},
            {"type": "view", "timestamp": 1_700_000_002, "big": 9223372036854775807},
        )
        await served.commit()
        yield served


async def ask(server: Served, body: object, **headers: str) -> httpx.Response:
    return await server.http.post("/api/query", json=body, headers=headers)


# answers


async def test_an_answer_has_columns_rows_and_the_time_it_covers(server: Served) -> None:
    before_ms = server.app.engine.now_us() // 1000
    answer = (
        await ask(server, {"sql": "SELECT type, count(*) AS n FROM events GROUP BY ALL ORDER BY n"})
    ).json()
    as_of = answer.pop("as_of")
    assert answer == {"columns": ["type", "n"], "rows": [["sale", 1], ["view", 2]], "truncated": False}
    assert before_ms - 2000 <= as_of <= server.app.engine.now_us() // 1000 - 2000


async def test_the_view_of_events_has_the_documented_columns(server: Served) -> None:
    answer = (await ask(server, {"sql": "SELECT * FROM events ORDER BY time"})).json()
    assert answer["columns"] == [
        "time", "received_at", "processed_at", "type", "user_id", "value", "event_id", "event",
    ]  # fmt: skip
    rows = [dict(zip(answer["columns"], row, strict=True)) for row in answer["rows"]]
    assert [row["time"] for row in rows] == [
        "2023-11-14T22:13:20Z",
        "2023-11-14T22:13:21.500000Z",
        "2023-11-14T22:13:22Z",
    ]
    assert [row["user_id"] for row in rows] == ["7", None, None]
    assert [row["value"] for row in rows] == [None, 2.5, None]
    assert [row["event_id"] for row in rows] == [None, "e1", None]


async def test_rollups_add_up_to_the_events(server: Served) -> None:
    assert await server.ask("SELECT sum(count)::BIGINT FROM rollups WHERE metric = 'events'") == [[3]]


async def test_properties_are_reached_as_json(server: Served) -> None:
    sql = "SELECT event->>'$.page', event->'$.deep.x[1]' FROM events WHERE event->>'$.page' IS NOT NULL"
    assert await server.ask(sql) == [["/", "2"]]
    assert await server.ask("SELECT (event->>'$.big')::BIGINT FROM events ORDER BY time DESC LIMIT 1") == [
        [9223372036854775807]
    ]


async def test_parameters_are_bound_not_pasted(server: Served) -> None:
    sql = "SELECT count(*) FROM events WHERE type = ? AND coalesce(value, 0) < ?"
    assert await server.ask(sql, "view", 1.5) == [[2]]
    assert await server.ask(sql, "' OR 1=1 --", 1) == [[0]]
    assert await server.ask("SELECT ?, ?, ?, ?, ?", *(values := [None, True, -(2**63), 2**63, "é"])) == [
        values
    ]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("9223372036854775807", "9223372036854775807"),
        ("-9223372036854775808", "-9223372036854775808"),
        ("18446744073709551615::UBIGINT", "18446744073709551615"),
        ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
        ("-170141183460469231731687303715884105727", "-170141183460469231731687303715884105727"),
        ("1.10::DECIMAL(10, 2)", "1.10"),
        ("12345678901234567890.123456789::DECIMAL(38, 9)", "12345678901234567890.123456789"),
        ("0.1::DOUBLE + 0.2::DOUBLE", "0.30000000000000004"),
        ("'nan'::DOUBLE", "null"),
        ("'-inf'::DOUBLE", "null"),
        ("TIMESTAMP '2023-11-14 22:13:20'", '"2023-11-14T22:13:20Z"'),
        ("TIMESTAMP '2023-11-14 22:13:20.5'", '"2023-11-14T22:13:20.500000Z"'),
        ("DATE '2023-11-14'", '"2023-11-14"'),
        ("TIME '22:13:20'", '"22:13:20"'),
        ("true", "true"),
        ("NULL", "null"),
        ("'\\xAB'::BLOB", '"ab"'),
        ("[1, NULL, 3]", "[1,null,3]"),
        ("{'a': [1.5::DECIMAL(3, 1)], 'b': NULL}", '{"a":[1.5],"b":null}'),
        ("MAP {1: 'x'}", '{"1":"x"}'),
        ("'6c1d5ea2-0c9b-4a43-8b87-3c1ac7f0b7a1'::UUID", '"6c1d5ea2-0c9b-4a43-8b87-3c1ac7f0b7a1"'),
    ],
)
async def test_every_kind_of_value_is_exact_in_json(server: Served, expression: str, text: str) -> None:
    answer = await ask(server, {"sql": f"SELECT {expression} AS v"})
    assert f'"rows":[[{text}]],' in answer.text


async def test_rows_beyond_the_limit_are_cut_off_and_the_answer_says_so(server: Served) -> None:
    answer = (await ask(server, {"sql": "SELECT * FROM range(51)"})).json()
    assert (len(answer["rows"]), answer["truncated"]) == (50, True)
    answer = (await ask(server, {"sql": "SELECT * FROM range(50)"})).json()
    assert (len(answer["rows"]), answer["truncated"]) == (50, False)


async def test_an_answer_can_be_had_as_csv(server: Served) -> None:
    sql = "SELECT 'a,\"b' AS x, 1.10::DECIMAL(4,2) AS y, NULL AS z, '=1+1' AS f, TIMESTAMP '2023-11-14 22:13:20' AS t"
    answer = await ask(server, {"sql": sql}, Accept="text/csv")
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert list(csv.reader(io.StringIO(answer.text))) == [
        ["x", "y", "z", "f", "t"],
        ['a,"b', "1.10", "", "'=1+1", "2023-11-14T22:13:20Z"],
    ]


# refusals


@pytest.mark.parametrize(
    "sql",
    [
        "",
        "   ",
        "SELECT",
        "SELEC 1",
        "SELECT 1; SELECT 2",
        "DELETE FROM events",
        "INSERT INTO events SELECT * FROM events",
        "CREATE TABLE t AS SELECT 1",
        "COPY events TO '/tmp/x'",
        "ATTACH '/tmp/x.db'",
        "PRAGMA database_list",
        "SET memory_limit = '1TB'",
        "INSTALL httpfs",
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM raw_events",
        "SELECT * FROM main.raw_events",
        "SELECT * FROM information_schema.tables",
        "SELECT getenv('HOME')",
        "SELECT nothing FROM events",
        "SELECT ?",
        "SELECT 1 WHERE 1 = 'x'",
    ],
)
async def test_what_is_not_one_select_over_the_views_is_refused(server: Served, sql: str) -> None:
    assert problem(await ask(server, {"sql": sql}), 400, "bad_query")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "truncated"),
        (b"SELECT 1", "malformed"),
        (b'{"sql": ', "truncated"),
        (b'{"query": "SELECT 1"}', "unknown field"),
        (b'{"params": []}', "sql"),
        (b'{"sql": 1}', "$.sql"),
        (b'{"sql": "SELECT 1", "params": 1}', "$.params"),
        (b'{"sql": "SELECT 1", "params": [{}]}', "$.params[0]"),
        (b'["SELECT 1"]', "object"),
        (b'{"sql": "\xff"}', "utf-8"),
        (b"[" * 100_000, "sql"),
    ],
)
async def test_a_body_that_is_not_a_question_is_refused_with_an_example(
    server: Served, body: bytes, words: str
) -> None:
    detail = problem(await server.http.post("/api/query", content=body), 400, "malformed")
    assert words in detail
    assert '{"sql": "SELECT ...", "params": []}' in detail


async def test_a_question_that_is_too_large_is_refused_before_it_is_held(server: Served) -> None:
    async def parts() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b" " * 65_536

    for body in (b" " * (api.MOST_QUERY_BODY + 1), parts()):
        problem(await server.http.post("/api/query", content=body), 413, "too_large")


async def test_a_text_with_too_many_characters_is_refused(server: Served) -> None:
    detail = problem(await ask(server, {"sql": f"SELECT '{'x' * 200_000}'"}), 400, "bad_query")
    assert "at most 100000" in detail


async def test_a_query_that_takes_too_long_is_ended(server: Served) -> None:
    answer = await ask(server, {"sql": HEAVY})
    assert "0.25 s" in problem(answer, 503, "query_timeout")
    assert int(answer.headers["retry-after"]) >= 1
    assert await server.ask("SELECT 1") == [[1]]


# what an answer covers


def let_pass(server: Served, seconds: float) -> None:
    """Have the server believe that so much time has passed."""
    server.app.engine.steady_s = lambda: time.monotonic() + seconds


def service_of(server: Served) -> Service:
    engine = server.app.engine
    return Service(
        reader=engine.reader,
        store=engine.store,
        ledger=engine.ledger,
        progress=engine,
        now_us=engine.now_us,
        not_ready=list,
        exposition=lambda _: asyncio.sleep(0, (b"", "")),
        sql_timeout_s=5.0,
        sql_max_rows=10,
    )


COUNT = "SELECT count(*) FROM events WHERE type = 'late'"


async def counted(asked: service.Service) -> Any:
    table, _ = await asked.answer_sql(COUNT, [])
    return table.rows[0][0]


@pytest.mark.parametrize("back_s", [0, 3600], ids=["the clock is right", "the clock was put back"])
async def test_an_answer_waits_until_it_covers_what_was_accepted_two_seconds_before(back_s: int) -> None:
    async with serving(store={"commit_interval": LONG}) as server:
        server.app.engine.note_accepted()
        server.app.engine.now_us = lambda: time.time_ns() // 1000 - back_s * 1_000_000
        asked = service_of(server)
        await server.send({"type": "late"})
        assert await counted(asked) == 0  # it was accepted just now; nobody waits for it

        let_pass(server, COVERED_S + 1.0)
        waiting = asyncio.create_task(counted(asked))
        await until(lambda: asked.queries == 1)
        await server.get("/healthz")
        assert not waiting.done()
        await server.commit()
        assert await waiting == 1


async def test_a_store_that_does_not_catch_up_in_time_is_answered_with_try_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service, "WAIT_S", 0.02)
    async with serving(store={"commit_interval": LONG}) as server:
        asked = service_of(server)
        await server.send({"type": "late"})
        let_pass(server, COVERED_S + 1.0)
        with pytest.raises(Saturated):
            await counted(asked)
        assert asked.queries == 0
        await server.commit()
        assert await counted(asked) == 1


async def test_many_queries_at_once_are_refused_rather_than_queued(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "MOST_QUERIES", 2)
    answers = await asyncio.gather(*(ask(server, {"sql": HEAVY}) for _ in range(4)))
    codes = sorted(answer.json()["code"] for answer in answers)
    assert codes == ["query_timeout", "query_timeout", "saturated", "saturated"]
    assert await server.ask("SELECT 1") == [[1]]


async def test_a_metric_does_not_wait_for_somebodys_long_queries(server: Served) -> None:
    slow = [asyncio.create_task(ask(server, {"sql": HEAVY})) for _ in range(3)]
    await server.get("/healthz")
    await server.get("/api/metrics/events", **{"from": "all"})
    assert not all(task.done() for task in slow)
    for answer in await asyncio.gather(*slow):
        problem(answer, 503, "query_timeout")


async def test_time_stamps_with_a_zone_can_be_selected(server: Served) -> None:
    [[now, zoned]] = await server.ask("SELECT now(), TIMESTAMPTZ '2023-11-14 23:13:20+01' FROM range(1)")
    assert now.startswith("20")
    assert zoned == "2023-11-14T22:13:20Z"
