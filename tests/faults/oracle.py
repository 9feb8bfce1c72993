"""The clients of a server that is being broken, and what they know: what was sent, and what was acknowledged.

It lives in the process that is never killed. An event is made from its number alone, so that every stored event can be
compared with what was sent, and a request owns a run of numbers, so that only its outcome has to be remembered.
"""

from __future__ import annotations

import gzip
import http.client
import itertools
import json
import random
import secrets
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

from effort import chance_of

from server_process import ServerProcess

PROBE_S: Final = 10.0  # also on a machine that does other things
SPACING: Final = 10_000  # numbers that a request owns; it uses the first of them
KINDS, SECONDS, START_S = 7, 600, 1_700_000_000
EVENT: Final = b'{"type":"kind_%d","timestamp":%d,"value":%d,"id":%d}'
CONFIGURATION: Final = """
[query]
max_rows = 1000000
timeout = "1m"
[[metric]]
name = "large"
where = "value > 500"
by = ["type"]
aggregates = ["count", "sum", "max"]
[[metric]]
name = "all"
aggregates = ["count", "sum", "min", "max", "p99"]
"""
METRICS: Final = {"events": ("type", "TRUE"), "large": ("type", "value > 500"), "all": ("''", "TRUE")}

Outcome = Literal["acknowledged", "refused", "unknown", "unsent"]


def event(number: int) -> bytes:
    """The event of a number, as one line."""
    second = START_S + number % SECONDS
    return EVENT % (number % KINDS, second * 1000, number * 7919 % 1000 + 1, number)


@dataclass(frozen=True, slots=True)
class Request:
    """What is sent at once: events `first` to `first + count - 1`."""

    number: int
    count: int
    body: bytes
    headers: dict[str, str]


def request(number: int, chance: random.Random, most: int = 400) -> Request:
    """One event, an array, lines, or lines compressed."""
    shape = chance.choice(("event", "array", "lines", "lines", "gzip"))
    count = 1 if shape == "event" else chance.randint(1, most)
    lines = [event(number * SPACING + place) for place in range(count)]
    kind = "application/json" if shape in ("event", "array") else "application/x-ndjson"
    headers = {"Content-Type": kind}
    body = b"[" + b",".join(lines) + b"]" if shape == "array" else b"\n".join(lines)
    if shape == "gzip":
        headers["Content-Encoding"] = "gzip"
        body = gzip.compress(body, 1)
    return Request(number, count, body, headers)


@dataclass
class Oracle:
    """Remembers every request and its outcome; `check` compares a server with that.

    sent_ns, answered_ns: when, by the monotonic clock, which all processes of a machine share.
    """

    seed: int
    outcomes: dict[int, tuple[int, Outcome]] = field(default_factory=dict)
    sent_ns: dict[int, int] = field(default_factory=dict)
    answered_ns: dict[int, int] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    without_wait: int = 0  # refusals that did not say when to come back
    slowest_s: float = 0.0
    stored: int = 0
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def number(self) -> int:
        with self._lock:
            return next(self._numbers)

    def note(self, request: Request, outcome: Outcome) -> None:
        with self._lock:
            self.outcomes[request.number] = (request.count, outcome)

    def events(self, *outcomes: Outcome) -> int:
        """How many events were sent in requests that ended so."""
        with self._lock:
            return sum(count for count, outcome in self.outcomes.values() if outcome in outcomes)

    def has(self, events: int, *outcomes: Outcome) -> bool:
        """Whether so many events were sent in requests that ended so."""
        return self.events(*outcomes) >= events

    def send(self, connection: http.client.HTTPConnection, request: Request) -> Outcome:
        """Send one request and note what became of it; only a whole answer counts as one."""
        self.note(request, "unknown")  # before it is sent: whatever happens now, it was tried
        self.sent_ns[request.number] = time.monotonic_ns()
        try:
            if connection.sock is None:
                connection.connect()
        except OSError:
            self.note(request, "unsent")
            return "unsent"
        started = time.monotonic()
        try:
            connection.request("POST", "/api/events", request.body, request.headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError):
            connection.close()
            return "unknown"
        self.slowest_s = max(self.slowest_s, time.monotonic() - started)
        self.answered_ns[request.number] = time.monotonic_ns()
        outcome: Outcome = "acknowledged" if response.status == 202 else "refused"
        if outcome == "acknowledged":
            assert answer == {"accepted": request.count}, answer
        with self._lock:
            self.answers[response.status] += 1
            if response.status == 503 and not response.headers.get("Retry-After", "").isdigit():
                self.without_wait += 1
        self.note(request, outcome)
        return outcome


