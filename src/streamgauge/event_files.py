"""Files of events as lines of JSON, whatever they are written in; plain, .gz or .zst. Where they are sent is in `replay`."""

from __future__ import annotations

import csv
import gzip
import io
import itertools
import math
import re
import select
import shutil
import tempfile
import zlib
from collections.abc import Callable, Container, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, NamedTuple, TextIO, TypeAlias, cast, get_args

import duckdb
import msgspec
import zstandard

from streamgauge import event_logs, event_parquet
from streamgauge.errors import StreamgaugeError
from streamgauge.event import FieldMapping
from streamgauge.events.limits import INT64_MAX, INT64_MIN

STANDARD_INPUT: Final = "-"
LONGEST_LINE: Final = 32 * 2**20  # as much as a server takes at once
LARGEST_ARRAY: Final = 256 * 2**20  # an array is read as a whole
GZIP_MAGIC: Final = b"\x1f\x8b"
ZSTD_MAGIC: Final = b"\x28\xb5\x2f\xfd"
ZSTD_PIECE: Final = 16 * 1024  # of compressed bytes: what it inflates to is held
UTF8_MARK: Final = b"\xef\xbb\xbf"
DELIMITERS: Final = ",;\t"
NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
INT64_DIGITS: Final = 20
DAMAGE: Final = (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError)


Format = Literal["auto", "json", "csv", "parquet", "json-logs", "combined"]
FORMATS: Final[tuple[Format, ...]] = get_args(Format)
PEEKED: Final = 8192  # what a format is told by
NO_TEXT: Final[dict[bytes, str]] = {
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save it as CSV",
    b"BZh": "compressed with bzip2; send it with bzcat FILE | streamgauge replay -",
    b"\xfd7zXZ\x00": "compressed with xz; send it with xzcat FILE | streamgauge replay -",
    b"\xff\xfe": "UTF-16; convert it with iconv -f utf-16 -t utf-8",
    b"\xfe\xff": "UTF-16; convert it with iconv -f utf-16 -t utf-8",
    b"SQLite format 3\x00": "a database of SQLite; send it with sqlite3 -json FILE 'SELECT ...' | streamgauge replay -",
}
Idle: TypeAlias = Callable[[], float | None]


class Line(NamedTuple):
    """An event as JSON with its newline, and where it stood: the `number`th `unit` of its file, from 1 on."""

    text: bytes
    number: int
    unit: str


class UnreadableFile(StreamgaugeError):
    """A file is not there, damaged, or not what its name says."""


def format_of(text: str) -> Format:
    """Read the name of a format. Raises StreamgaugeError."""
    found: Format | None = next((known for known in FORMATS if known == text), None)
    if found is None:
        raise StreamgaugeError(f"--format: expected one of {', '.join(FORMATS)}, got {text[:60]!r}")
    return found


def bytes_of(names: list[str]) -> int | None:
    """Give how many bytes files have on the disk; None where that cannot be known beforehand."""
    paths = [Path(name) for name in names]
    if STANDARD_INPUT in names or not all(path.is_file() for path in paths):
        return None
    return sum(path.stat().st_size for path in paths)


def lines_of(
    name: str,
    *,
    form: Format = "auto",
    fields: FieldMapping | None = None,
    skipped: Callable[[str], None] = lambda problem: None,
    read: Callable[[int], None] = lambda size: None,
    idle: Idle | None = None,
) -> Iterator[Line]:
    """Give a file's events as lines of JSON. Blank lines are left out.

    name: a path, or `-` for standard input; how it is compressed is told by its first bytes. form: how it is written;
    "auto" tells CSV and Parquet by the name, and everything else by how it begins. fields: the parts that fields play;
    what is their type stays text, whatever it looks like. skipped: told of each row or line that is no event.
    read: told how many bytes were read of the file as it is on the disk. idle: called when there is nothing to read for
    the moment, and again after as many seconds as it says, if there is nothing still.
    Raises UnreadableFile.
    """
    fields = fields or FieldMapping()
    try:
        with _opened(name, read, idle) as file:
            chosen = _checked_form(name, file, form)
            if chosen == "csv":
                yield from _csv_lines(name, file, {fields.type}, skipped)
            elif chosen == "parquet":
                yield from _parquet_lines(name, file, {fields.type}, read)
            elif chosen == "json-logs":
                yield from _log_lines(name, file, event_logs.json_part, "no JSON object", skipped)
            elif chosen == "combined":
                reader = event_logs.combined_reader(fields)
                yield from _log_lines(name, file, reader, "not of the combined log format", skipped)
            elif _first_character(file) == b"[":
                yield from _array_lines(name, file)
            else:
                yield from _json_lines(name, file)
    except duckdb.Error as exc:
        raise UnreadableFile(f"{name}: cannot be read as Parquet: {str(exc).splitlines()[0]}") from exc
    except DAMAGE as exc:
        raise UnreadableFile(f"{name}: damaged, or ends too early: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise UnreadableFile(
            f"{name}: not UTF-8: {exc.reason}; convert it, as with iconv -f latin1 -t utf-8"
        ) from exc
    except OSError as exc:
        raise UnreadableFile(f"{name}: {exc.strerror or exc}") from exc


