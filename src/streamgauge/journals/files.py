"""The few calls through which a journal changes its folder, in one place so that a test can let any of them fail."""

import os
from collections.abc import Sequence
from pathlib import Path

from streamgauge.durable import make_folder, sync_folder
from streamgauge.in_place import is_same


class Files:
    """The operating system's files. Every method raises OSError as the system does.

    quick: whether a small write, which goes into the system's memory, returns at once as a rule.
    """

    quick = True

    def make_folder(self, path: Path) -> None:
        """Make a folder where there is none, and wait until its name is on the disk."""
        make_folder(path)

    def open(self, path: Path) -> int:
        """Give a descriptor of a new, empty file that appends; it is not inherited by child processes."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC, 0o640)

    def write(self, descriptor: int, buffers: Sequence[bytes]) -> int:
        """Append the buffers in one call; gives how many bytes were written, which may be fewer."""
        return os.writev(descriptor, buffers)

    def fsync(self, descriptor: int) -> None:
        """Wait until the file's bytes and length are on the disk."""
        os.fdatasync(descriptor)

    def ftruncate(self, descriptor: int, length: int) -> None:
        """Cut an open file to `length` bytes."""
        os.ftruncate(descriptor, length)

    def close(self, descriptor: int) -> None:
        """Give the descriptor back."""
        os.close(descriptor)

    def replace(self, source: Path, target: Path) -> None:
        """Rename a file over another, in one step."""
        source.replace(target)

    def unlink(self, path: Path) -> None:
        """Delete a file."""
        path.unlink()

    def is_in_place(self, descriptor: int, path: Path) -> bool:
        """Whether a name still leads to an open file; true where the system does not tell."""
        return is_same(path, os.fstat(descriptor))

    def free_bytes(self, folder: Path) -> int:
        """Give how much room there is left on the disk of a folder."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

    def fsync_folder(self, folder: Path) -> None:
        """Wait until names that were made or deleted in the folder are on the disk."""
        sync_folder(folder)