class Sender(threading.Thread):
    """Sends one request after the other until it is told to stop or the server is gone."""

    def __init__(self, oracle: Oracle, url: str, seed: int, *, most: int = 400) -> None:
        super().__init__(daemon=True)
        self.oracle, self._chance, self._most = oracle, chance_of(seed), most
        self._address = urlsplit(url).netloc
        self._stopped = threading.Event()
        self.outcomes: list[Outcome] = []
        self.unexpected: BaseException | None = None

    def run(self) -> None:
        connection = http.client.HTTPConnection(self._address, timeout=60)
        try:
            while not self._stopped.is_set():
                outcome = self.oracle.send(
                    connection, request(self.oracle.number(), self._chance, self._most)
                )
                self.outcomes.append(outcome)
                if outcome in ("unknown", "unsent"):
                    return
                if outcome == "refused":
                    self._stopped.wait(0.05)
        except BaseException as problem:  # noqa: BLE001  told by `sending`, in the test's own thread
            self.unexpected = problem
        finally:
            connection.close()

    def stop(self) -> None:
        self._stopped.set()


@contextmanager
def sending(
    oracle: Oracle, server: ServerProcess, *, senders: int = 4, most: int = 400
) -> Iterator[list[Sender]]:
    """Send from several threads; at the end each has ended."""
    url, first = str(server.client.base_url), oracle.number()
    threads = [Sender(oracle, url, oracle.seed + first * 31 + place, most=most) for place in range(senders)]
    for thread in threads:
        thread.start()
    try:
        yield threads
    finally:
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join(90)
    for thread in threads:
        assert not thread.is_alive(), "a sender still waits for its answer"
        if thread.unexpected is not None:
            raise thread.unexpected


def until(predicate: Callable[[], object], seconds: float = 30.0, what: str = "") -> None:
    """Wait until something holds; what it looks at is in another process, so there is nothing to await."""
    deadline = time.monotonic() + seconds
    while not predicate():
        assert time.monotonic() < deadline, what or "it took too long"
        time.sleep(0.01)


@dataclass
class Tally:
    """What a fault test has tried and found; said when it ends, also when it fails."""

    name: str
    seed: int
    trials: int = 0
    faults: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0

    def add(self, other: Tally) -> None:
        """Add what was tried and found with other events."""
        self.trials += other.trials
        self.faults += other.faults
        self.acknowledged += other.acknowledged
        self.lost += other.lost
        self.doubled += other.doubled

    def __str__(self) -> str:
        return (
            f"{self.name}: seed {self.seed}, {self.trials} trials, {self.faults} faults, {self.acknowledged:,} events"
            f" acknowledged, {self.lost} lost, {self.doubled} doubled"
        )


@contextmanager
def tallied(name: str, seed: int) -> Iterator[Tally]:
    tally = Tally(name, seed)
    try:
        yield tally
    finally:
        sys.stdout.write(f"\n{tally}\n")


def check(oracle: Oracle, server: ServerProcess, tally: Tally | None = None, lost: int = 0) -> None:
    """Compare the server with what its clients know. lost: events that may be missing, since their bytes were damaged."""
    ledger = server.wait_until_committed()
    problems = [
        *_compare_events(oracle, server, tally, lost),
        *_compare_rollups(server),
        *_compare_ledger(oracle, server, ledger),
        *_probe(server),
    ]
    assert not problems, "\n".join([f"seed {oracle.seed}", *problems, server.errors()[-2000:]])


def _compare_events(
    oracle: Oracle, server: ServerProcess, tally: Tally | None, may_be_lost: int
) -> Iterator[str]:
    """A1, A2, A3, A6: what was acknowledged is there once, event by event; nothing else is."""
    rows = server.ask(
        "WITH numbered AS (SELECT *, (event->>'$.id')::BIGINT AS id FROM events WHERE type <> 'probe')"
        f" SELECT id // {SPACING}, count(*), count(DISTINCT id), min(id) % {SPACING}, max(id) % {SPACING},"
        f" bool_and(type = 'kind_' || (id % {KINDS}) AND value = id * 7919 % 1000 + 1"
        f" AND epoch_ms(time) = ({START_S} + id % {SECONDS}) * 1000) FROM numbered GROUP BY ALL"
    )
    found = {row[0]: row[1:] for row in rows}
    lost = doubled = 0
    for number, (count, outcome) in oracle.outcomes.items():
        stored, distinct, first, last, is_same = found.pop(number, (0, 0, 0, count - 1, True))
        doubled += stored - distinct
        lost += count - distinct if outcome == "acknowledged" else 0
        if outcome in ("refused", "unsent") and stored:
            yield f"request {number} was {outcome}, but {stored} of its events are stored"
        if stored not in (0, count) or not is_same or first < 0 or last >= count:
            yield f"request {number} ({outcome}): {stored} of {count} events stored, unchanged: {is_same}"
    if tally is not None:
        tally.acknowledged, tally.doubled = oracle.events("acknowledged"), doubled
        tally.lost = lost - may_be_lost
    if lost != may_be_lost:
        yield f"{lost} acknowledged events are missing, {may_be_lost} of them for a known reason"
    if doubled:
        yield f"{doubled} events are stored twice"
    if found:
        yield f"requests that nobody sent are stored: {sorted(found)[:10]}"


