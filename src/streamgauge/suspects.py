"""Finding the events that end the process that counts them, by trying all of them where that costs nothing.

Many at once first; where the process dies of them, fewer, until it is one, which is then tried once more by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import structlog

from streamgauge.in_flight import Killer
from streamgauge.journal import Control, Entry, Record

log = structlog.get_logger()

AT_ONCE: Final = (
    4096  # events, and of so many bytes; each step divides them by PARTS, so that few processes die
)
AT_ONCE_BYTES: Final = 8 * 2**20
PARTS: Final = 128
REASON: Final = "the server died twice, and a process that was given this event alone did too: {}"
MOST_KILLERS: Final = 1000  # each costs some seconds


@dataclass(frozen=True, slots=True)
class Suspect:
    """One event of an append that may have ended the process. line: without its newline."""

    record: Record
    index: int
    line: bytes


class Trial(Protocol):
    """Where events are tried."""

    def ends_by(self, entries: Sequence[Entry]) -> str | None:
        """Have these counted; give how the process ended that did it, or None where it lives."""
        ...


def killers_among(
    records: Iterable[Record | Control],
    trial: Trial,
    known: Container[tuple[int, int]],
    stopped: Callable[[], bool],
) -> Iterator[Killer]:
    """Give the events that end a process by themselves, each when it is found, in order.

    known: append and line of those that need not be tried. stopped: asked before each trial; where it says yes, the search ends where it is.
    """
    search = _Search(trial, stopped)
    found = 0
    for suspects in _groups(records, known):
        for killer in search.among(suspects):
            yield killer
            found += 1
            if found == MOST_KILLERS:
                log.error("so many events end the process that the others are not tried", found=found)
                return


class _Search:
    def __init__(self, trial: Trial, stopped: Callable[[], bool]) -> None:
        self._trial, self._stopped = trial, stopped

    def among(self, suspects: Sequence[Suspect]) -> Iterator[Killer]:
        if self._stopped() or self._ends_by(suspects) is None:
            return
        if len(suspects) == 1:
            how = self._ends_by(suspects)
            if how is not None:
                yield Killer(suspects[0].record.seq, suspects[0].index, REASON.format(how))
            return
        size = -(-len(suspects) // PARTS)
        found = False
        for start in range(0, len(suspects), size):
            for killer in self.among(suspects[start : start + size]):
                yield killer
                found = True
        if not found and not self._stopped():
            first = suspects[0]
            log.warning(
                "events ended a process together, but none does so alone",
                seq=first.record.seq, index=first.index, events=len(suspects),
            )  # fmt: skip

    def _ends_by(self, suspects: Sequence[Suspect]) -> str | None:
        return self._trial.ends_by(_entries(suspects))


def _groups(
    records: Iterable[Record | Control], known: Container[tuple[int, int]]
) -> Iterator[list[Suspect]]:
    waiting: list[Suspect] = []
    size = 0
    for record in records:
        if isinstance(record, Control):
            continue
        for index, line in enumerate(record.entry.payload.split(b"\n")[:-1]):
            if (record.seq, index) in known:
                continue
            waiting.append(Suspect(record, index, line))
            size += len(line)
            if len(waiting) == AT_ONCE or size >= AT_ONCE_BYTES:
                yield waiting
                waiting, size = [], 0
    if waiting:
        yield waiting


def _entries(suspects: Sequence[Suspect]) -> list[Entry]:
    """Give events as appends again, those of one append together; only what decides what they mean is kept of it."""
    entries: list[Entry] = []
    start = 0
    for place in range(1, len(suspects) + 1):
        record = suspects[start].record
        if place < len(suspects) and suspects[place].record is record:
            continue
        lines = [one.line + b"\n" for one in suspects[start:place]]
        mapping = record.entry.context.get("mapping")
        entries.append(
            replace(
                record.entry,
                payload=b"".join(lines),
                count=len(lines),
                context={} if mapping is None else {"mapping": mapping},
                ledger={},
                idempotency=None,
            )
        )
        start = place
    return entries
