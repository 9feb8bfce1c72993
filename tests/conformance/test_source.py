"""What every source does, whatever it speaks: accepted, refused in part or in whole, and what stays over a restart.

A further source is an adapter beside those in `DOORS`: something with a `name` (its name in the ledger) that opens a
`Sender` to a server. A gap is a mark with a reason on one test.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, fields
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Protocol
from uuid import uuid4

import httpx
import pytest
from websockets.asyncio.client import ClientConnection

from streamgauge.intake import Receipt
from streamgauge.sources.cloudevents import BATCHED
from web_tools import Served, ok, serving, talk

Event = Mapping[str, Any]
MADE = "SELECT type, value FROM events ORDER BY type, value"


@dataclass
class Outcome:
    """What a sender was told. refused: nothing was read; again: it may send the same once more, later."""

    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    bad: list[int] = field(default_factory=list)
    refused: bool = False
    again: bool = False


class Sender(Protocol):
    """Sends in one protocol."""

    async def send(self, *events: Event) -> Outcome:
        """Send events together."""

    async def send_malformed(self) -> Outcome:
        """Send what cannot be read."""


@dataclass(frozen=True)
class Door:
    """One source."""

    name: str
    open: Callable[[Served], AbstractAsyncContextManager[Sender]]


def _outcome(told: Mapping[str, Any], **more: bool) -> Outcome:
    bad = [error["index"] for error in told.get("errors", ())]
    counts = {name: told.get(name, 0) for name in ("accepted", "rejected", "duplicates")}
    return Outcome(**counts, bad=bad, **more)


@dataclass
class HttpSender:
    """Bodies of some media type. write: makes one of events."""

    server: Served
    media_type: str
    write: Callable[[tuple[Event, ...]], bytes]

    async def send(self, *events: Event) -> Outcome:
        return await self._post(self.write(events))

    async def send_malformed(self) -> Outcome:
        return await self._post(b'{"type": ')

    async def _post(self, body: bytes) -> Outcome:
        headers = {"Content-Type": self.media_type}
        answer: httpx.Response = await self.server.http.post("/api/events", content=body, headers=headers)
        assert answer.status_code in {202, 400, 422, 503}, answer.text
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
        return _outcome(
            answer.json(), refused=answer.status_code in {400, 503}, again=answer.status_code == 503
        )


@dataclass
class SocketSender:
    """Pushes to the topic `events`."""

    socket: ClientConnection
    refs: Any = field(default_factory=lambda: map(str, count(2)))

    async def send(self, *events: Event) -> Outcome:
        return await self._push("new_events", {"events": events})

    async def send_malformed(self) -> Outcome:
        return await self._push("new_events", {"event": 5})

    async def _push(self, event: str, payload: object) -> Outcome:
        reply = (await talk(self.socket, "1", next(self.refs), "events", event, payload))[4]
        told = reply["response"]
        refused = reply["status"] == "error" and told["code"] != "rejected"
        return _outcome(told, refused=refused, again="retry_after_ms" in told)


def _as_lines(events: tuple[Event, ...]) -> bytes:
    return "".join(json.dumps(event) + "\n" for event in events).encode()


def _as_array(events: tuple[Event, ...]) -> bytes:
    return json.dumps(events).encode()


def _as_cloudevents(events: tuple[Event, ...]) -> bytes:
    return json.dumps(
        [
            {
                "specversion": "1.0",
                "source": "/conformance",
                "type": event["type"],
                "id": event.get("event_id", str(uuid4())),
                "data": {name: value for name, value in event.items() if name not in {"type", "event_id"}},
            }
            for event in events
        ]
    ).encode()


@asynccontextmanager
async def _http(
    media_type: str, write: Callable[[tuple[Event, ...]], bytes], server: Served
) -> AsyncIterator[Sender]:
    yield HttpSender(server, media_type, write)


@asynccontextmanager
async def _socket(server: Served) -> AsyncIterator[Sender]:
    async with server.socket() as socket:
        ok(await talk(socket, "1", "1", "events", "phx_join", {}))
        yield SocketSender(socket)


DOORS = [
    pytest.param(Door("http", partial(_http, "application/x-ndjson", _as_lines)), id="HTTP NDJSON"),
    pytest.param(Door("http", partial(_http, "application/json", _as_array)), id="HTTP JSON"),
    pytest.param(Door("http", partial(_http, BATCHED, _as_cloudevents)), id="HTTP CloudEvents"),
    pytest.param(Door("websocket", _socket), id="WebSocket"),
]


@pytest.fixture(params=DOORS)
def door(request: pytest.FixtureRequest) -> Door:
    found: Door = request.param
    return found


async def made(server: Served) -> list[list[Any]]:
    await server.commit()
    return await server.ask(MADE)


async def ledger_of(server: Served, door: Door) -> dict[str, int]:
    """Give a source's counts, which must add up."""
    counts: dict[str, int] = (await server.get("/api/ledger"))["sources"][door.name]
    parts = ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending")
    assert counts["received"] == sum(counts[part] for part in parts)
    return counts


