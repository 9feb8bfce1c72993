"""Segments of the journal on disk: closing, releasing, room, and what goes on across a restart."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from journal_tools import TestFiles, entry, expected, ignore, kept, open_journal, segments, write_all
from streamgauge.errors import JournalError, StorageFull
from streamgauge.journal import Control
from streamgauge.journals.file import FileJournal


async def test_a_segment_is_closed_when_it_is_large_enough(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=1)
    await write_all(journal, "abc")
    assert len(segments(tmp_path)) == 3
    assert kept(journal) == expected("abc")
    await journal.close()


async def test_a_segment_is_closed_when_its_first_entry_is_old_enough(tmp_path: Path) -> None:
    now = [0.0]
    journal = open_journal(tmp_path, segment_age_s=60, clock=lambda: now[0])
    now[0] = 1000.0
    await write_all(journal, "a")
    now[0] = 1059.9
    await write_all(journal, "b")
    assert len(segments(tmp_path)) == 1
    now[0] = 1060.0
    await write_all(journal, "c")
    assert len(segments(tmp_path)) == 2
    await journal.close()


@pytest.mark.parametrize(("fsync", "age_s"), [("always", 0.0), ("interval", 5.0), ("never", 5.0)])
async def test_the_age_of_what_a_power_cut_could_take_is_known(
    fsync: str, age_s: float, tmp_path: Path
) -> None:
    now = [1000.0]
    journal = open_journal(tmp_path, fsync=fsync, interval_s=3600.0, clock=lambda: now[0])
    now[0] = 2000.0
    assert journal.unsynced_s == 0
    await write_all(journal, "a")
    now[0] = 2003.0
    await write_all(journal, "b")
    now[0] = 2005.0
    assert journal.unsynced_s == age_s
    journal._log.sync()
    assert journal.unsynced_s == 0
    await journal.close()


async def test_release_deletes_only_closed_segments_that_are_covered_whole(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=500)
    await write_all(journal, "abcdefgh")
    names = [int(path.stem) for path in segments(tmp_path)]
    assert len(names) > 2
    before = journal.size_bytes
    journal.release(names[1] - 2)
    assert [int(path.stem) for path in segments(tmp_path)] == names
    journal.release(names[1])
    assert [int(path.stem) for path in segments(tmp_path)] == names[1:]
    assert journal.size_bytes < before
    assert kept(journal) == expected("abcdefgh")[names[1] - 1 :]
    journal.release(8)
    assert [int(path.stem) for path in segments(tmp_path)] == names[-1:]
    await journal.close()


async def test_seqs_go_on_after_everything_was_released(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=1)
    await write_all(journal, "abc")
    await journal.close()
    for _ in range(2):
        journal = open_journal(tmp_path)
        journal.release(3)
        assert (journal.last_seq, len(segments(tmp_path))) == (3, 1)
        await journal.close()
    journal = open_journal(tmp_path)
    assert await journal.append(entry("d"), ignore) == 4
    await journal.close()


async def test_replay_from_before_what_is_held_is_refused_instead_of_leaving_a_gap(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=1)
    await write_all(journal, "abc")
    journal.release(1)
    with pytest.raises(JournalError, match="seqs 1 to 1 are no longer"):
        journal.replay(0)
    with pytest.raises(JournalError, match="ends at seq 3"):
        journal.replay(4)
    assert [seq for seq, _ in kept(journal, after_seq=1)] == [2, 3]
    await journal.close()


async def fill(journal: FileJournal, written: Callable[[int], None]) -> Exception | None:
    """Append one after the other until one is refused; give the refusal."""
    for number in range(100):
        (outcome,) = await asyncio.gather(journal.append(entry(str(number)), written), return_exceptions=True)
        if isinstance(outcome, Exception):
            return outcome
    return None


async def test_a_full_journal_refuses_until_something_is_released(tmp_path: Path) -> None:
    seen: list[int] = []
    journal = open_journal(tmp_path, max_bytes=4_000)
    assert isinstance(await fill(journal, seen.append), StorageFull)
    assert 5 < len(seen) < 100
    assert journal.last_seq == len(seen)
    assert journal.size_bytes <= 4_000
    with pytest.raises(StorageFull, match="max_bytes allows 4000"):
        await journal.append(entry("still full"), seen.append)
    journal.release(journal.last_seq)
    assert await journal.append(entry("room again"), seen.append) == len(seen)
    await journal.close()


async def test_a_group_that_fits_only_in_part_does_not_exceed_the_room(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, max_bytes=4_000, files=files)
    files.gate.clear()
    sent = [journal.append(entry(str(number)), ignore) for number in range(100)]
    files.gate.set()
    outcomes = await asyncio.gather(*sent, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {int, StorageFull}
    assert journal.size_bytes <= 4_000
    await journal.close()


async def test_when_a_large_entry_does_not_fit_a_small_one_still_may(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, max_bytes=4_000)
    large, small = journal.append(entry("large", lines=1_000), ignore), journal.append(entry("small"), ignore)
    with pytest.raises(StorageFull):
        await large
    assert await small == 1
    await journal.close()


async def test_seqs_that_only_the_store_still_knows_are_not_given_again(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await write_all(journal, "ab")
    await journal.close()
    journal = open_journal(tmp_path, stored_seq=5)
    assert journal.report.skipped == 3
    assert list(journal.replay(5)) == []
    assert await journal.append(entry("f"), ignore) == 6
    await journal.close()
    journal = open_journal(tmp_path, stored_seq=5)
    assert journal.report.damaged == []
    assert journal.report.skipped == 0
    assert [seq for seq, _ in kept(journal)] == [1, 2, 6]
    await journal.close()


async def test_the_configuration_in_force_at_the_end_is_known_after_reopening(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, configuration_hash="c0")
    assert journal.report.configuration is None
    await write_all(journal, "a")
    await journal.close()
    journal = open_journal(tmp_path, configuration_hash="c1")
    assert journal.report.configuration == "c0"
    await journal.close()
    journal = open_journal(tmp_path, configuration_hash="c1", segment_bytes=1)
    assert journal.report.configuration == "c0"
    await journal.append_control("configuration", {"hash": "c2"})
    await write_all(journal, "b")
    assert json.loads(segments(tmp_path)[-1].read_text().splitlines()[0])["data"]["configuration"] == "c2"
    await journal.close()
    journal = open_journal(tmp_path, configuration_hash="c2")
    assert journal.report.configuration == "c2"
    assert Control(2, "configuration", {"hash": "c2"}) in list(journal.replay(0))
    await journal.close()
