"""One data folder, one process."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from streamgauge.errors import DataFolderInUse
from streamgauge.journals.lock import lock_folder

HOLD = """
import sys
from pathlib import Path
from streamgauge.journals.lock import lock_folder
lock = lock_folder(Path(sys.argv[1]))
print("locked", flush=True)
"""
WAIT = HOLD + "sys.stdin.read()\n"
LEAVE_A_FORK = (
    HOLD
    + """
import os
if os.fork() == 0:
    print("forked", flush=True)
    sys.stdin.read()
    os._exit(0)
os._exit(0)
"""
)
LEAVE_A_CHILD = (
    HOLD
    + """
import os, subprocess
subprocess.Popen([sys.executable, "-c", "import sys; print('forked', flush=True); sys.stdin.read()"], close_fds=False)
os._exit(0)
"""
)


def start(script: str, folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def end(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=20)


def test_a_second_lock_is_refused_with_the_folder_until_the_first_is_given_back(tmp_path: Path) -> None:
    folder = tmp_path / "made" / "on the way"
    with lock_folder(folder), pytest.raises(DataFolderInUse, match="on the way"):
        lock_folder(folder)
    lock_folder(folder).release()


def test_another_process_holds_the_folder_until_it_dies_however_it_dies(tmp_path: Path) -> None:
    holder = start(WAIT, tmp_path)
    with pytest.raises(DataFolderInUse):
        lock_folder(tmp_path)
    holder.send_signal(signal.SIGKILL)
    end(holder)
    lock_folder(tmp_path).release()


def test_a_process_that_is_stopped_still_holds_the_folder(tmp_path: Path) -> None:
    holder = start(WAIT, tmp_path)
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(DataFolderInUse):
        lock_folder(tmp_path)
    holder.send_signal(signal.SIGCONT)
    end(holder)


@pytest.mark.parametrize("script", [LEAVE_A_FORK, LEAVE_A_CHILD], ids=["fork", "exec"])
def test_children_that_outlive_the_holder_do_not_hold_the_folder(tmp_path: Path, script: str) -> None:
    holder = start(script, tmp_path)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "forked\n"
    holder.wait(timeout=20)
    lock_folder(tmp_path).release()
    end(holder)


def test_giving_back_twice_does_not_close_what_somebody_else_opened_since(tmp_path: Path) -> None:
    lock = lock_folder(tmp_path)
    lock.release()
    reader, writer = os.pipe()
    lock.release()
    assert os.write(writer, b"x") == 1
    os.close(reader)
    os.close(writer)
