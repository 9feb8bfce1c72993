"""What the tests of the journal share: entries, a journal with short options, and files that fail when told to."""

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import Any

from streamgauge.journal import Control, Entry, Record
from streamgauge.journals.file import FileJournal
from streamgauge.journals.files import Files

TEXTS = ["a", "b", "c", "d", "e"]
SHORT = -1  # as an errno: half of the bytes are written and no error is raised


def entry(text: str, *, lines: int = 1) -> Entry:
    payload = b"".join(b'{"type":"%b","line":%d}\n' % (text.encode(), line) for line in range(lines))
    return Entry(payload=payload, count=lines, at_us=1_700_000_000_000_000, source="http")


def ignore(_seq: int) -> None:
    """A `written` for tests that look elsewhere."""


def open_journal(folder: Path, **options: Any) -> FileJournal:
    given: dict[str, Any] = {"instance": "here", "configuration_hash": "c0", "fsync": "never", **options}
    return FileJournal.open(folder, **given)


async def write_all(journal: FileJournal, texts: Iterable[str]) -> None:
    for text in texts:
        await journal.append(entry(text), ignore)


def kept(journal: FileJournal, after_seq: int | None = None) -> list[tuple[int, bytes]]:
    """Seq and payload of all that replay gives."""
    start = journal.first_seq - 1 if after_seq is None else after_seq
    return [(item.seq, payload_of(item)) for item in journal.replay(start)]


def payload_of(item: Record | Control) -> bytes:
    return item.entry.payload if isinstance(item, Record) else b""


def expected(texts: Iterable[str], first_seq: int = 1) -> list[tuple[int, bytes]]:
    return [(seq, entry(text).payload) for seq, text in enumerate(texts, first_seq)]


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.ndjson"))


def leftovers(folder: Path) -> list[Path]:
    """What is in the folder and is no segment."""
    return [path for path in folder.iterdir() if path.suffix != ".ndjson"]


def lost_seqs(journal: FileJournal) -> list[int]:
    return [seq for damage in journal.report.damaged for seq in range(damage.first_seq, damage.last_seq + 1)]


async def until(holds: Callable[[], object]) -> None:
    """Let other threads and tasks run until something holds; fails after 10 s."""
    async with asyncio.timeout(10):
        while not holds():  # noqa: ASYNC110  # what is awaited happens in a thread that knows no event of ours
            await asyncio.sleep(0)


class TestFiles(Files):
    """Real files whose calls are counted, can fail (`plan`: call name -> errno of each next call, 0 = works), and wait.

    `gate` closed: a write waits in its thread, `waiting` says that it does. quick: as of a disk that is never waited for;
    only then are small writes done on the loop.
    """

    __test__ = False

    def __init__(self, *, quick: bool = False) -> None:
        self.quick = quick
        self.threads: list[str] = []
        self.calls: list[str] = []
        self.plan: dict[str, list[int]] = {}
        self.always: dict[str, int] = {}
        self.paths: dict[int, Path] = {}
        self.synced: list[Path] = []
        self.failed_sync: list[Path] = []
        self.gate, self.waiting = threading.Event(), threading.Event()
        self.gate.set()

    def _next(self, name: str) -> int:
        self.calls.append(name)
        planned = self.plan.get(name, [])
        return planned.pop(0) if planned else self.always.get(name, 0)

    def _call(self, name: str) -> None:
        if (number := self._next(name)) != 0:
            raise OSError(number, f"{name} fails by plan")

    def make_folder(self, path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)

    def open(self, path: Path) -> int:
        self._call("open")
        descriptor = super().open(path)
        self.paths[descriptor] = path
        return descriptor

    def write(self, descriptor: int, buffers: Sequence[bytes]) -> int:
        self.waiting.set()
        self.threads.append(threading.current_thread().name)
        if not self.gate.wait(10):
            raise OSError(ENOSPC, "the test never opened the gate")
        number = self._next("write")
        if number == SHORT:
            whole = b"".join(buffers)
            return super().write(descriptor, [whole[: len(whole) // 2]])
        if number != 0:
            raise OSError(number, "write fails by plan")
        return super().write(descriptor, buffers)

    def fsync(self, descriptor: int) -> None:
        path = self.paths.get(descriptor, Path("?"))
        try:
            self._call("fsync")
        except OSError:
            self.failed_sync.append(path)
            raise
        self.synced.append(path)

    def ftruncate(self, descriptor: int, length: int) -> None:
        self._call("ftruncate")
        super().ftruncate(descriptor, length)

    def unlink(self, path: Path) -> None:
        self._call("unlink")
        super().unlink(path)

    def replace(self, source: Path, target: Path) -> None:
        self._call("replace")
        super().replace(source, target)

    def fsync_folder(self, folder: Path) -> None:
        self._call("fsync_folder")


def open_unsynced(folder: Path, **options: Any) -> FileJournal:
    """Open without waiting for the disk: these tests open thousands of journals and cut no power."""
    return open_journal(folder, files=TestFiles(), **options)


@dataclass(frozen=True)
class Piece:
    """One record of a segment file: its header, decoded, and its bytes."""

    header: dict[str, object]
    data: bytes


def pieces(data: bytes) -> list[Piece]:
    found, offset = [], 0
    while offset < len(data):
        line_end = data.index(b"\n", offset) + 1
        header = json.loads(data[offset:line_end])
        end = line_end + header.get("bytes", 0)
        found.append(Piece(header, data[offset:end]))
        offset = end
    return found


async def write_journal(folder: Path, texts: list[str], *, seal: bool = True, **options: Any) -> None:
    journal = open_unsynced(folder, **options)
    await write_all(journal, texts)
    await journal.close()
    if not seal:
        for path in segments(folder):
            path.write_bytes(
                b"".join(p.data for p in pieces(path.read_bytes()) if p.header.get("control") != "seal")
            )
