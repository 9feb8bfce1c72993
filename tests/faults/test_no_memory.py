"""The system gives no more memory: requests are refused, or the process ends for its supervisor; nothing is lost."""

from __future__ import annotations

import http.client
import random
import resource
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final

from effort import a_seed, chance_of, trials
from oracle import (
    CONFIGURATION,
    SPACING,
    Oracle,
    Request,
    check,
    close,
    event,
    request,
    sending,
    tallied,
    until,
)

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
MIB: Final = 2**20
OFTEN: Final = '[store]\ncommit_interval = "50ms"\n' + CONFIGURATION
LINES: Final = 9_000
LARGE_ONES: Final = 4


def take_memory(server: ServerProcess, left_bytes: int) -> None:
    """Let the process have no more than it has, and so many bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmSize"))
    most = int(line.split()[1]) * 1024 + left_bytes
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))


def give_memory(server: ServerProcess) -> None:
    endless = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    resource.prlimit(server.process.pid, resource.RLIMIT_AS, endless)


def large(oracle: Oracle) -> Request:
    """A request of 14 MiB."""
    number, padding = oracle.number(), b',"padding":"%s"}' % (b"x" * 1500)
    lines = [event(number * SPACING + place)[:-1] + padding for place in range(LINES)]
    return Request(number, LINES, b"\n".join(lines), {"Content-Type": "application/x-ndjson"})


def goes_on(server: ServerProcess, oracle: Oracle, chance: random.Random) -> bool:
    """Whether it accepts events, or has ended."""
    if server.process.poll() is not None:
        return True
    connection = http.client.HTTPConnection(server.client.base_url.netloc.decode(), timeout=60)
    with closing(connection):
        return oracle.send(connection, request(oracle.number(), chance)) == "acknowledged"


def test_a_server_that_gets_no_more_memory_refuses_or_ends_and_loses_nothing(start_server: Start) -> None:
    chance = chance_of(seed := a_seed())
    oracle = Oracle(seed)
    with tallied("no more memory", seed) as tally:
        for _ in range(trials(2, 60)):
            server = start_server(configuration=OFTEN)
            check(oracle, server, tally)
            with sending(oracle, server, senders=1, most=50):
                until(partial(oracle.has, oracle.events("acknowledged") + 200, "acknowledged"))
            take_memory(server, chance.randrange(1, 100) * MIB)
            for _ in range(LARGE_ONES):
                connection = http.client.HTTPConnection(server.client.base_url.netloc.decode(), timeout=60)
                with closing(connection):
                    oracle.send(connection, large(oracle))
            if server.process.poll() is None:
                give_memory(server)
            until(partial(goes_on, server, oracle, chance), what="it neither accepts events again nor ends")
            server.kill()
            tally.trials += 1
            tally.faults += 1
        server = start_server(configuration=OFTEN)
        check(oracle, server, tally)
        close(server)
