"""Many devices that publish on a timetable: nothing is lost, and what they say is counted soon."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gmqtt
from gmqtt.storage import PersistentStorage

from mqtt_broker import Broker
from server_process import ServerProcess
from soak import SOAK, trials

DEVICES = trials(200, 5000)
RATE = trials(100, 500)  # messages a second, of all devices together
SECONDS = trials(5, 120)
AT_ONCE = 100
MOST_P99_MS = 250.0
WAIT_S = 120.0
SITES = 8


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
        print(f"{messages} messages of {DEVICES} devices: p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms")  # noqa: T201  with -s
        if SOAK:
            assert p99_ms < MOST_P99_MS
    finally:
        broker.kill()
