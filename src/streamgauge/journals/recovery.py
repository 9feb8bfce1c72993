"""Opening a folder of segments: check that they are ours and follow each other, cut a torn tail, say what is lost.

Each segment names the one before it and the seq at which that one ended, so a segment that was left out, cut off,
put in from elsewhere or restored from an older copy is seen. Nothing but the torn tail is changed.
"""

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec

from streamgauge.errors import JournalDamaged, JournalError
from streamgauge.journals.files import Files
from streamgauge.journals.record import (
    CONFIGURATION,
    FORMAT_VERSION,
    SEGMENT,
    Link,
    SegmentStart,
    decode_header,
)
from streamgauge.journals.scan import Found, Hole, Tail, record_at
from streamgauge.journals.segment import Segment

_NAME: Final = re.compile(r"(\d{20})\.ndjson")
_WAY_OUT: Final = "restore it from a backup, or move it out of the folder to start without its events"


@dataclass(frozen=True, slots=True)
class Damage:
    """What a journal has lost: `size` bytes at `offset`, seqs first_seq..last_seq (none if last_seq < first_seq)."""

    path: str
    offset: int
    size: int
    first_seq: int
    last_seq: int
    problem: str


@dataclass(slots=True)
class Report:
    """What was found when a journal was opened.

    torn_bytes: cut off the end, where a crash interrupted a write.
    damaged: what is lost elsewhere, in order.
    skipped: seqs that the store holds and the journal does not: its end was lost after the store had it.
    configuration: hash in force at the end of the stream; None where the stream holds nothing.
    """

    records: int = 0
    events: int = 0
    torn_bytes: int = 0
    damaged: list[Damage] = field(default_factory=list)
    skipped: int = 0
    configuration: str | None = None


@dataclass(slots=True)
class Recovered:
    """The state of a folder: its segments, and what the next segment must say."""

    segments: list[Segment]
    after: Link | None
    last_seq: int
    leftover: Path | None
    report: Report


@dataclass(frozen=True, slots=True)
class _Opened:
    path: Path
    segment_id: str
    first_record_at: int
    start: SegmentStart


def oldest_seq(folder: Path) -> int | None:
    """Give the seq with which the journal of a folder begins; None where there is none. Opens no file."""
    try:
        names = [path.name for path in folder.iterdir()]
    except FileNotFoundError:
        return None
    return min((int(found[1]) for name in names if (found := _NAME.fullmatch(name))), default=None)


def instance_in(folder: Path) -> str | None:
    """Give the instance that the oldest readable segment of a folder names; None where there is none."""
    paths = sorted(path for path in folder.glob("*") if _NAME.fullmatch(path.name))
    for path in paths:
        with suppress(OSError, JournalDamaged):
            return _begin(path)[1].instance
    return None


def recover(folder: Path, *, files: Files, shard: str, instance: str) -> Recovered:
    """Read every segment of a folder and cut the torn tail of the last one.

    Raises JournalDamaged where a file is not a segment of this journal, JournalError where one cannot be read.
    """
    try:
        for stale in folder.glob("*.ndjson.tmp"):
            files.unlink(stale)
        paths = sorted(path for path in folder.iterdir() if _NAME.fullmatch(path.name))
        opened = [_open(path, shard=shard, instance=instance) for path in paths]
        return _read_all(opened, files)
    except OSError as error:
        raise JournalError(
            f"{error.filename or folder}: cannot read the journal: {error.strerror}; {_WAY_OUT}"
        ) from error


