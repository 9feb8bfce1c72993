"""A process in which events are counted for trial, seen from the server: it may die of them and nothing is lost.

It has an engine of the same options, with everything in memory. Frames as between us and a transform's worker: the
length of four bytes, then msgpack; answers are one byte each.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Any, Final, Self

import msgspec

from streamgauge.errors import StreamgaugeError
from streamgauge.journal import Entry
from streamgauge.transform.process import how_it_ended
from streamgauge.transform.worker import FRAME

PROGRAM: Final = "streamgauge.tryout"
START_S: Final = 60.0
DEADLINE_S: Final = 120.0  # a process that lives on is none of our concern, but nobody waits for ever
MOST_BYTES: Final = 64 * 2**20  # that one process is given; what it counted stays in its memory
READY: Final = b"+"
NOT_BY_ITSELF: Final = (-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP)


class TrialImpossible(StreamgaugeError):
    """Events cannot be tried: the process does not start, does not answer, or was ended by somebody."""


class TrialProcess:
    """Where events are tried; a `Trial`. A process is started when one is needed. options: as a mapping."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self._given_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def ends_by(self, entries: Sequence[Entry]) -> str | None:
        """See `Trial.ends_by`; blocks. Raises TrialImpossible."""
        if self._given_bytes > MOST_BYTES:
            self._end()
        process = self._process or self._start()
        self._given_bytes += sum(len(entry.payload) for entry in entries)
        if self._exchange(process, msgspec.msgpack.encode(entries), DEADLINE_S):
            return None
        code = self._end()
        if code in NOT_BY_ITSELF:
            raise TrialImpossible(f"{how_it_ended(code)} by somebody")
        return how_it_ended(code)

    def _start(self) -> subprocess.Popen[bytes]:
        process = self._process = subprocess.Popen(  # noqa: S603  our own program
            [sys.executable, "-P", "-m", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,  # Ctrl-C is for us alone
        )
        self._given_bytes = 0
        if not self._exchange(process, msgspec.msgpack.encode(self._options), START_S):
            raise TrialImpossible(f"the process for it did not start: {how_it_ended(self._end())}")
        return process

    def _exchange(self, process: subprocess.Popen[bytes], body: bytes, within_s: float) -> bool:
        """Send a frame and wait for the answer; tell whether there was one."""
        into, out = _pipes(process)
        try:
            into.write(FRAME.pack(len(body)) + body)
            into.flush()
        except BrokenPipeError:
            return False
        if not select.select([out], [], [], within_s)[0]:
            self._end()
            raise TrialImpossible(f"the process for it did not answer within {within_s:g} s")
        return out.read(1) == READY

    def _end(self) -> int:
        """End the process, if it has not ended; give its exit code."""
        process, self._process = self._process, None
        if process is None:
            return 0
        into, out = _pipes(process)
        with suppress(BrokenPipeError):
            into.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(2.0)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        out.close()
        return process.wait()


def _pipes(process: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    if process.stdin is None or process.stdout is None:
        raise TrialImpossible("the process for it has no pipes")
    return process.stdin, process.stdout
