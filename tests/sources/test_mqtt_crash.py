"""Crashes on either side of a broker: what was acknowledged is counted, and what has an event_id is counted once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from mqtt_broker import Broker
from server_process import ServerProcess

MESSAGES = 4000
WAIT_S = 60.0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path / "broker", durable=True)
    broker.start()
    yield broker
    broker.kill()


def configuration(broker: Broker, qos: int = 1) -> str:
    return f'[[source]]\nkind = "mqtt"\nurl = "{broker.url}"\ntopics = ["c/#"]\nqos = {qos}\n[store]\ncommit_interval = "200ms"\n'


def payloads(start: int, stop: int) -> list[str]:
    return [f'{{"type":"n","value":{i},"event_id":"e{i}"}}' for i in range(start, stop)]


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it did not come to be in time"
        time.sleep(0.02)  # another process does what is waited for


def received(server: ServerProcess) -> int:
    counts: dict[str, dict[str, int]] = server.get("/api/ledger")["sources"]
    return counts.get("mqtt", {}).get("received", 0)


def wait_for_more(server: ServerProcess, least: int) -> None:
    wait_until(lambda: received(server) >= least)


def is_connected(server: ServerProcess) -> bool:
    return bool(server.client.get("/readyz").json()["status"] == "ready")


def stored(server: ServerProcess) -> list[int]:
    """Give the values in the store, once everything is committed."""
    server.wait_until_committed()
    return sorted(int(row[0]) for row in server.ask("SELECT value FROM events"))


def values_in(server: ServerProcess) -> int:
    """How many different events have been counted."""
    server.wait_until_committed()
    [[count]] = server.ask("SELECT count(DISTINCT value) FROM events")
    return int(count)


def test_after_kill_9_of_the_server_every_event_with_an_id_is_counted_once(
    broker: Broker, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server(configuration=configuration(broker))
    wait_until(lambda: is_connected(server))
    publisher = threading.Thread(target=broker.publish, args=("c/a", *payloads(0, MESSAGES)))
    publisher.start()
    for _ in range(3):
        wait_for_more(server, min(received(server) + 200, MESSAGES))
        server.kill()
        server = start_server(configuration=configuration(broker))
    publisher.join(WAIT_S)
    wait_until(lambda: values_in(server) == MESSAGES)
    assert stored(server) == list(range(MESSAGES))
    ledger = server.get("/api/ledger")["sources"]["mqtt"]
    assert ledger["received"] == ledger["stored"] + ledger["duplicate"]


def test_after_kill_9_of_the_broker_what_is_published_again_is_counted_once(
    durable: Broker, start_server: Callable[..., ServerProcess]
) -> None:
    broker = durable
    server = start_server(configuration=configuration(broker))
    wait_until(lambda: is_connected(server))
    broker.publish("c/a", *payloads(0, 300))
    wait_until(lambda: received(server) >= 300)
    broker.kill()
    wait_until(lambda: server.client.get("/readyz").json()["status"] == "degraded")
    broker.start()
    wait_until(lambda: is_connected(server))
    broker.publish(
        "c/a", *payloads(0, 600)
    )  # a publisher that does not know what came through sends it again
    wait_until(lambda: values_in(server) == 600)
    assert stored(server) == list(range(600))
    assert server.get("/api/ledger")["sources"]["mqtt"]["duplicate"] >= 300


@pytest.mark.parametrize("qos", [1, 2])
def test_after_a_stop_by_signal_in_the_middle_of_a_stream_nothing_is_lost_or_doubled(
    qos: int, broker: Broker, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server(configuration=configuration(broker, qos))
    wait_until(lambda: is_connected(server))
    plain = [f'{{"type":"n","value":{i}}}' for i in range(MESSAGES)]  # without an id to tell them by
    publisher = threading.Thread(target=broker.publish, args=("c/a", *plain), kwargs={"qos": qos})
    publisher.start()
    wait_until(lambda: received(server) >= 200)
    assert server.stop() == 0
    publisher.join(WAIT_S)
    again = start_server(configuration=configuration(broker, qos))
    wait_until(lambda: received(again) >= MESSAGES)
    assert stored(again) == list(range(MESSAGES))
