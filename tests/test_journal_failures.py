"""What a journal does when the disk refuses: a refused entry leaves no trace, and what was accepted stays."""

import asyncio
import json
from errno import EDQUOT, EFBIG, EIO, ENOSPC
from pathlib import Path

import pytest

from journal_tools import (
    SHORT,
    TestFiles,
    entry,
    expected,
    ignore,
    kept,
    leftovers,
    open_journal,
    segments,
    until,
    write_all,
)
from streamgauge.errors import JournalError, StorageFull
from streamgauge.journals.file import FileJournal

TEXTS = [f"event-{number}" for number in range(8)]


async def send_all(journal: FileJournal) -> tuple[list[str], list[StorageFull | JournalError]]:
    """Append every text on its own; give those that were accepted and the refusals."""
    accepted: list[str] = []
    refusals: list[StorageFull | JournalError] = []
    for text in TEXTS:
        told: list[int] = []
        try:
            seq = await journal.append(entry(text), told.append)
        except (StorageFull, JournalError) as error:
            refusals.append(error)
            assert told == []
        else:
            accepted.append(text)
            assert told == [seq] == [len(accepted)]
    return accepted, refusals


async def check_exactly(folder: Path, accepted: list[str]) -> None:
    """After a restart there is what was accepted, and nothing else; reading the bytes shows no more."""
    journal = open_journal(folder)
    assert kept(journal) == expected(accepted)
    assert journal.report.damaged == []
    assert await journal.append(entry("after the restart"), ignore) == len(accepted) + 1
    await journal.close()


@pytest.mark.parametrize("fsync", ["always", "never"])
@pytest.mark.parametrize("fault", [ENOSPC, EIO, EDQUOT, EFBIG, SHORT])
@pytest.mark.parametrize("at", range(1, 14))
async def test_a_write_that_fails_leaves_no_trace(tmp_path: Path, fault: int, at: int, fsync: str) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync=fsync, segment_bytes=600)
    files.plan["write"] = [0] * (at - 1) + [fault]
    accepted, refusals = await send_all(journal)
    assert len(refusals) <= 1
    assert all(isinstance(error, JournalError if fault == EIO else StorageFull) for error in refusals)
    assert kept(journal) == expected(accepted)
    await journal.close()
    assert files.plan["write"] == []
    await check_exactly(tmp_path, accepted)


@pytest.mark.parametrize("fault", [ENOSPC, SHORT])
async def test_when_the_file_cannot_be_cut_back_another_one_is_begun(tmp_path: Path, fault: int) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files)
    files.plan["write"] = [0, 0, fault]
    files.always["ftruncate"] = EIO
    accepted, refusals = await send_all(journal)
    assert len(refusals) == 1
    assert len(segments(tmp_path)) == 2
    await journal.close()
    await check_exactly(tmp_path, accepted)


async def test_whole_records_of_a_refused_group_do_not_come_back_from_a_file_that_cannot_be_cut(
    tmp_path: Path,
) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files)
    await write_all(journal, ["kept"])
    files.gate.clear()
    files.waiting.clear()
    files.plan["write"] = [0, SHORT]
    files.always["ftruncate"] = EIO
    first = journal.append(entry("first"), ignore)
    assert await asyncio.to_thread(files.waiting.wait, 10)
    group = [journal.append(entry(f"refused-{number}"), ignore) for number in range(10)]
    files.gate.set()
    assert await first == 2
    outcomes = await asyncio.gather(*group, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StorageFull] * 10
    assert b"refused-0" in segments(tmp_path)[0].read_bytes()
    await write_all(journal, ["later"])
    assert kept(journal) == expected(["kept", "first", "later"])
    await journal.close()
    await check_exactly(tmp_path, ["kept", "first", "later"])


async def test_a_disk_that_stays_full_refuses_all_and_recovers_without_a_restart(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, segment_bytes=1)
    await write_all(journal, ["before"])
    files.always["write"] = ENOSPC
    assert [type(error) for error in (await send_all_refused(journal))] == [StorageFull] * len(TEXTS)
    files.always.clear()
    await write_all(journal, ["after"])
    assert kept(journal) == expected(["before", "after"])
    await journal.close()
    await check_exactly(tmp_path, ["before", "after"])


async def send_all_refused(journal: FileJournal) -> list[object]:
    sent = [journal.append(entry(text), ignore) for text in TEXTS]
    return list(await asyncio.gather(*sent, return_exceptions=True))


async def test_a_journal_on_a_full_disk_can_be_opened_and_replayed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await write_all(journal, "ab")
    await journal.close()
    files = TestFiles()
    files.always["write"] = ENOSPC
    journal = open_journal(tmp_path, files=files)
    assert kept(journal) == expected("ab")
    with pytest.raises(StorageFull):
        await journal.append(entry("c"), ignore)
    journal.release(2)
    assert len(segments(tmp_path)) == 1
    files.always.clear()
    assert await journal.append(entry("c"), ignore) == 3
    await journal.close()


