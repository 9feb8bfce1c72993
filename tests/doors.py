"""The doors of the conformance suite: each is opened, sent to as its users do, and asked what became of the events."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar
from unittest.mock import patch
from uuid import uuid4

import httpx
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from mqtt_broker import Broker
from streamgauge import Client, Streamgauge, embedded
from streamgauge.client import Undelivered
from streamgauge.engine import Engine
from streamgauge.errors import Saturated
from streamgauge.ledger import Counts
from streamgauge.sources.cloudevents import BATCHED
from web_tools import WAIT_S, Served, ok, serving, talk, until

Event = Mapping[str, Any]
T = TypeVar("T")
MADE = "SELECT type, value FROM events ORDER BY type, value"
PATIENCE_S = 30.0
TOO_LARGE = 1009  # how a WebSocket is closed for that (RFC 6455, 7.4.1)


@dataclass
class Outcome:
    """What a sender was told, or what it can see. refused: nothing was taken; again: the same may be taken later.

    bad: the places of the events that were rejected; None where the protocol cannot tell them.
    """

    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    bad: list[int] | None = field(default_factory=list, compare=False)
    refused: bool = False
    again: bool = False


class Sender(Protocol):
    """Sends through one door."""

    async def send(self, *events: Event) -> Outcome:
        """Send events together."""

    async def send_again(self, *events: Event) -> Outcome:
        """Send what found no room once more; what repeats by itself only waits until that was taken."""

    async def send_malformed(self) -> Outcome:
        """Send what cannot be read."""


@dataclass
class Opened:
    """A running Streamgauge with a sender at one of its doors. source: its name in the ledger."""

    sender: Sender
    source: str
    engine: Engine
    get: Callable[[str], Any]
    ask: Callable[[str], Any]
    commit: Callable[[], Any]

    async def made(self) -> list[list[Any]]:
        """Give type and value of every event that is stored."""
        await self.commit()
        rows: list[list[Any]] = await self.ask(MADE)
        return rows

    async def counts(self) -> dict[str, int]:
        """Give the source's counts, which must add up."""
        parts = ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending")
        nothing = dict.fromkeys(("received", "requests_refused", *parts), 0)
        counts: dict[str, int] = (await self.get("/api/ledger"))["sources"].get(self.source, nothing)
        assert counts["received"] == sum(counts[part] for part in parts)
        return counts


Open = Callable[[Path | None, dict[str, Any], Callable[[], Broker]], AbstractAsyncContextManager[Opened]]


def _told(told: Mapping[str, Any], **more: bool) -> Outcome:
    bad = [error["index"] for error in told.get("errors", ())]
    counts = {name: told.get(name, 0) for name in ("accepted", "rejected", "duplicates")}
    return Outcome(**counts, bad=bad, **more)


@dataclass
class _Seen:
    """Tells what became of events by what the ledger counts from now on, for those who are not answered."""

    counts: Counts
    before: tuple[int, int, int] = (0, 0, 0)

    def __post_init__(self) -> None:
        self.before = self._now()

    def _now(self) -> tuple[int, int, int]:
        return self.counts.received, self.counts.rejected, self.counts.duplicate

    @property
    def received(self) -> int:
        return self.counts.received - self.before[0]

    def outcome(self) -> Outcome:
        received, rejected, duplicates = (
            now - then for now, then in zip(self._now(), self.before, strict=True)
        )
        return Outcome(received - rejected - duplicates, rejected, duplicates, bad=None)


# what speaks to a server


def _at(server: Served, sender: Sender, source: str) -> Opened:
    return Opened(sender, source, server.app.engine, server.get, server.ask, server.commit)


@dataclass
class HttpSender:
    """Bodies of some media type. write: makes one of events."""

    server: Served
    media_type: str
    write: Callable[[tuple[Event, ...]], bytes]

    async def send(self, *events: Event) -> Outcome:
        return await self._post(self.write(events))

    send_again = send

    async def send_malformed(self) -> Outcome:
        return await self._post(b'{"type": ')

    async def _post(self, body: bytes) -> Outcome:
        headers = {"Content-Type": self.media_type}
        answer: httpx.Response = await self.server.http.post("/api/events", content=body, headers=headers)
        assert answer.status_code in {202, 400, 413, 422, 503}, answer.text
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
        return _told(
            answer.json(), refused=answer.status_code in {400, 413, 503}, again=answer.status_code == 503
        )


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


