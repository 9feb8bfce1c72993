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
from websockets.sync.client import connect

NOTHING: Final[Mapping[str, str | None]] = {}
GOOD: Final = b'{"type":"good"}'
WAIT_S: Final = 60.0
MOST_FILES: Final = 128
DEADLINE_S: Final = 1.0
IDLE_S: Final = 6.0
STOPPED_S: Final = 8.0  # longer than any deadline, and than a viewer may be silent
IMPATIENT: Final = f"""
import sys
from functools import partial
from streamgauge import app
app.SocketLimits = partial(app.SocketLimits, idle_s={IDLE_S})
from streamgauge.__main__ import main
sys.argv = ["streamgauge", *sys.argv[3:]]
main()
"""


@contextmanager
def started(
    folder: Path,
    *flags: str,
    limit: Callable[[], None] | None = None,
    log: int | None = None,
    configuration: str = "",
    environment: Mapping[str, str | None] = NOTHING,
) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client]]:
    """Start a server with other surroundings; None takes a variable away. log: where else its log goes."""
    words = ["serve", "--port", "0", "--data", "data"]
    if configuration:
        (folder / "streamgauge.toml").write_text(configuration)
        words.insert(1, "streamgauge.toml")
    variables = {**os.environ, "PYTHONUNBUFFERED": "1", **environment}
    with (folder / "log").open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, *flags, "-m", "streamgauge", *words],
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


def test_the_journal_and_the_store_have_files_left_to_open_when_connections_have_taken_the_rest(
    tmp_path: Path,
) -> None:
    """I-168: each request begins another file of the journal, and each commit may open one of the database's."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (MOST_FILES, MOST_FILES))

    small = '[journal]\nsegment_bytes = "1KiB"\n[store]\ncommit_interval = "50ms"\ncheckpoint_interval = "100ms"\n'
    body = b"[" + b",".join([b'{"type":"good","note":"%s"}' % (b"x" * 500)] * 10) + b"]"
    with started(tmp_path, limit=limit, configuration=small) as (process, client), ExitStack() as crowd:
        assert accepts(client)
        port = client.base_url.port
        assert port is not None
        for _ in range(2 * MOST_FILES):
            crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=WAIT_S))
        for sent in range(1, 21):
            assert client.post("/api/events", content=body).json() == {"accepted": 10}
            assert counted(client) == 1 + 10 * sent
        assert client.get("/readyz").json()["status"] == "ready"
        assert process.poll() is None
    assert "Too many open files" not in (tmp_path / "log").read_text()


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


def test_nobody_is_cut_off_for_the_time_in_which_the_server_was_stopped(tmp_path: Path) -> None:
    """I-171: what its clients sent meanwhile counts as sent in time."""
    deadlines = "".join(
        f'{name} = "{DEADLINE_S:g}s"\n'
        for name in ("header_timeout", "body_timeout", "write_timeout", "viewer_send_deadline")
    )
    begun = b"POST /api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n" % len(GOOD)
    with (
        started(tmp_path, "-c", IMPATIENT, configuration=f"[limits]\n{deadlines}") as (process, client),
        ExitStack() as clients,
    ):
        assert accepts(client)
        address = f"127.0.0.1:{client.base_url.port}"
        viewers = [
            clients.enter_context(connect(f"ws://{address}/socket/websocket?vsn=2.0.0", ping_interval=None))
            for _ in range(20)
        ]
        for viewer in viewers:
            viewer.send('["1","1","dashboard:overview","phx_join",{"range":"5m"}]')
            assert '"phx_reply"' in str(viewer.recv(WAIT_S))
        in_header, in_body = (
            clients.enter_context(
                socket.create_connection(("127.0.0.1", client.base_url.port or 0), timeout=WAIT_S)
            )
            for _ in range(2)
        )
        in_header.sendall(begun)
        in_body.sendall(begun + b"\r\n" + GOOD[:3])
        process.send_signal(signal.SIGSTOP)
        in_header.sendall(b"\r\n" + GOOD)
        in_body.sendall(GOOD[3:])
        for viewer in viewers:
            viewer.send('[null,"2","phoenix","heartbeat",{}]')
        time.sleep(STOPPED_S)  # as long as it is stopped
        process.send_signal(signal.SIGCONT)
        assert [part.recv(12) for part in (in_header, in_body)] == [b"HTTP/1.1 202"] * 2
        for viewer in viewers:
            while '"heartbeat"' not in (frame := str(viewer.recv(WAIT_S))) and '"phoenix"' not in frame:
                pass
            viewer.send('[null,"3","phoenix","heartbeat",{}]')
        assert accepts(client)
        assert counted(client) == 4
        for viewer in viewers:
            while '[null,"3","phoenix"' not in str(viewer.recv(WAIT_S)):
                pass


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
