"""Many devices that publish on a timetable: nothing is lost, and what they say is counted soon."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gmqtt
from gmqtt.storage import PersistentStorage

from mqtt_broker import Broker, find
from server_process import ServerProcess
from soak import SOAK, trials

DEVICES = trials(200, 5000)
RATE = trials(100, 500)  # messages a second, of all devices together
SECONDS = trials(5, 120)
AT_ONCE = 100
MOST_P99_MS = 250.0
WAIT_S = 120.0
SITES = 8
PAGE = 1000  # rows of one answer


class Device:
    """One sensor with a connection of its own."""

    def __init__(self, number: int) -> None:
        self.topic = f"fleet/site{number % SITES}/d{number}/temperature"
        self.unacknowledged = PersistentStorage()
        self.client: Any = gmqtt.Client(f"device-{number}", persistent_storage=self.unacknowledged)

    def publish(self, number: int) -> None:
        event = {"value": number, "timestamp": time.time_ns() // 1000}
        self.client.publish(self.topic, json.dumps(event), qos=1)


async def simulate(port: int) -> int:
    """Publish on the timetable, until the broker has acknowledged all; give how many."""
    devices = [Device(number) for number in range(DEVICES)]
    for first in range(0, DEVICES, AT_ONCE):
        group = devices[first : first + AT_ONCE]
        await asyncio.gather(*(device.client.connect("127.0.0.1", port) for device in group))
    started, messages = time.monotonic(), RATE * SECONDS
    for number in range(messages):
        due = started + number / RATE
        if due > time.monotonic():
            await asyncio.sleep(due - time.monotonic())  # the timetable is what is asked of the devices
        devices[number % DEVICES].publish(number)
    async with asyncio.timeout(WAIT_S):
        await asyncio.gather(*(device.unacknowledged.wait_empty() for device in devices))
    await asyncio.gather(*(device.client.disconnect() for device in devices))
    return messages


@contextmanager
def listening(broker: Broker, file: Path) -> Iterator[None]:
    """Have mosquitto's own client note when it hears each message: then the broker has handed it on."""
    words = [
        find("mosquitto_sub"),
        "-h",
        "127.0.0.1",
        "-p",
        str(broker.port),
        "-q",
        "1",
        "-t",
        "#",
        "-F",
        "%U %p",
    ]
    with file.open("wb") as heard, subprocess.Popen(words, stdout=heard) as process:
        try:
            broker.publish("begin", "{}")
            while not file.stat().st_size:  # `-F` writes each line out
                assert process.poll() is None
                broker.publish("begin", "{}")
            yield
        finally:
            process.kill()


def heard_at(file: Path) -> dict[int, float]:
    """Read when each message was heard, by its number, in seconds."""
    rows = [line.partition(" ") for line in file.read_text().splitlines()]
    events = [(float(at), json.loads(text)) for at, _, text in rows if text.endswith("}")]
    return {event["value"]: at for at, event in events if "value" in event}


def aggregated_at(server: ServerProcess, messages: int) -> Iterator[tuple[int, float]]:
    for first in range(0, messages, PAGE):
        sql = "SELECT value, epoch_us(processed_at) / 1e6 FROM events WHERE value >= ? AND value < ?"
        for value, at in server.ask(sql, first, first + PAGE):
            yield int(value), at


def test_many_devices_on_a_timetable_lose_nothing_and_are_counted_soon(
    tmp_path: Path, start_server: Callable[..., ServerProcess]
) -> None:
    logging.getLogger("gmqtt").setLevel(logging.CRITICAL)
    broker = Broker(tmp_path / "broker", "allow_anonymous true", "max_connections -1")
    broker.start()
    try:
        server = start_server(
            configuration=f'[[source]]\nkind = "mqtt"\nurl = "{broker.url}"\ntopics = ["fleet/{{site}}/{{device}}/{{type}}"]\n'
        )
        deadline = time.monotonic() + WAIT_S
        while server.client.get("/readyz").json()["status"] != "ready":
            assert time.monotonic() < deadline
            time.sleep(0.05)  # another process does what is waited for
        with listening(broker, tmp_path / "heard"):
            messages = asyncio.run(simulate(broker.port))
        while server.get("/api/ledger")["received"] < messages:
            assert time.monotonic() < deadline + SECONDS + WAIT_S
            time.sleep(0.05)
        ledger = server.wait_until_committed()["sources"]["mqtt"]
        assert (ledger["received"], ledger["stored"]) == (messages, messages)
        assert server.ask(
            "SELECT count(*), count(DISTINCT value), sum(value), count(DISTINCT event->>'$.device') FROM events"
        ) == [[messages, messages, sum(range(messages)), min(DEVICES, messages)]]
        [[p50_ms, p99_ms]] = server.ask(
            "SELECT quantile_cont(epoch_us(processed_at) - epoch_us(time), 0.5) / 1000,"
            " quantile_cont(epoch_us(processed_at) - epoch_us(time), 0.99) / 1000 FROM events"
        )
        heard = heard_at(tmp_path / "heard")
        waits = sorted(
            (at - heard[value]) * 1000 for value, at in aggregated_at(server, messages) if value in heard
        )
        assert len(waits) > 0.99 * messages, "the listener has ended before the last few were heard"
        from_broker_ms = waits[int(len(waits) * 0.99)]
        print(  # noqa: T201  with -s
            f"{messages} messages of {DEVICES} devices: p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms from device to aggregated;"
            f" p99 {from_broker_ms:.1f} ms later than another client of the broker hears it"
        )
        if SOAK:
            assert from_broker_ms < MOST_P99_MS
    finally:
        broker.kill()
