"""A server in the test's own event loop, with its events in memory unless a folder is named, and its clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import msgspec
from websockets.asyncio.client import ClientConnection, connect

from streamgauge import config
from streamgauge.app import App
from streamgauge.settings import IN_MEMORY

WAIT_S = 10.0
LONG = "1m"  # between commits: nothing is committed while a test looks
Frame = list[Any]


class Served:
    """A started server. http: a client of it; events go in with `send`, answers come with `get` and `ask`."""

    def __init__(self, app: App, port: int, http: httpx.AsyncClient) -> None:
        self.app, self.port, self.http = app, port, http

    async def send(self, *events: Mapping[str, Any], query: str = "") -> httpx.Response:
        body = msgspec.json.Encoder().encode_lines(events)
        headers = {"Content-Type": "application/x-ndjson"}
        return await self.http.post(f"/api/events{query}", content=body, headers=headers)

    async def get(self, path: str, **params: Any) -> Any:
        answer = await self.http.get(path, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def ask(self, sql: str, *params: Any) -> list[list[Any]]:
        answer = await self.http.post("/api/query", json={"sql": sql, "params": list(params)})
        assert answer.status_code == 200, answer.text
        rows: list[list[Any]] = answer.json()["rows"]
        return rows

    async def commit(self) -> None:
        """Wait until all that was accepted is committed."""
        assert await self.app.engine.flush(WAIT_S)
        self.app.engine.book.close(0.0)
        self.app.engine.committer._changed.set()
        assert await self.app.engine.caught_up(self.app.engine.journal.last_seq, WAIT_S)

    def socket(self, query: str = "?vsn=2.0.0", **options: Any) -> connect:
        return connect(
            f"ws://127.0.0.1:{self.port}/socket/websocket{query}", proxy=None, compression=None, **options
        )


def settings(data: Path | None = None, **sections: Any) -> dict[str, Any]:
    """Options for a test: any free port, in memory or in a folder."""
    store = {"url": IN_MEMORY} if data is None else {}
    values: dict[str, Any] = {"server": {"port": 0}, **sections}
    values["store"] = {**store, **sections.get("store", {})}
    if data is not None:
        values["data"] = str(data)
    return values


@asynccontextmanager
async def serving(
    data: Path | None = None, prepare: Callable[[App], None] | None = None, **sections: Any
) -> AsyncIterator[Served]:
    """Run a server; `sections` are those of the configuration file."""
    app = App(config.from_mapping(settings(data, **sections)))
    if prepare is not None:
        prepare(app)
    running = await app.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=30.0) as http:
            yield Served(app, running.port, http)
    finally:
        await app.stop()


async def until(holds: Callable[[], object], timeout_s: float = WAIT_S) -> None:
    """Let the loop turn until something is true; fail when it does not become so in time."""
    async with asyncio.timeout(timeout_s):
        while True:
            if holds():
                return
            await asyncio.sleep(
                0.001
            )  # what is waited for comes from threads and sockets, which need their turn


async def receive(socket: ClientConnection) -> Frame:
    """Give the next frame."""
    async with asyncio.timeout(WAIT_S):
        frame: Frame = msgspec.json.decode(await socket.recv())
    return frame


async def talk(socket: ClientConnection, *frame: Any) -> Frame:
    """Send a frame, and give the reply to it; what the server says in between is passed over."""
    await socket.send(msgspec.json.encode(frame).decode())
    while True:
        answer = await receive(socket)
        if answer[3] == "phx_reply" and answer[1] == frame[1]:
            return answer


def ok(reply: Frame) -> Any:
    """Give what a reply holds, which must be good."""
    assert reply[4]["status"] == "ok", reply
    return reply[4]["response"]


def refused(reply: Frame) -> Any:
    """Give why something was refused."""
    assert reply[4]["status"] == "error", reply
    return reply[4]["response"]


def problem(answer: httpx.Response, status: int, code: str) -> str:
    """Check that an answer is a problem as RFC 9457 has it; give its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert body.keys() >= {"title", "status", "code", "detail"}
    assert (body["status"], body["code"]) == (status, code)
    return str(body["detail"])
