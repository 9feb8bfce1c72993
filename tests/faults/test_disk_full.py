"""A full or failing disk: senders hear of it, nothing acknowledged is lost, and work goes on when there is room."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import httpx
import pytest
from effort import a_seed, trials
from oracle import CONFIGURATION, Oracle, check, close, event, sending, tallied, until

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
QUICK = 'commit_interval = "50ms"\n'
QUICK_CHECKPOINTS = f"""
[store]
{QUICK}checkpoint_interval = "100ms"
[journal]
segment_bytes = "64KiB"
"""
ENDED_BY_ITSELF = 70
ENDS_WITHIN_S = 5.0


class SmallDisk:
    """A file system of a few MiB in memory."""

    def __init__(self, place: Path) -> None:
        self.place = place
        place.mkdir()
        self._mount("size=8m")

    def _mount(self, options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(self.place)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted: {done.stderr.strip()}")

    def resize(self, size: str) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", str(self.place)], check=True)

    @property
    def free_bytes(self) -> int:
        found = os.statvfs(self.place)
        return found.f_bavail * found.f_frsize

    def fill(self, leave_bytes: int = 0) -> Path:
        """Take the room, with a file that a test can delete to give it back."""
        ballast = self.place / "ballast"
        with ballast.open("ab", buffering=0) as file:
            left = self.free_bytes - leave_bytes
            while left > 0:
                try:
                    left -= file.write(bytes(min(left, 65_536)))
                except OSError:
                    break
        return ballast

    def unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.place)], check=False)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    if os.geteuid() != 0:
        pytest.skip("only root may mount a small disk")
    small = SmallDisk(tmp_path / "disk")
    yield small
    small.unmount()


def refused(server: ServerProcess) -> httpx.Response:
    """Give the answer to some events, which must be a refusal that says when to come back."""
    response = server.post(b"\n".join([event(0)] * 1000))  # the last page of a file may have room for a few
    assert response.status_code == 503, response.text
    assert 1 <= int(response.headers["Retry-After"]) <= 90
    return response


def has_refused(oracle: Oracle, requests: int) -> bool:
    return oracle.answers[503] >= requests


def says(server: ServerProcess, text: str) -> bool:
    return text in server.errors()


def not_ready(server: ServerProcess) -> str:
    response = server.client.get("/readyz")
    return "" if response.status_code == 200 else "; ".join(response.json()["reasons"])


def test_a_journal_without_room_refuses_and_goes_on_by_itself_when_there_is_some(
    disk: SmallDisk, start_server: Start, tmp_path: Path
) -> None:
    configuration = f'[journal]\npath = "{disk.place}/journal"\n[store]\n{QUICK}{CONFIGURATION}'
    oracle = Oracle(a_seed())
    with tallied("no room for the journal", oracle.seed) as tally:
        server = start_server(data=tmp_path / "data", configuration=configuration)
        for _ in range(trials(1, 30)):
            refusals = oracle.answers[503]
            with sending(oracle, server):
                before = oracle.events("acknowledged")
                until(partial(oracle.has, before + 500, "acknowledged"))
                ballast = disk.fill()
                until(partial(has_refused, oracle, refusals + 5))
                assert refused(server).json()["code"] == "storage_full"
                until(lambda: re.search("the journal refuses events.*no room on the disk", not_ready(server)))
                assert server.get("/api/ledger")["received"] > 0
                ballast.unlink()
                full = oracle.events("acknowledged")
                until(partial(oracle.has, full + 500, "acknowledged"))
                assert not_ready(server) == ""
            tally.trials += 1
            tally.faults += 1
            check(oracle, server, tally)
        assert oracle.without_wait == 0
        assert set(oracle.answers) == {202, 503}
        server.kill()
        again = start_server(data=tmp_path / "data", configuration=configuration)
        check(oracle, again, tally)
        close(again)


def test_a_store_without_room_is_tried_again_until_there_is_some(
    disk: SmallDisk, start_server: Start, tmp_path: Path
) -> None:
    store = f'[store]\nurl = "duckdb:///{disk.place}/store.duckdb"\n{QUICK}'
    bounds = '[pipeline.producer]\nbuffer = 1000\n[limits]\nsaturated_wait = "100ms"\n'
    configuration = store + bounds + CONFIGURATION
    oracle = Oracle(a_seed())
    with tallied("no room for the store", oracle.seed) as tally:
        server = start_server(data=tmp_path / "data", configuration=configuration)
        with sending(oracle, server, senders=2, most=50):
            until(lambda: oracle.events("acknowledged") > 500)
            disk.fill()
            until(
                lambda: server.errors().count("commit failed") > 3
            )  # it does not give up after a few attempts
            assert server.process.poll() is None
            disk.resize("500m")
        tally.trials, tally.faults = 1, 1
        check(oracle, server, tally)
        server.kill()
        again = start_server(data=tmp_path / "data", configuration=configuration)
        check(oracle, again, tally)
        close(again)


def test_while_the_store_has_no_room_bounds_are_kept_and_senders_are_told_to_wait(
    disk: SmallDisk, start_server: Start, tmp_path: Path
) -> None:
    store = (
        f'[store]\nurl = "duckdb:///{disk.place}/store.duckdb"\ncommit_interval = "10ms"\npatience = "1s"\n'
    )
    configuration = store + '[limits]\nsaturated_wait = "100ms"\n' + CONFIGURATION
    oracle = Oracle(a_seed())
    server = start_server(data=tmp_path / "data", configuration=configuration)
    large = b"\n".join([b'{"type":"large","text":"%s"}' % (b"x" * 60_000)] * 400)
    assert server.post(event(0)).status_code == 202
    server.wait_until_committed()
    disk.fill()
    statuses: list[int] = []
    while 503 not in statuses and len(statuses) < 40:
        statuses.append(server.post(large).status_code)
    assert set(statuses) == {202, 503}
    refused(server)
    assert "the store does not take what it is given" in not_ready(server)
    assert server.process.wait(60) == ENDED_BY_ITSELF
    assert "No space left" in server.errors()
    disk.resize("500m")
    again = start_server(data=tmp_path / "data", configuration=configuration)
    assert again.wait_until_committed()["stored"] == 1 + 400 * statuses.count(202)
    assert oracle.without_wait == 0
    close(again)


def wait_until_it_grows(store: Path) -> None:
    """Wait until checkpoints have made a file larger, so large that a database of one is not all there is."""
    size = store.stat().st_size
    until(lambda: store.stat().st_size > max(size, 1_500_000))


def limit_files(server: ServerProcess, size: int) -> None:
    """Let no file of the process grow beyond a size: writing further fails as on a full disk."""
    resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


def test_a_database_that_gave_up_ends_the_process_with_70_and_the_next_one_has_everything(
    start_server: Start,
) -> None:
    configuration = QUICK_CHECKPOINTS + CONFIGURATION
    oracle = Oracle(a_seed())
    with tallied("checkpoint that fails", oracle.seed) as tally:
        for _ in range(trials(1, 30)):
            server = start_server(configuration=configuration)
            check(oracle, server, tally)
            store = server.data / "streamgauge.duckdb"
            with sending(oracle, server, senders=2):
                wait_until_it_grows(store)
            with sending(oracle, server, senders=1, most=100):
                limit_files(server, store.stat().st_size)
                until(partial(says, server, "FATAL"))
                begun = time.monotonic()
                assert server.process.wait(30) == ENDED_BY_ITSELF
                assert time.monotonic() - begun < ENDS_WITHIN_S
            tally.trials += 1
            tally.faults += 1
        server = start_server(configuration=CONFIGURATION)
        check(oracle, server, tally)
        close(server)


def test_a_checkpoint_is_not_begun_where_it_could_run_out_of_room(
    disk: SmallDisk, start_server: Start, tmp_path: Path
) -> None:
    store = f'[store]\nurl = "duckdb:///{disk.place}/store.duckdb"\n{QUICK}checkpoint_interval = "100ms"\n'
    oracle = Oracle(a_seed())
    server = start_server(data=tmp_path / "data", configuration=store + CONFIGURATION)
    ballast = disk.fill(leave_bytes=1_000_000)
    with sending(oracle, server, senders=1, most=20):
        until(lambda: "a checkpoint may need" in server.errors())
        until(lambda: oracle.events("acknowledged") > 100)
    ballast.unlink()
    check(oracle, server)
    close(server)
    assert not (disk.place / "store.duckdb.wal").exists()
