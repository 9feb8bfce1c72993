"""Bad inputs as they go over the wire, and a server that is asked whether it has come to harm.

An input is a row of data: what is sent, and the status and the words with which it is answered. After each of them a
good event has to be accepted and counted, and the ledger has to have counted the bad ones once.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from server_process import ServerProcess

WAIT_S: Final = 60.0
JSON: Final = (b"Content-Type: application/json",)
LINES: Final = (b"Content-Type: application/x-ndjson",)
GOOD: Final = b'{"type":"good","value":1}'
OURS: Final = "our protocols"
PLAIN: Final = "plain uvicorn"
INSIDE: Final = ("Traceback", "site-packages", "/src/streamgauge", ".py")  # what an answer must not show

Bytes = bytes | Callable[[], bytes]  # large ones are made when they are sent


@dataclass(frozen=True)
class Input:
    """One row of the table: each of `sent` is answered with `status`, and `says` is in the answer.

    accepted: how many events are taken nevertheless, of each of `sent`. ours_only: it is our protocol classes that
    notice, and a plain ASGI server does not.
    """

    number: str
    name: str
    sent: tuple[Bytes, ...]
    status: int
    says: str = ""
    accepted: int = 0
    headers: tuple[bytes, ...] = JSON
    ours_only: bool = False


def rows(inputs: Iterable[Input]) -> list[Any]:
    """Make test parameters of inputs, named by their numbers."""
    return [pytest.param(one, id=f"{one.number} {one.name}") for one in inputs]


def made(sent: Bytes) -> bytes:
    return sent() if callable(sent) else sent


def request(body: bytes, headers: Iterable[bytes] = JSON, method: bytes = b"POST") -> bytes:
    """Write a whole request to the events' address, after which the connection ends."""
    lines = [
        method + b" /api/events HTTP/1.1",
        b"Host: localhost",
        b"Connection: close",
        *headers,
        b"Content-Length: %d" % len(body),
        b"",
        body,
    ]
    return b"\r\n".join(lines)


@dataclass
class Reply:
    """An answer as it came. raw: everything until the server closed the connection."""

    raw: bytes
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""

    def __post_init__(self) -> None:
        head, _, body = self.raw.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        if lines[0].startswith("HTTP/1."):
            self.status = int(lines[0].split(" ", 2)[1])
            self.headers = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])
            }
            self.text = body.decode("utf-8", "replace")

    def json(self) -> Any:
        return json.loads(self.text)

    @property
    def statuses(self) -> list[int]:
        """The status of every answer on the connection."""
        return [int(found) for found in re.findall(rb"HTTP/1\.1 (\d{3}) ", self.raw)]


class Target:
    """A running server, and how many events it should have accepted. way: what stands before the application."""

    def __init__(self, way: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
        self.way, self.port, self.process, self.log = way, port, process, log
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S)
        self.good = self.accepted = 0
        self.kept: list[bytes] = []  # single events that were accepted

    @property
    def process_folder(self) -> Path:
        """Where the kernel tells about the server's process."""
        return Path("/proc") / str(self.process.pid)

    def exchange(self, sent: bytes) -> Reply:
        """Send bytes on a connection of their own, and read until the server closes it."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=WAIT_S) as connection:
            with contextlib.suppress(
                ConnectionError
            ):  # the server may have heard enough; its answer is there
                connection.sendall(sent)
            return Reply(b"".join(received(connection)))

    def post(self, body: bytes, headers: Iterable[bytes] = JSON) -> Reply:
        """Send a body to the events' address."""
        return self.exchange(request(body, headers))

    def ledger(self) -> dict[str, Any]:
        answer = self.client.get("/api/ledger")
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def accept_a_good_event(self) -> None:
        reply = self.post(GOOD)
        assert (reply.status, reply.text) == (202, '{"accepted":1}')
        self.good += 1
        self.accepted += 1

    def ask(self, sql: str) -> list[list[Any]]:
        answer = self.client.post("/api/query", json={"sql": sql})
        assert answer.status_code == 200, answer.text
        found: list[list[Any]] = answer.json()["rows"]
        return found

    def when_committed(self) -> dict[str, Any]:
        """Give the ledger when nothing is pending."""
        deadline = time.monotonic() + WAIT_S
        while (ledger := self.ledger())["pending"]:
            assert time.monotonic() < deadline, ledger
            time.sleep(0.02)
        return ledger


def received(connection: socket.socket) -> Iterator[bytes]:
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 20):
            yield part


