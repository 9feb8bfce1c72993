"""Processes that a benchmark starts: each has a deadline and is stopped whatever happens."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from benchmarks.row import BenchmarkFailed

T = TypeVar("T")

ROOT: Final = Path(__file__).parent.parent
STOP_S: Final = 40.0
TICKS: Final = os.sysconf("SC_CLK_TCK")
MOST_SHOWN: Final = 300


class Child:
    """A running process, spoken to in lines."""

    def __init__(self, command: Sequence[str], *, log: Path, timeout_s: float) -> None:
        self._name, self._log = " ".join(command[:3]), log
        try:
            with log.open("wb") as errors:
                self._process = subprocess.Popen(
                    command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
                )
        except FileNotFoundError as exc:
            raise BenchmarkFailed(
                f"{command[0]}: there is no such command; install it with pip install -e ."
            ) from exc
        self._watchdog = threading.Timer(timeout_s, self._process.kill)
        self._watchdog.daemon = True
        self._watchdog.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def line(self) -> bytes:
        """Give the next line that it prints; raises BenchmarkFailed when it has ended or was too slow."""
        assert self._process.stdout is not None  # noqa: S101  tells the type checker what Popen was asked for
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            raise BenchmarkFailed(f"{self._name} ended ({self._process.returncode}): {self._last_words()}")
        return line

    def result(self, kind: type[T]) -> T:
        """Give its next line as a value."""
        return msgspec.json.decode(self.line(), type=kind)

    def tell(self, value: Any) -> None:
        """Hand it a value, as one line of JSON."""
        assert self._process.stdin is not None  # noqa: S101  tells the type checker what Popen was asked for
        try:
            self._process.stdin.write(msgspec.json.encode(value) + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as exc:
            raise BenchmarkFailed(f"{self._name} ended: {self._last_words()}") from exc

    def _last_words(self) -> str:
        return self._log.read_text(errors="replace").strip()[-MOST_SHOWN:] or "it said nothing"

    def stop(self) -> None:
        """Ask it to end, and end it if it does not."""
        self._watchdog.cancel()
        self._process.terminate()
        try:
            self._process.communicate(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU that it has used, all its threads together. proc(5), /proc/pid/stat."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    @property
    def memory_mib(self) -> float:
        """Its resident memory now."""
        return self._status("VmRSS")

    @property
    def most_memory_mib(self) -> float:
        """The most that its resident memory has been."""
        return self._status("VmHWM")

    def _status(self, name: str) -> float:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(f"{name}:"))


@contextmanager
def running(command: Sequence[str], *, log: Path, timeout_s: float) -> Iterator[Child]:
    """Start a process for as long as the block lasts, and at most for `timeout_s`."""
    child = Child(command, log=log, timeout_s=timeout_s)
    try:
        yield child
    finally:
        child.stop()


@contextmanager
def program(name: str, plan: Any, *, folder: Path, timeout_s: float) -> Iterator[Child]:
    """Start one of `benchmarks/programs` with its plan."""
    command = [sys.executable, "-m", f"benchmarks.programs.{name}"]
    with running(command, log=folder / f"{name}.log", timeout_s=timeout_s) as child:
        child.tell(plan)
        yield child
