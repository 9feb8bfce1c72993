"""Files and folders that are on the disk, under their names, when the call returns: a power cut does not take them back."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def make_folder(path: Path) -> None:
    """Make a folder, and those above it that are not there. Raises OSError."""
    missing = [folder for folder in (path, *path.parents) if not folder.exists()]
    path.mkdir(parents=True, exist_ok=True)
    for folder in missing or [
        path
    ]:  # also one that is there: who made it may have died before its name was safe
        with suppress(PermissionError):  # what is above may not be ours to read
            sync_folder(folder.parent)


def write_file(path: Path, content: bytes) -> None:
    """Write a file, or put another in its place: whole or not at all. Raises OSError."""
    partly = path.with_name(path.name + ".tmp")
    with partly.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partly.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises OSError."""
    if os.name != "posix":
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
