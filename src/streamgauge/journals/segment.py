"""A segment file as a reader knows it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from streamgauge.journals.record import Link
from streamgauge.journals.scan import Found, Hole, Tail, scan


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
