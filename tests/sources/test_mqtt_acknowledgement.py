"""When a message is acknowledged: after its events are accepted, never before, and once however often it is sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from mqtt_broker import Broker
from streamgauge.config import from_mapping
from streamgauge.errors import JournalError, Saturated
from streamgauge.event import FieldMapping
from streamgauge.source import Receipt
from streamgauge.sources import mqtt
from streamgauge.sources.mqtt import MqttSource
from streamgauge.sources.mqtt_client import Address, Delivery, Link, Session
from streamgauge.sources.mqtt_settings import settings_of
from web_tools import until

WAIT_S = 30.0


@dataclass
class Taken:
    """A receipt for everything."""

    accepted: int
    rejected: int = 0
    duplicates: int = 0
    replayed: bool = False
    errors: list[tuple[int, str]] = field(default_factory=list)


class FakeDoor:
    """Takes events while it is open. before: called with each payload before it is taken, and may raise."""

    def __init__(self, *, is_open: bool = True) -> None:
        self.taken: list[int] = []
        self.calls: list[int] = []
        self.refused = 0
        self.rejected: list[str] = []
        self.opened = asyncio.Event()
        self.before: Callable[[], None] = lambda: None
        if is_open:
            self.opened.set()

    async def accept(self, payload: bytes, source: str, mapping: FieldMapping) -> Receipt:
        lines = payload.splitlines()
        self.calls.append(len(lines))
        await self.opened.wait()
        self.before()
        self.taken += [json.loads(line)["value"] for line in lines]
        return Taken(len(lines))

    def refuse(self, source: str) -> None:
        self.refused += 1

    def reject(self, source: str, problem: str) -> None:
        self.rejected.append(problem)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


def make(broker: Broker, door: FakeDoor, name: str, **more: Any) -> MqttSource:
    section = {"kind": "mqtt", "url": broker.url, "topics": [f"{name}/#"], "name": name, **more}
    [options] = from_mapping({"source": [section]}).source
    return MqttSource(settings_of(options, "source[0]", mapping=FieldMapping(), instance="folder"), door)


@asynccontextmanager
async def running(source: MqttSource) -> AsyncIterator[MqttSource]:
    await source.start()
    await until(lambda: source.status()["connected"], WAIT_S)
    yield source
    await source.stop()


async def publish(broker: Broker, name: str, start: int, stop: int, qos: int) -> None:
    payloads = [f'{{"type":"n","value":{i}}}' for i in range(start, stop)]
    await asyncio.to_thread(broker.publish, f"{name}/a", *payloads, qos=qos)


def cut(source: MqttSource) -> None:
    """Cut the connection as a network does."""
    assert source._link is not None
    source._link._client._connection._transport.abort()


def settled(source: MqttSource) -> bool:
    return not source._session.held and not source._waiting


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_was_not_accepted_was_not_acknowledged_and_comes_again_to_the_next_server(
    broker: Broker, qos: int
) -> None:
    name = f"crash{qos}"
    shut, door = FakeDoor(is_open=False), FakeDoor()
    crashing = make(broker, shut, name)
    await crashing.start()
    await until(lambda: crashing.status()["connected"], WAIT_S)
    await publish(broker, name, 0, 50, qos)
    await until(lambda: len(crashing._session.held) == 50, WAIT_S)
    assert shut.calls, "the first messages were handed over, and wait there"
    for task in crashing._tasks:
        task.cancel()
    await asyncio.gather(*crashing._tasks, return_exceptions=True)
    cut(crashing)
    async with running(make(broker, door, name)) as source:
        await until(lambda: len(door.taken) >= 50, WAIT_S)
        await until(lambda: settled(source), WAIT_S)
        assert sorted(door.taken) == list(range(50))
    assert shut.taken == []


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_message_that_waits_while_the_connection_is_cut_is_counted_once(
    broker: Broker, qos: int, protocol: str
) -> None:
    name, door = f"cut{qos}{protocol[0]}", FakeDoor(is_open=False)
    async with running(make(broker, door, name, qos=qos, protocol=protocol)) as source:
        await publish(broker, name, 0, 15, qos)
        await until(lambda: len(source._session.held) == 15, WAIT_S)
        first = source._link
        cut(source)
        await until(lambda: source._link is not first and source.status()["connected"], WAIT_S)
        await publish(broker, name, 15, 20, qos)
        door.opened.set()
        await until(lambda: settled(source), WAIT_S)
        await until(lambda: len(door.taken) >= 20, WAIT_S)
        assert sorted(door.taken) == list(range(20))


@pytest.mark.parametrize("qos", [1, 2])
async def test_a_connection_cut_between_accepted_and_acknowledged_counts_nothing_twice(
    broker: Broker, qos: int
) -> None:
    name, door = f"between{qos}", FakeDoor()
    async with running(make(broker, door, name, qos=qos)) as source:
        cuts: list[Link | None] = []

        def cut_once() -> None:
            if not cuts:
                cuts.append(source._link)
                assert source._link is not None
                source._link.drop("cut")

        door.before = cut_once
        await publish(broker, name, 0, 30, qos)
        await until(lambda: len(door.taken) >= 30, WAIT_S)
        await until(lambda: settled(source) and source._link is not cuts[0], WAIT_S)
        assert sorted(door.taken) == list(range(30))


@pytest.mark.parametrize(
    "trouble",
    [Saturated("no room"), JournalError("the disk is away")],
    ids=lambda error: type(error).__name__,
)
async def test_messages_that_cannot_be_accepted_are_tried_again_until_they_are(
    broker: Broker, trouble: Exception
) -> None:
    name, door = f"again-{type(trouble).__name__.lower()}", FakeDoor()
    attempts = []

    def fail_twice() -> None:
        attempts.append(1)
        if len(attempts) <= 2:
            raise trouble

    door.before = fail_twice
    async with running(make(broker, door, name)) as source:
        await publish(broker, name, 0, 10, 1)
        await until(lambda: len(door.taken) >= 10, WAIT_S)
        await until(lambda: settled(source), WAIT_S)
        assert door.taken == list(range(10))
        assert source.problems() == []


async def test_while_messages_are_handed_over_none_of_them_is_acknowledged(broker: Broker) -> None:
    door, unacknowledged = FakeDoor(), list[int]()
    async with running(make(broker, door, "early")) as source:
        door.before = lambda: unacknowledged.append(len(source._session.held))
        await publish(broker, "early", 0, 20, 1)
        await until(lambda: sum(door.calls) == 20 and settled(source), WAIT_S)
    assert all(held >= handed_over for held, handed_over in zip(unacknowledged, door.calls, strict=True))


async def test_a_bug_behind_the_door_loses_nothing_and_does_not_end_the_subscription(broker: Broker) -> None:
    name, door = "bug", FakeDoor()

    def fail_once() -> None:
        door.before = lambda: None
        raise RuntimeError("a bug")

    door.before = fail_once
    async with running(make(broker, door, name)):
        await publish(broker, name, 0, 1, 1)
        await until(lambda: door.calls == [1], WAIT_S)
        await publish(broker, name, 1, 2, 1)
        await until(lambda: sorted(door.taken) == [0, 1], WAIT_S)


async def test_messages_of_one_turn_are_handed_over_together(broker: Broker) -> None:
    name, door = "together", FakeDoor()
    async with running(make(broker, door, name, receive_maximum=1000)) as source:
        door.opened.clear()
        await publish(broker, name, 0, 1, 1)
        await until(lambda: len(door.calls) == 1, WAIT_S)
        await publish(broker, name, 1, 800, 1)
        await until(lambda: len(source._session.held) == 800, WAIT_S)
        door.opened.set()
        await until(lambda: len(door.taken) == 800, WAIT_S)
        assert door.taken == list(range(800)), "in their order"
        assert door.calls == [1, mqtt.TAKEN_MESSAGES, 799 - mqtt.TAKEN_MESSAGES]


async def test_too_many_messages_without_acknowledgement_are_dropped_and_counted(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "WAITING_MESSAGES", 100)
    name, door = "shed", FakeDoor(is_open=False)
    async with running(make(broker, door, name)) as source:
        await publish(broker, name, 0, 1, 0)
        await until(lambda: len(door.calls) == 1, WAIT_S)
        await publish(broker, name, 1, 301, 0)
        await until(lambda: len(source._waiting) + door.refused == 300, WAIT_S)
        assert door.refused == 200
        door.opened.set()
        await until(lambda: len(door.taken) == 101, WAIT_S)


async def test_a_broker_that_sends_more_than_was_agreed_is_left_for_a_while_and_nothing_is_lost(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mqtt, "WAITING_BYTES", 200)
    name, door = "greedy", FakeDoor(is_open=False)
    source = make(broker, door, name, protocol="3.1.1", receive_maximum=1, message_bytes=100)
    async with running(source):
        await publish(broker, name, 0, 20, 1)
        await until(lambda: "than can be held" in str(source.problems()), WAIT_S)
        door.opened.set()
        await until(lambda: len(door.taken) >= 20 and settled(source), WAIT_S)
        assert sorted(door.taken) == list(range(20))


async def test_a_stop_finishes_what_is_here_and_says_goodbye(broker: Broker) -> None:
    name, door = "stop", FakeDoor(is_open=False)
    source = make(broker, door, name)
    await source.start()
    await until(lambda: source.status()["connected"], WAIT_S)
    await publish(broker, name, 0, 20, 0)
    await publish(broker, name, 20, 40, 1)
    await until(lambda: len(source._waiting) + sum(door.calls) == 40, WAIT_S)
    stopping = asyncio.create_task(source.stop())
    door.opened.set()
    await stopping
    assert sorted(door.taken) == list(range(40)), "also those of QoS 0, which nobody would send again"
    async with running(make(broker, after := FakeDoor(), name)):
        await publish(broker, name, 40, 41, 1)
        await until(lambda: after.taken == [40], WAIT_S)


async def test_a_message_sent_again_is_known_and_another_under_its_number_is_not() -> None:
    sent: list[int] = []
    new: list[Delivery] = []
    session = Session()

    def link() -> Link:
        made = Link(Address(host="broker", port=1, client_id="c"), session, new.append)
        made._handler = SimpleNamespace(
            _send_puback=sent.append, _send_pubrec=sent.append, _send_pubcomp=lambda number, _dup: None
        )
        return made

    first = link()
    first._take(2, 7, b"1", "a", {"dup": 0})
    session.settle(new[0])
    assert (len(new), sent) == (1, [7])
    second = link()
    second._take(2, 7, b"1", "a", {"dup": 1})
    assert (len(new), sent) == (1, [7, 7]), "acknowledged again, counted once"
    second._take(2, 7, b"2", "a", {"dup": 1})
    assert [one.payload for one in new[1:]] == [b"2"], "the broker has let go of the first"
    second._take(2, 7, b"2", "a", {"dup": 0})
    assert len(new) == 3, "what is not said to be sent again is new"
    session.settle(new[1])
    session.settle(new[2])
    second._release(0x62, b"\0\x07")
    assert session.held == {}


async def test_an_acknowledgement_goes_over_the_connection_that_brought_the_message_or_not_at_all() -> None:
    sent: list[int] = []
    new: list[Delivery] = []
    session = Session()
    link = Link(Address(host="broker", port=1, client_id="c"), session, new.append)
    link._handler = SimpleNamespace(_send_puback=sent.append)
    link._take(1, 3, b"1", "a", {"dup": 0})
    link.drop("cut")
    session.settle(new[0])
    assert sent == []
    assert session.held[3].taken, "so that it is known when it comes again"
