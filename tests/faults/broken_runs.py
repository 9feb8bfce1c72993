"""One run of a server of which a chosen call to the system fails or is its last, and what became of it."""

from __future__ import annotations

import http.client
import subprocess
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from effort import chance_of
from faulty_calls import Call, Fault, environment, read_record
from oracle import CONFIGURATION, Oracle, Tally, check, close, request, until

from server_process import NoStart, ServerProcess

BUSY: Final = """
[journal]
fsync = "{fsync}"
interval = "50ms"
segment_bytes = "16KiB"
segment_age = "100ms"
[store]
commit_interval = "30ms"
checkpoint_interval = "150ms"
"""
REQUESTS: Final = 25
MOST_EVENTS: Final = 200
KILLED: Final = -9
ENDED_BY_ITSELF: Final = 70
MEND_BY_HAND: Final = 2  # a start that cannot go on says what is wrong and ends so
NEVER: Final = Fault(at=1_000_000, do="kill_before")


@dataclass
class BrokenRun:
    """A server with a fault, from its first start to its end. code: how it ended."""

    folder: Path
    oracle: Oracle
    fsync: str
    code: int = 0

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """Where it writes what it has to say."""
        return self.folder / "data.log"

    @property
    def configuration(self) -> str:
        """Options with which everything that a server ever does to its files happens within a second."""
        return BUSY.format(fsync=self.fsync) + CONFIGURATION

    def live(self, fault: Fault | None, record: Path | None = None) -> None:
        """Start it, send what it takes, and tell it to end; the fault comes somewhere on the way."""
        variables = environment(self.data if fault else self.folder, fault=fault, record=record)
        try:
            server = ServerProcess(self.data, configuration=self.configuration, environment=variables)
        except NoStart as problem:
            self.code = problem.code
            return
        try:
            self._send(server)
            if fault is not None and not fault.lasting:
                until(
                    partial(self._goes_on, server), what=f"{fault}: it neither accepts events again nor ends"
                )
            server.process.terminate()
            self.code = server.process.wait(60)
        except subprocess.TimeoutExpired as problem:
            raise AssertionError(f"it does not end:\n{server.errors()[-3000:]}") from problem
        finally:
            server.kill()

    def said(self) -> str:
        """How it ended, and the end of its log."""
        return f"exit code {self.code}: {self.log.read_text()[-3000:]}"

    def _send(self, server: ServerProcess) -> None:
        chance = chance_of(self.oracle.seed)
        with closing(self._connection(server)) as connection:
            for _ in range(REQUESTS):
                outcome = self.oracle.send(connection, request(self.oracle.number(), chance, MOST_EVENTS))
                if outcome in ("unknown", "unsent"):
                    return

    def _goes_on(self, server: ServerProcess) -> bool:
        """Whether it accepts events, or has ended."""
        if server.process.poll() is not None:
            return True
        sent = request(self.oracle.number(), chance_of(self.oracle.seed), MOST_EVENTS)
        with closing(self._connection(server)) as connection:
            return self.oracle.send(connection, sent) == "acknowledged"

    @staticmethod
    def _connection(server: ServerProcess) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(server.client.base_url.netloc.decode(), timeout=30)

    def next_life(self, tally: Tally, start: Callable[..., ServerProcess], *, last: bool) -> None:
        """Start it without a fault: it must have everything, and go on."""
        server = start(data=self.data, configuration=self.configuration)
        check(self.oracle, server, tally)
        assert server.post(b'{"type":"canary"}').status_code == 202
        until(lambda: server.ask("SELECT count(*) FROM events WHERE type = 'canary'") == [[1]])
        if last:
            close(server)
        else:
            server.kill()


def calls_of_a_whole_run(folder: Path, fsync: str) -> list[Call]:
    """Run without a fault; give every call that changed a file."""
    run = BrokenRun(folder, Oracle(0), fsync)
    run.live(NEVER, folder.with_suffix(".record"))
    assert run.code == 0
    return read_record(folder.with_suffix(".record"))
