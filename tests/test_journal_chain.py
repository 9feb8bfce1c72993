"""What a journal does with segment files that are missing, older, or from elsewhere."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from journal_tools import TEXTS, kept, lost_seqs, segments, write_all, write_journal
from journal_tools import open_unsynced as open_journal
from streamgauge.errors import JournalDamaged


async def test_a_middle_segment_that_is_gone_is_missed(tmp_path: Path) -> None:
    await write_journal(tmp_path, TEXTS, segment_bytes=1)
    segments(tmp_path)[2].unlink()
    journal = open_journal(tmp_path)
    assert [seq for seq, _ in kept(journal)] == [1, 2, 4, 5]
    assert lost_seqs(journal) == [3]
    await journal.close()


async def test_an_older_copy_of_a_segment_is_noticed(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await write_all(journal, "ab")
    (path,) = segments(tmp_path)
    older = path.read_bytes()
    await write_all(journal, "cd")
    await journal.close()
    await write_journal(tmp_path, ["e"])
    path.write_bytes(older)
    journal = open_journal(tmp_path)
    assert [seq for seq, _ in kept(journal)] == [1, 2, 5]
    assert lost_seqs(journal) == [3, 4]
    await journal.close()


async def test_a_segment_of_another_journal_is_refused_with_its_name_and_left_alone(tmp_path: Path) -> None:
    await write_journal(tmp_path / "here", ["a", "b"], segment_bytes=1)
    strange: dict[str, Any] = {"instance": "there", "shard": "7"}
    for option, value in strange.items():
        await write_journal(tmp_path / option, ["x", "y", "z"], segment_bytes=1, **{option: value})
        folder = tmp_path / f"with {option}"
        shutil.copytree(tmp_path / "here", folder)
        stranger = folder / segments(tmp_path / option)[2].name
        stranger.write_bytes(segments(tmp_path / option)[2].read_bytes())
        with pytest.raises(
            JournalDamaged, match=f"{stranger.name}.*belongs to another journal: {option}.*move it out"
        ):
            open_journal(folder)
        assert stranger.exists()


async def test_a_segment_spliced_in_from_another_run_of_the_same_instance_is_refused(tmp_path: Path) -> None:
    await write_journal(tmp_path / "one", TEXTS, segment_bytes=1)
    await write_journal(tmp_path / "two", TEXTS, segment_bytes=1)
    shutil.copy(segments(tmp_path / "two")[2], segments(tmp_path / "one")[2])
    with pytest.raises(JournalDamaged, match="does not follow"):
        open_journal(tmp_path / "one")


async def test_a_segment_under_another_name_is_refused(tmp_path: Path) -> None:
    await write_journal(tmp_path, TEXTS)
    (path,) = segments(tmp_path)
    path.rename(tmp_path / f"{9:020d}.ndjson")
    with pytest.raises(JournalDamaged, match="first seq 1, not 9"):
        open_journal(tmp_path)


async def test_a_segment_of_a_later_format_is_refused_with_the_version(tmp_path: Path) -> None:
    await write_journal(tmp_path, TEXTS)
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes().replace(b'{"_sg":1,', b'{"_sg":2,'))
    with pytest.raises(JournalDamaged, match="format version 2; this program reads 1"):
        open_journal(tmp_path)


@pytest.mark.parametrize("content", [b"", b"\0" * 512, b"not a journal\n", b'{"_sg":1}\n'])
async def test_a_file_that_is_no_segment_is_refused_with_its_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / f"{1:020d}.ndjson"
    path.write_bytes(content)
    with pytest.raises(JournalDamaged, match=path.name):
        open_journal(tmp_path)
    assert path.read_bytes() == content
