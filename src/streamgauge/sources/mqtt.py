"""Events from an MQTT broker: a message is acknowledged once its events are in the journal, never before.

What the pipeline has no room for is not acknowledged, so that the broker holds it; what arrives while the server is
down waits at the broker too. Only QoS 0, which knows no acknowledgement, is dropped when too much waits, and counted.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from streamgauge.errors import DecodeError, JournalError, Saturated
from streamgauge.source import Receipt, RejectingDoor
from streamgauge.sources.backoff import Backoff
from streamgauge.sources.messages import lines_of
from streamgauge.sources.mqtt_client import CLOSED, BrokerLost, Delivery, Link, Session
from streamgauge.sources.mqtt_settings import MqttSettings
from streamgauge.sources.rate import EventRate

log = structlog.get_logger()

TAKEN_MESSAGES: Final = 500  # handed over together: reading more of them at once would hold up the event loop
TAKEN_BYTES: Final = 256 * 1024
WAITING_MESSAGES: Final = 20_000
WAITING_BYTES: Final = 64 * 2**20
STEADY_S: Final = 10.0  # a connection that lasted this long was a good one
STOP_S: Final = 5.0
LOGGED_S: Final = 10.0  # the same kind of trouble is logged at most this often


@dataclass(slots=True)
class _Read:
    """Some messages' events, one a line, and what could not be read: each with its topic."""

    lines: list[bytes]
    topics: list[str]
    refused: list[tuple[str, str]]


