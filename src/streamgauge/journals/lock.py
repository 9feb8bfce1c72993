"""One data folder, one process: a lock that the system gives back however its holder dies."""

import fcntl
import os
import weakref
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from streamgauge.durable import make_folder
from streamgauge.errors import DataFolderInUse

LOCK_FILE: Final = "lock"


class FolderLock:
    """Holds a data folder until `release` or the end of the process; child processes do not inherit it."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor: int | None = descriptor
        # flock belongs to the open file, which a fork shares; a child that kept it would outlive us as the holder.
        this = weakref.ref(self)
        os.register_at_fork(after_in_child=lambda: _release(this()))

    def release(self) -> None:
        """Give the folder back; doing so twice is harmless."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.release()


def lock_folder(path: Path) -> FolderLock:
    """Take the lock of a data folder, which is made if it is not there.

    Raises DataFolderInUse, without waiting, when another process, or another lock of this one, holds it.
    """
    make_folder(path)
    file = path / LOCK_FILE
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise DataFolderInUse(str(path), _holder(file), _address(path)) from error
    except OSError:
        os.close(descriptor)
        raise
    return FolderLock(file, descriptor)


def _holder(file: Path) -> int | None:
    """Give the process that holds a lock, where the system tells."""
    with suppress(OSError, ValueError):
        inode = file.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE 4711 08:01:1234 0 EOF
            if words[1] == "FLOCK" and words[5].endswith(f":{inode}") and int(words[4]) > 0:
                return int(words[4])
    return None


def _address(folder: Path) -> str:
    """Give where a folder's server says it listens."""
    with suppress(OSError, UnicodeDecodeError):
        return (folder / "address").read_text().strip()[:200]
    return ""


def _release(lock: FolderLock | None) -> None:
    if lock is not None:
        lock.release()
