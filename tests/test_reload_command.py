"""`streamgauge reload` and SIGHUP, as a user of a real server meets them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import run
from server_process import ServerProcess

WAIT_S = 30.0
METRIC = '[[metric]]\nname = "{name}"\nby = ["country"]\n'


def until(holds: Callable[[], object]) -> None:
    """Wait until something holds of a process that cannot be awaited."""
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    return start_server(configuration=METRIC.format(name="first"))


def test_it_says_what_changed_and_from_where_on(server: ServerProcess, tmp_path: Path) -> None:
    assert run("reload", "--data", str(server.data), folder=tmp_path).out == "nothing has changed\n"
    server.post(b'{"type":"a"}\n')
    (tmp_path / "data.toml").write_text(METRIC.format(name="second") + "[query]\nmax_rows = 7\n")
    done = run("reload", "--url", server.url, folder=tmp_path)
    assert done.code == 0, done.err
    assert done.out == (
        "in force now, from journal record 2 on:\n  metric.first\n  metric.second\n  query.max_rows\n"
    )
    assert [one["name"] for one in server.get("/api/metrics")["metrics"]][-1] == "second"


def test_what_is_wrong_is_one_line_that_says_where(server: ServerProcess, tmp_path: Path) -> None:
    (tmp_path / "data.toml").write_text(METRIC.format(name="first") + 'where = "country ="\n')
    done = run("reload", "--data", str(server.data), folder=tmp_path)
    assert done.code == 2
    assert "data.toml: metric[0].where" in done.line
    (tmp_path / "data.toml").write_text(METRIC.format(name="first") + '[journal]\nfsync = "never"\n')
    done = run("reload", "--data", str(server.data), folder=tmp_path)
    assert done.code == 2
    assert "journal.fsync cannot change while the server runs" in done.line
    server.get("/api/metrics/first")


def test_without_a_server_it_says_so(tmp_path: Path) -> None:
    done = run("reload", "--data", str(tmp_path / "data"), folder=tmp_path)
    assert done.code == 2
    assert "no server is running" in done.line


def test_a_hang_up_signal_has_it_read_again_and_the_log_says_what_came_of_it(
    server: ServerProcess, tmp_path: Path
) -> None:
    (tmp_path / "data.toml").write_text("[store\n")
    server.process.send_signal(signal.SIGHUP)
    until(lambda: "the configuration was not reloaded" in server.errors())
    (tmp_path / "data.toml").write_text(METRIC.format(name="second"))
    server.process.send_signal(signal.SIGHUP)
    until(lambda: server.client.get("/api/metrics/second").status_code == 200)
    assert "line 1" in server.errors()
    assert server.stop() == 0


def test_a_watching_server_takes_up_a_change_by_itself(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_server(configuration="[server]\nwatch = true\n")
    (tmp_path / "data.toml").write_text("[server]\nwatch = true\n" + METRIC.format(name="second"))
    until(lambda: server.client.get("/api/metrics/second").status_code == 200)
