"""Phoenix's own JavaScript client in Node, as its user has it, sends events and watches a dashboard on one socket."""

from __future__ import annotations

import asyncio
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server_process import ServerProcess
from web_tools import WAIT_S, serving

NODE = Path(__file__).parents[1] / "node"
PUSHES = 600
MANY = 2000  # so that the server goes long before the end
PATIENCE_S = 60.0
STORED = "SELECT event_id, count(*) FROM events GROUP BY event_id"


class Sender:
    """The script `sender.mjs`. hear: waits until it tells something."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.told: list[dict[str, Any]] = []

    async def hear(self, what: str, **least: int) -> dict[str, Any]:
        """Give the first of what it tells next that is this, with numbers at least as large as these."""
        assert self._process.stdout is not None
        async with asyncio.timeout(PATIENCE_S):
            while True:
                line = await self._process.stdout.readline()
                assert line, f"the script has ended; it told {self.told[-5:]}"
                told: dict[str, Any] = msgspec.json.decode(line)
                self.told.append(told)
                if told["told"] == what and all(told[name] >= number for name, number in least.items()):
                    return told


@asynccontextmanager
async def sending(port: int, *, pushes: int = PUSHES, size: int = 1) -> AsyncIterator[Sender]:
    """Start the script; it is ended with the block."""
    node = shutil.which("node")
    if node is None or not (NODE / "node_modules" / "phoenix").is_dir():
        pytest.fail("Node, or what tests/node needs, is not installed; `make setup` installs both")
    process = await asyncio.create_subprocess_exec(
        node, str(NODE / "sender.mjs"), f"ws://127.0.0.1:{port}/socket", str(pushes), str(size),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Sender(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def free_port() -> int:
    """Give a port that a server can be started on twice."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.parametrize("size", [1, 25])
async def test_what_the_client_pushes_is_stored_and_shown_on_the_dashboard_that_it_has_joined(
    size: int, tmp_path: Path
) -> None:
    events = PUSHES * size
    async with serving(tmp_path / "data") as server, sending(server.port, size=size) as sender:
        done = await sender.hear("done")
        assert (done["accepted"], done["refused"], done["unanswered"], done["joins"]) == (events, 0, 0, 1)
        if not any(told["told"] == "dashboard" and told["total"] == events for told in sender.told):
            await sender.hear("dashboard", total=events)
        await server.commit()
        ledger = (await server.get("/api/ledger"))["sources"]["websocket"]
        assert (ledger["received"], ledger["stored"], ledger["rejected"]) == (events, events, 0)
        found = await server.ask(
            "SELECT count(*), count(DISTINCT event_id), min(type), max(type) FROM events"
        )
        assert found == [[events, events, "sent", "sent"]]


async def test_pushes_that_are_refused_while_the_server_is_full_are_sent_again_and_each_event_is_stored_once(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path / "data", limits={"saturated_wait": "10ms"}) as server:
        producer = server.app.engine.producer
        capacity, producer.capacity = producer.capacity, 0
        producer._room.clear()
        async with sending(server.port) as sender:
            refusal = await sender.hear("refused")
            assert (refusal["code"], refusal["retry_after_ms"] > 0) == ("saturated", True)
            producer.capacity = capacity
            producer._room.set()
            done = await sender.hear("done")
        assert (done["accepted"], done["unanswered"]) == (PUSHES, 0)
        await server.commit()
        ledger = (await server.get("/api/ledger"))["sources"]["websocket"]
        assert (ledger["received"], ledger["stored"]) == (PUSHES, PUSHES)
        assert ledger["requests_refused"] == done["refused"]
        assert await server.ask("SELECT count(*), count(DISTINCT event_id) FROM events") == [[PUSHES, PUSHES]]


async def test_after_a_restart_the_client_joins_again_by_itself_and_each_event_is_stored_once(
    tmp_path: Path,
) -> None:
    port = free_port()
    async with sending(port, pushes=MANY) as sender:
        async with serving(tmp_path / "data", server={"port": port}):
            await sender.hear("progress", ok=MANY // 8)
        async with serving(tmp_path / "data", server={"port": port}) as server:
            done = await sender.hear("done", joins=2)
            await server.commit()
            ledger = (await server.get("/api/ledger"))["sources"]["websocket"]
            assert done["accepted"] + done["duplicates"] == MANY
            assert ledger["stored"] == MANY
            found = await server.ask("SELECT count(*), count(DISTINCT event_id) FROM events")
            assert found == [[MANY, MANY]]


async def test_after_kill_9_what_was_not_answered_is_sent_again_and_each_event_is_stored_once(
    tmp_path: Path,
) -> None:
    port = str(free_port())
    async with sending(int(port), pushes=MANY) as sender:
        killed = await asyncio.to_thread(ServerProcess, tmp_path / "data", "--port", port)
        await sender.hear("progress", ok=MANY // 8)
        killed.kill()
        server = await asyncio.to_thread(ServerProcess, tmp_path / "data", "--port", port)
        try:
            done = await sender.hear("done", joins=2)
            ledger = await asyncio.to_thread(server.wait_until_committed, WAIT_S)
            found: dict[str, int] = dict(await asyncio.to_thread(server.ask, STORED))
        finally:
            server.kill()
    assert found == {f"{number}-0": 1 for number in range(MANY)}
    assert ledger["sources"]["websocket"]["stored"] == MANY
    assert done["accepted"] + done["duplicates"] == MANY