class MqttSource:
    """Keeps a subscription alive and hands its messages to the door, in their order."""

    def __init__(self, settings: MqttSettings, door: RejectingDoor) -> None:
        self._settings, self._door = settings, door
        self.name = settings.name
        self._session = Session()
        self._link: Link | None = None
        self._waiting: deque[Delivery] = deque()
        self._waiting_bytes = 0
        self._arrival = asyncio.Event()
        self._ending = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble: str | None = "not connected yet"
        self._refused_filters: list[str] = []
        self._held_up: str | None = None
        self._logged_at: dict[str, float] = {}
        self._last_ms: int | None = None
        self._events = EventRate()

    # what the server asks

    async def start(self) -> None:
        """Begin to connect; that the broker is not there is a problem and no failure."""
        logging.getLogger("gmqtt").setLevel(logging.CRITICAL)  # what it warns of, we say in our own words
        self._tasks = [
            asyncio.create_task(self._stay_connected(), name=f"{self.name}: connection"),
            asyncio.create_task(self._take_in(), name=f"{self.name}: messages"),
        ]

    async def stop(self) -> None:
        """Take no more messages, finish those that are here, acknowledge them, and say goodbye."""
        self._ending.set()
        self._arrival.set()
        if not self._tasks:
            return
        connection, messages = self._tasks
        await asyncio.wait([messages], timeout=STOP_S)
        for task in (messages, connection):
            task.cancel()
        await asyncio.gather(messages, connection, return_exceptions=True)
        if self._link is not None:
            await self._link.close()

    def problems(self) -> list[str]:
        """Say what is wrong now, if anything is."""
        found = []
        if self._trouble is not None:
            found.append(f"{self.name}: no connection to {self._settings.shown}: {self._trouble}")
        found += [f"{self.name}: the broker does not allow {one}" for one in self._refused_filters]
        if self._held_up is not None:
            found.append(f"{self.name}: messages wait at the broker: {self._held_up}")
        return found

    def status(self) -> Mapping[str, Any]:
        """Tell how it is: broker, topics, whether connected, when the last event came, events a second, what is wrong."""
        return {
            "kind": "mqtt",
            "url": self._settings.shown,
            "connected": self._trouble is None,
            "topics": list(self._settings.filters),
            "example": self._settings.example,
            "type_field": self._settings.mapping.type,
            "last_ms": self._last_ms,
            "rate": self._events.rate(time.monotonic()),
            "problems": self.problems(),
        }

    # the connection

    async def _stay_connected(self) -> None:
        backoff = Backoff(0.5, 30.0)
        while not self._ending.is_set():
            self._link = link = Link(self._settings.address, self._session, self._arrived)
            try:
                started = time.monotonic()
                await self._listen(link)
                if time.monotonic() - started >= STEADY_S:
                    backoff.reset()
            except BrokerLost as exc:
                self._trouble = str(exc)
            except Exception as exc:  # a bug in the client library must not end the subscription
                log.exception("the MQTT client failed", source=self.name)
                self._trouble = f"{type(exc).__name__}: {exc}"
            finally:
                if not self._ending.is_set():
                    await link.close()
            if self._ending.is_set():
                return
            wait_s = backoff.next()
            self._warn(
                "no connection to the MQTT broker",
                url=self._settings.shown,
                problem=self._trouble,
                again_in_s=round(wait_s, 1),
            )
            await _until(self._ending, wait_s)

    async def _listen(self, link: Link) -> None:
        """Connect, subscribe, and stay until the connection ends. Raises BrokerLost where there never was one."""
        await link.open()
        self._refused_filters = await link.subscribe(self._settings.filters, self._settings.qos)
        self._trouble = None
        self._logged_at.clear()
        log.info(
            "connected to the MQTT broker", source=self.name, url=self._settings.shown, resumed=link.resumed
        )
        for one in self._refused_filters:
            self._warn("the MQTT broker does not allow a subscription", topic=one)
        connected_at = time.monotonic()
        await link.lost.wait()
        self._trouble = link.reason
        if link.reason == CLOSED and time.monotonic() - connected_at < STEADY_S:
            self._trouble += " at once; does another client have the same client_id?"

    # the messages

    def _arrived(self, delivery: Delivery) -> None:
        if self._ending.is_set():
            if not delivery.qos:
                self._door.refuse(self.name)
            return
        size = len(delivery.payload)
        if not self._has_room(delivery.qos, size):
            self._overflow(delivery)
            return
        self._waiting.append(delivery)
        self._waiting_bytes += size
        self._arrival.set()

    def _has_room(self, qos: int, size: int) -> bool:
        """Tell whether a message may wait; a broker that keeps to the receive maximum is always within it."""
        if qos:
            address = self._settings.address
            allowed = address.receive_maximum * address.message_bytes
            return self._waiting_bytes + size <= WAITING_BYTES + allowed
        return len(self._waiting) < WAITING_MESSAGES and self._waiting_bytes + size <= WAITING_BYTES

    def _overflow(self, delivery: Delivery) -> None:
        """Too much waits: QoS 0 is dropped and counted; a broker that sends on without PUBACK is left for a while."""
        if delivery.qos:
            self._session.held.pop(delivery.packet_id, None)
            delivery.link.drop("the broker sends more messages without acknowledgement than can be held")
            return
        self._door.refuse(self.name)
        self._warn("messages of QoS 0 were dropped: too many wait", waiting=len(self._waiting))

    async def _take_in(self) -> None:
        while not (self._ending.is_set() and not self._waiting):
            if not self._waiting:
                self._arrival.clear()
                await self._arrival.wait()
                continue
            deliveries = self._next()
            try:
                read = await self._read(deliveries)
                if not await self._hand_over(read):
                    self._leave([*deliveries, *self._waiting])
                    return
            except Exception as exc:  # a bug of ours must not end the subscription
                log.exception("messages could not be taken; the broker keeps them", source=self.name)
                self._leave(deliveries)
                deliveries[-1].link.drop(f"messages could not be taken: {exc}")
                continue
            for topic, problem in read.refused:
                self._door.reject(self.name, f"{topic}: {problem}")
                self._warn("a message was rejected", topic=topic, problem=problem)
            for delivery in deliveries:
                self._session.settle(delivery)

    def _leave(self, deliveries: Sequence[Delivery]) -> None:
        """Leave messages to the broker, which sends them again; those of QoS 0 are gone, and counted."""
        self._session.forget(deliveries)
        for delivery in deliveries:
            if not delivery.qos:
                self._door.refuse(self.name)

    def _next(self) -> list[Delivery]:
        """Take what has arrived, up to as much as goes together."""
        taken: list[Delivery] = []
        size = 0
        while self._waiting and len(taken) < TAKEN_MESSAGES and size < TAKEN_BYTES:
            delivery = self._waiting.popleft()
            taken.append(delivery)
            size += len(delivery.payload)
        self._waiting_bytes -= size
        return taken

    async def _read(self, deliveries: Sequence[Delivery]) -> _Read:
        settings, read = self._settings, _Read([], [], [])
        for delivery in deliveries:
            topic = delivery.topic
            if isinstance(topic, bytes):
                read.refused.append((repr(topic[:80]), "topic: not UTF-8"))
                continue
            fields = settings.fields.of(topic)
            if fields is None:
                problem = (
                    "fits none of the topics that are configured; an older subscription of this client_id?"
                )
                read.refused.append((topic, problem))
                continue
            try:
                lines = await lines_of(delivery.payload, fields, settings.mapping)
            except DecodeError as exc:
                read.refused.append((topic, str(exc)))
                continue
            read.lines += lines
            read.topics += [topic] * len(lines)
        return read

    async def _hand_over(self, read: _Read) -> bool:
        """Have the events accepted, however long it takes; False where the server ends before."""
        if not read.lines:
            return True
        payload = b"\n".join([*read.lines, b""])
        backoff = Backoff(0.05, 2.0)
        while True:
            try:
                receipt = await self._door.accept(payload, self.name, self._settings.mapping)
            except (Saturated, JournalError) as exc:
                if self._ending.is_set():
                    return False
                self._held_up = str(exc)
                self._warn("MQTT messages wait at the broker", problem=str(exc))
                await _until(self._ending, backoff.next())
                continue
            self._held_up = None
            self._note(receipt, read)
            return True

    def _note(self, receipt: Receipt, read: _Read) -> None:
        self._last_ms = time.time_ns() // 1_000_000
        self._events.add(time.monotonic(), receipt.accepted)
        if receipt.errors:
            place, problem = receipt.errors[-1]
            self._warn("an event was rejected", topic=read.topics[place], problem=problem)

    def _warn(self, what: str, **about: Any) -> None:
        """Log a kind of trouble, unless it was logged a moment ago."""
        now = time.monotonic()
        if now - self._logged_at.get(what, -LOGGED_S) >= LOGGED_S:
            self._logged_at[what] = now
            log.warning(what, source=self.name, **about)


async def _until(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for an event, but no longer than this."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