async def test_what_is_accepted_is_stored_and_counted_under_the_source(door: Door) -> None:
    async with serving() as server, door.open(server) as sender:
        assert await sender.send({"type": "a", "value": 1}) == Outcome(accepted=1)
        assert await sender.send(*({"type": "b", "value": n, "event_id": str(n)} for n in range(3))) == (
            Outcome(accepted=3)
        )
        assert await made(server) == [["a", 1.0], ["b", 0.0], ["b", 1.0], ["b", 2.0]]
        assert (await ledger_of(server, door))["stored"] == 4


async def test_bad_events_are_told_by_their_place_and_the_good_ones_beside_them_are_stored(
    door: Door,
) -> None:
    async with serving() as server, door.open(server) as sender:
        bad = {"type": "b", "value": "abc"}
        assert await sender.send({"type": "a"}, bad, {"type": "c"}, bad) == (
            Outcome(accepted=2, rejected=2, bad=[1, 3])
        )
        assert await sender.send(bad) == Outcome(rejected=1, bad=[0])
        assert [row[0] for row in await made(server)] == ["a", "c"]
        assert (await ledger_of(server, door))["rejected"] == 3


async def test_what_cannot_be_read_is_refused_and_counted_and_the_next_is_taken(door: Door) -> None:
    async with serving() as server, door.open(server) as sender:
        outcome = await sender.send_malformed()
        assert (outcome.refused, outcome.again, outcome.accepted) == (True, False, 0)
        counts = await ledger_of(server, door)
        assert counts["rejected"] + counts["requests_refused"] == 1
        assert await sender.send({"type": "a"}) == Outcome(accepted=1)
        assert len(await made(server)) == 1


async def test_an_event_over_the_limit_costs_only_itself(door: Door) -> None:
    async with serving(limits={"event_bytes": "1KiB"}) as server, door.open(server) as sender:
        long = {"type": "long", "text": "x" * 2000}
        assert await sender.send({"type": "a"}, long, {"type": "b"}) == (
            Outcome(accepted=2, rejected=1, bad=[1])
        )
        assert [row[0] for row in await made(server)] == ["a", "b"]


async def test_a_full_server_says_come_again_and_has_taken_nothing(door: Door) -> None:
    async with serving(limits={"saturated_wait": "0s"}) as server, door.open(server) as sender:
        producer = server.app.engine.producer
        capacity, producer.capacity = producer.capacity, 0
        producer._room.clear()
        outcome = await sender.send({"type": "a"}, {"type": "b"})
        assert (outcome.refused, outcome.again, outcome.accepted) == (True, True, 0)
        counts = await ledger_of(server, door)
        assert (counts["received"], counts["requests_refused"]) == (0, 1)
        producer.capacity = capacity
        assert await sender.send({"type": "a"}, {"type": "b", "event_id": "1"}) == Outcome(accepted=2)
        assert [row[0] for row in await made(server)] == ["a", "b"]


async def test_an_id_that_came_before_is_told_as_duplicate_and_counted_once(door: Door) -> None:
    if "duplicates" not in {one.name for one in fields(Receipt)}:
        pytest.skip("ids are not compared yet")
    async with serving() as server, door.open(server) as sender:
        first = {"type": "a", "event_id": "1"}
        assert await sender.send(first, first) == Outcome(accepted=1, duplicates=1)
        assert await sender.send(first) == Outcome(duplicates=1)
        assert await sender.send(first, {"type": "b", "event_id": "2"}) == Outcome(accepted=1, duplicates=1)
        assert [row[0] for row in await made(server)] == ["a", "b"]
        assert (await ledger_of(server, door))["duplicate"] == 3


async def test_what_was_accepted_is_there_after_a_restart_and_once(door: Door, tmp_path: Path) -> None:
    events = [{"type": "a", "value": number, "event_id": str(number)} for number in range(50)]
    data = tmp_path / "data"
    async with serving(data) as server, door.open(server) as sender:
        assert await sender.send(*events[:30]) == Outcome(accepted=30)
    async with serving(data) as server, door.open(server) as sender:
        assert await sender.send(*events[30:]) == Outcome(accepted=20)
        assert await made(server) == [["a", float(number)] for number in range(50)]
        assert (await ledger_of(server, door))["stored"] == 50
