"""Exactly once over HTTP: ids of events, and requests with an `Idempotency-Key`."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from server_process import ServerProcess
from streamgauge.errors import DecodeError
from streamgauge.sources.http import idempotency_key
from web_tools import LONG, Served, problem, serving

LINES = "application/x-ndjson"
EVENT = {"type": "a", "value": 1}
Body = dict[str, Any]


async def post(server: Served, body: object, key: str | None = None, **headers: str) -> httpx.Response:
    more = headers if key is None else {"Idempotency-Key": key, **headers}
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await server.http.post("/api/events", content=content, headers=more)


def event(event_id: object, **more: object) -> Body:
    return {"type": "a", "event_id": event_id, **more}


async def stored(server: Served) -> int:
    await server.commit()
    ((count,),) = await server.ask("SELECT count(*) FROM events")
    return int(count)


async def balanced(server: Served) -> Body:
    """Give the ledger, whose equation must hold."""
    ledger: Body = await server.get("/api/ledger")
    parts = ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending")
    assert ledger["received"] == sum(ledger[part] for part in parts)
    return ledger


# Ids of events.


async def test_the_answer_says_how_many_were_duplicates() -> None:
    async with serving() as server:
        first = await post(server, [event("x"), event("y"), event("x")])
        assert (first.status_code, first.json()) == (202, {"accepted": 2, "duplicates": 1})
        second = await post(server, event("x"))
        assert (second.status_code, second.json()) == (202, {"accepted": 0, "duplicates": 1})
        third = await post(server, [event("x"), {"no": "type"}, event("z")])
        assert third.status_code == 202
        assert (third.json()["accepted"], third.json()["duplicates"], third.json()["rejected"]) == (1, 1, 1)
        assert [one["index"] for one in third.json()["errors"]] == [1]
        fourth = await post(server, EVENT)
        assert fourth.json() == {"accepted": 1}
        ledger = await balanced(server)
        assert (ledger["received"], ledger["duplicate"], ledger["rejected"]) == (8, 3, 1)
        assert await stored(server) == 4


async def test_duplicates_among_lines_that_are_no_json_are_no_bad_request() -> None:
    async with serving() as server:
        await post(server, event("x"))
        body = json.dumps(event("x")).encode() + b"\nnot json\n"
        answer = await post(server, body, **{"Content-Type": LINES})
        assert (answer.status_code, answer.json()["duplicates"], answer.json()["rejected"]) == (202, 1, 1)


async def test_the_field_that_is_the_id_may_be_another() -> None:
    async with serving() as server:
        for _ in range(2):
            answer = await server.send({"type": "a", "messageId": "x"}, query="?event_id=messageId")
        assert answer.json() == {"accepted": 0, "duplicates": 1}
        assert (await post(server, {"type": "a", "messageId": "x"})).json() == {"accepted": 1}


async def test_what_is_remembered_is_shown() -> None:
    async with serving(events={"remember_for": "2h"}) as server:
        await post(server, [event("x"), event("x"), EVENT])
        await post(server, EVENT, "key")
        assert (await server.get("/api/ledger"))["once"] == {"ids": 2, "horizon_s": 7200}
        text = (await server.http.get("/metrics")).text
        assert "streamgauge_once_ids 2.0" in text
        assert "streamgauge_once_horizon_seconds 7200.0" in text
        assert 'streamgauge_events_total{outcome="duplicate",source="http"} 1.0' in text


# Requests with a key.


@pytest.mark.parametrize("encoding", ["", "gzip"])
@pytest.mark.parametrize("kind", ["application/json", LINES])
async def test_a_request_that_is_repeated_counts_once(kind: str, encoding: str) -> None:
    body = b"".join(json.dumps({**EVENT, "n": number}).encode() + b"\n" for number in range(3))
    if kind != LINES:
        body = b"[" + b",".join(body.splitlines()) + b"]"
    headers = {"Content-Type": kind, **({"Content-Encoding": encoding} if encoding else {})}
    async with serving() as server:
        answers = [
            await post(server, gzip.compress(body) if encoding else body, "key-1", **headers)
            for _ in range(3)
        ]
        assert [one.status_code for one in answers] == [202] * 3
        assert [one.json() for one in answers] == [{"accepted": 3}] * 3
        assert [one.headers.get("idempotency-replayed") for one in answers] == [None, "true", "true"]
        assert await stored(server) == 3
        assert (await balanced(server))["duplicate"] == 6


async def test_a_repeated_request_gets_the_reasons_again() -> None:
    body = [EVENT, {"no": "type"}, event("x"), event("x")]
    async with serving() as server:
        first, again = await post(server, body, "key"), await post(server, body, "key")
        assert first.json() == again.json()
        assert (first.json()["accepted"], first.json()["duplicates"], first.json()["rejected"]) == (2, 1, 1)
        assert again.headers["idempotency-replayed"] == "true"
        assert "idempotency-replayed" not in first.headers


async def test_a_key_that_is_used_for_another_body_is_refused_and_nothing_of_it_is_counted() -> None:
    async with serving() as server:
        await post(server, EVENT, "key")
        detail = problem(await post(server, [EVENT, EVENT], "key"), 422, "idempotency_key_reused")
        assert "key of its own" in detail
        assert (await post(server, EVENT, "other")).json() == {"accepted": 1}
        assert await stored(server) == 2
        ledger = await balanced(server)
        assert (ledger["received"], ledger["requests_refused"]) == (2, 1)


@pytest.mark.parametrize("key", ["", "a b", "größe", "x" * 256, "tab\t."])
async def test_a_key_that_is_none_is_refused_before_anything_is_read(key: str) -> None:
    async with serving() as server:
        headers = [(b"Idempotency-Key", key.encode("latin-1"))]
        answer = await server.http.post("/api/events", json=EVENT, headers=headers)
        assert "1 to 255 visible ASCII characters" in problem(answer, 400, "bad_idempotency_key")
        assert (await server.get("/api/ledger"))["received"] == 0


async def test_two_keys_are_refused() -> None:
    headers = [(b"idempotency-key", b"a"), (b"idempotency-key", b"b")]
    async with serving() as server:
        answer = await server.http.post("/api/events", json=EVENT, headers=headers)
        assert answer.status_code == 400
        assert "Idempotency-Key" in answer.json()["detail"]
    with pytest.raises(DecodeError, match="expected one, got 2"):  # behind another server than ours
        idempotency_key(headers)


async def test_the_longest_key_and_every_visible_character_are_good() -> None:
    visible = "".join(map(chr, range(0x21, 0x7F)))
    async with serving() as server:
        for key in ("x" * 255, visible):
            for expected in (None, "true"):
                answer = await post(server, EVENT, key)
                assert (answer.json(), answer.headers.get("idempotency-replayed")) == (
                    {"accepted": 1},
                    expected,
                )


async def test_a_request_with_nothing_good_is_not_remembered() -> None:
    async with serving() as server:
        assert (await post(server, {"no": "type"}, "key")).status_code == 422
        assert (await post(server, EVENT, "key")).json() == {"accepted": 1}
        problem(await post(server, b"not json", "third"), 400, "malformed")
        assert (await post(server, EVENT, "third")).json() == {"accepted": 1}


# A process that is killed.


@pytest.fixture
def start(start_server: Callable[..., ServerProcess], tmp_path: Path) -> Callable[[], ServerProcess]:
    configuration = f'[store]\ncommit_interval = "{LONG}"\n'
    return lambda: start_server(data=tmp_path / "data", configuration=configuration)


def test_a_server_that_is_killed_before_it_commits_knows_what_it_was_sent(
    start: Callable[[], ServerProcess],
) -> None:
    body = json.dumps([event("x"), event("y"), EVENT]).encode()
    key = {"Idempotency-Key": "request-1"}
    server = start()
    assert server.client.post("/api/events", content=body, headers=key).json() == {"accepted": 3}
    server.kill()
    server = start()
    again = server.client.post("/api/events", content=body, headers=key)
    assert (again.json(), again.headers["idempotency-replayed"]) == ({"accepted": 3}, "true")
    assert server.client.post("/api/events", content=body).json() == {"accepted": 1, "duplicates": 2}
    server.kill()
    server = start()
    assert server.client.post("/api/events", json=event("y")).json() == {"accepted": 0, "duplicates": 1}
    series = server.get("/api/metrics/events", by="")["series"]
    assert series[0]["totals"]["count"] == 4
    ledger = server.get("/api/ledger")
    parts = ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending")
    assert ledger["received"] == sum(ledger[part] for part in parts)
