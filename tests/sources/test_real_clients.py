"""Every client that senders have, through a server that is full for a while and is started again: each event once."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest

from doors import DOORS, Door, Outcome
from mounted_tools import PREFIX, hosted, in_fastapi
from mqtt_broker import Broker
from real_clients import ALL, CLIENT, CLOUDEVENTS, PHOENIX, RealClient, running
from streamgauge import Streamgauge
from streamgauge.engine import Engine
from web_tools import WAIT_S, serving, until

PART = 150
PARTS = 4
STORED = "SELECT CAST(value AS INT) AS number, count(*) FROM events GROUP BY number ORDER BY number"
LIMITS = {"saturated_wait": "10ms"}


def part(number: int) -> list[Mapping[str, Any]]:
    numbers = range(number * PART, (number + 1) * PART)
    return [{"type": "sent", "value": value, "event_id": f"e{value}"} for value in numbers]


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.kill()


def free_port() -> int:
    """Give a port that a server can be started on twice."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class Standing:
    """A server that runs. engine: its pipeline; problems: what its sources say is wrong."""

    engine: Engine
    http: httpx.AsyncClient
    sources: list[Any]

    def is_refusing(self, source: str) -> bool:
        """Whether it has said no to a sender, or holds messages back at their broker."""
        counts = self.engine.ledger.of(source)
        return counts.requests_refused > 0 or any(one.problems() for one in self.sources)

    async def has_received(self, source: str, events: int) -> None:
        await until(lambda: self.engine.ledger.of(source).received >= events, 3 * WAIT_S)


class Start(Protocol):
    """Starts a server on a port and a data folder, with a broker that it hears."""

    def __call__(self, port: int, data: Path, broker: Broker | None) -> AbstractAsyncContextManager[Standing]:
        """Start it; it is stopped with the block."""


@asynccontextmanager
async def served(port: int, data: Path, broker: Broker | None) -> AsyncIterator[Standing]:
    sources = [] if broker is None else [{"kind": "mqtt", "url": broker.url, "topics": ["real/#"]}]
    async with serving(data, server={"port": port}, limits=LIMITS, source=sources) as server:
        server.app.engine.intake._retry_after_s = lambda: 1.0
        await until(lambda: all(one.status()["connected"] for one in server.app.sources), WAIT_S)
        yield Standing(server.app.engine, server.http, server.app.sources)


@asynccontextmanager
async def mounted(port: int, data: Path, broker: Broker | None) -> AsyncIterator[Standing]:
    assert broker is None
    gauge = Streamgauge({"limits": LIMITS}, data=data)
    async with (
        gauge,
        hosted(in_fastapi(gauge.asgi()), port=port),
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}{PREFIX}", timeout=30.0) as http,
    ):
        engine = gauge._ready()
        engine.intake._retry_after_s = lambda: 1.0
        yield Standing(engine, http, [])


async def commit(standing: Standing) -> dict[str, Any]:
    """Wait until the ledger says that all that was accepted is in the store; give it."""
    ledger: dict[str, Any] = {"pending": 1}
    while ledger["pending"]:
        ledger = (await standing.http.get("/api/ledger")).json()
    return ledger


@pytest.mark.parametrize(
    ("client", "start", "prefix"),
    [
        *(pytest.param(client, served, "", id=client.name) for client in ALL),
        *(
            pytest.param(client, mounted, PREFIX, id=f"{client.name} to asgi()")
            for client in (CLIENT, PHOENIX, CLOUDEVENTS)
        ),
    ],
)
async def test_each_event_is_stored_once_though_the_server_is_full_for_a_while_and_started_again(
    client: RealClient, start: Start, prefix: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    find_broker = lru_cache(lambda: request.getfixturevalue("broker"))
    broker = find_broker() if client.needs_broker else None
    port, source = free_port(), client.source
    async with running(client, f"http://127.0.0.1:{port}{prefix}", find_broker) as sender:
        async with start(port, tmp_path / "data", broker) as standing:
            await sender.send(part(0))
            await standing.has_received(source, PART)
            producer = standing.engine.producer
            capacity, producer.capacity = producer.capacity, 0
            producer._room.clear()
            await sender.send(part(1))
            await until(lambda: standing.is_refusing(source), WAIT_S)
            producer.capacity = capacity
            await standing.has_received(source, 2 * PART)
            await sender.send(part(2))
        await sender.send(part(3))
        async with start(port, tmp_path / "data", broker) as standing:
            await sender.end()
            await standing.has_received(source, PARTS * PART)
            ledger = await commit(standing)
            answer = await standing.http.post("/api/query", json={"sql": STORED})
            assert answer.json()["rows"] == [[number, 1] for number in range(PARTS * PART)]
            counts = ledger["sources"][source]
            assert counts["stored"] == PARTS * PART
            assert counts["received"] == counts["stored"] + counts["duplicate"]
            assert counts["requests_refused"] > 0 or client.needs_broker


async def test_what_a_program_pushes_is_stored_once_though_there_was_no_room_and_it_was_started_again(
    tmp_path: Path,
) -> None:
    [kind] = [kind for kind in DOORS if kind.name == "Python"]
    door = Door(kind, lambda: pytest.fail("no broker is needed"))
    async with door.open(tmp_path / "data", limits={"saturated_wait": "0s"}) as at:
        assert await at.sender.send(*part(0)) == Outcome(accepted=PART)
        producer = at.engine.producer
        capacity, producer.capacity = producer.capacity, 0
        producer._room.clear()
        assert (await at.sender.send(*part(1))).again
        producer.capacity = capacity
        assert await at.sender.send_again(*part(1)) == Outcome(accepted=PART)
    async with door.open(tmp_path / "data") as at:
        assert await at.sender.send(*part(1), *part(2)) == Outcome(accepted=PART, duplicates=PART)
        assert await at.ask(STORED) == [[number, 1] for number in range(3 * PART)]
        counts = await at.counts()
        assert (counts["stored"], counts["duplicate"]) == (3 * PART, PART)
