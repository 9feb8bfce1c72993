"""What a worker process prints: into our log, a few lines a second, and its end kept for whoever asks why it died."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

log = structlog.get_logger()

MOST_LINES: Final = 10  # in each second
MOST_LINE: Final = 1000  # bytes of a line that are shown
KEPT: Final = 8192  # bytes of the end


class OutputLog(asyncio.Protocol):
    """Takes what comes out of a worker, however much it is, and never makes it wait.

    clock: gives seconds and never goes back. ended: set when nothing more will come.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._second, self._shown, self._left_out = clock(), 0, 0
        self._line = bytearray()
        self._tail = bytearray()
        self.ended = asyncio.Event()

    @property
    def tail(self) -> str:
        """The last of it."""
        return self._tail.decode(errors="replace")

    def forget(self) -> None:
        """Begin the tail anew: what was printed before is not of interest any more."""
        self._tail.clear()

    def data_received(self, data: bytes) -> None:
        """Take a piece of it."""
        self._tail += data[-KEPT:]
        del self._tail[:-KEPT]
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            self._finish_line()
        self._add(rest)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  the protocol's argument
        """Log what is left."""
        if self._line:
            self._finish_line()
        if self._left_out:
            log.info("a transform's output was left out", lines=self._left_out)
        self.ended.set()

    def _add(self, text: bytes) -> None:
        self._line += text[: MOST_LINE - len(self._line)]

    def _finish_line(self) -> None:
        line = self._line.decode(errors="replace").rstrip()
        self._line.clear()
        now = self._clock()
        if now - self._second >= 1.0:
            if self._left_out:
                log.info("a transform's output was left out", lines=self._left_out)
            self._second, self._shown, self._left_out = now, 0, 0
        if self._shown < MOST_LINES:
            self._shown += 1
            log.info("a transform printed", line=line)
        else:
            self._left_out += 1
