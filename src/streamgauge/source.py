"""The contract of a source: bytes in, an answer out.

A source speaks one protocol to its senders. Whatever it is told, it hands payloads of newline-delimited JSON to
the `Door`, waits for the receipt, and says in its protocol's words what became of the events. It drops nothing silently.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Protocol

from streamgauge.event import FieldMapping


class Receipt(Protocol):
    """What became of a payload. errors: (position among its events, reason), the first hundred."""

    accepted: int
    rejected: int

    @property
    def errors(self) -> list[tuple[int, str]]:
        """The reasons of those that were rejected."""

    @property
    def duplicates(self) -> int:
        """How many good events were left out, because their ids had counted before."""

    @property
    def replayed(self) -> bool:
        """Whether this is what an earlier request with the same key was answered."""


class Door(Protocol):
    """Where sources hand over what they were sent."""

    async def accept(self, payload: bytes, source: str, mapping: FieldMapping) -> Receipt:
        """Accept one JSON object a line. Raises Saturated or JournalError, and then has accepted nothing."""

    def refuse(self, source: str) -> None:
        """Count a request that was refused unread."""


class SmallDoor(Door, Protocol):
    """A door that can take a small payload at once."""

    def accept_now(self, payload: bytes, source: str, mapping: FieldMapping) -> asyncio.Future[Any] | None:
        """Accept a payload as `accept` does; None, and nothing done, where that would have to wait or refuse."""


class OnceDoor(Door, Protocol):
    """A door that takes a request whose sender may repeat it, and counts it once."""

    async def accept_once(self, payload: bytes, source: str, mapping: FieldMapping, key: str) -> Receipt:
        """Accept a payload as `accept` does, unless a request with this key was; then give its answer again.

        Raises IdempotencyKeyReused where that one was another.
        """


class RejectingDoor(Door, Protocol):
    """A door that also counts what a source could not read, for those whose senders cannot be told."""

    def reject(self, source: str, problem: str) -> None:
        """Count an event as received and rejected, and remember why."""


class RunningSource(Protocol):
    """A source that fetches its events itself; the server starts and stops it."""

    name: str

    async def start(self) -> None:
        """Begin, without waiting for others: what is not there yet is a problem, not a failure."""

    async def stop(self) -> None:
        """Finish what is here and tell its sender, within a few seconds; called before the server takes no more."""

    def problems(self) -> list[str]:
        """Say what is wrong now, each in a sentence that names the source; none when all is well."""

    def status(self) -> Mapping[str, Any]:
        """Tell its kind, url (without a password), connected, last_ms, rate (events a second) and problems."""
