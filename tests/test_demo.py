"""The demo: events by themselves, in a folder of its own, and a page that says so."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from server_process import ServerProcess
from streamgauge import demo
from streamgauge.errors import Saturated, StorageFull

NOW_S = 1_790_000_000.0
WEEK_S = 7 * 86_400


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "demo-data", command="demo")
    yield server
    server.kill()


def state_of_page(server: ServerProcess) -> dict[str, Any]:
    """What the page is given when it opens."""
    url = str(server.client.base_url).replace("http", "ws").rstrip("/")
    with connect(f"{url}/socket/websocket?vsn=2.0.0") as socket:
        socket.send(json.dumps(["1", "1", "dashboard:overview", "phx_join", {"range": "15m"}]))
        reply = json.loads(socket.recv(timeout=30))
    assert reply[4]["status"] == "ok", reply
    state: dict[str, Any] = reply[4]["response"]["state"]
    return state


def test_the_demo_sends_events_by_itself_and_its_page_says_so(shop: ServerProcess, tmp_path: Path) -> None:
    assert state_of_page(shop)["demo"] == demo.NAME
    ledger = shop.wait_until_committed()
    assert ledger["received"] > demo.HISTORY_S * demo.EVENTS_A_SECOND / 2
    assert set(ledger["sources"]) == {"demo"}
    kinds = {series["by"]["type"] for series in shop.get("/api/metrics/events")["series"]}
    assert kinds == set(demo.TYPES)
    assert (tmp_path / "demo-data" / "lock").exists()
    assert "demo 'shop', made-up events" in shop.greeting[0]
    assert shop.stop() == 0
    assert shop.errors() == ""


def test_the_folder_of_a_demo_is_not_that_of_a_server(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "data")
    try:
        assert state_of_page(server)["demo"] is None
    finally:
        server.kill()


class Receiver:
    """Takes payloads, after it has refused as often as it was told to."""

    def __init__(self, refusals: list[Saturated] | None = None) -> None:
        self.refusals = refusals or []
        self.payloads: list[bytes] = []

    async def accept(self, payload: bytes) -> None:
        if self.refusals:
            raise self.refusals.pop(0)
        self.payloads.append(payload)

    def times_s(self) -> list[float]:
        return [
            json.loads(line)["timestamp"] / 1000 for payload in self.payloads for line in payload.splitlines()
        ]


class Enough(Exception):
    """The test has seen what it wanted."""


class HandClock:
    """Time that passes only while somebody sleeps; the moments are those after each tick of the demo."""

    def __init__(self, ticks: list[float]) -> None:
        self.now_s, self._ticks = NOW_S, ticks
        self.waited: list[float] = []

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        if seconds != demo.TICK_S:
            self.waited.append(seconds)
        elif self._ticks:
            self.now_s = NOW_S + self._ticks.pop(0)
        else:
            raise Enough


async def play(receiver: Receiver, clock: HandClock, *, history: bool) -> None:
    with pytest.raises(Enough):
        await demo.run(receiver.accept, lambda: clock.now_s, history=history, sleep=clock.sleep)


async def test_history_is_the_last_half_hour() -> None:
    receiver = Receiver()
    await play(receiver, HandClock([]), history=True)
    times = receiver.times_s()
    assert min(times) == pytest.approx(NOW_S - demo.HISTORY_S, abs=1)
    assert max(times) == pytest.approx(NOW_S, abs=1)


async def test_without_history_it_begins_now() -> None:
    receiver = Receiver()
    await play(receiver, HandClock([1.0, 2.0]), history=False)
    times = receiver.times_s()
    assert times
    assert min(times) >= NOW_S
    assert max(times) <= NOW_S + 2


async def test_events_that_were_refused_are_sent_again_after_the_time_that_was_asked_for() -> None:
    refused, plain = Receiver([Saturated("full", 3.0), StorageFull("full", 7.0)]), Receiver()
    clock = HandClock([1.0, 2.0])
    await play(refused, clock, history=False)
    await play(plain, HandClock([1.0, 2.0]), history=False)
    assert clock.waited == [3.0, 7.0]
    assert refused.payloads == plain.payloads


async def test_after_a_long_pause_of_the_machine_only_the_last_half_hour_is_made_up_for() -> None:
    receiver = Receiver()
    await play(receiver, HandClock([1.0, WEEK_S]), history=False)
    late = [time for time in receiver.times_s() if time > NOW_S + 2]
    assert min(late) == pytest.approx(NOW_S + WEEK_S - demo.HISTORY_S, abs=1)


def test_the_same_seed_gives_the_same_events() -> None:
    first, second, other = demo.Shop(1), demo.Shop(1), demo.Shop(2)
    assert list(first.between(0, 5)) == list(second.between(0, 5))
    assert list(first.between(5, 10)) != list(other.between(5, 10))
