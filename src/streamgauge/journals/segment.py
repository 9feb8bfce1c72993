"""A segment file as a reader knows it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamgauge.journals.record import CONFIGURATION, Link
from streamgauge.journals.scan import Found, Hole, Tail, record_at, scan


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment file that is not written any more; the first `size` bytes count, up to `last_seq`."""

    path: Path
    segment_id: str
    first_record_at: int
    base: int
    last_seq: int
    size: int
    holes: frozenset[int] = frozenset()

    @property
    def is_empty(self) -> bool:
        """Whether it holds no record of the stream."""
        return self.last_seq < self.base

    @property
    def link(self) -> Link:
        """What the segment after this one says about it."""
        return Link(self.segment_id, self.last_seq)

    def scan(self, until: int | None) -> Iterator[Found | Hole | Tail]:
        """Read what counts in it, as `scan.scan` gives it; blocks."""
        with self.path.open("rb") as stream:
            yield from scan(
                stream,
                segment_id=self.segment_id,
                start=self.first_record_at,
                size=self.size,
                base=self.base,
                until=until,
            )


def configuration_of(segment: Segment, seq: int) -> str | None:
    """Give the hash of the configuration in force behind an append of a segment, or before its first; blocks."""
    with segment.path.open("rb") as stream:
        start = record_at(stream, 0, segment.first_record_at, segment.segment_id)
    found = None if start is None else start.header.data.get("configuration")
    if seq >= segment.base:
        for item in segment.scan(min(seq, segment.last_seq)):
            if isinstance(item, Found) and item.header.control == CONFIGURATION:
                found = item.header.data.get("hash", found)
    return None if found is None else str(found)
