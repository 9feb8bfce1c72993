"""A backup that is taken while events come in: what it is made into has everything that was accepted before it."""

from __future__ import annotations

import random
import secrets
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import httpx
import pytest
from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, Oracle, Tally, check, close, sending, tallied, until

from server_process import ServerProcess
from streamgauge.backup import MANIFEST, restore, write_backup
from streamgauge.errors import BackupDamaged, BackupError
from streamgauge.settings import IN_MEMORY

Start = Callable[..., ServerProcess]
BUSY = (
    '[journal]\nsegment_bytes = "64KiB"\n[store]\ncommit_interval = "50ms"\ncheckpoint_interval = "150ms"\n'
)


def streamgauge(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamgauge", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def known_of(oracle: Oracle, begun_ns: int, ended_ns: int) -> Oracle:
    """What is known of a backup: it has what was answered before it; what was sent after it is not in it."""
    then = Oracle(oracle.seed)
    for number, (count, outcome) in oracle.outcomes.items():
        if oracle.sent_ns.get(number, 0) > ended_ns:
            then.outcomes[number] = (count, "unsent")
        elif outcome == "acknowledged" and oracle.answered_ns[number] > begun_ns:
            then.outcomes[number] = (count, "unknown")
        else:
            then.outcomes[number] = (count, outcome)
    return then


def test_a_backup_under_load_has_all_that_was_accepted_before_it(start_server: Start, tmp_path: Path) -> None:
    seed = a_seed()
    oracle, taken = Oracle(seed), []
    server = start_server(configuration=BUSY + CONFIGURATION)
    with tallied("backups under load", seed) as tally:
        with sending(oracle, server, most=100):
            for number in range(trials(3, 50)):
                until(partial(oracle.has, oracle.events("acknowledged") + 2000, "acknowledged"))
                file, begun_ns = tmp_path / f"{number}.tar", time.monotonic_ns()
                done = streamgauge("backup", file, "--data", server.data)
                assert done.returncode == 0, done.stderr
                taken.append((file, begun_ns, time.monotonic_ns()))
        check(oracle, server)
        assert server.stop() == 0
        for file, begun_ns, ended_ns in taken:
            then, so_far = known_of(oracle, begun_ns, ended_ns), Tally(file.name, seed, trials=1)
            assert then.events("acknowledged")
            restore(file, data := tmp_path / file.stem / "data")
            restored = start_server(data=data, configuration=CONFIGURATION)
            check(then, restored, so_far)
            tally.add(so_far)
            close(restored)


def test_a_backup_of_a_folder_that_was_killed_is_the_folder(start_server: Start, tmp_path: Path) -> None:
    oracle = Oracle(a_seed())
    server = start_server(configuration=BUSY + CONFIGURATION)
    with sending(oracle, server):
        until(lambda: oracle.has(3000, "acknowledged"))
        server.kill()
    file, data = tmp_path / "backup.tar", tmp_path / "again" / "data"
    done = streamgauge("backup", file, "--data", server.data)
    assert done.returncode == 0, done.stderr
    done = streamgauge("restore", file, "--data", data)
    assert done.returncode == 0, done.stderr
    restored = start_server(data=data, configuration=CONFIGURATION)
    check(oracle, restored)
    close(restored)


def test_a_folder_without_a_journal_is_backed_up_with_all_that_is_committed(
    start_server: Start, tmp_path: Path
) -> None:
    none = '[journal]\npath = ":memory:"\n[store]\ncheckpoint_interval = "1h"\n'
    server = start_server(configuration=none)
    for number in range(2):  # of the server, and then of its folder
        assert server.post(b'{"type":"a"}').status_code == 202
        server.wait_until_committed()
        if number:
            server.kill()
        file, data = tmp_path / f"{number}.tar", tmp_path / str(number) / "data"
        done = streamgauge("backup", file, "--data", server.data, "--config", f"{server.data}.toml")
        assert done.returncode == 0, done.stderr
        restore(file, data)
        restored = start_server(data=data, configuration=none)
        assert restored.ask("SELECT count(*) FROM events") == [[number + 1]]
        close(restored)


def test_a_backup_that_nobody_takes_to_its_end_costs_nothing_and_leaves_nothing(start_server: Start) -> None:
    server = start_server(configuration=BUSY)
    for _ in range(15):  # more than waits in sockets, also when it is half as large
        lines = [b'{"type":"a","text":"%b"}' % secrets.token_hex(30_000).encode() for _ in range(100)]
        assert server.post(b"\n".join(lines)).status_code == 202
    server.wait_until_committed()
    before = names_in(server.data)
    for _ in range(3):
        with httpx.stream("GET", f"{server.url}/api/backup") as answer:
            assert answer.status_code == 200
            taken = answer.iter_raw(100)  # the answer is let go of with it
            assert next(taken)
            assert names_in(server.data) <= before
            assert httpx.get(f"{server.url}/api/backup").json()["code"] == "saturated"
            del taken
        until(lambda: httpx.get(f"{server.url}/api/backup").status_code == 200)
    until(lambda: not deleted_files(server), 10.0, "a copy of the store is still open")
    with httpx.stream("GET", f"{server.url}/api/backup") as answer:
        taken = answer.iter_raw(100)  # the answer is let go of with it
        assert next(taken)
        assert server.stop() == 0
        del taken


def deleted_files(server: ServerProcess) -> list[str]:
    """Give what a server has open that has no name any more."""
    found = []
    for path in Path(f"/proc/{server.process.pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(path.readlink()))
    return [name for name in found if "(deleted)" in name]


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of a small folder."""
    folder = tmp_path_factory.mktemp("whole")
    server = ServerProcess(folder / "data", configuration=CONFIGURATION)
    server.post(b'{"type":"a","value":1}')
    server.kill()
    file = folder / "whole.tar"
    done = streamgauge("backup", file, "--data", server.data)
    assert done.returncode == 0, done.stderr
    return file


def cut(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data) - 1024)]  # a tar file's last two blocks are empty


def flip(data: bytes, chance: random.Random) -> bytes:
    with_end = bytearray(data)
    with_end[chance.randrange(len(data) - 1024)] ^= 1 << chance.randrange(8)
    return bytes(with_end)


def fill(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) - 1024)
    return data[:place] + chance.randbytes(512) + data[place + 512 :]


def leave_out(data: bytes, chance: random.Random) -> bytes:
    place = chance.randrange(len(data) // 512 - 2) * 512
    return data[:place] + data[place + 512 :]


def contents(folder: Path) -> dict[Path, bytes]:
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def problem_of(file: Path, folder: Path) -> str | None:
    """Say why a backup cannot be restored; None: it has been."""
    try:
        restore(file, folder)
    except BackupError as problem:
        return str(problem)
    return None


@pytest.mark.parametrize("way", [cut, flip, fill, leave_out])
def test_a_backup_that_is_damaged_makes_the_same_folder_or_none(
    way: Callable[[bytes, random.Random], bytes], whole: Path, tmp_path: Path
) -> None:
    restore(whole, tmp_path / "good")
    good = contents(tmp_path / "good")
    shutil.rmtree(tmp_path / "good")
    data, chance = whole.read_bytes(), chance_of(seed := a_seed())
    for trial in range(trials(30, 2000)):
        file, folder = tmp_path / "damaged.tar", tmp_path / str(trial)
        file.write_bytes(way(data, chance))
        problem = problem_of(file, folder)
        if problem is None:  # what was damaged counts for nothing: padding, or the time of a file
            assert way is not cut, seed
            assert contents(folder) == good, seed
            shutil.rmtree(folder)
        else:
            assert str(file) in problem, seed
        assert list(tmp_path.iterdir()) == [file], seed


@pytest.mark.parametrize(
    "name", ["../outside", "/outside", "journal/../../outside", "lock", "streamgauge.duckdb.wal", "a/b"]
)
def test_a_file_that_does_not_belong_into_a_backup_is_written_nowhere(name: str, tmp_path: Path) -> None:
    file = tmp_path / "evil.tar"
    with tarfile.open(file, "w") as tar:
        tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(BackupDamaged, match="does not belong into a backup"):
        restore(file, tmp_path / "data")
    assert list(tmp_path.iterdir()) == [file]


def test_a_link_in_a_backup_is_refused(tmp_path: Path) -> None:
    file, link = tmp_path / "evil.tar", tarfile.TarInfo("instance")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    with tarfile.open(file, "w") as tar:
        tar.addfile(link)
    with pytest.raises(BackupDamaged, match="is no file"):
        restore(file, tmp_path / "data")


def test_nothing_that_is_there_is_written_over(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    mine = tmp_path / "data" / "mine"
    mine.write_text("mine")
    for folder in (tmp_path / "data", mine):
        with pytest.raises(BackupError, match="there is something in it already"):
            restore(whole, folder)
    with pytest.raises(BackupError, match="there is a file of this name already"):
        write_backup([whole.read_bytes()], mine)
    assert mine.read_text() == "mine"
    (tmp_path / "empty.part").mkdir()
    (tmp_path / "empty").mkdir()
    assert restore(whole, tmp_path / "empty").files
    assert (tmp_path / "empty.part").is_dir()


def test_a_download_that_ends_early_leaves_no_file(whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    with pytest.raises(BackupDamaged, match=f"it ends before its {MANIFEST}"):
        write_backup([data[:1024]], tmp_path / "half.tar")
    assert list(tmp_path.iterdir()) == []


def test_what_is_wrong_is_said_in_a_line(whole: Path, start_server: Start, tmp_path: Path) -> None:
    nowhere = streamgauge("restore", tmp_path / "no.tar", "--data", tmp_path / "new")
    assert (nowhere.returncode, nowhere.stderr) == (
        2, f"streamgauge: {tmp_path}/no.tar: No such file or directory\n",
    )  # fmt: skip
    empty = streamgauge("backup", tmp_path / "new.tar", "--data", tmp_path / "nothing")
    assert empty.returncode == 2
    assert "there is no data here" in empty.stderr
    assert not (tmp_path / "new.tar").exists()
    full = streamgauge("backup", "/dev/full/backup.tar", "--data", whole.parent / "data")
    assert full.returncode == 2
    assert full.stderr.count("\n") == 1
    server = start_server(configuration=f'[store]\nurl = "{IN_MEMORY}"\n')
    memory = streamgauge("backup", tmp_path / "new.tar", "--url", server.url)
    assert memory.returncode == 2
    assert "everything is in memory" in memory.stderr
