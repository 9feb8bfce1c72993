"""More than the server can take, for longer than it can buffer: it refuses, says when to come back, and stays small."""

from __future__ import annotations

import http.client
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from effort import a_seed, is_soak
from oracle import close, tallied, until

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
LINES = 2_000
PLACEHOLDER = b"b00000000"
BODY = b"".join(
    b'{"type":"kind_%d","timestamp":%d,"value":%d,"body":"%b"}\n'
    % (line % 7, 1_700_000_000_000 + line, line % 1000, PLACEHOLDER)
    for line in range(LINES)
)
SUM = sum(line % 1000 for line in range(LINES))
TIGHT = """
[pipeline.producer]
buffer = 5000
[limits]
saturated_wait = "20ms"
[query]
max_rows = 1000000
timeout = "10m"
"""
WORKERS = 24
# the database's 256 MiB, which it takes only after millions of events, what waits for it, and what senders are sending
MOST_RSS = (1024 if is_soak() else 700) * 2**20
ASKED_S = 600.0  # hundreds of millions of events, one by one
NORMAL_S = 0.5
GOODPUT = 0.9  # of the capacity, also while twice as much comes
KEYS = 10_000_000 if is_soak() else 60_000


class Memory(threading.Thread):
    """Watches how much memory a process has."""

    def __init__(self, server: ServerProcess) -> None:
        super().__init__(daemon=True)
        self._status = Path(f"/proc/{server.process.pid}/status")
        self._stopped = threading.Event()
        self.most = 0

    @property
    def now(self) -> int:
        line = next(line for line in self._status.read_text().splitlines() if line.startswith("VmRSS"))
        return int(line.split()[1]) * 1024

    def run(self) -> None:
        while not self._stopped.wait(0.1):
            self.most = max(self.most, self.now)

    def stop(self) -> None:
        self._stopped.set()
        self.join()


@contextmanager
def watched(server: ServerProcess) -> Iterator[Memory]:
    memory = Memory(server)
    memory.start()
    yield memory
    memory.stop()


