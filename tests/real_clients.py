"""Clients that senders have, each a program that sends the events it reads, one a line, and ends when all are taken."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from mqtt_broker import Broker, find

TESTS = Path(__file__).parent
CLIENTS = TESTS / "clients"
NODE = TESTS / "node"
END_S = 60.0


@dataclass(frozen=True)
class RealClient:
    """How a client is started. source: under which the ledger counts its events.

    command: of the server's address and of a broker, started if it is asked for.
    """

    name: str
    source: str
    command: Callable[[str, Callable[[], Broker]], list[str]]
    needs_broker: bool = False


def _python(script: str) -> Callable[[str, object], list[str]]:
    return lambda url, _broker: [sys.executable, str(CLIENTS / script), url]


def _phoenix(url: str, _broker: object) -> list[str]:
    return [shutil.which("node") or "node", str(NODE / "pipe.mjs"), f"{url.replace('http', 'ws', 1)}/socket"]


def _mosquitto(_url: str, broker: Callable[[], Broker]) -> list[str]:
    return [
        find("mosquitto_pub"),
        "-h",
        "127.0.0.1",
        "-p",
        str(broker().port),
        "-q",
        "1",
        "-t",
        "real/a",
        "-l",
    ]


def _replay(url: str, _broker: object) -> list[str]:
    return [sys.executable, "-m", "streamgauge", "replay", "-", "--url", url]


CLIENT = RealClient("Client", "http", _python("with_client.py"))
ASYNC_CLIENT = RealClient("AsyncClient", "http", _python("with_async_client.py"))
CLOUDEVENTS = RealClient("cloudevents SDK", "http", _python("with_cloudevents.py"))
PHOENIX = RealClient("phoenix", "websocket", _phoenix)
REPLAY = RealClient("replay", "http", _replay)
MOSQUITTO = RealClient("mosquitto_pub", "mqtt", _mosquitto, needs_broker=True)
ALL = (PHOENIX, MOSQUITTO, CLIENT, ASYNC_CLIENT, CLOUDEVENTS, REPLAY)


class Running:
    """A client that was started."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def send(self, events: list[Mapping[str, Any]]) -> None:
        """Hand it events; it sends them when it can."""
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.Encoder().encode_lines(events))
        await self._process.stdin.drain()

    async def end(self) -> None:
        """Tell it that there are no more, and wait until it has sent all."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        async with asyncio.timeout(END_S):
            out, err = await self._process.communicate()
        assert self._process.returncode == 0, (out + err).decode()


@asynccontextmanager
async def running(client: RealClient, url: str, broker: Callable[[], Broker]) -> AsyncIterator[Running]:
    """Start a client; it is ended with the block."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *client.command(url, broker), stdin=pipe, stdout=pipe, stderr=pipe
    )
    try:
        yield Running(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
