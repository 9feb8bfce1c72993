"""Users' modules, good and bad, and the events that they get."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import msgspec

from streamgauge.transform.module import ModuleRunner, Outcome
from streamgauge.transform.program import Program

DEADLINE_S: Final = 1.0  # a loaded machine may stall for less
POISON: Final = """
import ctypes, os, sys

def deeper(depth):
    return deeper(depth + 1)

def transform(event):
    match event["type"]:
        case "raise": raise ValueError("no such thing")
        case "interrupt": raise KeyboardInterrupt
        case "exit": sys.exit(3)
        case "recursion": deeper(0)
        case "wrong type": return [event]
        case "allocation": event["page"] = "a" * 10**10
        case "no JSON": event["page"] = object()
        case "end": os._exit(1)
        case "crash": ctypes.string_at(0)
        case "loop":
            while True:
                pass
        case "unwanted": return None
    event["seen"] = True
    return event
"""
MILD: Final = {
    "raise": "ValueError: no such thing",
    "interrupt": "KeyboardInterrupt",
    "exit": "SystemExit: 3",
    "recursion": "RecursionError: maximum recursion depth exceeded",
    "wrong type": "TypeError: transform returned list; return a dict (the event), or None to leave it out",
    "allocation": "MemoryError",
    "no JSON": "TypeError: Encoding objects of type object is unsupported",
}
DEADLY: Final = {
    "end": "exit code 1",
    "crash": "SIGSEGV",
    "loop": "deadline of 1 s",
}
KINDS: Final = (*MILD, *DEADLY)


def write_module(folder: Path, text: str, name: str = "shop.py") -> Path:
    """Write a user's module."""
    file = folder / name
    file.write_text(dedent(text))
    return file


def program(
    folder: Path,
    text: str,
    *,
    deadline_s: float = DEADLINE_S,
    memory_bytes: int = 2**30,
    event_bytes: int = 2**18,
) -> Program:
    """Write a module, and read it as the server does."""
    file = write_module(folder, text)
    return Program.read(str(file), deadline_s=deadline_s, memory_bytes=memory_bytes, event_bytes=event_bytes)


@asynccontextmanager
async def started(module: Program) -> AsyncIterator[ModuleRunner]:
    """Run a module."""
    runner = ModuleRunner(module)
    await runner.open()
    try:
        yield runner
    finally:
        await runner.close()


def lines(events: Sequence[dict[str, Any]]) -> list[bytes]:
    """Write events, one JSON object each."""
    return [msgspec.json.encode(event) for event in events]


def read(outcome: Outcome) -> list[Any]:
    """Read what became of events."""
    return [None if line is None else msgspec.json.decode(line) for line in outcome.lines]


def reasons(outcome: Outcome) -> dict[int, str]:
    """Why events failed, by their positions."""
    return {failed.position: failed.reason for failed in outcome.failures}
