"""The data folder, or a part of it, is taken away from under a running server: it ends, rather than acknowledge into nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from effort import a_seed
from oracle import CONFIGURATION, Oracle, check, close, sending, tallied, until

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
AGAIN = 70  # the exit code that asks a supervisor for another start
ENDS_WITHIN_S = 20.0


def remove_folder(data: Path) -> None:
    shutil.rmtree(data)


def remove_journal(data: Path) -> None:
    shutil.rmtree(data / "journal")


def remove_segment(data: Path) -> None:
    max((data / "journal").glob("*.ndjson")).unlink()


def remove_store(data: Path) -> None:
    (data / "streamgauge.duckdb").unlink()


def replace_store(data: Path) -> None:
    other = data / "other"
    other.write_bytes((data / "streamgauge.duckdb").read_bytes())
    other.replace(data / "streamgauge.duckdb")


def remove_lock(data: Path) -> None:
    (data / "lock").unlink()


@pytest.mark.parametrize(
    ("take", "named"),
    [
        (remove_folder, ""),
        (remove_journal, ".ndjson"),
        (remove_segment, ".ndjson"),
        (remove_store, "streamgauge.duckdb"),
        (replace_store, "streamgauge.duckdb"),
        (remove_lock, "lock"),
    ],
)
def test_a_server_whose_files_are_taken_away_ends_and_says_which(
    take: Callable[[Path], None], named: str, start_server: Start
) -> None:
    server = start_server()
    assert server.post(b'{"type":"a"}').status_code == 202
    server.wait_until_committed()
    take(server.data)
    assert server.process.wait(ENDS_WITHIN_S) == AGAIN
    told = server.log.read_text().splitlines()[-1]
    assert f"{named}: it was removed, or another file put in its place" in told
    assert str(server.data) in told
    assert "is in the journal" not in told


def test_what_was_accepted_by_then_is_there_when_the_folder_is_put_back(start_server: Start) -> None:
    server = start_server(configuration=CONFIGURATION)
    seed = a_seed()
    oracle = Oracle(seed)
    with tallied("data folder moved away", seed) as tally:
        with sending(oracle, server):
            until(lambda: oracle.has(500, "acknowledged"))
            away = server.data.rename(server.data.with_name("away"))
            server.process.wait(ENDS_WITHIN_S)
        assert server.process.returncode == AGAIN
        shutil.rmtree(server.data, ignore_errors=True)
        away.rename(server.data)
        tally.trials, tally.faults = 1, 1
        again = start_server(data=server.data, configuration=CONFIGURATION)
        check(oracle, again, tally)
    close(again)


def test_a_start_after_the_folder_was_deleted_begins_anew(start_server: Start) -> None:
    server = start_server()
    assert server.post(b'{"type":"a"}').status_code == 202
    shutil.rmtree(server.data)
    assert server.process.wait(ENDS_WITHIN_S) == AGAIN
    again = start_server(data=server.data)
    assert again.post(b'{"type":"b"}').status_code == 202
    assert again.wait_until_committed()["stored"] == 1
    assert httpx.get(f"{again.url}/readyz").json()["status"] == "ready"