@pytest.mark.parametrize("step", ["open", "replace", "fsync_folder", "fsync"])
async def test_a_new_segment_that_cannot_be_made_refuses_and_the_next_append_tries_again(
    tmp_path: Path, step: str
) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, segment_bytes=1)
    await write_all(journal, ["a"])
    files.plan[step] = [EIO]
    with pytest.raises(JournalError):
        await journal.append(entry("refused"), ignore)
    assert await journal.append(entry("b"), ignore) == 2
    await journal.close()
    assert not leftovers(tmp_path)
    await check_exactly(tmp_path, ["a", "b"])


@pytest.mark.parametrize("truncates", [True, False])
@pytest.mark.parametrize("at", range(1, 9))
async def test_after_a_failed_fsync_its_entries_are_refused_and_its_file_is_left(
    tmp_path: Path, at: int, *, truncates: bool
) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="always")
    files.plan["fsync"] = [0] * (at - 1) + [EIO]
    if not truncates:
        files.always["ftruncate"] = EIO
    accepted, refusals = await send_all(journal)
    assert [type(error) for error in refusals] == [JournalError]
    assert accepted == [text for number, text in enumerate(TEXTS, 1) if number != at]
    (distrusted,) = files.failed_sync
    after = files.synced[at:]
    assert at == 1 or distrusted not in after
    assert kept(journal) == expected(accepted)
    await journal.close()
    await check_exactly(tmp_path, accepted)


async def test_a_failed_fsync_at_intervals_stops_the_journal(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="interval", interval_s=0.001)
    files.plan["fsync"] = [EIO]
    await journal.append(entry("a"), ignore)
    await until(lambda: journal.failed)
    synced = list(files.synced)
    for _ in range(2):
        with pytest.raises(JournalError, match=r"fsync failed.*restart"):
            await journal.append(entry("b"), ignore)
    assert journal.last_seq == 1
    with pytest.raises(JournalError, match="fsync failed"):
        await journal.close()
    assert files.synced == synced
    await check_exactly(tmp_path, ["a"])


async def test_entries_that_are_not_on_the_disk_yet_are_synced_before_their_segment_is_left(
    tmp_path: Path,
) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="interval", interval_s=1_000, segment_bytes=1)
    await write_all(journal, ["a"])
    files.plan["fsync"] = [EIO]
    with pytest.raises(JournalError, match="fsync failed"):
        await journal.append(entry("b"), ignore)
    assert journal.failed is not None
    with pytest.raises(JournalError):
        await journal.close()


async def test_a_file_that_is_left_because_it_cannot_be_cut_is_synced_first(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="interval", interval_s=1_000)
    await write_all(journal, ["a"])
    files.calls.clear()
    files.plan = {"write": [EIO], "ftruncate": [EIO, EIO]}
    with pytest.raises(JournalError):
        await journal.append(entry("refused"), ignore)
    assert files.calls.index("fsync") < files.calls.index("open")
    await journal.close()
    await check_exactly(tmp_path, ["a"])


async def test_a_failed_fsync_at_the_end_is_told_by_close(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files)
    await write_all(journal, ["a"])
    files.plan["fsync"] = [EIO]
    with pytest.raises(JournalError, match="fsync failed"):
        await journal.close()


async def test_a_bug_in_the_writing_thread_refuses_instead_of_hanging(tmp_path: Path) -> None:
    class Broken(TestFiles):
        def write(self, descriptor: int, buffers: object) -> int:
            if self.always:
                raise ZeroDivisionError("a bug")
            return super().write(descriptor, buffers)  # type: ignore[arg-type]

    files = Broken()
    journal = open_journal(tmp_path, files=files)
    files.always["broken"] = 1
    for _ in range(2):
        async with asyncio.timeout(10):
            with pytest.raises(JournalError, match="a bug"):
                await journal.append(entry("a"), ignore)
    with pytest.raises(JournalError):
        await journal.close()


async def test_events_of_clients_that_left_while_the_disk_was_busy_flow_on_in_order(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files)
    seen: list[int] = []
    files.gate.clear()
    sent = [journal.append(entry(text), seen.append) for text in TEXTS]
    for future in sent[::2]:
        future.cancel()
    files.gate.set()
    async with asyncio.timeout(10):
        assert await sent[-1] == len(TEXTS)
    assert seen == list(range(1, len(TEXTS) + 1))
    assert kept(journal) == expected(TEXTS)
    await journal.close()


async def test_release_that_fails_says_so_and_can_be_tried_again(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, segment_bytes=1)
    await write_all(journal, "abc")
    files.plan["unlink"] = [0, EIO]
    with pytest.raises(JournalError, match="unlink fails by plan"):
        journal.release(2)
    assert [int(path.stem) for path in segments(tmp_path)] == [2, 3]
    journal.release(2)
    assert [int(path.stem) for path in segments(tmp_path)] == [3]
    assert kept(journal) == expected("c", 3)
    await journal.close()


async def test_a_segment_that_was_left_says_where_it_ended_in_the_next_one(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="always")
    await write_all(journal, "ab")
    files.plan["fsync"] = [EIO]
    with pytest.raises(JournalError):
        await journal.append(entry("c"), ignore)
    first, second = (
        [json.loads(line) for line in path.read_text().splitlines()] for path in segments(tmp_path)
    )
    assert second[0]["data"]["after"] == {"seg": first[0]["seg"], "seq": 2}
    await journal.close()
