"""A journal's folder as it stands, for whoever only looks: nothing is cut, deleted, or made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from streamgauge.errors import JournalError
from streamgauge.journal import Control, Record
from streamgauge.journals.file import FileJournal
from streamgauge.journals.files import Files
from streamgauge.journals.record import to_stream
from streamgauge.journals.recovery import Damage, recover
from streamgauge.journals.scan import Found
from streamgauge.journals.segment import Segment

ANY_SEQ: Final = 2**62


class _Untouched(Files):
    """Changes nothing. What a crash left behind stays for whoever opens the journal to write."""

    def ftruncate(self, descriptor: int, length: int) -> None:
        """Leave the file as long as it is."""

    def fsync(self, descriptor: int) -> None:
        """Leave it to the system."""

    def unlink(self, path: Path) -> None:
        """Leave the file."""


class FolderReading:
    """A journal that nobody has open. Reads all of it when it is made; where it cannot, that is its only problem."""

    def __init__(self, folder: Path, *, instance: str, shard: str) -> None:
        try:
            recovered = recover(folder, files=_Untouched(), shard=shard, instance=instance)
        except JournalError as exc:
            self._segments, self.first_seq, self.last_seq, self.is_open = list[Segment](), 1, ANY_SEQ, False
            self.problems = [("all of it", str(exc))]
            return
        self._segments = recovered.segments
        self.last_seq = recovered.last_seq
        self.first_seq = self._segments[0].base if self._segments else self.last_seq + 1
        self.problems = _told(recovered.report.damaged)
        self.is_open = False

    def records(self) -> Iterator[Record | Control]:
        """Give everything that can be read, in order."""
        for segment in self._segments:
            try:
                for item in segment.scan(segment.last_seq):
                    if isinstance(item, Found) and item.header.in_stream:
                        yield to_stream(item.header, item.payload)
            except OSError as error:
                raise JournalError(f"{segment.path}: cannot be read: {error.strerror}") from error


class LiveReading:
    """The journal of the process itself, while it is written: what it holds at this moment."""

    def __init__(self, journal: FileJournal) -> None:
        self._journal = journal
        self.last_seq, self.first_seq = journal.last_seq, journal.first_seq
        self.problems = _told(journal.report.damaged)
        self.is_open = True

    def records(self) -> Iterator[Record | Control]:
        """Give everything that it held when this was made. Raises JournalError, also where it was released since."""
        for record in self._journal.replay(self.first_seq - 1):
            if record.seq > self.last_seq:
                return
            yield record


def _told(damaged: list[Damage]) -> list[tuple[str, str]]:
    return [(f"{Path(one.path).name} at byte {one.offset}", one.problem) for one in damaged]
