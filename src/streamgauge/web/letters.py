"""What can be done with dead letters, without HTTP: listing them, sending them again, discarding them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from streamgauge.commit import DeadLetterName
from streamgauge.dead_letters import name_text
from streamgauge.errors import StoreError
from streamgauge.event import FieldMapping
from streamgauge.events.enrich import enriched
from streamgauge.reader import Reader
from streamgauge.store import KeptDeadLetter, Store

PAGE: Final = 200  # letters that are looked at together
COUNT_S: Final = 1.0  # how long whoever asks for the server's metrics waits for the store
PREVIEW: Final = 200  # characters of an event that a list shows


class Accepted(Protocol):
    """What became of events that were sent again. duplicates: those that had been sent again before."""

    accepted: int
    rejected: int
    duplicates: int

    @property
    def errors(self) -> Sequence[tuple[int, str]]:
        """The reasons of those that were rejected."""


Again = Callable[[bytes, FieldMapping, Sequence[str]], Awaitable[Accepted]]
"""Accepts events, one a line, under ids that count once for ever."""


class LetterAbout(msgspec.Struct):
    """A dead letter in a list. Times in milliseconds since 1970; preview: how its event begins."""

    name: str
    state: str
    at: int
    received_at: int
    source: str
    stage: str
    reason: str
    bytes: int
    preview: str


class Letter(LetterAbout):
    """A dead letter with everything that is known. mapping: which of its fields play which parts."""

    traceback: str
    mapping: dict[str, str]
    event: msgspec.Raw


class LetterList(msgspec.Struct):
    """Dead letters, the last ones first; `next`: what to give as `after` for more, null where there are none."""

    open: int
    dead_letters: list[LetterAbout]
    next: str | None


class LetterError(msgspec.Struct):
    """Why a letter was not accepted again."""

    name: str
    error: str


class Replayed(msgspec.Struct):
    """What became of letters that were sent again; `missing`: names of which there is no letter."""

    replayed: int = 0
    duplicates: int = 0
    rejected: int = 0
    missing: list[str] = msgspec.field(default_factory=list)
    errors: list[LetterError] = msgspec.field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class LetterDesk:
    """Deals with the dead letters of a running server. settled: waits until what was accepted is committed."""

    store: Store
    reader: Reader
    again: Again
    settled: Callable[[], Awaitable[object]]
    now_us: Callable[[], int]
    most_errors: int = field(default=100)
    open: int | None = None  # as they were counted last

    async def count_open(self) -> None:
        """Count the letters that are open anew, unless the store is too busy to say soon."""
        with suppress(StoreError, TimeoutError):
            async with asyncio.timeout(COUNT_S):
                self.open = await self.reader.in_thread(self.store.open_dead_letters)

    async def page(self, limit: int, after: DeadLetterName | None, *, only_open: bool) -> LetterList:
        """Give letters, the last ones first; `after`: the last one that was given before."""
        found, count = await self.reader.in_thread(
            lambda: (
                self.store.dead_letters(limit, before=after, only_open=only_open),
                self.store.open_dead_letters(),
            )
        )
        more = name_text(found[-1].name) if len(found) == limit else None
        return LetterList(count, [about(kept) for kept in found], more)

    async def find(self, name: DeadLetterName) -> KeptDeadLetter | None:
        """Give one letter."""
        return await self.reader.in_thread(lambda: self.store.dead_letter(name))

    async def replay(self, names: Sequence[DeadLetterName], event: bytes | None = None) -> Replayed:
        """Send letters again; `event`: what to send in place of the only one."""
        outcome = Replayed()
        for start in range(0, len(names), PAGE):
            wanted = names[start : start + PAGE]
            found = [await self.find(name) for name in wanted]
            pairs = zip(wanted, found, strict=True)
            outcome.missing += [name_text(name) for name, kept in pairs if kept is None]
            await self._send([kept for kept in found if kept is not None], event, outcome)
        await self.settled()
        return outcome

    async def replay_all(self) -> Replayed:
        """Send all open letters again; those that fail meanwhile, for a second time perhaps, are not among them."""
        outcome = Replayed()
        after: DeadLetterName | None = None
        while found := await self._open_page(after):
            await self._send(found, None, outcome)
            after = found[-1].name
        await self.settled()
        return outcome

    async def _open_page(self, after: DeadLetterName | None) -> list[KeptDeadLetter]:
        return await self.reader.in_thread(lambda: self.store.dead_letters(PAGE, before=after))

    async def _send(self, letters: Iterable[KeptDeadLetter], event: bytes | None, outcome: Replayed) -> None:
        groups: dict[FieldMapping, list[KeptDeadLetter]] = {}
        for kept in letters:
            groups.setdefault(mapping_of(kept), []).append(kept)
        for mapping, group in groups.items():
            payload = b"".join([_line(kept, mapping, event) for kept in group])
            receipt = await self.again(payload, mapping, [kept.name.id for kept in group])
            outcome.replayed += receipt.accepted
            outcome.duplicates += receipt.duplicates
            outcome.rejected += receipt.rejected
            room = self.most_errors - len(outcome.errors)
            outcome.errors += [
                LetterError(name_text(group[place].name), problem) for place, problem in receipt.errors[:room]
            ]

    async def discard(self, names: Sequence[DeadLetterName]) -> int:
        """Mark letters as dealt with; give how many were open."""
        return await self.reader.in_thread(lambda: self.store.discard_dead_letters(names, self.now_us()))

    async def discard_all(self) -> int:
        """Mark all open letters as dealt with; give how many they were."""
        count, after = 0, None
        while found := await self._open_page(after):
            count += await self.discard([kept.name for kept in found])
            after = found[-1].name
        return count


def mapping_of(kept: KeptDeadLetter) -> FieldMapping:
    """Give which fields of a letter's event play which parts."""
    text = kept.letter.mapping
    return msgspec.json.decode(text, type=FieldMapping) if text else FieldMapping()


def _line(kept: KeptDeadLetter, mapping: FieldMapping, event: bytes | None) -> bytes:
    """Give a letter's event as it is sent again: it happened when it arrived, where it does not say when itself."""
    line = bytes(kept.letter.payload) if event is None else event
    return enriched(line, {mapping.timestamp: kept.letter.received_us}) + b"\n"


def about(kept: KeptDeadLetter) -> LetterAbout:
    """Give what a list says of a letter."""
    return LetterAbout(**_about(kept))


def whole(kept: KeptDeadLetter) -> Letter:
    """Give all of a letter."""
    mapping = msgspec.structs.asdict(mapping_of(kept))
    event = msgspec.Raw(bytes(kept.letter.payload))
    return Letter(**_about(kept), traceback=kept.letter.traceback, mapping=mapping, event=event)


def _about(kept: KeptDeadLetter) -> dict[str, Any]:
    letter = kept.letter
    return {
        "name": name_text(kept.name),
        "state": kept.state,
        "at": letter.at_us // 1000,
        "received_at": letter.received_us // 1000,
        "source": letter.source,
        "stage": letter.stage,
        "reason": letter.reason,
        "bytes": len(letter.payload),
        "preview": bytes(letter.payload[: 4 * PREVIEW]).decode(errors="replace")[:PREVIEW],
    }