class Flood:
    """Sends bodies at a fixed rate whatever the answers are, as long as not all its connections wait for one."""

    def __init__(self, server: ServerProcess) -> None:
        self._address = urlsplit(str(server.client.base_url)).netloc
        self._numbers = itertools.count()
        self.accepted: list[int] = []
        self.refused: list[int] = []
        self.waits: list[int] = []
        self.other: list[object] = []

    def run(self, per_second: float, seconds: float, *, workers: int = WORKERS) -> float:
        """Send for so long; give how many bodies a second were accepted."""
        accepted = len(self.accepted)
        begun = time.monotonic()
        places = itertools.count()

        def work() -> None:
            connection = http.client.HTTPConnection(self._address, timeout=60)
            while time.monotonic() < begun + seconds:
                time.sleep(max(0.0, begun + next(places) / per_second - time.monotonic()))
                self._send(connection)
            connection.close()

        threads = [threading.Thread(target=work, daemon=True) for _ in range(workers)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(seconds + 120)
        return (len(self.accepted) - accepted) / (time.monotonic() - begun)

    def _send(self, connection: http.client.HTTPConnection) -> None:
        number = next(self._numbers)
        body = BODY.replace(PLACEHOLDER, b"b%08d" % number)
        try:
            connection.request("POST", "/api/events", body, {"Content-Type": "application/x-ndjson"})
            response = connection.getresponse()
            response.read()
        except (OSError, http.client.HTTPException) as problem:
            self.other.append(problem)
            connection.close()
            return
        if response.status == 202:
            self.accepted.append(number)
        elif response.status == 503:
            self.refused.append(number)
            self.waits.append(int(response.headers["Retry-After"]))
        else:
            self.other.append(response.status)


def measured(flood: Flood) -> float:
    """Give how much it can take, by more than that; in the long form from few, of whom none has to be refused."""
    return flood.run(1_000.0, 30.0, workers=4) if is_soak() else flood.run(1_000.0, 1.0)


def answers_quickly(server: ServerProcess) -> bool:
    begun = time.monotonic()
    status = server.post(b'{"type":"after the flood"}').status_code
    return status == 202 and time.monotonic() - begun < NORMAL_S


def end(server: ServerProcess) -> None:
    """Stop a server; to verify millions of events takes longer than to send them, and is for the long form."""
    if is_soak():
        close(server)
    else:
        assert server.stop() == 0


def test_a_flood_is_refused_in_part_and_nothing_accepted_is_lost(start_server: Start) -> None:
    server = start_server(configuration=TIGHT)
    flood = Flood(server)
    with tallied("flood at twice the capacity", a_seed()) as tally, watched(server) as memory:
        capacity = measured(flood)
        goodput = flood.run(2 * capacity, 600.0 if is_soak() else 2.0)
        until(lambda: answers_quickly(server), 10.0, "it is still slow ten seconds after the flood")
        capacity = (
            capacity + measured(flood)
        ) / 2  # the machine, and the store, are not the same after ten minutes
        tally.name += f", accepted {goodput * LINES:,.0f} events/s of a capacity of {capacity * LINES:,.0f}"
        tally.trials, tally.faults = len(flood.accepted) + len(flood.refused), len(flood.refused)
        tally.acknowledged = len(flood.accepted) * LINES
    assert flood.other == []
    assert flood.accepted
    assert flood.refused, "nothing was refused: this was no flood"
    assert all(1 <= wait <= 60 for wait in flood.waits)
    assert memory.most < MOST_RSS
    if is_soak():  # in seconds, on a machine that does other things too, it says nothing
        assert goodput >= GOODPUT * capacity
    ledger = server.wait_until_committed(120.0)
    server.client.timeout = ASKED_S
    found = dict(
        server.ask(
            "SELECT event->>'$.body' AS body, count(*) FROM events WHERE body IS NOT NULL GROUP BY body"
        )
    )
    assert found == {f"b{number:08d}": LINES for number in flood.accepted}
    after = server.ask("SELECT count(*) FROM events WHERE type = 'after the flood'")[0][0]
    assert ledger["stored"] == ledger["received"] == len(flood.accepted) * LINES + after
    rolled = server.ask(
        "SELECT sum(count), sum(sum) FROM rollups WHERE metric = 'events' AND series->>'$.type' LIKE 'kind_%'"
    )
    assert rolled == [[len(flood.accepted) * LINES, len(flood.accepted) * SUM]]
    assert ledger["requests_refused"] >= len(flood.refused)
    end(server)


@pytest.mark.parametrize("length", [12])
def test_as_many_keys_as_events_cost_bounded_memory_and_totals_stay_exact(
    start_server: Start, length: int
) -> None:
    server = start_server(configuration=TIGHT)
    with tallied("distinct keys", a_seed()) as tally, watched(server) as memory:
        for start in range(0, KEYS, LINES):
            keys = range(start, min(start + LINES, KEYS))
            body = b"".join(
                b'{"type":"%0*d","timestamp":%d,"value":2}\n' % (length, key, 1_700_000_000_000 + key % 1000)
                for key in keys
            )
            while (status := server.post(body).status_code) == 503:
                time.sleep(0.1)
            assert status == 202
            tally.trials += 1
        tally.acknowledged = KEYS
        ledger = server.wait_until_committed(600.0)
    server.client.timeout = ASKED_S
    assert memory.most < MOST_RSS
    assert ledger["stored"] == ledger["received"] == KEYS
    assert server.ask("SELECT count(*), count(DISTINCT type) FROM events") == [[KEYS, KEYS]]
    rolled = server.ask(
        "SELECT is_other, sum(count), sum(sum), count(DISTINCT series) FROM rollups WHERE metric = 'events' GROUP BY is_other"
    )
    assert sum(count for _, count, _, _ in rolled) == KEYS
    assert sum(total for _, _, total, _ in rolled) == 2 * KEYS
    assert sum(series for is_other, _, _, series in rolled if not is_other) <= 10_000
    answer = server.get("/api/metrics/events", **{"from": "all", "by": "", "step": 86_400})["series"]
    assert [(one["totals"]["count"], one["totals"]["sum"]) for one in answer] == [(KEYS, 2 * KEYS)]
    end(server)
