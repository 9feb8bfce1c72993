"""Messages a second over MQTT, one event each, from the first that is published until the last is aggregated."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.children import program, running
from benchmarks.plans import Published, PublishPlan, Received, SubscribePlan
from benchmarks.row import BenchmarkFailed, Row, Setting, measured
from benchmarks.server import Gauge, gauge

TOPIC: Final = "bench/events"
UNIT: Final = "messages/s"
START_S: Final = 30.0
LIFE_S: Final = 600.0
REFERENCE_S: Final = 300.0
POLL_S: Final = 0.02
BROKER: Final = """
persistence false
user root
max_queued_messages 0
max_inflight_messages 0
allow_anonymous true
"""


def run(setting: Setting) -> Iterator[Row]:
    with broker(setting.folder) as port:
        for qos in (0, 1):
            messages = setting.choose(full=(1_000_000, 500_000)[qos], quick=20_000)
            yield _row(setting, port, qos, messages)


@contextmanager
def broker(folder: Path) -> Iterator[int]:
    """Run mosquitto; gives its port."""
    command = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if command is None:
        raise BenchmarkFailed("no mosquitto; install it with: make setup")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1{BROKER}")
    with running([command, "-c", str(config)], log=folder / "mosquitto.log", timeout_s=LIFE_S):
        deadline = time.monotonic() + START_S
        while not _listens(port):
            if time.monotonic() > deadline:
                raise BenchmarkFailed("mosquitto does not listen")
            time.sleep(POLL_S)
        yield port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _row(setting: Setting, port: int, qos: int, messages: int) -> Row:
    limit = _decode_only(setting, port, qos, messages)
    source = (
        f'[[source]]\nkind = "mqtt"\nurl = "mqtt://127.0.0.1:{port}"\ntopics = ["{TOPIC}"]\nqos = {qos}\n'
    )
    with gauge(setting, source) as server:
        _wait_for_source(server)
        before = server.child.cpu_s
        published = _publish(setting, port, qos, messages)
        taken, dropped = _settle(server, messages)
        ended, cpu_s = time.monotonic(), server.child.cpu_s - before
        server.settle(taken)
        server.check(taken, raw_events=True)
    if qos and dropped:
        raise BenchmarkFailed(f"{dropped:,} messages of QoS 1 were dropped")
    seconds = ended - published.started
    shed = f", {dropped:,} dropped and counted (QoS 0)" if dropped else ""
    return measured(
        f"mqtt qos {qos}",
        f"one event a message, QoS {qos}, default configuration",
        taken / seconds,
        UNIT,
        reference=("the same library, decoding only", limit),
        notes=f"{taken:,} messages in {seconds:.1f} s{shed}, the same number in ledger, metric and table; "
        f"server {cpu_s / seconds:.2f} cores",
    )


def _publish(setting: Setting, port: int, qos: int, messages: int) -> Published:
    plan = PublishPlan(port=port, topic=TOPIC, qos=qos, messages=messages)
    with program("mqtt_publisher", plan, folder=setting.folder, timeout_s=LIFE_S) as child:
        published = child.result(Published)
    if qos and published.acknowledged < messages:
        raise BenchmarkFailed(f"the broker acknowledged {published.acknowledged:,} of {messages:,} messages")
    return published


def _decode_only(setting: Setting, port: int, qos: int, messages: int) -> float:
    plan = SubscribePlan(port=port, topic=TOPIC, qos=qos, messages=messages, seconds=REFERENCE_S)
    with program("mqtt_decode_only", plan, folder=setting.folder, timeout_s=LIFE_S) as child:
        child.line()
        published = _publish(setting, port, qos, messages)
        received = child.result(Received)
    if received.messages < messages:
        raise BenchmarkFailed(f"the reference received {received.messages:,} of {messages:,} messages")
    return received.messages / (received.ended - published.started)


def _wait_for_source(server: Gauge) -> None:
    deadline = time.monotonic() + START_S
    while server.ask("/readyz")["status"] != "ready":
        if time.monotonic() > deadline:
            raise BenchmarkFailed(f"the server has no connection: {server.ask('/readyz')}")
        time.sleep(POLL_S)


def _settle(server: Gauge, messages: int) -> tuple[int, int]:
    """Wait until each message is counted as an event or as dropped; give both numbers."""
    deadline = time.monotonic() + REFERENCE_S
    while time.monotonic() < deadline:
        dropped = server.ask("/api/ledger")["requests_refused"]
        taken = server.counted()
        if taken + dropped >= messages:
            return taken, dropped
        time.sleep(POLL_S)
    raise BenchmarkFailed(f"of {messages:,} messages only {taken:,} were counted, {dropped:,} dropped")
