"""What a replay has in hand, noted in the data folder, so that the next start can tell that the last one died of it.

The note is there from the beginning of a replay until the store holds all that was in the journal then. Whoever finds
one that was not taken back by an orderly end knows that the process died in between. It need not survive a power cut:
what a record can kill is the process, and what that has written stays in the system's memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
import structlog

from streamgauge.commit import DeadLetter
from streamgauge.dead_letters import letters_of
from streamgauge.event import EventBatch
from streamgauge.transform.module import Failure

log = structlog.get_logger()

FILE: Final = "in_flight.json"
STAGE: Final = "process"  # as the dead letters name it: the whole of it died

SetAside = Mapping[int, Mapping[int, str]]  # by append and line: why
NOTHING_SET_ASIDE: Final[SetAside] = MappingProxyType({})


class Killer(msgspec.Struct, frozen=True, array_like=True):
    """An event that is not to be tried again: its append, its line in it, and why."""

    seq: int
    index: int
    reason: str


class Note(msgspec.Struct, frozen=True, kw_only=True):
    """upto: the last append that was in the journal. replaying: whether whoever wrote this may have died of it."""

    upto: int
    replaying: bool
    killers: tuple[Killer, ...] = ()


class InFlight:
    """The note of one data folder. Its methods block, for one small file; where that cannot be written, they log it."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._note = self._read()

    def _read(self) -> Note | None:
        try:
            return msgspec.json.decode(self._file.read_bytes(), type=Note)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError) as exc:
            log.warning("a note about the last replay cannot be read", file=str(self._file), error=str(exc))
            return None

    def has_died(self, committed_seq: int) -> bool:
        """Tell whether a replay from `committed_seq` has been tried, and the process died before it was through."""
        return self._note is not None and self._note.replaying and committed_seq < self._note.upto

    @property
    def killers(self) -> tuple[Killer, ...]:
        """What is not to be tried again."""
        return () if self._note is None else self._note.killers

    def add(self, killer: Killer) -> None:
        """Note an event that is not to be tried again; kept until the store holds its append."""
        note = self._note or Note(upto=killer.seq, replaying=True)
        self._write(msgspec.structs.replace(note, killers=(*note.killers, killer)))

    def begin(self, committed_seq: int, upto: int) -> None:
        """Note that what is behind `committed_seq` is replayed, up to `upto`."""
        killers = tuple(one for one in self.killers if one.seq > committed_seq)
        if upto > committed_seq:
            self._write(Note(upto=upto, replaying=True, killers=killers))
        else:
            self._forget()

    def end(self, committed_seq: int) -> None:
        """Note an orderly end: of the replay, when the store holds all of it, or of the process, before that."""
        if self._note is None:
            return
        if committed_seq >= self._note.upto:
            self._forget()
        else:
            self._write(msgspec.structs.replace(self._note, replaying=False))

    def _write(self, note: Note) -> None:
        self._note = note
        temporary = self._file.with_suffix(".tmp")
        try:
            temporary.write_bytes(msgspec.json.encode(note) + b"\n")
            temporary.replace(self._file)
        except OSError as exc:  # a full disk must not keep us from replaying, which is what makes room
            log.warning("the note about a replay cannot be written", file=str(self._file), error=str(exc))

    def _forget(self) -> None:
        self._note = None
        try:
            self._file.unlink(missing_ok=True)
        except OSError as exc:
            log.warning("the note about a replay cannot be removed", file=str(self._file), error=str(exc))


def by_append(killers: Iterable[Killer]) -> SetAside:
    """Give why which lines of which appends are set aside."""
    found: dict[int, dict[int, str]] = {}
    for one in killers:
        found.setdefault(one.seq, {})[one.index] = one.reason
    return found


def leave_out(batch: EventBatch, set_aside: SetAside, at_us: int) -> tuple[EventBatch, list[DeadLetter]]:
    """Take the events that are set aside out of a batch; give the others, and those as dead letters."""
    reasons = set_aside.get(batch.seq, {})
    places = [place for place, index in enumerate(batch.index.tolist()) if index in reasons]
    if not places:
        return batch, []
    failures = [Failure(place, reasons[int(batch.index[place])], "") for place in places]
    left = set(places)
    kept = batch.select(np.array([place not in left for place in range(len(batch))], bool))
    return kept, letters_of(batch, failures, stage=STAGE, at_us=at_us)
