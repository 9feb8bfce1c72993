"""A process whose calls to the system are counted, written down, and fail where they are told to.

What stands between the process and the system is `faulty_calls.c`, so that every call counts: ours, Python's and the
database's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from preloading import preloaded

SOURCE: Final = Path(__file__).with_name("faulty_calls.c")
VARYING: Final = re.compile(
    r"[0-9a-f]{16,}|(?<=damaged-).*"
)  # the part of a file's name that says which one it is
WRITES: Final = "write"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What becomes of the call number `at`, and with `lasting` of all after it.

    do: see the source. calls, name: only such calls count, on files whose path contains `name`.
    """

    at: int
    do: str
    lasting: bool = False
    calls: str = ""
    name: str = ""


def environment(folder: Path, *, fault: Fault | None = None, record: Path | None = None) -> dict[str, str]:
    """Give the variables for a process whose calls below `folder` are to be watched."""
    found = {"LD_PRELOAD": str(preloaded(SOURCE)), "FAULTY_FOLDER": str(folder)}
    if record is not None:
        found["FAULTY_RECORD"] = str(record)
    if fault is not None:
        found |= {"FAULTY_AT": str(fault.at), "FAULTY_DO": fault.do}
        found |= {"FAULTY_LASTING": "1"} if fault.lasting else {}
        found |= {"FAULTY_CALLS": fault.calls} if fault.calls else {}
        found |= {"FAULTY_NAME": fault.name} if fault.name else {}
    return found


@dataclass(frozen=True, slots=True)
class Call:
    """A call that succeeded. began_ns, ended_ns: by the monotonic clock; offset: of a write, or the length of a cut."""

    name: str
    began_ns: int
    ended_ns: int
    offset: int
    path: Path
    target: Path
    data: bytes

    @property
    def kind(self) -> str:
        """What it does to what sort of file."""
        return f"{self.name} {VARYING.sub('*', self.path.name)}"


def read_record(file: Path) -> list[Call]:
    """Read what was written down, in the order in which it happened."""
    return list(_calls(file.read_bytes()))


def _calls(data: bytes) -> Iterator[Call]:
    place = 0
    while place < len(data):
        end = data.index(b"\n", place)
        name, began, ended, offset, size, path, target = data[place:end].decode().split("\t")
        place = end + 1 + int(size)
        yield Call(name, int(began), int(ended), int(offset), Path(path), Path(target), data[end + 1 : place])
