"""Compiles what is loaded into a process before everything else, to stand between it and the system."""

from __future__ import annotations

import atexit
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import pytest


@cache
def preloaded(source: Path) -> Path:
    """Compile a source for LD_PRELOAD."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler; `make setup` installs one")
    folder = Path(tempfile.mkdtemp(prefix="preloaded-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    compiled = folder / f"{source.stem}.so"
    words = [compiler, "-shared", "-fPIC", "-O1", "-o", str(compiled), str(source), "-ldl", "-lpthread"]
    subprocess.run(words, check=True)
    return compiled