def _compare_rollups(server: ServerProcess) -> Iterator[str]:
    """A4: every rollup is what the raw events give, and the API says the same."""
    for name, (series, where) in METRICS.items():
        differing = server.ask(
            f"""WITH raw AS (
                SELECT {series} AS series, epoch_ms(time) // 1000 AS second, count(*) AS n, sum(value) AS total,
                       min(value) AS least, max(value) AS most, count(value) AS v FROM events WHERE {where} GROUP BY ALL),
            rolled AS (
                SELECT coalesce(series->>'$.type', '') AS series, epoch_ms(bucket) // 1000 AS second,
                       sum(count) AS n, sum(sum) AS total, min(min) AS least, max(max) AS most,
                       sum(n_values) AS v
                FROM rollups WHERE metric = '{name}' GROUP BY ALL)
            SELECT series, second, raw.n, rolled.n, raw.total, rolled.total
            FROM raw FULL JOIN rolled USING (series, second)
            WHERE raw.n IS DISTINCT FROM rolled.n OR raw.total IS DISTINCT FROM rolled.total
               OR raw.least IS DISTINCT FROM rolled.least OR raw.most IS DISTINCT FROM rolled.most
               OR raw.v IS DISTINCT FROM rolled.v LIMIT 5"""
        )
        if differing:
            yield f"metric {name}: rollups differ from the raw events: {differing}"
        expected = server.ask(f"SELECT count(*), sum(value) FROM events WHERE {where}")[0]
        answer = server.get(f"/api/metrics/{name}", **{"from": "all", "by": "", "step": 86_400})["series"]
        totals = [[one["totals"]["count"], one["totals"]["sum"]] for one in answer] or [[0, None]]
        if totals != [expected]:
            yield f"metric {name}: the API says {totals}, the raw events {expected}"


def _compare_ledger(oracle: Oracle, server: ServerProcess, ledger: dict[str, Any]) -> Iterator[str]:
    """A5: nothing disappears without being counted, and counts only grow."""
    parts = ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending")
    for source, row in [("all", ledger), *ledger["sources"].items()]:
        if row["received"] != sum(row[part] for part in parts):
            yield f"ledger of {source}: {row} does not add up"
    stored = server.ask("SELECT count(*) FROM events")[0][0]
    if ledger["stored"] != stored:
        yield f"the ledger says {ledger['stored']} stored; there are {stored}"
    if ledger["stored"] < oracle.stored:
        yield f"the ledger went back from {oracle.stored} stored to {ledger['stored']}"
    oracle.stored = ledger["stored"]


def _probe(server: ServerProcess) -> Iterator[str]:
    """P28: a server that says that it is ready counts what comes, and soon."""
    if server.client.get("/readyz").status_code != 200:
        return
    name = secrets.token_hex(8)
    answer = server.post(b'{"type":"probe","value":1,"name":"%s"}' % name.encode())
    if answer.status_code != 202:
        yield f"it says that it is ready, and answers {answer.status_code}: {answer.text}"
        return
    server.wait_until_committed(PROBE_S)
    if (found := server.ask(f"SELECT count(*) FROM events WHERE event->>'$.name' = '{name}'")) != [[1]]:
        yield f"it says that it is ready, but an event that it accepted is there {found} times"


def verify(data: Path, configuration: Path | None = None) -> None:
    """Let `streamgauge verify` look over a data folder that no server owns; the last step of a fault test."""
    words = [sys.executable, "-m", "streamgauge", "verify", "--data", str(data)]
    if configuration is not None:
        words += ["--config", str(configuration)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if "No such command" in done.stderr:
        return
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"


def close(server: ServerProcess) -> None:
    """Stop a server cleanly and let its folder be verified."""
    assert server.stop() == 0, server.errors()[-2000:]
    file = server.data.parent / f"{server.data.name}.toml"
    verify(server.data, file if file.exists() else None)


def kill_while_starting(data: Path, configuration: Path, after_s: float) -> None:
    """Start a server on a folder and kill it after so many seconds, ready or not."""
    words = [
        sys.executable,
        "-m",
        "streamgauge",
        "serve",
        str(configuration),
        "--port",
        "0",
        "--data",
        str(data),
    ]
    with (data.parent / f"{data.name}.log").open("ab") as log:
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=log)
        with suppress(subprocess.TimeoutExpired):
            process.wait(after_s)
        assert process.poll() is None, "it ended by itself"
        process.kill()
        process.wait(30)
