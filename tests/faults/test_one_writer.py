"""One data folder, one process: a second one is turned away at once, whatever state the first is in, and however it died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from effort import a_seed, trials
from oracle import CONFIGURATION, Oracle, check, close, sending, tallied, until

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
REFUSED_WITHIN_S = 1.0
TRIES = """
import sys, time
from pathlib import Path
from streamgauge.errors import DataFolderInUse
from streamgauge.journals.lock import lock_folder
begun = time.monotonic()
try:
    lock_folder(Path(sys.argv[1]))
except DataFolderInUse as exc:
    print(time.monotonic() - begun, exc)
"""
HOLDS = """
import os, subprocess, sys, time
from pathlib import Path
from streamgauge.journals.lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
forked = os.fork()
if forked == 0:
    time.sleep(60)
    os._exit(0)
started = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], close_fds=False)
print(forked, started.pid, flush=True)
time.sleep(60)
"""


def try_to_take(folder: Path) -> tuple[float, str] | None:
    """Try to take a folder from another process; the seconds until it was refused, and why. None: it was free."""
    found = subprocess.run(
        [sys.executable, "-c", TRIES, str(folder)], capture_output=True, text=True, check=True
    ).stdout
    return (float(found.split()[0]), found) if found else None


def assert_refused(folder: Path) -> None:
    outcome = try_to_take(folder)
    assert outcome is not None, "two processes have the folder"
    assert outcome[0] < REFUSED_WITHIN_S
    assert "another process is using this data folder; stop it, or choose another with --data" in outcome[1]


def test_a_second_process_is_refused_while_the_first_works_or_stands_still_and_let_in_when_it_is_dead(
    start_server: Start,
) -> None:
    oracle = Oracle(a_seed())
    with tallied("second process on the folder", oracle.seed) as tally:
        for _ in range(trials(1, 20)):
            server = start_server(configuration=CONFIGURATION)
            with sending(oracle, server, senders=2):
                before = oracle.events("acknowledged")
                until(partial(oracle.has, before + 1, "acknowledged"))
                assert_refused(server.data)
                server.process.send_signal(signal.SIGSTOP)
                with pytest.raises(RuntimeError, match="another process is using this data folder"):
                    start_server(configuration=CONFIGURATION)
                server.process.send_signal(signal.SIGCONT)
                server.kill()
            assert try_to_take(server.data) is None
            tally.trials += 1
            tally.faults += 3
        again = start_server(configuration=CONFIGURATION)
        check(oracle, again, tally)
        close(again)


def test_children_that_outlive_the_process_do_not_keep_the_folder(tmp_path: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDS, str(tmp_path)], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    children = [int(word) for word in holder.stdout.readline().split()]
    try:
        assert_refused(tmp_path)
        holder.kill()
        holder.wait(30)
        for child in children:
            os.kill(child, 0)  # they live on
        begun = time.monotonic()
        assert try_to_take(tmp_path) is None
        assert time.monotonic() - begun < 20
    finally:
        holder.kill()
        holder.stdout.close()
        for child in children:
            os.kill(child, signal.SIGKILL)
