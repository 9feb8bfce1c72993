"""Told to end at any moment, a server answers what was sent to it, keeps what it accepted, and leaves nothing to replay."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, Oracle, check, close, request, sending, tallied, until
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from server_process import ServerProcess
from streamgauge.errors import DataFolderInUse
from streamgauge.journals.lock import lock_folder

Start = Callable[..., ServerProcess]
BUDGET_S = 25.0
COMMITS = '[store]\ncommit_interval = "200ms"\n'


class Viewer(threading.Thread):
    """Watches the dashboard until the server ends the connection; `heard`: the close code and what was said before."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._url = str(server.client.base_url).replace("http", "ws", 1).rstrip("/")
        self.joined = threading.Event()
        self.code: int | None = None
        self.announced = False

    def run(self) -> None:
        try:
            with connect(f"{self._url}/socket/websocket?vsn=2.0.0", max_size=None) as viewing:
                viewing.send('["1","1","dashboard:overview","phx_join",{}]')
                while True:
                    said = str(viewing.recv(60))
                    self.announced |= '"draining"' in said
                    self.joined.set()
        except ConnectionClosed as closed:
            self.code = closed.rcvd.code if closed.rcvd is not None else None


class OneByOne(threading.Thread):
    """Sends requests, each on a connection of its own, and reads the whole answer: none may be reset once it was sent."""

    def __init__(self, oracle: Oracle, server: ServerProcess, seed: int) -> None:
        super().__init__(daemon=True)
        self._oracle, self._chance = oracle, chance_of(seed)
        self._address = ("127.0.0.1", int(str(server.client.base_url).rstrip("/").rsplit(":", 1)[1]))
        self.problems: list[str] = []
        self.statuses: list[int] = []

    def run(self) -> None:
        while self._one():
            pass

    def _one(self) -> bool:
        """Send one request; tell whether the server was still listening."""
        sent = request(self._oracle.number(), self._chance)
        lines = [f"{name}: {value}" for name, value in sent.headers.items()]
        head = [
            "POST /api/events HTTP/1.1",
            "Host: localhost",
            f"Content-Length: {len(sent.body)}",
            *lines,
            "",
            "",
        ]
        try:
            connection = socket.create_connection(self._address, timeout=30)
        except OSError:
            return False
        with closing(connection):
            self._oracle.note(sent, "unknown")
            try:
                connection.sendall("\r\n".join(head).encode() + sent.body)
            except OSError:  # it was not sent in full
                return True
            return self._read(connection, sent.number, sent.count)

    def _read(self, connection: socket.socket, number: int, count: int) -> bool:
        answer = b""
        try:
            while b"\r\n\r\n" not in answer:
                part = connection.recv(65_536)
                if not part:
                    # accepted by the system's queue, never by the server, which has stopped listening
                    if answer:
                        self.problems.append(f"request {number} was cut off in the answer: {answer!r}")
                    return False
                answer += part
        except OSError as problem:
            self.problems.append(f"request {number} was sent in full: {problem!r}")
            return False
        status = int(answer.split()[1])
        self.statuses.append(status)
        self._oracle.outcomes[number] = (count, "acknowledged" if status == 202 else "refused")
        if status == 503 and b"connection: close" not in answer.lower():
            self.problems.append(f"a refusal of a server that ends does not say so: {answer[:300]!r}")
        if status not in (202, 503):
            self.problems.append(f"unexpected answer {answer[:300]!r}")
        return True


def test_told_to_end_under_load_it_answers_everything_and_leaves_nothing_to_replay(
    start_server: Start,
) -> None:
    chance = chance_of(seed := a_seed())
    oracle = Oracle(seed)
    with tallied("SIGTERM under load", seed) as tally:
        for _ in range(trials(2, 300)):
            server = start_server(configuration=COMMITS + CONFIGURATION)
            check(oracle, server, tally)
            assert "replayed" not in server.errors()
            viewers = [Viewer(server) for _ in range(3)]
            senders = [OneByOne(oracle, server, seed + place) for place in range(3)]
            for thread in (*viewers, *senders):
                thread.start()
            assert all(viewer.joined.wait(30) for viewer in viewers)
            with sending(oracle, server, senders=2):
                time.sleep(chance.uniform(0.0, 0.6))
                begun = time.monotonic()
                assert server.stop() == 0, server.errors()[-2000:]
                assert time.monotonic() - begun < BUDGET_S
            for thread in (*viewers, *senders):
                thread.join(60)
            assert [problem for sender in senders for problem in sender.problems] == []
            assert {(viewer.code, viewer.announced) for viewer in viewers} == {(1012, True)}
            tally.trials += 1
            tally.faults += 1
        server = start_server(configuration=COMMITS + CONFIGURATION)
        assert server.get("/api/ledger")["pending"] == 0
        assert "replayed" not in server.errors()
        check(oracle, server, tally)
        close(server)


@pytest.mark.parametrize("again_after_s", [0.0, 0.05])
def test_told_twice_it_ends_at_once_and_what_it_accepted_is_replayed(
    start_server: Start, again_after_s: float
) -> None:
    configuration = '[store]\ncommit_interval = "1m"\n' + CONFIGURATION
    oracle = Oracle(a_seed())
    server = start_server(configuration=configuration)
    with sending(oracle, server):
        until(lambda: oracle.events("acknowledged") > 2000)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(again_after_s)
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(BUDGET_S) in (0, -signal.SIGTERM)
    server = start_server(configuration=configuration.replace("1m", "100ms"))
    check(oracle, server)
    close(server)


def is_taken(folder: Path) -> bool:
    """Whether a process has the folder."""
    try:
        lock_folder(folder).release()
    except DataFolderInUse:
        return True
    return False


def test_told_to_end_while_it_starts_it_ends_well_and_the_next_start_has_everything(
    start_server: Start, tmp_path: Path
) -> None:
    """From when it has taken its folder on; before that, Python itself is still starting and ends as the system has it."""
    configuration = '[store]\ncommit_interval = "1m"\n' + CONFIGURATION
    chance = chance_of(seed := a_seed())
    oracle = Oracle(seed)
    server = start_server(configuration=configuration)
    with sending(oracle, server):
        until(lambda: oracle.events("acknowledged") > 20_000)
    server.kill()
    words = [sys.executable, "-m", "streamgauge", "serve", str(tmp_path / "data.toml"), "--port", "0"]
    with tallied("SIGTERM while starting", seed) as tally:
        for _ in range(trials(2, 50)):
            with (tmp_path / "data.log").open("ab") as log:
                process = subprocess.Popen([*words, "--data", str(server.data)], stderr=log, stdout=log)
            until(lambda: is_taken(server.data))
            time.sleep(chance.uniform(0.0, 0.4))
            process.send_signal(signal.SIGTERM)
            assert process.wait(BUDGET_S) == 0, server.log.read_text()[-2000:]
            tally.trials += 1
            tally.faults += 1
        again = start_server(configuration=CONFIGURATION)
        check(oracle, again, tally)
        close(again)
