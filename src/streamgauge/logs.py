"""How the program logs: one line each, with fields; colours only on a terminal."""

from __future__ import annotations

import logging
import os
import select
import sys
from typing import TextIO

import structlog


class PatientLog:
    """Writes lines to a stream, and leaves out those that it does not take now, or not at all.

    A disk that is full, or a reader that has stopped, holds up nobody; how many lines are missing is said later.
    """

    def __init__(self, stream: TextIO) -> None:
        self._descriptor = stream.fileno()
        self._waiting = select.poll()
        self._waiting.register(self._descriptor, select.POLLOUT)
        self._left_out = 0

    def write(self, text: str) -> None:
        """Write a line, if that is possible."""
        note = f"{self._left_out} lines of the log are missing here: they could not be written\n"
        try:
            self._write((note if self._left_out else "") + text)
        except OSError:
            self._left_out += 1
        else:
            self._left_out = 0

    def _write(self, text: str) -> None:
        rest = text.encode(errors="backslashreplace")
        while rest:
            if not any(events & select.POLLOUT for _, events in self._waiting.poll(0)):
                raise BlockingIOError
            rest = rest[os.write(self._descriptor, rest[: select.PIPE_BUF]) :]

    def flush(self) -> None:
        """Do nothing: nothing is held back."""


def configure() -> None:
    """Set up logging, unless the program around us has done so already."""
    if structlog.is_configured():
        return
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False),
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
            ),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(_patient(sys.stderr)),
    )
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # what it warns of, we refuse in our own words


def _patient(stream: TextIO) -> TextIO:
    """Give a stream that holds nobody up, where this one is the system's, which can tell whether it would."""
    if stream is not sys.__stderr__ or not hasattr(select, "poll"):
        return stream
    return PatientLog(stream)  # type: ignore[return-value]  # two methods are all that is called
