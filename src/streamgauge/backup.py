"""A backup: one tar file with everything from which a data folder can be made again, and at its end what must be in it.

The store is in it as its last checkpoint left it, and the journal from there on, which the first start replays.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

import msgspec

from streamgauge.configurations import FOLDER as CONFIGURATIONS
from streamgauge.durable import make_folder, sync_folder
from streamgauge.errors import BackupDamaged, BackupError
from streamgauge.version import __version__

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
STORE: Final = "streamgauge.duckdb"
INSTANCE: Final = "instance"
JOURNAL: Final = "journal"
NAMES: Final = re.compile(
    rf"{INSTANCE}|{re.escape(STORE)}|{JOURNAL}/[0-9]{{20}}\.ndjson|{CONFIGURATIONS}/[0-9a-f]{{16}}\.(json|py)"
)
CHUNK: Final = 1 << 20
MOST_MANIFEST: Final = 16 << 20
MODE: Final = 0o640


@dataclass(frozen=True, slots=True)
class Part:
    """A file that goes into a backup. size: so many bytes of it, from the beginning."""

    name: str
    file: IO[bytes]
    size: int


class Entry(msgspec.Struct, frozen=True):
    """What a manifest says of a file."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. made_at: seconds since 1970; program: the version that made it."""

    format: int
    program: str
    made_at: int
    files: list[Entry]

    @property
    def size(self) -> int:
        """The bytes of all files."""
        return sum(entry.size for entry in self.files)


def open_part(name: str, path: Path, size: int | None = None) -> Part:
    """Open a file for a backup; it may be deleted from then on. Raises OSError."""
    file = path.open("rb")
    return Part(name, file, os.fstat(file.fileno()).st_size if size is None else size)


def small_parts(data: Path) -> Iterator[Part]:
    """Open what a data folder has beside its store and its journal. Raises OSError."""
    for path in [data / INSTANCE, *sorted((data / CONFIGURATIONS).glob("*"))]:
        name = path.relative_to(data).as_posix()
        if NAMES.fullmatch(name) and path.is_file():
            yield open_part(name, path)


def tar_of(parts: Sequence[Part], made_at: int) -> Iterator[bytes]:
    """Give the bytes of a backup, and close the parts, also when nobody takes all of it. Blocks; raises OSError."""
    entries: list[Entry] = []
    try:
        for part in parts:
            yield _header(part.name, part.size, made_at)
            seen = hashlib.sha256()
            for chunk in _read(part):
                seen.update(chunk)
                yield chunk
            yield _padding(part.size)
            entries.append(Entry(part.name, part.size, seen.hexdigest()))
        manifest = Manifest(format=FORMAT, program=__version__, made_at=made_at, files=entries)
        text = msgspec.json.format(msgspec.json.encode(manifest)) + b"\n"
        yield (
            _header(MANIFEST, len(text), made_at) + text + _padding(len(text)) + bytes(2 * tarfile.BLOCKSIZE)
        )
    finally:
        for part in parts:
            part.file.close()


def _read(part: Part) -> Iterator[bytes]:
    part.file.seek(0)
    left = part.size
    while left:
        chunk = part.file.read(min(CHUNK, left))
        if not chunk:
            raise BackupError(f"{part.name} became shorter while it was read; try again")
        left -= len(chunk)
        yield chunk


def _header(name: str, size: int, made_at: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mtime, member.mode = size, made_at, MODE
    return member.tobuf(tarfile.PAX_FORMAT)


def _padding(size: int) -> bytes:
    return bytes(-size % tarfile.BLOCKSIZE)


def write_backup(chunks: Iterable[bytes], file: Path) -> Manifest:
    """Write a backup, on the disk and under its name only when all of it is there and is what it should be.

    Raises BackupError where there is a file of that name, BackupDamaged where the backup ends early, OSError.
    """
    if file.exists():
        raise BackupError(f"{file}: there is a file of this name already; choose another")
    partly = file.with_name(file.name + ".part")
    try:
        with partly.open("wb") as written:
            for chunk in chunks:
                written.write(chunk)
            written.flush()
            os.fsync(written.fileno())
        manifest = check_backup(partly)
        partly.rename(file)
    except BaseException:
        partly.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)
    return manifest


def check_backup(file: Path) -> Manifest:
    """Read all of a backup. Raises BackupDamaged where it is not what it should be, OSError."""
    return _take(file, None)


def restore(file: Path, data: Path) -> Manifest:
    """Make a data folder of a backup, all of it or nothing.

    Raises BackupError where there is something in the folder already, BackupDamaged, OSError.
    """
    if data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise BackupError(
            f"{data}: there is something in it already; name a folder that is empty or not there"
        )
    partly = data.with_name(f"{data.name}.{secrets.token_hex(4)}.part")  # none that may be somebody's
    make_folder(partly)
    try:
        manifest = _take(file, partly)
        with suppress(FileNotFoundError):
            data.rmdir()
        partly.rename(data)
    except BaseException:
        shutil.rmtree(partly, ignore_errors=True)
        raise
    sync_folder(data.parent)
    return manifest


def _take(file: Path, folder: Path | None) -> Manifest:
    """Read a backup, and write its files into a folder."""
    found: list[Entry] = []
    try:
        with tarfile.open(file, "r:") as tar:
            for member in tar:
                source = tar.extractfile(member) if member.isfile() else None
                if source is None:
                    raise BackupDamaged(str(file), f"{member.name!r} is no file")
                if member.name == MANIFEST:
                    return _manifest(file, source, found)
                if not NAMES.fullmatch(member.name):
                    raise BackupDamaged(str(file), f"{member.name[:100]!r} does not belong into a backup")
                target = None if folder is None else folder / member.name
                found.append(Entry(member.name, member.size, _copy(source, target)))
    except (tarfile.TarError, ValueError, OverflowError) as exc:  # what a damaged header leads to
        raise BackupDamaged(str(file), f"not a whole tar file: {exc}") from exc
    raise BackupDamaged(str(file), f"it ends before its {MANIFEST}")


def _copy(source: IO[bytes], target: Path | None) -> str:
    """Read a file to its end, and write it where that is wanted, on the disk; give its hash."""
    seen = hashlib.sha256()
    if target is None:
        while chunk := source.read(CHUNK):
            seen.update(chunk)
        return seen.hexdigest()
    make_folder(target.parent)
    with target.open("wb") as written:
        while chunk := source.read(CHUNK):
            seen.update(chunk)
            written.write(chunk)
        written.flush()
        os.fsync(written.fileno())
    sync_folder(target.parent)
    return seen.hexdigest()


def _manifest(file: Path, source: IO[bytes], found: list[Entry]) -> Manifest:
    try:
        manifest = msgspec.json.decode(source.read(MOST_MANIFEST), type=Manifest)
    except msgspec.DecodeError as exc:
        raise BackupDamaged(str(file), f"{MANIFEST}: {exc}") from exc
    if manifest.format != FORMAT:
        raise BackupError(
            f"{file}: written in format {manifest.format} by {manifest.program}; this program reads format {FORMAT}"
        )
    if manifest.files != found:
        known = set(manifest.files)
        wrong = next((entry.name for entry in found if entry not in known), "a file that is missing")
        raise BackupDamaged(str(file), f"{wrong} is not what {MANIFEST} says")
    return manifest