def _http(media_type: str, write: Callable[[tuple[Event, ...]], bytes]) -> Open:
    @asynccontextmanager
    async def opened(
        data: Path | None, sections: dict[str, Any], _broker: Callable[[], Broker]
    ) -> AsyncIterator[Opened]:
        async with serving(data, **sections) as server:
            yield _at(server, HttpSender(server, media_type, write), "http")

    return opened


@dataclass
class SocketSender:
    """Pushes to the topic `events`."""

    server: Served
    socket: ClientConnection
    refs: Any = field(default_factory=lambda: map(str, count(2)))

    async def send(self, *events: Event) -> Outcome:
        try:
            return await self._push("new_events", {"events": events})
        except ConnectionClosed as exc:
            if exc.rcvd is None or exc.rcvd.code != TOO_LARGE:
                raise
            self.socket = await self.server.socket()
            ok(await talk(self.socket, "1", "1", "events", "phx_join", {}))
            return Outcome(refused=True)

    send_again = send

    async def send_malformed(self) -> Outcome:
        return await self._push("new_events", {"event": 5})

    async def _push(self, event: str, payload: object) -> Outcome:
        reply = (await talk(self.socket, "1", next(self.refs), "events", event, payload))[4]
        told = reply["response"]
        refused = reply["status"] == "error" and told["code"] != "rejected"
        return _told(told, refused=refused, again="retry_after_ms" in told)


@asynccontextmanager
async def _socket(
    data: Path | None, sections: dict[str, Any], _broker: Callable[[], Broker]
) -> AsyncIterator[Opened]:
    async with serving(data, **sections) as server:
        sender = SocketSender(server, await server.socket())
        ok(await talk(sender.socket, "1", "1", "events", "phx_join", {}))
        yield _at(server, sender, "websocket")
        await sender.socket.close()


@dataclass
class MqttSender:
    """Messages of QoS 1, of which the broker is told when they are taken, and their sender never."""

    server: Served
    broker: Broker
    topic: str
    held: _Seen | None = None

    async def send(self, *events: Event) -> Outcome:
        return await self._publish(json.dumps(events), len(events))

    async def send_again(self, *events: Event) -> Outcome:
        assert self.held is not None, "nothing is held back"
        seen = self.held
        await until(lambda: seen.received >= len(events), PATIENCE_S)
        return seen.outcome()

    async def send_malformed(self) -> Outcome:
        outcome = await self._publish('{"type": ', 1)
        outcome.refused = (outcome.accepted, outcome.rejected) == (0, 1)
        return outcome

    async def _publish(self, payload: str, events: int) -> Outcome:
        seen = _Seen(self.server.app.engine.ledger.of("mqtt"))
        await asyncio.to_thread(self.broker.publish, self.topic, payload)
        return await self._taken(seen, events)

    async def _taken(self, seen: _Seen, events: int) -> Outcome:
        [source] = self.server.app.sources
        await until(lambda: seen.received >= events or source.problems(), PATIENCE_S)
        if not source.problems():
            return seen.outcome()
        assert "messages wait at the broker" in source.problems()[0]
        self.held = seen
        return Outcome(bad=None, refused=True, again=True)


@asynccontextmanager
async def _mqtt(
    data: Path | None, sections: dict[str, Any], broker: Callable[[], Broker]
) -> AsyncIterator[Opened]:
    topic = f"conformance/{uuid4()}"
    section = {"kind": "mqtt", "url": broker().url, "topics": [topic]}
    async with serving(data, source=[section], **sections) as server:
        [source] = server.app.sources
        await until(lambda: source.status()["connected"], PATIENCE_S)
        yield _at(server, MqttSender(server, broker(), topic), "mqtt")


