"""A wall clock that a test can set while a process runs; see `moved_clock.c`."""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import Final

from preloading import preloaded

SOURCE: Final = Path(__file__).with_name("moved_clock.c")
SHIFT: Final = struct.Struct("=q")


class MovedClock:
    """The clock of every process that is started with `environment`."""

    def __init__(self, file: Path) -> None:
        file.write_bytes(SHIFT.pack(0))
        self.environment = {"LD_PRELOAD": str(preloaded(SOURCE)), "MOVED_CLOCK": str(file)}
        with file.open("r+b") as opened:
            self._shift = mmap.mmap(opened.fileno(), SHIFT.size)

    def move(self, seconds: float) -> None:
        """Let it be so much ahead of the right time, or behind it."""
        self._shift[:] = SHIFT.pack(round(seconds * 1e9))
