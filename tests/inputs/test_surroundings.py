"""What the server's surroundings may lack: files, a locale, a home, somebody who reads its output."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Final

import httpx
import pytest

NOTHING: Final[Mapping[str, str | None]] = {}
GOOD: Final = b'{"type":"good"}'
WAIT_S: Final = 60.0
MOST_FILES: Final = 128


@contextmanager
def started(
    folder: Path,
    *flags: str,
    limit: Callable[[], None] | None = None,
    log: int | None = None,
    environment: Mapping[str, str | None] = NOTHING,
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Start a server with other surroundings; None takes a variable away. log: where else its log goes."""
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    with (folder / "log").open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *flags, "-m", "streamgauge", "serve", "--port", "0", "--data", "data"],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=file if log is None else log,
            env={name: value for name, value in variables.items() if value is not None},
            preexec_fn=limit,  # noqa: PLW1509  (no other thread of the tests holds a lock)
        )
    try:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        assert lines[1], (folder / "log").read_text()
        address = lines[1].split()[1].decode().replace("localhost", "127.0.0.1")
        with httpx.Client(base_url=address, timeout=WAIT_S) as client:
            yield process, client
    finally:
        process.kill()
        process.wait(WAIT_S)
        if process.stdout is not None:
            process.stdout.close()


def accepts(client: httpx.Client) -> bool:
    return bool(client.post("/api/events", content=GOOD).json() == {"accepted": 1})


def counted(client: httpx.Client) -> int:
    deadline = time.monotonic() + WAIT_S
    while (ledger := client.get("/api/ledger").json())["pending"]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(ledger["stored"])


SURROUNDINGS: Final[dict[str, tuple[list[str], dict[str, str | None]]]] = {
    "I-170 the locale C, no asserts, hashes that are known": (
        ["-OO"],
        {"LC_ALL": "C", "LANG": None, "PYTHONUTF8": "0", "PYTHONHASHSEED": "0"},
    ),
    "I-170 no home, no names, no data on time zones": (
        [],
        {"HOME": None, "USER": None, "LOGNAME": None, "TERM": None, "PYTHONTZPATH": "", "TZ": "Mars/Phobos"},
    ),
}


@pytest.mark.parametrize(("flags", "environment"), SURROUNDINGS.values(), ids=SURROUNDINGS.keys())
def test_a_server_starts_and_counts_in_poor_surroundings(
    flags: list[str], environment: dict[str, str | None], tmp_path: Path
) -> None:
    with started(tmp_path, *flags, environment=environment) as (process, client):
        assert client.post("/api/events", json={"type": "é", "café": "☕"}).status_code == 202
        assert counted(client) == 1
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert (tmp_path / "log").read_text() == ""


def test_connections_beyond_the_open_files_there_are_wait_and_the_journal_goes_on(tmp_path: Path) -> None:
    """I-168."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))

    with started(tmp_path, limit=limit) as (process, client), ExitStack() as crowd:
        assert accepts(client)
        port = client.base_url.port
        assert port is not None
        for _ in range(2 * MOST_FILES):
            crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))
        for _ in range(20):
            assert accepts(client)  # on the connection that it has
        assert busy_s(process) < 0.5
        crowd.close()
        with httpx.Client(base_url=client.base_url, timeout=WAIT_S) as another:
            assert accepts(another)
        assert counted(client) == 22
        assert process.poll() is None


def busy_s(process: subprocess.Popen[bytes]) -> float:
    """Give how much processor time the process uses in a second: hardly any when it does not turn in circles."""

    def used() -> float:
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    before = used()
    time.sleep(1.0)  # it is a second that is measured
    return used() - before


def test_signals_that_mean_nothing_to_it_do_not_end_a_server(tmp_path: Path) -> None:
    """I-171, I-172."""
    with started(tmp_path) as (process, client):
        assert accepts(client)
        process.send_signal(signal.SIGSTOP)
        process.send_signal(signal.SIGCONT)
        for sign in (signal.SIGPIPE, signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG):
            for _ in range(100):
                process.send_signal(sign)
        assert accepts(client)
        assert counted(client) == 2


def test_a_server_whose_greeting_nobody_reads_goes_on(tmp_path: Path) -> None:
    """I-172."""
    with started(tmp_path) as (process, client):
        assert process.stdout is not None
        process.stdout.close()
        assert all(accepts(client) for _ in range(3))
        assert client.get("/nowhere").status_code == 404
        process.terminate()
        assert process.wait(WAIT_S) == 0


@contextmanager
def a_full_disk() -> Iterator[int]:
    with Path("/dev/full").open("wb") as file:
        yield file.fileno()


@contextmanager
def a_reader_that_has_stopped() -> Iterator[int]:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writing, bytes(512))
    os.set_blocking(writing, True)
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("somewhere", [a_full_disk, a_reader_that_has_stopped])
def test_a_log_that_cannot_be_written_holds_nobody_up(
    somewhere: Callable[[], AbstractContextManager[int]], tmp_path: Path
) -> None:
    """I-172: the start after a crash has something to say."""
    with started(tmp_path) as (_, client):
        assert accepts(client)
    with somewhere() as log, started(tmp_path, log=log) as (process, client):
        assert accepts(client)
        assert counted(client) == 2
        process.terminate()
        assert process.wait(WAIT_S) == 0


def test_a_refusal_that_cannot_be_written_has_its_exit_code_all_the_same(tmp_path: Path) -> None:
    """I-172: a supervisor must be able to tell what has to be mended from what is to be started again."""
    words = [sys.executable, "-m", "streamgauge", "serve", str(tmp_path / "nowhere.toml")]
    with a_full_disk() as log:
        assert subprocess.run(words, stderr=log, check=False).returncode == 2


def test_a_second_ctrl_c_ends_it_at_once_and_what_was_accepted_is_kept(tmp_path: Path) -> None:
    """I-172."""
    with started(tmp_path) as (process, client):
        assert accepts(client)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGINT)
        process.wait(WAIT_S)
    with started(tmp_path) as (_, client):
        assert counted(client) == 1


def test_a_folder_that_nobody_may_write_beside_its_data_is_enough(tmp_path: Path) -> None:
    """I-170: nothing is written but into the data folder."""
    with started(
        tmp_path, environment={"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "nowhere")}
    ) as (
        process,
        client,
    ):
        assert accepts(client)
        process.terminate()
        assert process.wait(WAIT_S) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "log"]
