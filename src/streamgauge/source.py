"""The contract of a source: bytes in, an answer out.

A source speaks one protocol to its senders. Whatever it is told, it hands payloads of newline-delimited JSON to
the `Door`, waits for the receipt, and says in its protocol's words what became of the events. It drops nothing silently.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from streamgauge.event import FieldMapping


class Receipt(Protocol):
    """What became of a payload. errors: (position among its events, reason), the first hundred."""

    accepted: int
    rejected: int

    @property
    def errors(self) -> Sequence[tuple[int, str]]:
        """The reasons of those that were rejected."""


class Door(Protocol):
    """Where sources hand over what they were sent."""

    async def accept(self, payload: bytes, source: str, mapping: FieldMapping) -> Receipt:
        """Accept one JSON object a line. Raises Saturated or JournalError, and then has accepted nothing."""

    def refuse(self, source: str) -> None:
        """Count a request that was refused unread."""
