"""A disk that takes its time: what waits for it waits, everything else goes on, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
import pytest
from effort import a_seed, is_soak
from faulty_calls import Fault, environment
from oracle import CONFIGURATION, Oracle, check, close, sending, tallied, until

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
SLOW_MS: Final = 2000 if is_soak() else 700
QUICK_S: Final = 0.75 * SLOW_MS / 1000  # on a machine that does other things too
JOURNAL, STORE = ".ndjson", ".duckdb"
EVENTS: Final = 500


class Heartbeat(threading.Thread):
    """Asks for a sign of life, again and again, and keeps the slowest."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._client = httpx.Client(base_url=server.client.base_url, timeout=30)
        self._stopped = threading.Event()
        self.took_s: list[float] = []

    def run(self) -> None:
        while not self._stopped.wait(0.02):
            begun = time.monotonic()
            assert self._client.get("/healthz").status_code == httpx.codes.OK
            self.took_s.append(time.monotonic() - begun)

    def stop(self) -> None:
        self._stopped.set()
        self.join(30)
        self._client.close()


@contextmanager
def alive(server: ServerProcess) -> Iterator[None]:
    """See that it answers at once meanwhile."""
    heartbeat = Heartbeat(server)
    heartbeat.start()
    yield
    heartbeat.stop()
    assert len(heartbeat.took_s) > 20
    assert max(heartbeat.took_s) < QUICK_S, "whatever waits for the disk, the event loop does not"


@pytest.mark.parametrize(
    ("fsync", "slow", "waits"),
    [("always", JOURNAL, True), ("interval", JOURNAL, False), ("interval", STORE, False)],
)
def test_only_what_has_to_wait_for_a_slow_disk_does(
    fsync: str, slow: str, start_server: Start, tmp_path: Path, *, waits: bool
) -> None:
    fault = Fault(at=20 if slow == STORE else 1, do=f"wait:{SLOW_MS}", lasting=True, calls="sync", name=slow)
    configuration = f'[journal]\nfsync = "{fsync}"\n[store]\ncommit_interval = "50ms"\n{CONFIGURATION}'
    variables = environment(tmp_path / "data", fault=fault)
    server = start_server(configuration=configuration, environment=variables)
    oracle = Oracle(a_seed())
    with tallied(f"a slow disk below {slow}, fsync {fsync}", oracle.seed) as tally:
        with alive(server), sending(oracle, server, senders=2, most=50):
            several_syncs = time.monotonic() + 3 * SLOW_MS / 1000
            until(lambda: oracle.has(EVENTS, "acknowledged") and time.monotonic() > several_syncs, 60)
        assert (oracle.slowest_s >= SLOW_MS / 1000) == waits
        assert set(oracle.answers) == {202}
        tally.trials, tally.faults = 1, 1
        check(oracle, server, tally)
        server.kill()
        again = start_server(configuration=configuration)
        check(oracle, again, tally)
        close(again)