@dataclass
class ClientSender:
    """`streamgauge.Client`, which repeats by itself what found no room."""

    server: Served
    client: Client
    problems: list[Undelivered]

    async def send(self, *events: Event) -> Outcome:
        self.problems.clear()
        self.before = self.client.counts()
        await asyncio.to_thread(self.client.push_events, events)
        return await self._settled(events)

    async def send_again(self, *events: Event) -> Outcome:
        return await self._settled(events)

    async def send_malformed(self) -> Outcome:
        raise AssertionError("a client sends nothing that cannot be read")

    async def _settled(self, events: tuple[Event, ...]) -> Outcome:
        counts = self.server.app.engine.ledger.of("http")
        refused = counts.requests_refused
        client = self.client
        await until(lambda: not client.counts().waiting or counts.requests_refused > refused, PATIENCE_S)
        if client.counts().waiting:
            return Outcome(refused=True, again=True)
        now, then = client.counts(), self.before
        bad = [events.index(json.loads(line)) for problem in self.problems for line, _ in problem.rejected]
        return Outcome(
            now.accepted - then.accepted, now.rejected - then.rejected, now.duplicates - then.duplicates, bad
        )


@asynccontextmanager
async def _client(
    data: Path | None, sections: dict[str, Any], _broker: Callable[[], Broker]
) -> AsyncIterator[Opened]:
    async with serving(data, **sections) as server:
        problems: list[Undelivered] = []
        server.app.engine.intake._retry_after_s = lambda: 1.0  # it keeps to what it is told
        client = Client(f"http://127.0.0.1:{server.port}", linger_s=0.0, on_error=problems.append)
        yield _at(server, ClientSender(server, client, problems), "http")
        await asyncio.to_thread(client.close)


# what has no server


@dataclass
class PythonSender:
    """Pushes inside the program."""

    gauge: Streamgauge

    async def send(self, *events: Any) -> Outcome:
        try:
            receipt = await asyncio.to_thread(self.gauge.push_events, events)
        except Saturated:
            return Outcome(refused=True, again=True)
        bad = [place for place, _ in receipt.errors]
        return Outcome(receipt.accepted, receipt.rejected, receipt.duplicates, bad)

    send_again = send

    async def send_malformed(self) -> Outcome:
        outcome = await self.send({"type": object()})
        outcome.refused = (outcome.accepted, outcome.rejected) == (0, 1)
        return outcome


@asynccontextmanager
async def _python(
    data: Path | None, sections: dict[str, Any], _broker: Callable[[], Broker]
) -> AsyncIterator[Opened]:
    gauge = Streamgauge({**sections, "store": {"raw_events": True}}, data=data)
    transport = httpx.ASGITransport(gauge.asgi())
    impatient = patch.object(embedded, "PATIENCE_S", 0.0)
    with impatient:
        async with gauge, httpx.AsyncClient(transport=transport, base_url="http://gauge") as http:
            engine = gauge._ready()
            server = Served(None, 0, http)  # type: ignore[arg-type]  # it has pages, and no port of its own

            async def commit() -> None:
                await gauge._call_async(_commit(engine))

            yield Opened(PythonSender(gauge), embedded.SOURCE, engine, server.get, server.ask, commit)


async def _commit(engine: Engine) -> None:
    assert await engine.flush(WAIT_S)
    engine.book.close(0.0)
    engine.committer._changed.set()
    assert await engine.caught_up(engine.journal.last_seq, WAIT_S)


@dataclass(frozen=True)
class Kind:
    """A kind of door. refuses: it says no to what it has no room for, or else holds it back and counts nothing."""

    name: str
    open: Open
    refuses: bool = True


DOORS = (
    Kind("HTTP NDJSON", _http("application/x-ndjson", _as_lines)),
    Kind("HTTP JSON", _http("application/json", _as_array)),
    Kind("HTTP CloudEvents", _http(BATCHED, _as_cloudevents)),
    Kind("WebSocket", _socket),
    Kind("MQTT", _mqtt, refuses=False),
    Kind("Client", _client),
    Kind("Python", _python, refuses=False),
)


@dataclass(frozen=True)
class Door:
    """A door that can be opened. broker: gives a running broker to those who need one."""

    kind: Kind
    broker: Callable[[], Broker]

    def open(self, data: Path | None = None, **sections: Any) -> AbstractAsyncContextManager[Opened]:
        """Start a Streamgauge and go to the door. sections: those of the configuration file."""
        return self.kind.open(data, sections, self.broker)
