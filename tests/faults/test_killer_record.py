"""An event that ends the process by which it is counted is set aside, and everything else counts once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
from effort import is_soak
from oracle import close, until

from server_process import ServerProcess

Start = Callable[..., ServerProcess]

# Found by every Python process on whose path it is: counting an event of type `killer` ends that process.
KILLER = """
import ctypes, os, signal, sys
from streamgauge.stages.aggregator import Aggregator

whole = Aggregator._compute

def compute(self, batches):
    kinds = {{batch.type.values[code] for batch in batches for code in batch.type.codes.tolist()}}
    if "killer" in kinds:
        with open({deaths!r}, "a") as file:
            file.write("trial\\n" if "tryout" in sys.argv[0] else "server\\n")
        {how}
    return whole(self, batches)

Aggregator._compute = compute
"""
WAYS = {
    "exit": "os._exit(3)",
    "segfault": "ctypes.string_at(0)",
    "out of memory": "os.kill(os.getpid(), signal.SIGKILL)",
}
CONFIGURATION = """
[store]
commit_interval = "300ms"
[[metric]]
name = "sums"
by = ["type"]
aggregates = ["count", "sum"]
"""
KILLING = b'{"type":"killer","value":7,"why":"no reason"}\n'


@pytest.fixture(params=WAYS if is_soak() else ["segfault"])
def deadly(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every process that is started from here on dies of events of type `killer`; gives the file of their deaths."""
    deaths, folder = tmp_path / "deaths", tmp_path / "killer"
    folder.mkdir()
    text = KILLER.format(deaths=str(deaths), how=WAYS[request.param])
    (folder / "sitecustomize.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    return deaths


def lines(kind: str, values: range) -> bytes:
    return b"".join(b'{"type":"%s","value":%d}\n' % (kind.encode(), value) for value in values)


def started_again(start_server: Start) -> ServerProcess:
    """Start the server again and again, as a supervisor would, until it has counted everything."""
    for _ in range(4):
        with suppress(RuntimeError):  # it did not come to its greeting
            server = start_server(configuration=CONFIGURATION)
            until(partial(has_come_through, server))
            if not has_died(server):
                return server
            server.kill()
    raise AssertionError("the server does not start any more")


def has_come_through(server: ServerProcess) -> bool:
    return has_died(server) or has_counted(server)


def has_died(server: ServerProcess) -> bool:
    return server.process.poll() is not None


def has_counted(server: ServerProcess) -> bool:
    try:
        return bool(server.get("/api/ledger")["pending"] == 0)
    except httpx.HTTPError:
        return False


def test_an_event_that_ends_the_process_is_set_aside_after_two_deaths_and_all_else_counts_once(
    start_server: Start, deadly: Path
) -> None:
    server = start_server(configuration=CONFIGURATION)
    assert server.post(lines("good", range(1000))).status_code == 202
    server.wait_until_committed()
    body = lines("good", range(60)) + KILLING + lines("good", range(40))
    with suppress(httpx.HTTPError):  # it may die before it has answered, but not before it has accepted
        server.post(body)
    until(lambda: has_died(server), what="it lives on")
    server.kill()
    assert deadly.read_text().split().count("server") == 1

    server = started_again(start_server)
    assert deadly.read_text().split().count("server") == 2
    ledger = server.get("/api/ledger")
    assert (ledger["stored"], ledger["dead_lettered"]) == (1100, 1)
    assert server.ask("SELECT count(*), sum(value) FROM events") == [[1100, 499_500 + 1770 + 780]]
    [series] = server.get("/api/metrics/sums", **{"from": "all"})["series"]
    assert (series["by"], series["totals"]["count"]) == ({"type": "good"}, 1100)
    assert server.post(lines("good", range(10))).json() == {"accepted": 10}
    server.wait_until_committed()
    [letter] = server.get("/api/dead-letters")["dead_letters"]
    whole = server.get(f"/api/dead-letters/{letter['name']}")
    assert whole["event"] == json.loads(KILLING)
    assert (letter["stage"], "the server died twice" in letter["reason"]) == ("process", True)
    gone = server.client.post("/api/dead-letters/discard", json={"names": [letter["name"]]})
    assert gone.json() == {"discarded": 1}
    assert server.get("/api/dead-letters")["dead_letters"] == []
    close(server)
    assert deadly.read_text().split().count("server") == 2
