"""How the program logs: one line each, with fields; colours only on a terminal."""

from __future__ import annotations

import logging
import sys

import structlog


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
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    logging.getLogger("sqlglot").setLevel(logging.CRITICAL)  # what it warns of, we refuse in our own words
