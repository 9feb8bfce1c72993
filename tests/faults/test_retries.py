"""Senders that repeat whatever they have no answer to, also at the same time, while the server is killed: each event once."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, SPACING, Oracle, Request, check, close, event, tallied, until

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
OFTEN: Final = (
    '[store]\ncommit_interval = "50ms"\ncheckpoint_interval = "300ms"\n[journal]\nsegment_bytes = "64KiB"\n'
)
AT_ONCE: Final = 3
LOST_ANSWERS: Final = 0.3
SENDERS: Final = 3


def with_ids(number: int, chance: random.Random) -> Request:
    """Lines of which each has an id, in another order each time that it is sent; or a request with a key."""
    count = chance.randint(1, 60)
    lines = [event(number * SPACING + place) for place in range(count)]
    if chance.random() < 0.5:
        headers = {"Idempotency-Key": f"request-{number}"}
    else:
        lines = [line[:-1] + b',"event_id":"%d-%d"}' % (number, place) for place, line in enumerate(lines)]
        headers = {}
    return Request(number, count, b"\n".join(lines), {"Content-Type": "application/x-ndjson", **headers})


@dataclass
class Server:
    """The one that runs at the moment; another one, at another address, after each kill."""

    process: ServerProcess

    @property
    def address(self) -> str:
        return urlsplit(str(self.process.client.base_url)).netloc


class Repeater(threading.Thread):
    """Sends one request after the other, each until it is acknowledged."""

    def __init__(self, oracle: Oracle, server: Server, seed: int) -> None:
        super().__init__(daemon=True)
        self._oracle, self._server, self._chance = oracle, server, chance_of(seed)
        self.stopped = threading.Event()
        self.problems: list[str] = []
        self.attempts = 0

    def run(self) -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            while not self.stopped.is_set():
                sent = with_ids(self._oracle.number(), self._chance)
                self._oracle.note(sent, "unknown")
                while not self._is_acknowledged(sent, pool):
                    if self.stopped.wait(0.01) and self.problems:
                        return
                self._oracle.note(sent, "acknowledged")

    def _is_acknowledged(self, sent: Request, pool: ThreadPoolExecutor) -> bool:
        """Try once, or several times at the same time; some answers are not read."""
        copies = self._chance.choice((1, 1, AT_ONCE))
        reads = [self._chance.random() > LOST_ANSWERS for _ in range(copies)]
        self.attempts += copies
        return any(list(pool.map(lambda is_read: self._send(sent, is_read=is_read), reads)))

    def _send(self, sent: Request, *, is_read: bool) -> bool:
        connection = http.client.HTTPConnection(self._server.address, timeout=30)
        with closing(connection):
            try:
                connection.request("POST", "/api/events", sent.body, sent.headers)
                if not is_read:
                    return False
                response = connection.getresponse()
                answer = json.loads(response.read())
            except (OSError, http.client.HTTPException, ValueError):
                return False
        if response.status == 202 and answer["accepted"] + answer.get("duplicates", 0) == sent.count:
            return True
        if response.status != 503:
            self.problems.append(f"request {sent.number}: {response.status} {answer}")
        return False


def test_whatever_is_repeated_counts_once_through_lost_answers_and_kills(start_server: Start) -> None:
    configuration = OFTEN + CONFIGURATION
    chance = chance_of(seed := a_seed())
    oracle = Oracle(seed)
    server = Server(start_server(configuration=configuration))
    repeaters = [Repeater(oracle, server, seed + place) for place in range(SENDERS)]
    for repeater in repeaters:
        repeater.start()
    with tallied("repeated requests", seed) as tally:
        for _ in range(trials(3, 100)):
            before = oracle.events("acknowledged")
            until(partial(oracle.has, before + 300, "acknowledged"))
            time.sleep(chance.uniform(0.0, 0.2))
            server.process.kill()
            server.process = start_server(configuration=configuration)
            tally.faults += 1
        for repeater in repeaters:
            repeater.stopped.set()
        for repeater in repeaters:
            repeater.join(60)
        assert [problem for repeater in repeaters for problem in repeater.problems] == []
        assert oracle.events("unknown") == 0
        tally.trials = sum(repeater.attempts for repeater in repeaters)
        check(oracle, server.process, tally)
        assert server.process.get("/api/ledger")["duplicate"] > 0
        close(server.process)
