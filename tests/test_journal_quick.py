"""Small records are written on the loop where nothing is before them and the disk is not in the way."""

from __future__ import annotations

import asyncio
import errno
import threading
from pathlib import Path

import pytest

from journal_tools import SHORT, TestFiles, entry, expected, ignore, kept, open_journal, until
from streamgauge.errors import JournalError, StorageFull
from streamgauge.journals import writer
from streamgauge.journals.file import FileJournal

LOOP = threading.main_thread().name
LARGE = "x" * (256 << 10)


def by_loop(files: TestFiles) -> list[bool]:
    """Tell of each write since the last look whether it was done on the loop."""
    found = [name == LOOP for name in files.threads]
    files.threads.clear()
    return found


def opened(folder: Path, **options: object) -> tuple[FileJournal, TestFiles]:
    files = TestFiles(quick=True)
    journal = open_journal(folder, files=files, fsync=options.pop("fsync", "never"), **options)
    files.threads.clear()
    return journal, files


async def test_one_after_the_other_small_records_are_written_on_the_loop(tmp_path: Path) -> None:
    journal, files = opened(tmp_path)
    for number in range(5):
        assert await journal.append(entry(str(number)), ignore) == number + 1
    assert by_loop(files) == [True] * 5
    assert kept(journal) == expected(map(str, range(5)))
    await journal.close()


async def test_what_comes_in_the_same_turn_is_written_together_and_in_order(tmp_path: Path) -> None:
    journal, files = opened(tmp_path)
    told: list[int] = []
    sent = [journal.append(entry(str(number)), told.append) for number in range(200)]
    assert not told
    assert await asyncio.gather(*sent) == told == list(range(1, 201))
    assert by_loop(files).count(True) == 1
    assert len(files.calls) < 20
    assert kept(journal) == expected(map(str, range(200)))
    await journal.close()


async def test_a_small_record_does_not_pass_a_large_one_that_is_being_written(tmp_path: Path) -> None:
    journal, files = opened(tmp_path)
    files.gate.clear()
    files.waiting.clear()
    large = journal.append(entry(LARGE), ignore)
    assert await asyncio.to_thread(files.waiting.wait, 10)
    small = journal.append(entry("small"), ignore)
    files.gate.set()
    assert (await large, await small) == (1, 2)
    assert by_loop(files) == [False, False]
    assert await journal.append(entry("after"), ignore) == 3
    assert by_loop(files) == [True]
    await journal.close()


async def test_with_fsync_always_nothing_is_written_on_the_loop(tmp_path: Path) -> None:
    journal, files = opened(tmp_path, fsync="always")
    await journal.append(entry("a"), ignore)
    assert by_loop(files) == [False]
    await journal.close()


async def test_a_record_that_needs_another_segment_is_written_by_the_thread(tmp_path: Path) -> None:
    journal, files = opened(tmp_path, segment_bytes=1)
    await journal.append(entry("a"), ignore)
    by_loop(files)
    await journal.append(entry("b"), ignore)
    assert True not in by_loop(files)
    await journal.close()


async def test_while_the_disk_is_synced_the_loop_does_not_write(tmp_path: Path) -> None:
    journal, files = opened(tmp_path)
    with journal._log._sync_lock:
        await journal.append(entry("a"), ignore)
    assert by_loop(files) == [False]
    await journal.close()


async def test_after_a_slow_write_the_thread_writes_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, files = opened(tmp_path)
    monkeypatch.setattr(writer, "_SLOW_S", -1.0)
    await journal.append(entry("slow"), ignore)
    await journal.append(entry("b"), ignore)
    assert by_loop(files) == [True, False]
    journal._writer._by_thread_until = 0.0
    await until(lambda: not journal._writer._under_way)
    await journal.append(entry("c"), ignore)
    assert by_loop(files) == [True]
    await journal.close()


@pytest.mark.parametrize(
    ("number", "refusal"),
    [(errno.ENOSPC, StorageFull), (errno.EIO, JournalError), (SHORT, StorageFull)],
    ids=["no room", "broken", "cut short"],
)
@pytest.mark.parametrize("cut", [0, errno.EIO], ids=["cut back", "cannot be cut back"])
async def test_a_record_that_is_refused_on_the_loop_leaves_no_trace(
    tmp_path: Path, number: int, refusal: type[Exception], cut: int
) -> None:
    journal, files = opened(tmp_path)
    await journal.append(entry("before"), ignore)
    files.plan = {"write": [number], "ftruncate": [cut, cut]}
    with pytest.raises(refusal):
        await journal.append(entry("refused"), lambda seq: pytest.fail("it was not written"))
    files.plan = {}
    assert await journal.append(entry("after"), ignore) == 2
    await journal.close()
    again = open_journal(tmp_path)
    assert kept(again) == expected(["before", "after"])
    await again.close()


async def test_a_bug_while_writing_on_the_loop_is_told_and_nothing_more_is_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal, _ = opened(tmp_path)

    def broken(drafts: object) -> int:
        raise ZeroDivisionError

    monkeypatch.setattr(journal._log, "append", broken)
    for _ in range(2):
        with pytest.raises(JournalError, match="writer failed"):
            await journal.append(entry("a"), ignore)
    assert journal.failed is not None
    monkeypatch.undo()
    with pytest.raises(JournalError):
        await journal.close()
