"""The segment that is being written."""

import errno
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from streamgauge.journals.files import Files
from streamgauge.journals.record import (
    FORMAT_VERSION,
    SEAL,
    SEGMENT,
    Link,
    SegmentStart,
    draft_control,
    header_line,
    header_prefix,
)
from streamgauge.journals.segment import Segment


@dataclass(slots=True, eq=False)
class ActiveSegment:
    """An open segment file. `size` is its good length: everything before it was written in full."""

    files: Files
    path: Path
    descriptor: int
    segment_id: str
    prefix: bytes
    base: int
    first_record_at: int
    size: int
    last_seq: int
    events: int = 0
    first_write_s: float = 0.0
    synced_bytes: int = 0

    @property
    def records(self) -> int:
        """How many records of the stream it holds."""
        return self.last_seq - self.base + 1

    def write(self, buffers: Sequence[bytes], size: int) -> None:
        """Write `size` bytes behind the good length. Raises OSError; `advance` makes them count."""
        written = self.files.write(self.descriptor, buffers)
        if written != size:
            raise OSError(errno.ENOSPC, f"only {written} of {size} bytes were written", str(self.path))

    def advance(self, size: int, last_seq: int, events: int, now_s: float) -> None:
        """Count what was just written as good."""
        if self.records == 0:
            self.first_write_s = now_s
        self.size += size
        self.last_seq = last_seq
        self.events += events

    def cut_back(self) -> None:
        """Take away what stands behind the good length. Raises OSError."""
        self.files.ftruncate(self.descriptor, self.size)

    def seal(self, at_us: int) -> None:
        """Write the last record. Raises OSError."""
        draft = draft_control(SEAL, {"records": self.records, "events": self.events}, at_us)
        line = header_line(self.prefix, self.last_seq, draft)
        self.write([line], len(line))
        self.size += len(line)

    def sync(self) -> None:
        """Wait until the good length is on the disk. Raises OSError."""
        size = self.size
        self.files.fsync(self.descriptor)
        self.synced_bytes = size

    def is_in_place(self) -> bool:
        """Whether its name still leads to the file that is written; true where the system does not tell."""
        return self.files.is_in_place(self.descriptor, self.path)

    def as_segment(self) -> Segment:
        """Give what can be read of it now."""
        return Segment(self.path, self.segment_id, self.first_record_at, self.base, self.last_seq, self.size)


def create_segment(
    folder: Path,
    *,
    files: Files,
    shard: str,
    instance: str,
    configuration: str,
    base: int,
    after: Link | None,
    at_us: int,
) -> ActiveSegment:
    """Make a segment that begins with seq `base`; it appears under its name only when its first record is on disk.

    Replaces an empty segment of the same base. Raises OSError, and then leaves nothing behind.
    """
    segment_id = secrets.token_hex(16)
    prefix = header_prefix(segment_id)
    start = SegmentStart(
        format=FORMAT_VERSION,
        instance=instance,
        shard=shard,
        base=base,
        configuration=configuration,
        after=after,
    )
    line = header_line(prefix, base - 1, draft_control(SEGMENT, start, at_us))
    path = folder / f"{base:020d}.ndjson"
    temporary = path.with_name(path.name + ".tmp")
    descriptor = files.open(temporary)
    made = temporary
    active = ActiveSegment(files, path, descriptor, segment_id, prefix, base, len(line), 0, base - 1)
    try:
        active.write([line], len(line))
        active.size = len(line)
        active.sync()
        files.replace(temporary, path)
        made = path
        files.fsync_folder(folder)
    except OSError:
        _discard(files, descriptor, made)
        raise
    return active


def _discard(files: Files, descriptor: int, path: Path) -> None:
    try:
        files.close(descriptor)
        files.unlink(path)
    except OSError:
        # What is left behind is an empty segment or a temporary file; the next one, or the next start, replaces it.
        return
