"""How a program hears its plan and tells its results: lines of JSON on its standard streams."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

import msgspec
import uvloop

T = TypeVar("T")


def hear(kind: type[T]) -> T:
    """Wait for the plan."""
    return msgspec.json.decode(sys.stdin.readline(), type=kind)


def say(value: Any) -> None:
    """Print a value."""
    print(msgspec.json.encode(value).decode(), flush=True)


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a program on the event loop that the server uses too."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main)
