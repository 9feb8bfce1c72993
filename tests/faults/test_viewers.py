"""Viewers of a server that is killed under load, who lose their connections and stop reading besides: all see the same in the end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec
from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, SECONDS, START_S, Oracle, check, close, sending, tallied, until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidHandshake, WebSocketException

from server_process import ServerProcess
from streamgauge.live.diff import apply

Start = Callable[..., ServerProcess]
VIEWERS: Final = trials(12, 100)
RANGE: Final = {"from": START_S * 1000, "to": (START_S + SECONDS) * 1000}
JOIN: Final = msgspec.json.encode(["1", "1", "dashboard:overview", "phx_join", RANGE]).decode()
OF_THE_MOMENT: Final = ("as_of", "rate", "pipeline", "sources")
FAST: Final = '[live]\nmax_rate = 20\n[store]\ncommit_interval = "100ms"\n' + CONFIGURATION
AGREED_S: Final = 20.0


@dataclass
class Viewer:
    """A page: it follows what it is sent, and comes back when its connection has gone. gaps: diffs that did not follow."""

    port: str
    chance: random.Random
    state: dict[str, Any] = field(default_factory=dict)
    epoch: str = ""
    version: int = 0
    joins: int = 0
    gaps: int = 0
    diffs: int = 0
    is_calm: bool = False

    async def live(self) -> None:
        """Follow for ever."""
        address = f"ws://127.0.0.1:{self.port}/socket/websocket?vsn=2.0.0"
        while True:
            try:
                async with connect(address, proxy=None, compression=None, max_size=None) as socket:
                    await socket.send(JOIN)
                    await self._follow(socket)
            except (OSError, InvalidHandshake, WebSocketException):
                await asyncio.sleep(0.02)  # the server is being started again, in another process

    async def _follow(self, socket: ClientConnection) -> None:
        while True:
            _, _, _, event, payload = msgspec.json.decode(await socket.recv())
            if event == "phx_reply":
                if payload["status"] != "ok":
                    return
                self.joins += 1
                self._take(payload["response"])
            elif event == "snapshot":
                self._take(payload)
            elif event == "diff":
                self.diffs += 1
                self.gaps += (payload["epoch"], payload["from"]) != (self.epoch, self.version)
                self.state, self.version = apply(self.state, payload["patch"]), payload["version"]
            if not self.is_calm and self.chance.random() < 0.02:
                socket.transport.abort()
            elif not self.is_calm and self.chance.random() < 0.02:
                await asyncio.sleep(0.3)  # a tab that the browser has put to sleep

    def _take(self, snapshot: dict[str, Any]) -> None:
        self.epoch, self.version, self.state = snapshot["epoch"], snapshot["version"], snapshot["state"]

    @property
    def shown(self) -> bytes:
        """What it shows, but for what tells of the moment."""
        told = {name: value for name, value in self.state.items() if name not in OF_THE_MOMENT}
        return msgspec.json.encode(told, order="sorted")


def shake(server: ServerProcess, oracle: Oracle, start_server: Start) -> ServerProcess:
    """Kill a server under load again and again; give the last one, which has counted everything."""
    port = server.url.rsplit(":", 1)[1]
    for _ in range(trials(2, 30)):
        with sending(oracle, server, senders=2):
            more = oracle.events("acknowledged") + 3000
            until(lambda: oracle.has(more, "acknowledged"))  # noqa: B023  it is waited for at once
            server.kill()
        server = start_server("--port", port, configuration=FAST)
    with sending(oracle, server, senders=2):
        more = oracle.events("acknowledged") + 3000
        until(lambda: oracle.has(more, "acknowledged"))
    check(oracle, server)
    return server


async def watched(server: ServerProcess, oracle: Oracle, start_server: Start) -> ServerProcess:
    """Have viewers watch meanwhile, and compare in the end what they show with what a new one is shown."""
    port = server.url.rsplit(":", 1)[1]
    viewers = [Viewer(port, chance_of(oracle.seed + number)) for number in range(VIEWERS)]
    following = [asyncio.create_task(viewer.live()) for viewer in viewers]
    last = await asyncio.to_thread(shake, server, oracle, start_server)
    newcomer = Viewer(port, chance_of(oracle.seed), is_calm=True)
    following.append(asyncio.create_task(newcomer.live()))
    for viewer in viewers:
        viewer.is_calm = True
    async with asyncio.timeout(AGREED_S):
        while True:
            if newcomer.state and {viewer.shown for viewer in viewers} == {newcomer.shown}:
                break
            await asyncio.sleep(0.01)  # what is waited for comes from another process
    for task in following:
        task.cancel()
    await asyncio.wait(following)
    assert newcomer.state["totals"]["events"]["count"] == oracle.stored
    assert sum(viewer.gaps for viewer in viewers) == 0
    assert min(viewer.joins for viewer in viewers) > 1
    assert sum(viewer.diffs for viewer in viewers) > VIEWERS
    return last


def test_viewers_show_what_a_fresh_one_is_shown_after_kills_and_lost_connections(
    start_server: Start,
) -> None:
    oracle = Oracle(a_seed())
    server = start_server(configuration=FAST)
    with tallied(f"{VIEWERS} viewers, kills under load", oracle.seed) as tally:
        last = asyncio.run(watched(server, oracle, start_server))
        tally.trials, tally.faults = VIEWERS, trials(2, 30)
        tally.acknowledged = oracle.events("acknowledged")
    close(last)
