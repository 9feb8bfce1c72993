"""Doors that stand within another: what they bring comes over HTTP, and the ledger counts it under `http`.

Formats such as CloudEvents have doors of their own. Our own senders say in a header who they are; it decides nothing but where they
are shown.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from streamgauge.source import Receipt
from streamgauge.sources.rate import EventRate

HEADER: Final = b"streamgauge-door"
FILES: Final = "files"
PYTHON: Final = "python"


@dataclass(slots=True)
class DoorNote:
    """What came through a door since the server was started. last_ms: when the last event came, since 1970."""

    received: int = 0
    rejected: int = 0
    duplicate: int = 0
    last_ms: int | None = None
    problem: str | None = None
    _events: EventRate = field(default_factory=EventRate)

    def add(self, receipt: Receipt) -> None:
        """Count what a sender was told of its events."""
        received = receipt.accepted + receipt.rejected + receipt.duplicates
        if not received:
            return
        self.received += received
        self.rejected += receipt.rejected
        self.duplicate += receipt.duplicates
        self.last_ms = time.time_ns() // 1_000_000
        self._events.add(time.monotonic(), received)
        if receipt.errors:
            self.problem = receipt.errors[-1][1]

    @property
    def rate(self) -> float:
        """Events received a second, over the last five seconds."""
        return self._events.rate(time.monotonic())


def door_notes(formats: Iterable[str]) -> dict[str, DoorNote]:
    """Make a note for each of these doors. formats: the names of those that formats have."""
    return {name: DoorNote() for name in (*formats, FILES, PYTHON)}