def check_answer(reply: Reply, given: Input) -> None:
    """Hold an answer against its row, and against what no answer may be."""
    assert reply.status == given.status, reply.raw[:2000]
    assert given.says in reply.text, reply.text[:2000]
    assert not [word for word in INSIDE if word in reply.text]
    assert reply.headers["content-type"] in {"application/json", "application/problem+json"}
    if reply.status >= 400 and reply.status != 422:
        assert reply.headers["content-type"] == "application/problem+json"
        problem = reply.json()
        assert problem.keys() >= {"title", "status", "code", "detail"}
        assert problem["status"] == reply.status
    else:
        assert reply.json()["accepted"] == given.accepted


def check_input(target: Target, given: Input) -> None:
    """Send an input, see how it is answered and counted, and that the next sender notices nothing."""
    if given.ours_only and target.way == PLAIN:
        pytest.skip("it is our protocol classes that notice this")
    before = target.ledger()
    rejected = unread = 0
    for sent in given.sent:
        body = made(sent)
        reply = target.post(body, given.headers)
        check_answer(reply, given)
        if given.accepted == 1 and body.startswith(b"{"):
            target.kept.append(body)
        counted = reply.status == 422 or (reply.status == 202 and "rejected" in reply.json())
        rejected += reply.json()["rejected"] if counted else 0
        unread += reply.status >= 400 and reply.status != 422
    target.accept_a_good_event()
    target.accepted += given.accepted * len(given.sent)
    after = target.ledger()
    more = {name: after[name] - before[name] for name in ("received", "rejected", "requests_refused")}
    assert more["received"] - more["rejected"] == given.accepted * len(given.sent) + 1
    # a body no line of which is JSON is refused with 400, and its lines are counted as rejected events
    assert more["rejected"] + more["requests_refused"] >= rejected + unread
    assert more["rejected"] >= rejected
    assert target.process.poll() is None


def check_in_the_end(target: Target) -> None:
    """See that everything that was accepted, and nothing else, is in the ledger and in the store, as it was sent."""
    ledger = target.when_committed()
    settled = ("stored", "filtered", "duplicate", "dead_lettered", "rejected")
    assert ledger["received"] == sum(ledger[name] for name in settled)
    assert ledger["stored"] == target.accepted
    assert target.ask("SELECT count(*) FROM events") == [[target.accepted]]
    assert target.ask("SELECT count(*) FROM events WHERE type = 'good'") == [[target.good]]
    rows_of_others = target.ask("SELECT event FROM events WHERE type NOT IN ('good', 'many')")
    stored = [json.loads(row[0]) for row in rows_of_others]
    missing = [body[:200] for body in target.kept if json.loads(body) not in stored]
    assert missing == []


@contextlib.contextmanager
def ours(folder: Path, configuration: str = "") -> Iterator[Target]:
    """Start the server as its user does."""
    server = ServerProcess(folder / "data", configuration=configuration)
    target = Target(OURS, int(server.url.rsplit(":", 1)[1]), server.process, server.log)
    try:
        yield target
    finally:
        target.client.close()
        server.kill()


@contextlib.contextmanager
def plain(folder: Path, configuration: str = "") -> Iterator[Target]:
    """Start the same application behind uvicorn's own protocols."""
    (folder / "plain.toml").write_text(configuration)
    log = folder / "plain.log"
    words = [sys.executable, __file__, str(folder / "plain.toml"), str(folder / "data")]
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with (
        log.open("wb") as errors,
        subprocess.Popen(
            words, stdout=subprocess.PIPE, stderr=errors, env={**os.environ, "PYTHONPATH": paths}
        ) as process,
    ):
        assert process.stdout is not None
        port = process.stdout.readline()
        assert port, log.read_text()
        target = Target(PLAIN, int(port), process, log)
        try:
            yield target
        finally:
            target.client.close()
            process.kill()


async def serve_plainly(file: Path, data: str) -> None:
    """Serve the application with a server that knows nothing of ours, and print the port."""
    import uvicorn

    from streamgauge import config
    from streamgauge.app import App

    app = App(config.load(file, {"data": data, "server.port": 0}))
    await app.start()
    settings = uvicorn.Config(app.asgi(), host="127.0.0.1", port=0, log_config=None, lifespan="off")
    server = uvicorn.Server(settings)
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110  (uvicorn has no event for it)
        await asyncio.sleep(0.01)
    print(server.servers[0].sockets[0].getsockname()[1], flush=True)  # noqa: T201  for who started it
    await serving


if __name__ == "__main__":
    asyncio.run(serve_plainly(Path(sys.argv[1]), sys.argv[2]))
