"""The journal against the store: what is journaled and not committed, and whether what is committed is what was journaled."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from streamgauge.audit import RawEvents
from streamgauge.errors import JournalDamaged, JournalError
from streamgauge.journal import Control, Record
from streamgauge.verification.findings import Findings
from streamgauge.verification.positions import UNKNOWN, Epochs

PORTION: Final = 20_000  # events whose texts are held against the journal at once
PORTION_APPENDS: Final = 200


class JournalReading(Protocol):
    """A shard's journal as it stands. problems: what was found damaged. Blocks; changes nothing."""

    @property
    def first_seq(self) -> int:
        """The least seq that it still holds; `last_seq` + 1 where it holds none."""

    @property
    def last_seq(self) -> int:
        """The greatest seq that was written; 0 where nothing ever was."""

    @property
    def problems(self) -> list[tuple[str, str]]:
        """What is damaged: where, and what is wrong."""

    @property
    def is_open(self) -> bool:
        """Whether it is being written, and may let go of what the store has meanwhile."""

    def records(self) -> Iterator[Record | Control]:
        """Give everything that it holds, in order. Raises JournalDamaged; JournalError where it was let go of."""


@dataclass(slots=True)
class JournalCheck:
    """Holds one shard's journal against its epochs. read: gives the raw events of a run of appends.

    go_on: called now and then; whatever it raises ends the check.
    """

    epochs: Epochs
    read: Callable[[int, int], RawEvents]
    findings: Findings
    go_on: Callable[[], None]

    def run(self, journal: JournalReading) -> None:
        """Compare."""
        for place, problem in journal.problems:
            self.findings.differ("journal", place, "records", "whole and in order", problem)
        stands = int(self.epochs.last_seq[-1]) if len(self.epochs) else 0
        if journal.last_seq < stands:
            self.findings.differ(
                "journal",
                "its end",
                "last append",
                f"at least {stands}, which the store has",
                journal.last_seq,
            )
        if journal.first_seq > stands + 1 and journal.is_open:
            self.findings.leave_out("the journal: it was let go of before it could be read")
            return
        if journal.first_seq > stands + 1:
            self.findings.differ(
                "journal", "its beginning", "first append", f"at most {stands + 1}", journal.first_seq
            )
        events = np.zeros(len(self.epochs), np.int64)
        try:
            self._read(journal, stands, events)
        except JournalDamaged as exc:
            self.findings.differ("journal", exc.path, "records", "whole and in order", exc.problem)
            return
        except JournalError as exc:
            self.findings.leave_out(f"the rest of the journal: {exc}")
            return
        if not journal.problems:  # what is lost would be told once more for each epoch
            self._compare_counts(journal, events)

    def _read(self, journal: JournalReading, stands: int, events: NDArray[np.int64]) -> None:
        expected, lines, waiting = journal.first_seq, dict[int, Record](), 0
        for record in journal.records():
            self.findings.checked.appends += 1
            if self.findings.checked.appends % PORTION_APPENDS == 0:
                self.go_on()
            if record.seq != expected and not journal.problems:
                self.findings.differ("journal", f"append {record.seq}", "seq", expected, record.seq)
            expected = record.seq + 1
            if isinstance(record, Control):
                continue
            count = record.entry.count
            if record.seq > stands:
                self.findings.pending_events += count
                continue
            place = int(np.searchsorted(self.epochs.last_seq, record.seq))
            events[place] += count
            if self._as_journaled(place):
                lines[record.seq] = record
                waiting += count
                if waiting >= PORTION:
                    self._compare_texts(lines)
                    lines, waiting = {}, 0
                    self.go_on()
        if lines:
            self._compare_texts(lines)

    def _as_journaled(self, place: int) -> bool:
        life = self.epochs.lives[int(self.epochs.life[place])]
        return life is not None and life.raw_events and not life.rewritten

    def _compare_counts(self, journal: JournalReading, journaled: NDArray[np.int64]) -> None:
        """What an epoch settled is what was journaled in it; duplicates may have been found at the door."""
        epochs, added = self.epochs, self.epochs.added
        settled = added["stored"] + added["filtered"] + added["dead_lettered"]
        known = (
            (epochs.previous_seq >= journal.first_seq - 1) & (added["stored"] != UNKNOWN) & ~epochs.skipped
        )
        known &= epochs.last_seq <= journal.last_seq
        wrong = (settled > journaled) | (settled + added["duplicate"] < journaled)
        for place in np.flatnonzero(known & wrong).tolist():
            self.findings.differ(
                "ledger",
                f"epoch {epochs.number[place]}",
                "stored + filtered + dead_lettered",
                f"{journaled[place]}, as journaled",
                int(settled[place]),
            )

    def _compare_texts(self, records: dict[int, Record]) -> None:
        """What is stored of an append is what was journaled under that name."""
        raw = self.read(min(records) - 1, max(records))
        lines_of: dict[int, list[bytes]] = {}
        for row, (seq, index) in enumerate(zip(raw.seq.tolist(), raw.index.tolist(), strict=True)):
            record = records.get(seq)
            if record is None:
                continue
            if seq not in lines_of:
                lines_of = {seq: record.entry.payload.split(b"\n")}
            lines = lines_of[seq]
            line = lines[index] if 0 <= index < record.entry.count else None
            if line is None or line != raw.event[row].encode():
                found = raw.event[row][:200]
                expected = "no such line" if line is None else line[:200].decode(errors="replace")
                self.findings.differ("raw", f"append {seq}, line {index}", "event", expected, found)
