"""Reading one segment: every record that verifies, each once and in order, and a note of what does not.

Only the writer's promises are used, not its code: a header line that names this segment, a length, a checksum, and
seqs that grow by one. After damage the reader searches for the next record of this segment that verifies.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from streamgauge.journals.record import (
    FORMAT_VERSION,
    HEADER_LIMIT_BYTES,
    Header,
    checksum_holds,
    decode_header,
    header_prefix,
)

_SEARCH_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Found:
    """A record that verifies, from byte `offset` to byte `end`."""

    offset: int
    end: int
    header: Header
    payload: bytes

    @property
    def follows(self) -> int:
        """The seq that must have come just before this record."""
        return self.header.seq - 1 if self.header.in_stream else self.header.seq


@dataclass(frozen=True, slots=True)
class Hole:
    """Bytes that cannot be read. Records first_seq..last_seq are missing; none where last_seq < first_seq."""

    offset: int
    end: int
    first_seq: int
    last_seq: int
    problem: str


@dataclass(frozen=True, slots=True)
class Tail:
    """From `offset` on nothing can be read, and nothing says that there was a record."""

    offset: int


def record_at(stream: BinaryIO, offset: int, size: int, segment_id: str | None) -> Found | None:
    """Give the record that begins at a byte, if it is whole, verifies, and names the segment (None: any).

    size: bytes of the file that count; a record must end within them, whatever length it claims.
    """
    stream.seek(offset)
    line = stream.readline(min(HEADER_LIMIT_BYTES, size - offset))
    header = decode_header(line)
    if header is None or header.version != FORMAT_VERSION or segment_id not in (None, header.segment_id):
        return None
    end = offset + len(line) + header.payload_bytes
    if end > size:
        return None
    payload = stream.read(header.payload_bytes)
    if len(payload) != header.payload_bytes or not checksum_holds(line, payload):
        return None
    return Found(offset, end, header, payload)


def scan(
    stream: BinaryIO, *, segment_id: str, start: int, size: int, base: int, until: int | None
) -> Iterator[Found | Hole | Tail]:
    """Read a segment from byte `start`, where seq `base` is expected, within the first `size` bytes.

    until: the last seq that counts; what stands behind it is not looked at. Where it cannot be reached, the last
    item is a Hole. None: not known; the last item is then a Tail if there is something unreadable at the end.
    """
    offset, expected = start, base
    while offset < size and (until is None or expected <= until):
        found = record_at(stream, offset, size, segment_id)
        problem = "records are missing"
        if found is None or found.follows < expected - 1:
            problem = (
                "unreadable header or wrong checksum" if found is None else "a record that was there before"
            )
            found = _resynchronise(stream, offset + 1, size, segment_id, expected)
        if found is None or (until is not None and found.follows > until):
            break
        if found.offset > offset or found.follows >= expected:
            yield Hole(offset, found.offset, expected, found.follows, problem)
        yield found
        offset, expected = found.end, found.header.seq + 1
    if until is not None and expected <= until:
        yield Hole(offset, size, expected, until, "the end of the segment is missing or unreadable")
    elif until is None and offset < size:
        yield Tail(offset)


def _resynchronise(stream: BinaryIO, offset: int, size: int, segment_id: str, expected: int) -> Found | None:
    """Find the next record of this segment that verifies and does not go back behind `expected`."""
    needle = header_prefix(segment_id)
    while offset < size:
        stream.seek(offset)
        chunk = stream.read(min(_SEARCH_BYTES, size - offset))
        at = chunk.find(needle)
        while at >= 0:
            found = record_at(stream, offset + at, size, segment_id)
            if found is not None and found.follows >= expected - 1:
                return found
            at = chunk.find(needle, at + 1)
        if offset + len(chunk) >= size or not chunk:
            return None
        offset += len(chunk) - len(needle) + 1
    return None
