"""`GET /api/sources`: every door, and what came by it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from mqtt_broker import Broker
from streamgauge import replay
from streamgauge.client import AsyncClient
from streamgauge.sources.rate import EventRate
from streamgauge.sources.topics import TopicTemplate, example_of
from web_tools import Served, serving, until

BINARY = {
    "ce-specversion": "1.0",
    "ce-type": "sale",
    "ce-source": "/shop",
    "Content-Type": "application/json",
}


async def doors(served: Served) -> dict[str, Any]:
    return {door["name"]: door for door in (await served.get("/api/sources"))["doors"]}


async def test_every_door_is_listed_before_anything_came() -> None:
    async with serving() as served:
        listed = await doors(served)
    assert list(listed) == ["http", "websocket", "cloudevents", "files", "python"]
    for door in listed.values():
        assert (door["received"], door["last_ms"], door["last_problem"]) == (0, None, None)
        assert door["rate"] in {None, 0.0}


async def test_cloud_events_are_shown_at_their_door_and_counted_with_http() -> None:
    async with serving() as served:
        for id_ in ("1", "1", "2"):
            await served.http.post("/api/events", json={"value": 1}, headers={**BINARY, "ce-id": id_})
        await served.http.post("/api/events", json={"value": "x"}, headers={**BINARY, "ce-id": "3"})
        listed = await doors(served)
        now = (await served.get("/api/sources"))["as_of"]
    door, http = listed["cloudevents"], listed["http"]
    assert (door["received"], door["duplicate"], door["rejected"], door["own"]) == (4, 1, 1, True)
    assert (http["received"], http["duplicate"], http["rejected"], http["own"]) == (4, 1, 1, False)
    assert "value: expected a number" in door["last_problem"]
    assert 0 <= now - door["last_ms"] < 60_000


async def test_a_body_that_is_no_cloud_event_is_the_doors_problem_and_no_event() -> None:
    async with serving() as served:
        headers = {"Content-Type": "application/cloudevents+json"}
        answer = await served.http.post("/api/events", content=b"[]", headers=headers)
        door = (await doors(served))["cloudevents"]
    assert answer.status_code == 400
    assert (door["received"], door["last_ms"]) == (0, None)
    assert "expected one CloudEvent" in door["last_problem"]


async def test_files_and_programs_are_shown_at_their_doors_and_plain_http_at_neither(tmp_path: Path) -> None:
    file = tmp_path / "events.ndjson"
    file.write_text('{"type": "a"}\n{"type": "a", "value": "x"}\nno JSON\n')
    async with serving() as served:
        url = f"http://127.0.0.1:{served.port}"
        await asyncio.to_thread(replay.replay, [str(file)], url, fields={})
        async with AsyncClient(url) as client:
            await client.push_event({"type": "b"})
        await served.send({"type": "c"})
        listed = await doors(served)
    assert (listed["files"]["received"], listed["files"]["rejected"]) == (3, 2)
    assert (listed["python"]["received"], listed["python"]["rejected"]) == (1, 0)
    assert listed["http"]["received"] == 5


async def test_a_stranger_at_the_door_is_counted_with_http_alone() -> None:
    async with serving() as served:
        for name in ("", "neighbour", "é"):
            headers = {b"Streamgauge-Door": name.encode()}
            answer = await served.http.post("/api/events", json={"type": "a"}, headers=headers)
            assert answer.status_code == 202
        listed = await doors(served)
    assert list(listed) == ["http", "websocket", "cloudevents", "files", "python"]
    assert listed["http"]["received"] == 3
    assert [listed[name]["received"] for name in ("cloudevents", "files", "python")] == [0, 0, 0]


async def test_each_broker_has_a_door_with_a_topic_to_publish_to(tmp_path: Path) -> None:
    broker = Broker(tmp_path / "broker")
    broker.start()
    sources = [
        {"kind": "mqtt", "url": broker.url, "topics": ["fleet/{site}/+/{type}"], "type_from": "kind"},
        {"kind": "mqtt", "name": "cellar", "url": "mqtt://127.0.0.1:1", "topics": ["cellar/#"]},
    ]
    try:
        async with serving(source=sources) as served:
            await until(lambda: served.app.sources[0].status()["connected"])
            listed = await doors(served)
            fleet, cellar = listed["mqtt"], listed["cellar"]
            assert (fleet["kind"], fleet["url"], fleet["connected"]) == ("mqtt", broker.url, True)
            assert (fleet["example"], fleet["topics"]) == ("fleet/site1/1/type1", ["fleet/+/+/+"])
            assert fleet["type_field"] == "kind"
            assert cellar["connected"] is False
            assert "no connection to mqtt://127.0.0.1:1" in cellar["problems"][0]
            broker.publish(fleet["example"], '{"kind": "t", "value": 1}')
            await until(lambda: served.app.engine.ledger.of("mqtt").received == 1)
            assert (await doors(served))["mqtt"]["received"] == 1
    finally:
        broker.stop()


async def test_the_answer_says_how_this_server_calls_the_parts_of_an_event() -> None:
    async with serving(events={"type": "event", "value": "amount"}) as served:
        answer = await served.get("/api/sources")
    assert answer["fields"] == {
        "type": "event", "timestamp": "timestamp", "value": "amount", "user_id": "user_id", "event_id": "event_id",
    }  # fmt: skip
    assert answer["started_at"] <= answer["as_of"]


@pytest.mark.parametrize(
    "template", ["#", "+", "a/b", "a/#", "a/+/b", "fleet/{site}/{device}/{type}", "+/{a}/#", "$SYS/+"]
)
def test_an_example_of_a_topic_is_one_that_is_subscribed_to(template: str) -> None:
    assert TopicTemplate.parse(template, "topics[0]").match(example_of(template)) is not None


def test_a_rate_is_over_the_last_five_whole_seconds() -> None:
    rate = EventRate()
    for second in range(10):
        rate.add(second + 0.5, 10)
    assert rate.rate(10.2) == 10.0
    assert rate.rate(12.2) == 6.0
    assert rate.rate(60.0) == 0.0
    assert len(rate._seconds) <= 6, "it remembers no more than it needs"
