"""Small payloads that arrive in the same turn of the event loop are taken together.

Decoding, journaling and counting have a fixed cost that one event a request cannot bear; sixty-four of them together
hardly notice it. Nobody waits for company: what has arrived by the end of a turn goes on at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from streamgauge.event import FieldMapping

Answer = TypeVar("Answer")
MOST_BYTES = 256 * 1024


class Kind(NamedTuple):
    """Payloads of one kind are decoded alike."""

    source: str
    mapping: FieldMapping
    scope: str = ""


class Waiting(NamedTuple, Generic[Answer]):
    """A payload and who waits for its answer."""

    payload: bytes
    answer: asyncio.Future[Answer]


class Gathering(Generic[Answer]):
    """Gathers payloads. take: called with those of one kind, in the order of their arrival."""

    def __init__(self, take: Callable[[Kind, list[Waiting[Answer]]], None]) -> None:
        self._take = take
        self._waiting: dict[Kind, list[Waiting[Answer]]] = {}
        self._bytes = 0

    def add(self, payload: bytes, kind: Kind) -> asyncio.Future[Answer]:
        """Take in a payload; the future gives its answer."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Answer] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._turn)
        self._waiting.setdefault(kind, []).append(Waiting(payload, answer))
        self._bytes += len(payload)
        if self._bytes >= MOST_BYTES:
            self._release()
        return answer

    def _turn(self) -> None:
        if self._waiting:
            self._release()

    def _release(self) -> None:
        waiting, self._waiting, self._bytes = self._waiting, {}, 0
        for kind, payloads in waiting.items():
            try:
                self._take(kind, payloads)
            except Exception as exc:  # noqa: BLE001  whoever waits is told, whatever it is
                refuse(payloads, exc)


def refuse(waiting: list[Waiting[Answer]], error: BaseException) -> None:
    """Give an error to everybody who still waits."""
    for one in waiting:
        if not one.answer.done():
            one.answer.set_exception(error)
