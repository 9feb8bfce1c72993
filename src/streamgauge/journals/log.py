"""The segments of one journal as one log: append, roll, sync, release. Blocking; knows no event loop.

Whoever appends or rolls has the log for himself. Syncing, releasing and looking at the segments may happen beside it.
"""

import errno
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from streamgauge.errors import FilesGone, JournalError, StorageFull
from streamgauge.journals.active import ActiveSegment, create_segment
from streamgauge.journals.files import Files
from streamgauge.journals.record import Draft, header_line
from streamgauge.journals.recovery import Recovered
from streamgauge.journals.segment import Segment

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_RETRY_AFTER_FULL_S = 5.0
_ROOM_BYTES = 1 << 20

Fsync = Literal["always", "interval", "never"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How a log is kept; see `FileJournal.open`."""

    shard: str
    instance: str
    configuration: str
    fsync: Fsync
    segment_bytes: int
    segment_age_s: float
    max_bytes: int
    clock: Callable[[], float]
    wall: Callable[[], float]


class SegmentLog:
    """Closed segments and the one that is being written.

    last_seq: of what is written. failed: set once, when what was promised can no longer be kept.
    """

    def __init__(self, folder: Path, options: LogOptions, files: Files, recovered: Recovered) -> None:
        self.last_seq = recovered.last_seq
        self.failed: JournalError | None = None
        self._folder, self._options, self._files = folder, options, files
        self._closed = recovered.segments
        self._closed_bytes = sum(segment.size for segment in self._closed)
        self._after = recovered.after
        self._active: ActiveSegment | None = None
        self._unsynced_since = 0.0  # by the clock; counts only where something is not synced
        self._segments_lock = threading.Lock()  # held for memory, never for the disk
        self._release_lock = threading.Lock()
        self._sync_lock = threading.Lock()  # a descriptor is not closed while it is synced

    @property
    def size_bytes(self) -> int:
        """The good length of all segments."""
        with self._segments_lock:
            return self._closed_bytes + (self._active.size if self._active else 0)

    @property
    def unsynced_s(self) -> float:
        """The age of the oldest append of this segment that may not be on the disk; 0 where all of it is."""
        active = self._active
        if active is None or active.synced_bytes >= active.size:
            return 0.0
        return max(0.0, self._options.clock() - self._unsynced_since)

    @property
    def room_bytes(self) -> int:
        """How much may still be appended."""
        return self._options.max_bytes - self.size_bytes

    def full(self) -> StorageFull:
        """Give what to tell a sender for whose entry there is no room."""
        used, limit = self.size_bytes, self._options.max_bytes
        reason = f"{self._folder}: the journal holds {used} bytes; journal.max_bytes allows {limit}"
        return StorageFull(reason, _RETRY_AFTER_FULL_S)

    def has_room(self) -> bool:
        """Whether there seems to be room for more, on the disk and in the journal's share of it."""
        return self.room_bytes > 0 and self._files.free_bytes(self._folder) >= _ROOM_BYTES

    def segments(self) -> list[Segment]:
        """Give all segments as they can be read now, oldest first."""
        with self._segments_lock:
            return [*self._closed, *([self._active.as_segment()] if self._active else [])]

    def is_ready(self, size: int) -> bool:
        """Whether an append of so many bytes is only a write: no wait for the disk, and no other segment, is due."""
        active = self._active
        return (
            active is not None
            and self.failed is None
            and self._files.quick
            and self._options.fsync != "always"
            and not self._sync_lock.locked()
            and not self._is_due(active)
            and self.room_bytes >= size
        )

    def prepare(self) -> None:
        """Have a segment to append to: roll one that is due, begin one where there is none.

        Raises StorageFull or JournalError, and then there may be none until the next call.
        """
        if self._active is not None and self._is_due(self._active):
            self._retire(self._active)
        if self._active is None:
            self._begin()

    def append(self, drafts: Sequence[Draft]) -> int:
        """Write drafts in one call, after `prepare`, and with fsync "always" wait for the disk; all or none.

        Gives the seq of the first. Raises StorageFull or JournalError, and then no trace of them is left.
        """
        active = self._active
        if active is None:
            raise JournalError(f"{self._folder}: there is no segment to write to; call prepare first")
        buffers: list[bytes] = []
        events = 0
        for seq, draft in enumerate(drafts, self.last_seq + 1):
            buffers.append(header_line(active.prefix, seq, draft))
            if draft.payload:
                buffers.append(draft.payload)
            events += draft.count
        size = sum(map(len, buffers))
        self._write(active, buffers, size)
        first = self.last_seq + 1
        self.last_seq += len(drafts)
        now = self._options.clock()
        if active.synced_bytes >= active.size:
            self._unsynced_since = now
        active.advance(size, self.last_seq, events, now)
        if self._options.fsync == "always":
            active.synced_bytes = active.size
        self._note_configuration(drafts)
        return first

    def sync(self) -> None:
        """Wait until all that was appended is on the disk; a failure is final and stands in `failed`."""
        with self._sync_lock:
            active = self._active
            if active is None or self.failed is not None or active.synced_bytes == active.size:
                return
            began = self._options.clock()
            self._sync_or_fail(active)
            self._unsynced_since = began  # what came meanwhile is younger

    def check_files(self) -> None:
        """Put FilesGone into `failed` where the segment that is being written has lost its name. Not while it is synced."""
        if not self._sync_lock.acquire(blocking=False):
            return
        try:
            active = self._active
            if active is not None and self.failed is None and not active.is_in_place():
                self.failed = FilesGone(str(active.path))
        finally:
            self._sync_lock.release()

    def release(self, upto_seq: int) -> None:
        """Delete closed segments of which every seq is <= `upto_seq`, oldest first. Raises JournalError."""
        with self._release_lock:
            oldest = self._releasable(upto_seq)
            if oldest is None:
                return
            try:
                while oldest is not None:
                    self._delete(oldest)
                    oldest = self._releasable(upto_seq)
                self._files.fsync_folder(self._folder)
            except OSError as error:
                raise refusal(error, self._folder) from error

    def close(self) -> None:
        """Seal the segment and wait for the disk, whatever `fsync` says. Raises JournalError."""
        active = self._active
        if active is not None:
            self._retire(active, durable=True)
        if self.failed is not None:
            raise self.failed

    def _releasable(self, upto_seq: int) -> Segment | None:
        with self._segments_lock:
            # The newest file stays while no other says how far the seqs have come.
            keep = 0 if self._active else 1
            if len(self._closed) > keep and self._closed[0].last_seq <= upto_seq:
                return self._closed[0]
            return None

    def _delete(self, segment: Segment) -> None:
        with suppress(FileNotFoundError):  # somebody else deleted it, which is what was wanted
            self._files.unlink(segment.path)
        with self._segments_lock:
            self._closed.remove(segment)
            self._closed_bytes -= segment.size

    def _is_due(self, active: ActiveSegment) -> bool:
        options = self._options
        # A quarter, so that a full journal always has a closed segment that can be released.
        if active.size >= min(options.segment_bytes, options.max_bytes // 4) and active.records > 0:
            return True
        return active.records > 0 and options.clock() - active.first_write_s >= options.segment_age_s

    def _begin(self) -> None:
        options = self._options
        try:
            active = create_segment(
                self._folder,
                files=self._files,
                shard=options.shard,
                instance=options.instance,
                configuration=options.configuration,
                base=self.last_seq + 1,
                after=self._after,
                at_us=self.now_us(),
            )
        except OSError as error:
            raise refusal(error, self._folder) from error
        with self._segments_lock:
            self._active = active

    def _write(self, active: ActiveSegment, buffers: list[bytes], size: int) -> None:
        try:
            active.write(buffers, size)
        except OSError as error:
            self._cut_back(active)
            raise refusal(error, active.path) from error
        if self._options.fsync == "always":
            try:
                self._files.fsync(active.descriptor)
            except OSError as error:
                self._abandon(active)
                raise refusal(error, active.path) from error

    def _cut_back(self, active: ActiveSegment) -> None:
        try:
            active.cut_back()
        except OSError:
            with self._sync_lock:
                # What was accepted before must reach the disk while the descriptor is still open.
                if self._options.fsync == "interval":
                    self._sync_or_fail(active)
            self._abandon(active)

    def _abandon(self, active: ActiveSegment) -> None:
        """Never write to a segment again; what stands behind its good length is made not to count."""
        with suppress(OSError):  # the next segment names the last good seq, so that readers stop there
            active.cut_back()
        self._put_away(active)
        with suppress(StorageFull, JournalError):  # the next append tries again, and its sender hears why
            self._begin()

    def _retire(self, active: ActiveSegment, *, durable: bool = False) -> None:
        """Seal a segment and put it away. Raises JournalError if its bytes may not be on the disk."""
        in_doubt = active.synced_bytes < active.size
        if self.failed is None:
            self._seal(active)
        with self._sync_lock:
            if self.failed is None and (durable or self._options.fsync != "never"):
                self._sync_or_fail(active, in_doubt=in_doubt)
        self._put_away(active)
        if self.failed is not None:
            raise self.failed

    def _seal(self, active: ActiveSegment) -> None:
        try:
            active.seal(self.now_us())
        except OSError:
            # Readers do not need the seal: a torn one is cut off at the next start, or ignored behind the last seq.
            with suppress(OSError):
                active.cut_back()

    def _sync_or_fail(self, active: ActiveSegment, *, in_doubt: bool = True) -> None:
        """Sync; failing is final if records are in doubt, and of no account if only the seal is."""
        try:
            active.sync()
        except OSError as error:
            if in_doubt:
                self.failed = JournalError(
                    f"{active.path}: fsync failed: {error.strerror}; what was written last may be lost,"
                    " so nothing more is accepted; check the disk and restart"
                )
                self.failed.__cause__ = error

    def _put_away(self, active: ActiveSegment) -> None:
        with self._sync_lock:
            segment = active.as_segment()
            with self._segments_lock:
                self._active = None
                if not segment.is_empty:
                    self._closed.append(segment)
                    self._closed_bytes += segment.size
                    self._after = segment.link
            # Linux gives the descriptor back all the same, and what matters was synced before.
            with suppress(OSError):
                self._files.close(active.descriptor)

    def _note_configuration(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            if draft.configuration is not None:
                self._options = replace(self._options, configuration=draft.configuration)

    def now_us(self) -> int:
        """Give the wall clock, in microseconds since 1970 UTC."""
        return int(self._options.wall() * 1_000_000)


def refusal(error: OSError, path: Path) -> StorageFull | JournalError:
    """Give what to tell the sender when the system refused."""
    if error.errno in _FULL:
        return StorageFull(f"{path}: no room on the disk ({error.strerror})", _RETRY_AFTER_FULL_S)
    return JournalError(f"{path}: {error.strerror or error}; check the disk and try again")
