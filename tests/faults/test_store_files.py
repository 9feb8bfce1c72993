"""Whatever happened to the store's files between two runs: it is healed from the journal, or refused with the way out."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import duckdb
import pytest
from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, Oracle, check, close, sending, tallied, until

from server_process import NoStart, ServerProcess
from streamgauge.errors import StoreError
from streamgauge.stores.duckdb import DuckDBStore

Start = Callable[..., ServerProcess]
QUICK = '[store]\ncommit_interval = "50ms"\ncheckpoint_interval = "{checkpoint}"\n[journal]\nsegment_age = "100ms"\n'
NOW_AND_THEN = QUICK.format(checkpoint="500ms") + CONFIGURATION
NEVER = QUICK.format(checkpoint="1h") + CONFIGURATION


def is_larger(file: Path, size: int) -> bool:
    return file.exists() and file.stat().st_size > size


def damage(file: Path, how: str, chance: random.Random) -> None:
    data = bytearray(file.read_bytes())
    place = chance.randrange(len(data)) if data else 0
    if how == "delete":
        file.unlink()
        return
    if how == "truncate":
        del data[place:]
    else:
        data[place] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def test_whatever_happens_to_the_stores_own_log_the_journal_makes_good(start_server: Start) -> None:
    chance = chance_of(seed := a_seed())
    oracle = Oracle(seed)
    ways = ("flip", "delete", "truncate")
    with tallied("damaged log of the store after kill -9", seed) as tally:
        for trial in range(trials(3, 200)):
            server = start_server(configuration=NOW_AND_THEN)
            check(oracle, server, tally)
            log = server.data / "streamgauge.duckdb.wal"
            with sending(oracle, server):
                time.sleep(chance.uniform(0.1, 0.7))
                until(partial(is_larger, log, 1000))
                server.kill()
            tally.trials += 1
            if log.exists() and log.stat().st_size:  # a checkpoint may have been just at its end
                damage(log, ways[trial % len(ways)], chance)
                tally.faults += 1
        server = start_server(configuration=NOW_AND_THEN)
        check(oracle, server, tally)
        close(server)


def test_a_log_that_cannot_be_read_is_kept_beside_the_store_and_said(start_server: Start) -> None:
    server = start_server(configuration=NEVER)
    oracle = Oracle(a_seed())
    with sending(oracle, server, senders=2):
        until(lambda: oracle.events("acknowledged") > 1000)
    server.wait_until_committed()
    server.kill()
    log = server.data / "streamgauge.duckdb.wal"
    whole = bytearray(log.read_bytes())
    whole[len(whole) // 2] ^= 1
    log.write_bytes(whole)
    again = start_server(configuration=NEVER)
    check(oracle, again)
    [kept] = again.data.glob("*.damaged-*")
    assert kept.read_bytes() == whole
    assert kept.name in again.errors()
    close(again)


def a_folder_whose_journal_has_let_go(start_server: Start, oracle: Oracle) -> ServerProcess:
    """Run a server until its journal begins behind append 1, and stop it."""
    server = start_server(configuration=NOW_AND_THEN)
    with sending(oracle, server, senders=2):
        until(lambda: min(segment.stem for segment in journal_of(server)) > f"{1:020d}")
    assert server.stop() == 0
    return server


def journal_of(server: ServerProcess) -> list[Path]:
    return sorted((server.data / "journal").glob("*.ndjson"))


def test_a_missing_store_is_refused_unless_the_journal_has_everything_or_a_rebuild_is_asked_for(
    start_server: Start,
) -> None:
    oracle = Oracle(a_seed())
    server = a_folder_whose_journal_has_let_go(start_server, oracle)
    for file in server.data.glob("streamgauge.duckdb*"):
        file.unlink()
    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"journal begins at append \d+; restore .*--rebuild"):
            start_server(configuration=NOW_AND_THEN)
    rebuilt = start_server("--rebuild", configuration=NOW_AND_THEN)
    ledger = rebuilt.wait_until_committed()
    assert ledger["stored"] == ledger["received"] < oracle.events("acknowledged")
    assert rebuilt.post(b'{"type":"after"}').status_code == 202
    assert rebuilt.stop() == 0
    later = start_server(configuration=NOW_AND_THEN)
    assert later.wait_until_committed()["stored"] == ledger["stored"] + 1
    close(later)


def test_a_missing_store_comes_back_where_the_journal_has_everything(start_server: Start) -> None:
    oracle = Oracle(a_seed())
    server = start_server(configuration=NEVER)
    with sending(oracle, server, senders=2):
        until(lambda: oracle.events("acknowledged") > 1000)
    server.wait_until_committed()
    server.kill()
    for file in server.data.glob("streamgauge.duckdb*"):
        file.unlink()
    again = start_server(configuration=NEVER)
    check(oracle, again)
    close(again)


@pytest.mark.parametrize("covered", [True, False])
def test_an_older_copy_of_the_store_catches_up_where_the_journal_reaches_back_to_it(
    start_server: Start, tmp_path: Path, *, covered: bool
) -> None:
    configuration = NEVER if covered else NOW_AND_THEN
    oracle = Oracle(a_seed())
    server = start_server(configuration=configuration)
    with sending(oracle, server, senders=1):
        until(lambda: oracle.events("acknowledged") > 200)
    server.wait_until_committed()
    server.kill()
    store = server.data / "streamgauge.duckdb"
    copies = [shutil.copy(file, tmp_path) for file in server.data.glob("streamgauge.duckdb*")]
    last = journal_of(server)[-1].name
    server = start_server(configuration=configuration)
    with sending(oracle, server, senders=2):
        until(lambda: oracle.events("acknowledged") > 3000)
        if not covered:
            until(lambda: journal_of(server)[0].name > last)
    server.kill()
    for file in server.data.glob("streamgauge.duckdb*"):
        file.unlink()
    for copy in copies:
        shutil.move(copy, store.parent)
    if not covered:
        with pytest.raises(RuntimeError, match=r"it ends at append \d+, but the journal begins at append"):
            start_server(configuration=configuration)
        return
    again = start_server(configuration=configuration)
    check(oracle, again)
    close(again)


@pytest.mark.parametrize("content", [b"", b"something else" * 1000], ids=["empty", "foreign"])
def test_a_store_file_that_is_no_database_is_named_and_left_alone(
    start_server: Start, tmp_path: Path, content: bytes
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    store = data / "streamgauge.duckdb"
    store.write_bytes(content)
    with pytest.raises(NoStart, match=r"streamgauge\.duckdb: cannot be opened as a store") as refused:
        start_server()
    assert refused.value.code == 2  # a supervisor that starts it again changes nothing
    assert store.read_bytes() == content


CREATES = """
import sys
from pathlib import Path
from streamgauge.stores.duckdb import DuckDBStore
print("go", flush=True)
DuckDBStore.open(Path(sys.argv[1])).close()
"""


def test_a_first_start_that_was_killed_half_way_leaves_nothing_in_the_way(tmp_path: Path) -> None:
    chance = chance_of(seed := a_seed())
    with tallied("kill -9 while the store is made", seed) as tally:
        for trial in range(trials(5, 100)):
            store = tmp_path / str(trial) / "store.duckdb"
            process = subprocess.Popen([sys.executable, "-c", CREATES, str(store)], stdout=subprocess.PIPE)
            assert process.stdout is not None
            assert process.stdout.readline() == b"go\n"
            time.sleep(chance.uniform(0.0, 0.06))
            process.kill()
            process.wait(30)
            process.stdout.close()
            tally.trials += 1
            tally.faults += 1
            opened = DuckDBStore.open(store)
            assert opened.positions() == {}
            assert opened.checkpoint() == {}
            opened.close()
            assert {file.name for file in store.parent.iterdir()} == {"store.duckdb"}


@pytest.mark.parametrize("size", [0, 1, 12_288, 100_000])
def test_a_store_that_was_not_completed_is_made_again(tmp_path: Path, size: int) -> None:
    unfinished = tmp_path / "store.duckdb.new"
    duckdb.connect(str(unfinished)).close()
    unfinished.write_bytes((unfinished.read_bytes() + bytes(100_000))[:size])
    (tmp_path / "store.duckdb.new.wal").write_bytes(b"torn")
    store = DuckDBStore.open(tmp_path / "store.duckdb")
    store.checkpoint()
    store.close()
    assert {file.name for file in tmp_path.iterdir()} == {"store.duckdb"}


def test_a_store_that_cannot_be_made_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_path: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("streamgauge.stores.opening._sync", full)
    with pytest.raises(StoreError, match="No space left"):
        DuckDBStore.open(tmp_path / "store.duckdb")
    assert list(tmp_path.iterdir()) == []
