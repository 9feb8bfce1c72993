"""The program as a user runs it: a process of its own with words, perhaps with something on its standard input."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

TIMEOUT_S = 60.0


class Done(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The one line that it said on stderr."""
        [line] = self.err.splitlines()
        return line


def run(*words: str, folder: Path, given: bytes = b"") -> Done:
    """Run `streamgauge` with these words in a folder, and wait for its end."""
    command: Sequence[str] = [sys.executable, "-m", "streamgauge", *words]
    done = subprocess.run(
        command, cwd=folder, input=given, capture_output=True, check=False, timeout=TIMEOUT_S
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