@contextmanager
def _opened(name: str, read: Callable[[int], None], idle: Idle | None) -> Iterator[io.BufferedReader[Any]]:
    """Open a file for reading what it holds when inflated."""
    is_input = name == STANDARD_INPUT
    with io.FileIO(0 if is_input else name, closefd=not is_input) as raw:
        file: io.BufferedReader[Any] = io.BufferedReader(_Counted(raw, read, idle))
        magic = file.peek(4)
        if magic.startswith(GZIP_MAGIC):
            file = io.BufferedReader(cast("io.RawIOBase", gzip.GzipFile(fileobj=file)))
        elif magic.startswith(ZSTD_MAGIC) or name.endswith(".zst"):
            file = io.BufferedReader(_Zstd(file))
        yield file


class _Counted(io.RawIOBase):
    """A file that tells of every byte that is read of it, and of every moment in which there is none."""

    def __init__(self, file: io.FileIO, read: Callable[[int], None], idle: Idle | None) -> None:
        self._file, self._read, self._idle = file, read, idle

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._idle is not None and not self._has_more(0.0):
            while (wait_s := self._idle()) is not None and not self._has_more(wait_s):
                pass
        size = self._file.readinto(buffer) or 0
        self._read(size)
        return size

    def _has_more(self, wait_s: float) -> bool:
        """Wait until there is something to read, or the end of it; False when time ran out."""
        return bool(select.select([self._file], [], [], wait_s)[0])


