"""What the HTTP API answers about metrics, events, and the server itself."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from starlette.routing import Route

from streamgauge.event import RESERVED
from streamgauge.web import api, dead_letters
from web_tools import LONG, Served, problem, serving

T0 = 1_700_000_040  # a whole minute, in seconds
BY_SHOP = {"name": "revenue", "where": "type = 'sale'", "value": "amount", "by": ["shop", "paid"]}


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    """A server with a metric of its own, which commits nothing while a test looks."""
    async with serving(store={"commit_interval": LONG}, metric=[BY_SHOP]) as served:
        yield served


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared() -> AsyncIterator[Served]:
    """One server for many questions that leave nothing behind."""
    async with serving() as served:
        yield served


def at(second: float, kind: str = "view", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "timestamp": (T0 + second) * 1000, **fields}


def sale(second: float, **fields: Any) -> dict[str, Any]:
    return at(second, "sale", **fields)


async def counts(server: Served, path: str = "/api/metrics/events", **params: Any) -> dict[str, int]:
    answer = await server.get(path, **{"from": "all", "aggregates": "count", **params})
    return {series["by"].get("type", ""): series["totals"]["count"] for series in answer["series"]}


# what a metric answers


async def test_totals_and_points_come_in_the_documented_shape(server: Served) -> None:
    await server.send(at(0, value=1), at(1, value=3), at(60, value=8), at(61, "click"))
    answer = await server.get(
        "/api/metrics/events", **{"from": T0, "to": T0 + 120, "step": 60, "aggregates": "count,sum,avg,p99"}
    )
    as_of = answer.pop("as_of")
    assert abs(as_of - time.time() * 1000) < 60_000
    view, click = answer.pop("series")
    assert answer == {"metric": "events", "from": T0 * 1000, "to": (T0 + 120) * 1000, "step": 60}
    assert view["totals"].pop("p99") == pytest.approx(7.9, rel=0.011)
    assert view["points"].pop("p99") == [pytest.approx(2.98, rel=0.011), pytest.approx(8, rel=0.011)]
    assert view == {
        "by": {"type": "view"},
        "totals": {"count": 3, "sum": 12.0, "avg": 4.0},
        "points": {
            "time": [T0 * 1000, (T0 + 60) * 1000],
            "count": [2, 1],
            "sum": [4.0, 8.0],
            "avg": [2.0, 8.0],
        },
    }
    assert click == {
        "by": {"type": "click"},
        "totals": {"count": 1, "sum": None, "avg": None, "p99": None},
        "points": {"time": [(T0 + 60) * 1000], "count": [1], "sum": [None], "avg": [None], "p99": [None]},
    }


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (T0, T0 + 60),
        (T0 * 1000, (T0 + 60) * 1000),
        (T0 * 1_000_000, (T0 + 60) * 1_000_000),
        (f"{T0}.0", f"{T0 + 60}.0"),
        ("2023-11-14T22:14:00Z", "2023-11-14T22:15:00Z"),
        ("2023-11-14T22:14:00", "2023-11-14T22:15:00.000"),
        ("2023-11-15T00:14:00+02:00", "2023-11-15T00:15:00+02:00"),
        ("2023-11-14T22:14", "2023-11-14 22:15Z".replace(" ", "T")),
    ],
)
async def test_a_range_may_be_written_as_iso_8601_or_as_a_number(
    server: Served, start: object, end: object
) -> None:
    await server.send(at(-1), at(0), at(59.9), at(60))
    answer = await server.get("/api/metrics/events", **{"from": start, "to": end, "by": ""})
    assert (answer["from"], answer["to"]) == (T0 * 1000, (T0 + 60) * 1000)
    assert answer["series"][0]["totals"]["count"] == 2


async def test_a_plus_that_was_not_escaped_in_an_address_is_understood(server: Served) -> None:
    answer = await server.http.get("/api/metrics/events?from=2023-11-15T00:14:00+02:00&to=1700000100")
    assert answer.json()["from"] == T0 * 1000


async def test_without_a_range_the_last_15_minutes_are_answered(server: Served) -> None:
    now = time.time()
    await server.send(
        {"type": "old", "timestamp": now - 16 * 60},
        {"type": "recent", "timestamp": now - 14 * 60},
        {"type": "new"},
    )
    answer = await server.get("/api/metrics/events")
    assert {series["by"]["type"] for series in answer["series"]} == {"recent", "new"}
    assert answer["to"] - answer["from"] == 15 * 60 * 1000
    assert 0 <= answer["to"] - now * 1000 < 10_000


async def test_everything_there_is_can_be_asked_for(server: Served) -> None:
    await server.send({"type": "old", "timestamp": "1999-12-31T23:59:59Z"}, {"type": "new"})
    assert await counts(server) == {"old": 1, "new": 1}
    answer = await server.get("/api/metrics/events", **{"from": "all", "to": "2000-01-01T00:00:00Z"})
    assert answer["from"] == 946_684_799_000
    assert [series["by"]["type"] for series in answer["series"]] == ["old"]


async def test_everything_before_a_time_at_which_there_was_nothing_is_nothing(server: Served) -> None:
    await server.send(at(0))
    assert await counts(server, to=T0 - 100) == {}


async def test_everything_of_a_server_without_events_is_an_empty_answer(server: Served) -> None:
    answer = await server.get("/api/metrics/events", **{"from": "all"})
    assert answer["series"] == []
    assert answer["from"] < answer["to"]


async def test_the_step_is_chosen_so_that_there_are_at_most_some_200_points(server: Served) -> None:
    await server.send(*(at(second) for second in range(0, 3600, 30)))
    answer = await server.get("/api/metrics/events", **{"from": T0, "to": T0 + 3600})
    assert answer["step"] == 30
    assert len(answer["series"][0]["points"]["time"]) == 120


async def test_points_are_given_by_the_step_that_was_asked_for(server: Served) -> None:
    await server.send(at(0), at(9), at(10))
    answer = await server.get("/api/metrics/events", **{"from": T0, "to": T0 + 20, "step": 10})
    points = answer["series"][0]["points"]
    assert (points["time"], points["count"]) == ([T0 * 1000, (T0 + 10) * 1000], [2, 1])


async def test_series_are_grouped_by_some_all_or_none_of_the_metrics_groups(server: Served) -> None:
    await server.send(
        sale(0, shop="a", paid=True, amount=1),
        sale(0, shop="a", paid=False, amount=2),
        sale(0, shop="b", paid=True, amount=4),
    )

    async def sums(**params: str) -> list[tuple[dict[str, Any], float]]:
        answer = await server.get("/api/metrics/revenue", **{"from": "all", "aggregates": "sum", **params})
        return [(series["by"], series["totals"]["sum"]) for series in answer["series"]]

    assert len(await sums()) == 3
    assert sorted(await sums(by="shop"), key=str) == [({"shop": "a"}, 3.0), ({"shop": "b"}, 4.0)]
    assert sorted(await sums(by="paid"), key=str) == [({"paid": False}, 2.0), ({"paid": True}, 5.0)]
    assert await sums(by="") == [({}, 7.0)]
    assert await sums(by="paid,shop", where="shop = 'b'") == [({"paid": True, "shop": "b"}, 4.0)]


async def test_only_the_greatest_series_are_given_where_top_is_named(server: Served) -> None:
    await server.send(*(at(0, kind) for kind in "aabbbc"))
    answer = await server.get("/api/metrics/events", **{"from": "all", "top": 2})
    assert [series["by"]["type"] for series in answer["series"]] == ["b", "a"]


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ("type = 'a'", {"a": 1}),
        ("type <> 'a'", {"b": 1, "c": 1}),
        ("type IN ('a', 'c')", {"a": 1, "c": 1}),
        ("NOT type LIKE 'a%'", {"b": 1, "c": 1}),
        ("type IS NULL", {}),
    ],
)
async def test_a_condition_on_the_groups_narrows_the_answer(
    server: Served, where: str, left: dict[str, int]
) -> None:
    await server.send(at(0, "a"), at(0, "b"), at(0, "c"))
    assert await counts(server, where=where) == left


async def test_a_metric_of_the_configuration_is_computed_from_the_fields_it_names(server: Served) -> None:
    await server.send(
        sale(0, shop="x", paid=True, amount=10),
        sale(0, shop="x", paid=1, amount=20),
        sale(0, shop="x", paid="1", amount=40.5),
        sale(0, shop="x", paid=1.0, amount=80),
        sale(0, shop=7, amount=160),
        sale(0, shop=None, amount="not a number"),
        sale(0, amount=320),
        at(0, "refund", shop="x", paid=True, amount=-999),
    )
    answer = await server.get("/api/metrics/revenue", **{"from": "all", "aggregates": "count,sum,min,max"})
    found = {
        msgspec.json.encode(series["by"]).decode(): tuple(series["totals"].values())
        for series in answer["series"]
    }
    assert found == {
        '{"shop":"x","paid":true}': (1, 10.0, 10.0, 10.0),
        '{"shop":"x","paid":1}': (2, 100.0, 20.0, 80.0),
        '{"shop":"x","paid":"1"}': (1, 40.5, 40.5, 40.5),
        '{"shop":7}': (1, 160.0, 160.0, 160.0),
        '{"shop":null}': (1, None, None, None),
        "{}": (1, 320.0, 320.0, 320.0),
    }


async def test_series_beyond_the_limit_are_one_that_says_so() -> None:
    narrow = {"name": "pages", "by": ["page"], "max_series": 2}
    async with serving(metric=[narrow]) as server:
        await server.send(*(at(0, page=page) for page in ("a", "b", "c", "d", "(other)")))
        answer = await server.get("/api/metrics/pages", **{"from": "all"})
        kinds = sorted(
            (series.get("other", False), len(series["by"]), series["totals"]["count"])
            for series in answer["series"]
        )
        assert kinds == [(False, 1, 1), (False, 1, 1), (True, 0, 3)]
        table = await server.http.get("/api/metrics/pages?from=all", headers={"Accept": "text/csv"})
        rows = list(csv.DictReader(io.StringIO(table.text)))
        assert [(row["other"], row["count"]) for row in rows if not row["page"]] == [("true", "3")]


async def test_an_answer_counts_all_that_was_accepted_before_it_though_nothing_is_committed(
    server: Served,
) -> None:
    for sent in range(1, 4):
        body = b'{"type":"bulk","timestamp":1700000040}\n' * 40_000
        accepted = await server.http.post(
            "/api/events", content=body, headers={"Content-Type": "application/x-ndjson"}
        )
        assert accepted.json() == {"accepted": 40_000}
        assert await counts(server) == {"bulk": 40_000 * sent}
    assert (await server.get("/api/ledger"))["pending"] == 120_000


async def test_an_answer_waits_for_what_was_accepted_before_it_to_be_counted(server: Served) -> None:
    let_through = asyncio.Event()
    [transformer] = server.app.engine.transformers
    handle = transformer.handle_events

    async def slow(events: Any) -> Any:
        await let_through.wait()
        return await handle(events)

    transformer.handle_events = slow  # type: ignore[method-assign]
    assert (await server.send(at(0))).status_code == 202
    asked = asyncio.create_task(counts(server))
    for _ in range(3):  # an answer that does not wait would be there by now
        await server.ask("SELECT count(*) FROM events")
    assert not asked.done()
    let_through.set()
    assert await asked == {"view": 1}


async def test_an_answer_is_the_same_before_and_after_the_commit(server: Served) -> None:
    await server.send(sale(0, shop="x", paid=1, amount=0.1), sale(61, shop="x", paid=1, amount=0.2))
    path, params = "/api/metrics/revenue", {"from": T0, "to": T0 + 120, "step": 60}
    before = await server.get(path, **params)
    await server.commit()
    assert (await server.get("/api/ledger"))["pending"] == 0
    await server.send(sale(1, shop="y", paid=1, amount=0.3))
    after = await server.get(path, **params)
    assert after["series"][0] == before["series"][0]
    assert after["series"][1]["totals"]["sum"] == 0.3


# questions that cannot be answered


async def test_an_unknown_metric_is_answered_with_the_list_of_those_there_are(server: Served) -> None:
    answer = await server.http.get("/api/metrics/revenu")
    assert problem(answer, 404, "unknown_metric") == (
        "no metric named 'revenu'; there are: events, latency, revenue"
    )


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("question", "code", "words"),
    [
        ("form=1", "bad_query", ["form", "unknown", "from, to, step, by, aggregates, top, where"]),
        ("from=yesterday", "bad_query", ["from", "ISO 8601", "'yesterday'"]),
        ("from=", "bad_query", ["from", "ISO 8601"]),
        ("to=all", "bad_query", ["to", "'all'"]),
        ("from=2026-02-30T00:00:00Z", "bad_query", ["from", "ISO 8601"]),
        ("from=nan", "bad_query", ["from"]),
        ("from=1e400", "bad_query", ["from"]),
        (f"from={'9' * 400}", "bad_query", ["from"]),
        ("from=%C2%B2", "bad_query", ["from"]),
        ("from=2000&to=1000", "bad_query", ["from", "before `to`"]),
        ("from=2000&to=2000", "bad_query", ["from", "before `to`"]),
        ("from=9999-01-01", "bad_query", ["from", "before `to`"]),
        ("step=0", "bad_query", ["step", "1 s or more"]),
        ("step=-5", "bad_query", ["step", "'-5'"]),
        ("step=5m", "bad_query", ["step", "`all` or a whole number of seconds", "'5m'"]),
        ("step=%C2%B2", "bad_query", ["step", "'²'"]),
        (f"step={'1' * 5000}", "bad_query", ["step"]),
        ("from=0&to=1700000000&step=1", "bad_query", ["step", "at least 154546 s"]),
        ("by=country", "bad_query", ["by", "'country'", "it is by type"]),
        ("aggregates=p42", "bad_query", ["aggregates", "'p42'", "count, sum"]),
        ("aggregates=last", "bad_query", ["aggregates", "'last'", "count, sum"]),
        ("top=0", "bad_query", ["top", "1 to 1000", "got 0"]),
        ("top=1001", "bad_query", ["top", "1 to 1000"]),
        ("top=many", "bad_query", ["top", "'many'"]),
        ("where=country%20=%20'x'", "bad_query", ["where", "'country'", "it is by type"]),
        ("where=((", "bad_expression", ["SQL"]),
        ("where=type%2B1", "bad_expression", ["a number, not a condition"]),
        ("where=", "bad_expression", ["SQL"]),
        ("where=" + "(" * 5000, "bad_expression", []),
    ],
)
async def test_a_bad_question_is_answered_with_what_is_wrong_and_what_is_possible(
    shared: Served, question: str, code: str, words: list[str]
) -> None:
    detail = problem(await shared.http.get(f"/api/metrics/events?{question}"), 400, code)
    assert [word for word in words if word not in detail] == [], detail
    assert len(detail) < 1000


# other forms


async def test_the_list_of_metrics_says_what_each_of_them_computes(server: Served) -> None:
    metrics = {metric["name"]: metric for metric in (await server.get("/api/metrics"))["metrics"]}
    assert list(metrics) == ["events", "latency", "revenue"]
    assert metrics["events"]["by"] == ["type"]
    assert metrics["events"]["aggregates"] == ["count", "sum", "avg", "min", "max", "p50", "p95", "p99"]
    assert metrics["events"]["built_in"] is True
    assert metrics["revenue"] == {
        "name": "revenue",
        "by": ["shop", "paid"],
        "aggregates": ["count", "sum", "avg", "min", "max", "p50", "p95", "p99"],
        "where": "type = 'sale'",
        "value": "amount",
        "built_in": False,
    }


async def test_a_metric_can_be_had_as_csv(server: Served) -> None:
    await server.send(
        sale(0, shop="a,b", paid=True, amount=1.5),
        sale(1, shop="=HYPERLINK(1)", amount=2),
        sale(61, shop="=HYPERLINK(1)"),
    )
    url = f"/api/metrics/revenue?from={T0}&to={T0 + 120}&step=60&aggregates=count,sum"
    answer = await server.http.get(url, headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    head, *rows = csv.reader(io.StringIO(answer.text))
    assert head == ["time", "shop", "paid", "count", "sum"]
    assert sorted(rows) == [
        ["2023-11-14T22:14:00Z", "'=HYPERLINK(1)", "", "1", "2.0"],
        ["2023-11-14T22:14:00Z", "a,b", "True", "1", "1.5"],
        ["2023-11-14T22:15:00Z", "'=HYPERLINK(1)", "", "1", ""],
    ]


@pytest.mark.parametrize("span", [{"from": T0, "to": T0 + 120}, {"from": "all"}])
async def test_with_all_as_its_step_a_metric_is_its_totals(
    server: Served, span: dict[str, int | str]
) -> None:
    await server.send(
        sale(0, shop="b", paid=True, amount=1.5),
        sale(61, shop="b", paid=True, amount=2),
        sale(1, shop="a", paid=True, amount=4),
    )
    params: dict[str, Any] = {**span, "step": "all", "by": "shop", "aggregates": "count,sum,max"}
    answer = await server.get("/api/metrics/revenue", **params)
    assert answer["step"] == "all"
    assert answer["series"] == [
        {"by": {"shop": "b"}, "totals": {"count": 2, "sum": 3.5, "max": 2.0}},
        {"by": {"shop": "a"}, "totals": {"count": 1, "sum": 4.0, "max": 4.0}},
    ]
    table = await server.http.get("/api/metrics/revenue", params=params, headers={"Accept": "text/csv"})
    assert table.text.splitlines() == ["shop,count,sum,max", "b,2,3.5,2.0", "a,1,4.0,4.0"]


async def test_csv_without_any_row_still_has_its_head(server: Served) -> None:
    answer = await server.http.get(
        "/api/metrics/revenue?aggregates=count&by=shop", headers={"Accept": "text/csv"}
    )
    assert answer.text.splitlines() == ["time,shop,count"]


# the ledger


async def test_the_ledger_accounts_for_good_bad_and_refused(server: Served) -> None:
    await server.send(at(0), at(1))
    await server.send(at(0), {"no": "type"}, {"type": ""})
    await server.send({"type": 5})
    assert (await server.http.post("/api/events", content=b"not json")).status_code == 400
    assert (
        await server.http.post("/api/events", content=b"x", headers={"Content-Type": "text/html"})
    ).status_code == 415
    ledger = await server.get("/api/ledger")
    assert (ledger["received"], ledger["rejected"], ledger["pending"], ledger["stored"]) == (6, 3, 3, 0)
    assert ledger["requests_refused"] == 2
    await server.commit()
    ledger = await server.get("/api/ledger")
    assert (ledger["stored"], ledger["pending"]) == (3, 0)
    sources = ledger.pop("sources")
    assert (ledger.pop("imbalance"), ledger.pop("once")) == (0, {"ids": 0, "horizon_s": 86_400})
    assert sources == {"http": ledger}
    parts = ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending")
    assert list(ledger) == ["received", *parts, "requests_refused"]
    assert ledger["received"] == sum(ledger[part] for part in parts)


async def test_events_that_keep_leaves_out_are_counted_as_filtered() -> None:
    async with serving(transform={"keep": "value IS NULL OR value >= 0"}) as server:
        await server.send(at(0, value=1), at(0, value=-1), at(0))
        await server.commit()
        ledger = await server.get("/api/ledger")
        assert (ledger["stored"], ledger["filtered"], ledger["pending"]) == (2, 1, 0)
        assert await counts(server) == {"view": 2}


# health


async def test_a_server_that_runs_is_alive_and_ready(server: Served) -> None:
    assert await server.get("/healthz") == {"status": "ok"}
    assert await server.get("/readyz") == {"status": "ready", "reasons": []}


async def test_a_draining_server_is_alive_but_not_ready_and_takes_no_events(server: Served) -> None:
    server.app.engine.intake.draining = True
    answer = await server.http.get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == {"status": "not ready", "reasons": ["the server is shutting down"]}
    assert (await server.http.get("/healthz")).status_code == 200
    refused = await server.send(at(0))
    assert "shutting down" in problem(refused, 503, "draining")
    assert int(refused.headers["retry-after"]) >= 1
    assert (await server.get("/api/ledger"))["requests_refused"] == 1


async def test_a_full_server_says_so_and_is_ready_again_when_there_is_room() -> None:
    async with serving(limits={"saturated_wait": "0s"}) as server:
        producer = server.app.engine.producer
        capacity, producer.capacity = producer.capacity, 0
        producer._room.clear()
        answer = await server.http.get("/readyz")
        assert (answer.status_code, answer.json()["reasons"]) == (503, ["the pipeline is full"])
        refused = await server.send(at(0))
        assert "no room" in problem(refused, 503, "saturated")
        assert int(refused.headers["retry-after"]) >= 1
        producer.capacity = capacity
        assert (await server.http.get("/readyz")).status_code == 200
        assert (await server.send(at(0))).status_code == 202


async def test_a_server_that_failed_says_why_it_is_not_ready(server: Served) -> None:
    server.app.fail(RuntimeError("the disk is gone"))
    answer = await server.http.get("/readyz")
    assert answer.status_code == 503
    assert "the disk is gone" in answer.json()["reasons"][0]


# the description of the API, and everything else that is served


async def test_the_description_names_every_route_of_the_api(server: Served) -> None:
    document = await server.get("/openapi.json")
    assert document["openapi"].startswith("3.1")
    described = {(path, method.upper()) for path, item in document["paths"].items() for method in item}
    routes = [*_routes(server), ("/api/events", "POST")]
    assert set(routes) <= described
    schemas = document["components"]["schemas"]
    assert {name.rsplit("/", 1)[1] for name in _references(document)} <= set(schemas)


def _routes(server: Served) -> list[tuple[str, str]]:
    service: Any = None  # a route's path does not depend on it
    return [
        (route.path, method)
        for route in api.routes(service)
        if isinstance(route, Route)
        for method in (route.methods or set()) - {"HEAD"}
    ]


def _references(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["$ref"]} if isinstance(node.get("$ref"), str) else set()
        return own.union(*map(_references, node.values()))
    return set().union(*map(_references, node)) if isinstance(node, list) else set()


async def test_answers_have_the_fields_that_the_description_gives_them(server: Served) -> None:
    schemas = (await server.get("/openapi.json"))["components"]["schemas"]
    await server.send(at(0, value=1))
    answers = {
        "MetricAnswer": await server.get("/api/metrics/events", **{"from": "all"}),
        "MetricList": await server.get("/api/metrics"),
        "LedgerAnswer": await server.get("/api/ledger"),
        "Status": await server.get("/readyz"),
        "SqlAnswer": (await server.http.post("/api/query", json={"sql": "SELECT 1"})).json(),
        "Accepted": (await server.send(at(0), {"bad": 1})).json(),
        "Problem": (await server.http.get("/nowhere")).json(),
    }
    for name, answer in answers.items():
        assert set(schemas[name].get("required", ())) <= answer.keys() <= schemas[name]["properties"].keys()


async def test_the_documentation_opens_as_a_page_without_scripts(server: Served) -> None:
    answer = await server.http.get("/docs")
    assert answer.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "POST /api/events" in answer.text
    assert "<script" not in answer.text
    assert "`" not in answer.text, "what is code is shown as code"


async def test_the_documentation_shows_what_every_body_may_have(server: Served) -> None:
    page = (await server.http.get("/docs")).text
    for fields in (api.SqlQuestion, dead_letters.Wanted):
        for name in fields.__struct_fields__:
            assert f"<td><code>{name}</code>" in page
    assert all(f"<td><code>{name}</code>" in page for name in RESERVED)


async def test_the_examples_of_bodies_are_taken_as_they_stand() -> None:
    async with serving() as server:
        paths = (await server.get("/openapi.json"))["paths"]
        bodies = {
            (path, method, kind): content["example"]
            for path, item in paths.items()
            for method, operation in item.items()
            for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        }
        assert {path for path, _, _ in bodies} >= {"/api/events", "/api/query", "/api/dead-letters/replay"}
        for (path, method, kind), example in bodies.items():
            text = example if isinstance(example, str) else json.dumps(example)
            answer = await server.http.request(method, path, content=text, headers={"Content-Type": kind})
            assert answer.is_success, (path, kind, answer.text)
        assert (await server.get("/api/ledger"))["rejected"] == 0


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/", "/docs", "/dashboard/main.js", "/openapi.json"])
async def test_pages_are_sent_with_headers_that_keep_browsers_careful(shared: Served, path: str) -> None:
    headers = (await shared.http.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "same-origin"
    assert headers["cache-control"] == "no-cache"


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "path", ["/api/metrics", "/api/metrics/events", "/api/ledger", "/nowhere", "/metrics"]
)
async def test_figures_are_neither_sniffed_nor_kept(shared: Served, path: str) -> None:
    headers = (await shared.http.get(path)).headers
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/metrics", "GET"),
        ("GET", "/api/query", "POST"),
        ("GET", "/api/events", "POST"),
        ("DELETE", "/api/ledger", "GET"),
        ("PUT", "/", "GET"),
    ],
)
async def test_a_method_that_is_not_possible_is_a_problem_that_names_those_that_are(
    shared: Served, method: str, path: str, allowed: str
) -> None:
    answer = await shared.http.request(method, path)
    problem(answer, 405, "method_not_allowed")
    assert allowed in answer.headers["allow"]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("path", ["/nowhere", "/api", "/api/events/1", "/api/metrics/a/b", "/favicon.ico"])
async def test_an_address_with_nothing_behind_it_is_a_problem(shared: Served, path: str) -> None:
    assert path in problem(await shared.http.get(path), 404, "not_found")


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "name",
    [
        "../app.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "%2e%2e%2f%2e%2e%2f%2e%2e%2fpyproject.toml",
        "..%5capp.py",
        "vendor/../../version.py",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "//etc/hosts.txt",
        "main.js%00",
        "%00.js",
        "main.js%00.png",
        "",
        ".",
        "vendor",
        "nothing.js",
        "x" * 5000 + ".js",
        "%ff.js",
    ],
)
async def test_files_outside_the_dashboards_folder_cannot_be_fetched(shared: Served, name: str) -> None:
    """Over a bare connection: clients tidy addresses up before they send them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", shared.port)
    request = f"GET /dashboard/{name} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    writer.write(request.encode())
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert b'"code":"not_found"' in answer


async def test_an_error_of_ours_is_answered_without_its_details(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(server.app.engine.ledger, "as_dict", broken)
    answer = await server.http.get("/api/ledger")
    assert "secret" not in problem(answer, 500, "internal")


async def test_answers_are_not_held_back_until_the_client_acknowledges(server: Served) -> None:
    """Nagle's delay would add some 40 ms to every answer that is written in two parts."""
    await server.get("/healthz")
    connections = server.app._server._uvicorn.server_state.connections
    sockets = [connection.transport.get_extra_info("socket") for connection in connections]
    assert sockets
    assert all(one.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for one in sockets)
