"""The journal on disk: NDJSON segments in a folder, readable with `tail -f` and `jq`."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from streamgauge.errors import InternalError, JournalDamaged, JournalError, StorageFull
from streamgauge.journal import Control, Entry, Record
from streamgauge.journals.files import Files
from streamgauge.journals.log import Fsync, LogOptions, SegmentLog
from streamgauge.journals.record import (
    CONFIGURATION,
    SEAL,
    SEGMENT,
    Draft,
    draft_control,
    draft_entry,
    to_stream,
)
from streamgauge.journals.recovery import Recovered, Report, recover
from streamgauge.journals.scan import Found, Hole
from streamgauge.journals.segment import Segment, configuration_of
from streamgauge.journals.writer import Pending, Syncer, Writer


class FileJournal:
    """Keeps what it accepts in the files of one folder. Made by `open`; takes no lock on the folder.

    report: what was found when it was opened.
    """

    def __init__(
        self, log: SegmentLog, report: Report, *, shard: str, fsync: Fsync, interval_s: float
    ) -> None:
        self.shard = shard
        self.keeps_text = True
        self.report = report
        self._log = log
        self._closing = False
        self._writer = Writer(log, shard)
        self._syncer = Syncer(log, shard, interval_s) if fsync == "interval" else None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        instance: str,
        configuration_hash: str,
        shard: str = "0",
        fsync: Fsync = "interval",
        interval_s: float = 0.2,
        segment_bytes: int = 64 << 20,
        segment_age_s: float = 60.0,
        max_bytes: int = 4 << 30,
        stored_seq: int = 0,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        files: Files | None = None,
    ) -> Self:
        """Open the journal in a folder, which is made if it is not there; reads all of it, so it blocks.

        instance: names the data folder; segments of another instance or shard are refused.
        configuration_hash: of the configuration that the caller wants. Where `report.configuration` is another, that
        one stays in force until the caller appends a control record "configuration" with {"hash": ...}.
        fsync: "always": an entry is on the disk before its future resolves; "interval": at most `interval_s` and
        the time of one fsync later; "never": when the system pleases.
        segment_bytes, segment_age_s: a segment is closed when it is this large, or its first entry this old.
        max_bytes: what all segments may hold; beyond it entries are refused with StorageFull.
        stored_seq: the position that the store holds. Where a power cut took the journal's end after the store had
        it, seqs go on behind the store's, so that no number names two entries; `report.skipped` counts them.

        A torn tail is cut off; damage elsewhere stands in `report`, and the rest is kept. Raises JournalDamaged
        where a file is not a segment of this journal, JournalError where the folder cannot be read or written.
        """
        files = files or Files()
        files.make_folder(folder)
        recovered = recover(folder, files=files, shard=shard, instance=instance)
        _skip_to(stored_seq, recovered, files)
        options = LogOptions(
            shard=shard,
            instance=instance,
            configuration=recovered.report.configuration or configuration_hash,
            fsync=fsync,
            segment_bytes=segment_bytes,
            segment_age_s=segment_age_s,
            max_bytes=max_bytes,
            clock=clock,
            wall=wall,
        )
        log = SegmentLog(folder, options, files, recovered)
        with suppress(StorageFull):  # a full disk must not keep us from replaying, which is what makes room
            log.prepare()
        return cls(log, recovered.report, shard=shard, fsync=fsync, interval_s=interval_s)

    @property
    def last_seq(self) -> int:
        """See `Journal.last_seq`."""
        return self._writer.handed_over

    @property
    def first_seq(self) -> int:
        """The least seq that is still held; `last_seq` + 1 where none is."""
        segments = self._log.segments()
        return segments[0].base if segments else self.last_seq + 1

    @property
    def size_bytes(self) -> int:
        """See `Journal.size_bytes`."""
        return self._log.size_bytes

    @property
    def unsynced_s(self) -> float:
        """See `Journal.unsynced_s`."""
        return self._log.unsynced_s

    @property
    def failed(self) -> JournalError | None:
        """Why nothing is accepted any more until the process is restarted; None while all is well."""
        return self._log.failed

    @property
    def trouble(self) -> str | None:
        """See `Journal.trouble`."""
        refused = self._log.failed or self._writer.refused
        if refused is None or (isinstance(refused, StorageFull) and self._log.has_room()):
            return None
        return refused.reason if isinstance(refused, StorageFull) else str(refused)

    def files(self) -> list[tuple[Path, int]]:
        """Give its files, oldest first, and how many bytes of each count now."""
        return [(segment.path, segment.size) for segment in self._log.segments()]

    def check_files(self) -> None:
        """See `Journal.check_files`."""
        self._log.check_files()

    def append(self, entry: Entry, written: Callable[[int], None]) -> asyncio.Future[int]:
        """See `Journal.append`."""
        return self._submit(draft_entry(entry), written)

    def append_control(
        self, kind: str, data: Mapping[str, object], written: Callable[[int], None] = lambda seq: None
    ) -> asyncio.Future[int]:
        """See `Journal.append_control`. The kinds "segment" and "seal" are the files' own."""
        if kind in (SEGMENT, SEAL):
            raise InternalError(f"control record of kind {kind!r}: the name is the journal's own")
        draft = draft_control(kind, data, self._log.now_us())
        if kind == CONFIGURATION and "hash" in data:
            draft.configuration = str(data["hash"])
        return self._submit(draft, written)

    def replay(self, after_seq: int) -> Iterator[Record | Control]:
        """See `Journal.replay`. What `report` calls lost is passed over; damage since then raises JournalDamaged."""
        upto_seq, segments, first_seq = self.last_seq, self._log.segments(), self.first_seq
        if after_seq < first_seq - 1:
            problem = f"seqs {after_seq + 1} to {first_seq - 1} are no longer in the journal"
            raise JournalError(
                f"{problem}; restore the store that holds them, or replay from {first_seq - 1}"
            )
        if after_seq > upto_seq:
            problem = f"the journal ends at seq {upto_seq}, before {after_seq}"
            raise JournalError(f"{problem}; restore it, or open it with the store's position")
        return _replay(segments, after_seq, upto_seq)

    @property
    def configuration(self) -> str | None:
        """The hash of the configuration in force at the end, when it was opened; None where it held nothing."""
        return self.report.configuration

    def configuration_after(self, seq: int) -> str | None:
        """Give the hash of the configuration in force right behind an append; None where that is not known. Blocks."""
        behind = [segment for segment in self._log.segments() if segment.base <= seq + 1]
        return configuration_of(behind[-1], seq) if behind else None

    def release(self, upto_seq: int) -> None:
        """See `Journal.release`. Deletes whole closed segments only. Raises JournalError."""
        self._log.release(upto_seq)

    async def close(self) -> None:
        """See `Journal.close`. Raises JournalError where the end of the journal may not be on the disk."""
        self._closing = True
        await asyncio.to_thread(self._stop)
        if self._writer.failed is not None:
            raise self._writer.failed

    def _stop(self) -> None:
        if self._syncer is not None:
            self._syncer.stop()
        self._writer.stop()

    def _submit(self, draft: Draft, written: Callable[[int], None]) -> asyncio.Future[int]:
        pending = Pending(draft, written, asyncio.get_running_loop().create_future())
        if self._closing:
            pending.refuse(JournalError("the journal is closed; nothing is accepted any more"))
        else:
            self._writer.submit(pending)
        return pending.future


def _skip_to(stored_seq: int, recovered: Recovered, files: Files) -> None:
    if stored_seq <= recovered.last_seq:
        return
    recovered.report.skipped = stored_seq - recovered.last_seq
    recovered.last_seq = stored_seq
    if recovered.leftover is not None:
        files.unlink(recovered.leftover)


def _replay(segments: list[Segment], after_seq: int, upto_seq: int) -> Iterator[Record | Control]:
    for segment in segments:
        if segment.last_seq <= after_seq:
            continue
        try:
            for item in segment.scan(segment.last_seq):
                if isinstance(item, Found):
                    if item.header.seq > upto_seq:
                        return
                    if item.header.in_stream and item.header.seq > after_seq:
                        yield to_stream(item.header, item.payload)
                elif isinstance(item, Hole) and item.offset not in segment.holes:
                    problem = f"{item.problem}; restart to go on with what is left"
                    raise JournalDamaged(str(segment.path), item.offset, problem)
        except OSError as error:
            raise JournalError(
                f"{segment.path}: cannot be read: {error.strerror}; it may have been released"
            ) from error