class _Zstd(io.RawIOBase):
    """The text of zstd frames. The library's own reader ends without a word where a file was cut off."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._inflater = zstandard.ZstdDecompressor().decompressobj()
        self._begun = False
        self._text = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._text:
            piece = self._next_piece()
            if not piece:
                return 0
            self._begun = True
            self._text = memoryview(self._inflater.decompress(piece))
        size = min(len(buffer), len(self._text))
        buffer[:size], self._text = self._text[:size], self._text[size:]
        return size

    def _next_piece(self) -> bytes:
        rest = b""
        if self._inflater.eof:
            rest = self._inflater.unused_data
            self._inflater, self._begun = zstandard.ZstdDecompressor().decompressobj(), False
        piece = rest or self._file.read(ZSTD_PIECE)
        if not piece and self._begun:
            raise EOFError("the last frame of zstd data is not complete")
        return piece


def _checked_form(name: str, file: io.BufferedReader[Any], form: Format) -> Format:
    """Give how a file is written; raises UnreadableFile where it should be text and is something else."""
    chosen, head = _form_of(name, file) if form == "auto" else form, file.peek(PEEKED)
    kind = next((kind for magic, kind in NO_TEXT.items() if head.startswith(magic)), None)
    if kind is None and b"\0" in head[:PEEKED]:
        kind = "something else: there are zero bytes in it"
    if kind is not None and chosen != "parquet":
        raise UnreadableFile(f"{name}: expected text, plain or compressed with gzip or zstd; it is {kind}")
    return chosen


def _first_character(file: io.BufferedReader[Any]) -> bytes:
    return file.peek(64).removeprefix(UTF8_MARK).lstrip()[:1]


def _form_of(name: str, file: io.BufferedReader[Any]) -> Format:
    """Tell how a file is written: by its name, or by its first line. Standard input that is nothing else is CSV."""
    suffixes = {suffix.lower() for suffix in Path(name).suffixes}
    head = file.peek(PEEKED)
    if head.startswith(event_parquet.MAGIC) or ".parquet" in suffixes:
        return "parquet"
    if not {".csv", ".tsv"}.isdisjoint(suffixes):
        return "csv"
    line = head.removeprefix(UTF8_MARK).lstrip().partition(b"\n")[0]
    if line[:1] == b"{" or (line[:1] == b"[" and line[1:].lstrip()[:1] in {b"", b"{", b"[", b"]"}):
        return "json"
    if event_logs.is_combined(line):
        return "combined"
    if event_logs.json_part(line) is not None:
        return "json-logs"
    return "csv" if name == STANDARD_INPUT and line[:1] not in {b"", b"["} else "json"


def _numbered(name: str, file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Give the lines that are not blank, with their numbers."""
    mark = UTF8_MARK
    for number in itertools.count(1):
        line = file.readline(LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > LONGEST_LINE:
            raise UnreadableFile(
                f"{name}, line {number}: a line of more than {LONGEST_LINE >> 20} MiB; expected one event a line"
            )
        line, mark = line.removeprefix(mark), b""
        if line.strip():
            yield number, line


def _json_lines(name: str, file: BinaryIO) -> Iterator[Line]:
    for number, line in _numbered(name, file):
        yield Line(line if line.endswith(b"\n") else line + b"\n", number, "line")


def _log_lines(
    name: str,
    file: BinaryIO,
    event_of: Callable[[bytes], bytes | None],
    problem: str,
    skipped: Callable[[str], None],
) -> Iterator[Line]:
    for number, line in _numbered(name, file):
        event = event_of(line)
        if event is None:
            skipped(f"{name}, line {number}: {problem}: {event_logs.shown(line)}")
        else:
            yield Line(event + b"\n", number, "line")


def _parquet_lines(
    name: str, file: BinaryIO, as_text: Container[str], read: Callable[[int], None]
) -> Iterator[Line]:
    """Read the file where it lies, or a copy of what comes compressed or from standard input: it is read from its end."""
    with tempfile.NamedTemporaryFile(suffix=".parquet") as copy:
        path, noted = Path(name), read
        if not _lies_there(path):
            shutil.copyfileobj(file, copy)
            copy.flush()
            path, noted = Path(copy.name), _not_noted
        for number, row in enumerate(event_parquet.rows_of(path, as_text=as_text, read=noted), 1):
            yield Line(row + b"\n", number, "row")


def _lies_there(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(len(event_parquet.MAGIC)) == event_parquet.MAGIC


def _not_noted(size: int) -> None:
    """Its bytes have been told of when they were copied."""


def _array_lines(name: str, file: BinaryIO) -> Iterator[Line]:
    text = file.read(LARGEST_ARRAY + 1)
    if len(text) > LARGEST_ARRAY:
        raise UnreadableFile(
            f"{name}: an array of more than {LARGEST_ARRAY >> 20} MiB; give one event a line, as jq -c '.[]' writes it"
        )
    try:
        events = msgspec.json.decode(text.removeprefix(UTF8_MARK), type=list[msgspec.Raw])
    except msgspec.DecodeError as exc:
        raise UnreadableFile(f"{name}: begins like an array of events, but is not one: {exc}") from exc
    for number, event in enumerate(events, 1):
        yield Line(msgspec.json.format(bytes(event), indent=-1) + b"\n", number, "event")


def _csv_lines(
    name: str, file: BinaryIO, as_text: Container[str], skipped: Callable[[str], None]
) -> Iterator[Line]:
    encode = msgspec.json.Encoder().encode
    text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
    rows = _rows(name, text)
    header = next(rows, (0, []))[1]
    columns = _columns(name, header)
    for number, row in rows:
        if len(row) > len(columns):
            skipped(f"{name}, line {number}: {len(row)} cells, but the header has {len(columns)}")
            continue
        cells = zip(columns, row, strict=False)
        event = {column: cell if column in as_text else _value(cell) for column, cell in cells if cell}
        yield Line(encode(event) + b"\n", number, "line")


def _rows(name: str, text: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Give the rows that have cells, each with the number of its last line."""
    lines = _text_lines(name, text)
    first = next(lines, "")
    delimiter = max(DELIMITERS, key=first.count)
    reader = csv.reader(itertools.chain([first], lines), delimiter=delimiter)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
    except csv.Error as exc:
        raise UnreadableFile(f"{name}, line {reader.line_num}: {exc}; is a quote missing?") from exc


def _text_lines(name: str, text: TextIO) -> Iterator[str]:
    while line := text.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise UnreadableFile(f"{name}: a line of more than {LONGEST_LINE >> 20} MiB; is it CSV?")
        yield line


def _columns(name: str, header: list[str]) -> list[str]:
    """Name the columns as the header does; `column_3` is the third where it says nothing."""
    columns = [cell.strip() or f"column_{place}" for place, cell in enumerate(header, 1)]
    twice = next((column for place, column in enumerate(columns) if column in columns[:place]), None)
    if twice is not None:
        raise UnreadableFile(f"{name}: two columns are named {twice!r}; rename one of them in the first line")
    return columns


def _value(cell: str) -> str | int | float | bool:
    """Take a cell for a number or a truth value where it is written as JSON has it; "007" stays text."""
    if cell in {"true", "false"}:
        return cell == "true"
    number = NUMBER.fullmatch(cell)
    if number is None:
        return cell
    if number.group(1) or number.group(2):
        measured = float(cell)
        return measured if math.isfinite(measured) else cell
    if len(cell) > INT64_DIGITS or not INT64_MIN <= int(cell) <= INT64_MAX:
        return cell
    return int(cell)