def _begin(path: Path) -> tuple[Found, SegmentStart]:
    """Read a segment's first record. Raises JournalDamaged."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        line = stream.readline(1 << 16)
        header = decode_header(line)
        if header is not None and header.version != FORMAT_VERSION:
            raise _damaged(path, f"format version {header.version}; this program reads {FORMAT_VERSION}")
        first = record_at(stream, 0, size, None)
    if first is None or first.header.control != SEGMENT:
        raise _damaged(path, "the first record is unreadable or not a segment's")
    try:
        return first, msgspec.convert(first.header.data, SegmentStart)
    except msgspec.ValidationError as error:
        raise _damaged(path, f"the first record is not a segment's ({error})") from error


def _open(path: Path, *, shard: str, instance: str) -> _Opened:
    first, start = _begin(path)
    for what, found, ours in (
        ("format version", start.format, FORMAT_VERSION),
        ("instance", start.instance, instance),
        ("shard", start.shard, shard),
        ("first seq", start.base, int(path.stem)),
    ):
        if found != ours:
            hint = (
                f"; if the file `{what}` of the data folder was changed, delete that"
                if what == "instance"
                else ""
            )
            raise _damaged(path, f"it belongs to another journal: {what} {found!r}, not {ours!r}{hint}")
    return _Opened(path, first.header.segment_id, first.end, start)


def _read_all(opened: list[_Opened], files: Files) -> Recovered:
    report = Report()
    segments: list[Segment] = []
    for index, this in enumerate(opened):
        following = opened[index + 1] if index + 1 < len(opened) else None
        segment = _read(this, following.start.after if following else None, report)
        if following is None:
            segment = _cut_tail(segment, files, report)
        else:
            _check_follows(segment, following, report)
        segments.append(segment)
    leftover, after, last_seq = None, None, 0
    if segments:
        last_seq = segments[-1].last_seq
        after = segments[-1].link
    if segments and segments[-1].is_empty:
        leftover, after = segments.pop().path, opened[-1].start.after
    return Recovered(segments, after, last_seq, leftover, report)


def _read(this: _Opened, following: Link | None, report: Report) -> Segment:
    """Scan one segment. following: what the next one says about the one before it, if there is a next one."""
    until = following.seq if following is not None and following.segment_id == this.segment_id else None
    base, size, holes = this.start.base, this.path.stat().st_size, set[int]()
    last_seq, configuration = base - 1, this.start.configuration
    whole = Segment(this.path, this.segment_id, this.first_record_at, base, last_seq, size)
    for item in whole.scan(until):
        if isinstance(item, Tail):
            size = item.offset
        elif isinstance(item, Hole):
            holes.add(item.offset)
            report.damaged.append(_damage(this.path, item))
            last_seq = max(last_seq, item.last_seq)
        else:
            last_seq = item.header.seq
            report.records += item.header.in_stream
            report.events += item.header.count
            if item.header.control == CONFIGURATION:
                configuration = str(item.header.data.get("hash", configuration))
    if last_seq >= base:
        report.configuration = configuration
    return replace(whole, last_seq=last_seq, size=size, holes=frozenset(holes))


def _damage(path: Path, hole: Hole) -> Damage:
    return Damage(str(path), hole.offset, hole.end - hole.offset, hole.first_seq, hole.last_seq, hole.problem)


def _cut_tail(segment: Segment, files: Files, report: Report) -> Segment:
    torn = segment.path.stat().st_size - segment.size
    if torn > 0:
        descriptor = os.open(segment.path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            files.ftruncate(descriptor, segment.size)
            files.fsync(descriptor)
        finally:
            files.close(descriptor)
        report.torn_bytes += torn
    return segment


def _check_follows(segment: Segment, following: _Opened, report: Report) -> None:
    """Compare a segment with what the next one says came before it."""
    after = following.start.after
    if after is not None and after.segment_id == segment.segment_id:
        return
    if after is None or after.seq <= segment.last_seq:
        raise _damaged(following.path, f"it does not follow {segment.path.name}, as if put in from elsewhere")
    missing = f"the segment before {following.path.name} is missing"
    report.damaged.append(Damage(str(following.path), 0, 0, segment.last_seq + 1, after.seq, missing))


def _damaged(path: Path, problem: str) -> JournalDamaged:
    return JournalDamaged(str(path), 0, f"{problem}; {_WAY_OUT}")
