r"""The lines of a journal segment, as bytes and back; no files here.

    {"_sg":1,"seg":"<32 hex digits>","seq":12,"n":2,"bytes":40,"at":1700000000000000,"src":"http","crc":"9f3a01c2"}\n
    {"type":"a","value":1}\n
    {"type":"b"}\n

A header line stands before each payload and says how long it is, so that readers jump and never search. `crc` is
the CRC-32 (zlib's) of everything in the header line before `,"crc"` and of the payload. A control record is a
header line with `control` and `data` and no payload. The records `segment` (a segment's first) and `seal` (its
last) belong to the file, not to the stream: they carry the seq before them and use up none.
"""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final

import msgspec

from streamgauge.errors import InternalError
from streamgauge.journal import Control, Entry, Record

FORMAT_VERSION: Final = 1
HEADER_LIMIT_BYTES: Final = 1 << 20
SEGMENT, SEAL, CONFIGURATION = "segment", "seal", "configuration"

_CRC_FIELD: Final = b',"crc":"%08x"}\n'
_CRC_FIELD_BYTES: Final = len(_CRC_FIELD % 0)
Natural = Annotated[int, msgspec.Meta(ge=0)]


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """A header line, decoded."""

    version: Natural = msgspec.field(name="_sg")
    segment_id: str = msgspec.field(name="seg")
    seq: Natural
    count: Natural = msgspec.field(name="n", default=0)
    payload_bytes: Natural = msgspec.field(name="bytes", default=0)
    at_us: int = msgspec.field(name="at")
    source: str = msgspec.field(name="src", default="")
    context: dict[str, Any] = msgspec.field(name="ctx", default_factory=dict)
    idempotency: str | None = msgspec.field(name="idem", default=None)
    ledger: dict[str, Any] = msgspec.field(default_factory=dict)
    control: str | None = None
    data: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def in_stream(self) -> bool:
        """Whether this record has a seq of its own."""
        return self.control not in (SEGMENT, SEAL)


class Link(msgspec.Struct, frozen=True):
    """Where the segment before ended: what it holds beyond `seq` was refused and does not count."""

    segment_id: str = msgspec.field(name="seg")
    seq: Natural


class SegmentStart(msgspec.Struct, frozen=True, kw_only=True):
    """The data of a segment's first record."""

    format: Natural
    instance: str
    shard: str
    base: Annotated[int, msgspec.Meta(ge=1)]
    configuration: str
    after: Link | None = None


@dataclass(slots=True, eq=False)
class Draft:
    """An append on its way: all of its header that does not depend on where it will stand."""

    tail: bytes
    payload: bytes
    count: int
    configuration: str | None = None

    @property
    def size_bound(self) -> int:
        """At most this many bytes are written for it."""
        return len(self.tail) + len(self.payload) + 128


_HEADERS: Final = msgspec.json.Decoder(Header)


def header_prefix(segment_id: str) -> bytes:
    """Give what every header line of a segment begins with; only such lines count when a reader searches."""
    return b'{"_sg":%d,"seg":"%b","seq":' % (FORMAT_VERSION, segment_id.encode())


def draft_entry(entry: Entry) -> Draft:
    """Encode an entry. Raises InternalError if the payload is not whole lines or the context is too large."""
    payload = entry.payload
    if entry.count < 1 or not payload.endswith(b"\n"):
        raise InternalError(
            f"journal entry of {len(payload)} bytes and {entry.count} events is not whole lines"
        )
    encode = msgspec.json.encode
    tail = b',"n":%d,"bytes":%d,"at":%d,"src":%b' % (
        entry.count,
        len(payload),
        entry.at_us,
        encode(entry.source),
    )
    if entry.context:
        tail += b',"ctx":' + encode(entry.context)
    if entry.idempotency is not None:
        tail += b',"idem":' + encode(entry.idempotency)
    if entry.ledger:
        tail += b',"ledger":' + encode(entry.ledger)
    return Draft(_bounded(tail), payload, entry.count)


def draft_control(kind: str, data: Mapping[str, object] | SegmentStart, at_us: int) -> Draft:
    """Encode a control record."""
    encode = msgspec.json.encode
    tail = b',"at":%d,"control":%b,"data":%b' % (at_us, encode(kind), encode(data))
    return Draft(_bounded(tail), b"", 0)


def _bounded(tail: bytes) -> bytes:
    if len(tail) > HEADER_LIMIT_BYTES - 256:
        raise InternalError(
            f"journal header of {len(tail)} bytes; at most {HEADER_LIMIT_BYTES - 256} are allowed"
        )
    return tail


def header_line(prefix: bytes, seq: int, draft: Draft) -> bytes:
    """Give the header line of a draft that is to stand in a segment under a seq."""
    head = b"%b%d%b" % (prefix, seq, draft.tail)
    crc = zlib.crc32(draft.payload, zlib.crc32(head))
    return head + _CRC_FIELD % crc


def decode_header(line: bytes) -> Header | None:
    """Decode a header line, newline included; None if it is not one. Its checksum is not looked at."""
    try:
        return _HEADERS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def checksum_holds(line: bytes, payload: bytes) -> bool:
    """Whether header line and payload are what was written."""
    crc = zlib.crc32(payload, zlib.crc32(memoryview(line)[:-_CRC_FIELD_BYTES]))
    return line.endswith(_CRC_FIELD % crc)


def to_stream(header: Header, payload: bytes) -> Record | Control:
    """Give a record of the stream as the contract has it."""
    if header.control is not None:
        return Control(header.seq, header.control, header.data)
    entry = Entry(
        payload=payload,
        count=header.count,
        at_us=header.at_us,
        source=header.source,
        context=header.context,
        ledger=header.ledger,
        idempotency=header.idempotency,
    )
    return Record(header.seq, entry)
