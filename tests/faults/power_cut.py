"""What a disk may hold after the power failed, worked out from the calls that a process made until then.

It promises no more than POSIX does: bytes are on the disk when their file was synced since, a file's name when its folder
was; of everything else any part may be there, in sectors, and a file may be longer than what was written into it.
Changes of names in one folder come to the disk in their order, as they do on every file system that has a journal.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from faulty_calls import Call

SECTOR: Final = 512
CUT: Final = b""  # as a change: the file ends here


@dataclass(eq=False)
class File:
    """A file: what is on the disk of it, and what was done since, as (place, bytes)."""

    durable: bytes = b""
    pending: list[tuple[int, bytes]] = field(default_factory=list)

    @property
    def content(self) -> bytes:
        """What a program reads while there is power."""
        return _changed(self.durable, self.pending)

    def sync(self) -> None:
        self.durable, self.pending = self.content, []

    def after_a_cut(self, chance: random.Random) -> bytes:
        """Choose what is left: nothing of what is pending, all, a beginning that ends anywhere, or any sectors."""
        how = chance.choice(("nothing", "all", "beginning", "sectors"))
        if how == "nothing" or not self.pending:
            return self.durable
        if how == "sectors":
            return _mixed(self.durable, self.content, chance)
        left = self.pending if how == "all" else self.pending[: chance.randrange(len(self.pending) + 1)]
        if how == "beginning" and left and left[-1][1]:
            place, data = left[-1]
            left = [*left[:-1], (place, data[: chance.randrange(len(data)) + 1])]
        return _changed(self.durable, left)


def _changed(content: bytes, changes: Iterable[tuple[int, bytes]]) -> bytes:
    found = bytearray(content)
    for place, data in changes:
        if data == CUT:
            found[:] = found[:place].ljust(place, b"\0")
        else:
            found[:] = found.ljust(place, b"\0")
            found[place : place + len(data)] = data
    return bytes(found)


def _mixed(old: bytes, new: bytes, chance: random.Random) -> bytes:
    """Take each sector as it was or as it is; what was never there is zeros."""
    size = chance.choice((len(old), len(new)))
    sectors = (
        chance.choice((old, new))[place : place + SECTOR].ljust(SECTOR, b"\0")
        for place in range(0, size, SECTOR)
    )
    return b"".join(sectors)[:size]


@dataclass(eq=False)
class Folder:
    """A folder: its names as a program sees them, those on the disk, and each state in between."""

    names: dict[str, File | Folder] = field(default_factory=dict)
    states: list[dict[str, File | Folder]] = field(default_factory=lambda: [{}])

    def change(self) -> None:
        self.states.append(dict(self.names))

    def sync(self) -> None:
        self.states = [dict(self.names)]

    def after_a_cut(self, place: Path, chance: random.Random) -> None:
        """Write what is left of it into a folder."""
        place.mkdir()
        for name, what in chance.choice(self.states).items():
            if isinstance(what, Folder):
                what.after_a_cut(place / name, chance)
            else:
                (place / name).write_bytes(what.after_a_cut(chance))


class Disk:
    """What is in a folder that was empty, and is changed by the calls of a process."""

    def __init__(self, root: Path) -> None:
        self._root, self._top = root, Folder()

    @classmethod
    def holding(cls, root: Path) -> Disk:
        """Give one of which everything in a folder is on the disk."""
        disk = cls(root)
        disk._top = _held(root)
        return disk

    def do(self, call: Call) -> None:
        """Take in one call, in the order in which they were made."""
        if call.path == self._root:
            self._top.sync()
            return
        place = self._find(call.path.parent)
        name = call.path.name
        if call.name == "write":
            self._file(call.path).pending.append((call.offset, call.data))
        elif call.name == "cut":
            self._file(call.path).pending.append((call.offset, CUT))
        elif call.name == "sync":
            place.names[name].sync()
        elif call.name == "open" and isinstance(place.names.get(name), File):
            self._file(call.path).pending.append((0, CUT))
        else:
            self._rename(place, call)
            place.change()

    def _rename(self, place: Folder, call: Call) -> None:
        name = call.path.name
        if call.name == "delete":
            del place.names[name]
        elif call.name == "rename":
            assert call.path.parent == call.target.parent, (
                "a file goes to another folder, which is not told of here"
            )
            place.names[call.target.name] = place.names.pop(name)
        else:
            place.names[name] = {"open": File, "folder": Folder}[call.name]()

    def _find(self, path: Path) -> Folder:
        found = self._top
        for part in path.relative_to(self._root).parts:
            inner = found.names[part]
            assert isinstance(inner, Folder)
            found = inner
        return found

    def _file(self, path: Path) -> File:
        found = self._find(path.parent).names[path.name]
        assert isinstance(found, File)
        return found

    def after_a_cut(self, place: Path, chance: random.Random) -> None:
        """Write what may be left into a folder that is not there yet."""
        self._top.after_a_cut(place, chance)


def _held(place: Path) -> Folder:
    names = {
        path.name: _held(path) if path.is_dir() else File(durable=path.read_bytes())
        for path in place.iterdir()
    }
    return Folder(names, [dict(names)])
