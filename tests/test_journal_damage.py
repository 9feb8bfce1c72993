"""What a journal does with files that a crash, a disk or a hand has changed: keep the rest, say what is lost."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from journal_tools import (
    TEXTS,
    entry,
    expected,
    ignore,
    kept,
    lost_seqs,
    open_unsynced,
    pieces,
    segments,
    write_all,
    write_journal,
)
from soak import examples
from streamgauge.errors import JournalDamaged
from streamgauge.journal import Entry
from streamgauge.journals.file import FileJournal


async def check_goes_on(folder: Path, last_seq: int) -> None:
    """Two more starts find nothing new, and what is appended is kept."""
    journal = open_unsynced(folder)
    before = kept(journal)
    assert await journal.append(entry("next"), ignore) == last_seq + 1
    await journal.close()
    journal = open_unsynced(folder)
    assert kept(journal) == [*before, *expected(["next"], last_seq + 1)]
    assert journal.report.torn_bytes == 0
    await journal.close()


async def test_a_tail_torn_at_any_byte_is_cut_and_counted(tmp_path: Path) -> None:
    await write_journal(tmp_path / "whole", TEXTS, seal=False)
    (path,) = segments(tmp_path / "whole")
    data = path.read_bytes()
    start = len(data) - len(pieces(data)[-1].data)
    for cut in range(start, len(data)):
        folder = tmp_path / str(cut)
        folder.mkdir()
        (folder / path.name).write_bytes(data[:cut])
        journal = open_unsynced(folder)
        assert kept(journal) == expected(TEXTS[:-1])
        assert journal.report.torn_bytes == cut - start
        assert journal.report.damaged == []
        assert await journal.append(entry("again"), ignore) == len(TEXTS)
        await journal.close()
        journal = open_unsynced(folder)
        assert kept(journal) == expected([*TEXTS[:-1], "again"])
        assert journal.report.torn_bytes == 0
        await journal.close()


async def check_flipped_bit(folder: Path, byte: int, bit: int, *, sealed: bool) -> None:
    (path,) = segments(folder)
    data = bytearray(path.read_bytes())
    found = pieces(bytes(data))
    byte %= len(data)
    data[byte] ^= 1 << bit
    path.write_bytes(data)
    ends = [sum(len(p.data) for p in found[: index + 1]) for index in range(len(found))]
    touched = next(index for index, end in enumerate(ends) if byte < end)
    if touched == 0:
        with pytest.raises(JournalDamaged, match=path.name):
            open_unsynced(folder)
        assert path.read_bytes() == data
        return
    journal = open_unsynced(folder)
    lost = touched if touched <= len(TEXTS) else None
    assert kept(journal) == [(seq, payload) for seq, payload in expected(TEXTS) if seq != lost]
    if lost is None or (lost == len(TEXTS) and not sealed):
        assert journal.report.torn_bytes == len(found[touched].data)
        assert journal.report.damaged == []
    else:
        assert lost_seqs(journal) == [lost]
        assert journal.report.damaged[0].offset == ends[touched - 1]
        assert journal.report.damaged[0].size == len(found[touched].data)
    await journal.close()


@pytest.mark.parametrize("sealed", [True, False])
async def test_a_flipped_bit_costs_the_record_that_it_is_in_and_is_reported(
    tmp_path: Path, *, sealed: bool
) -> None:
    await write_journal(tmp_path / "whole", TEXTS, seal=sealed)
    (path,) = segments(tmp_path / "whole")
    data = path.read_bytes()
    # Without a seal only the last record fares differently.
    begin = 0 if sealed else len(data) - len(pieces(data)[-1].data)
    folder = tmp_path / "changed"
    for byte in range(begin, len(data)):
        folder.mkdir()
        (folder / path.name).write_bytes(data)
        await check_flipped_bit(folder, byte, byte % 8, sealed=sealed)
        shutil.rmtree(folder)


@examples(150, 20_000)
@given(byte=st.integers(0, 10_000), bit=st.integers(0, 7))
async def test_any_flipped_bit_at_all_is_noticed(
    byte: int, bit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    await write_journal(folder, TEXTS)
    (path,) = segments(folder)
    in_first = byte % path.stat().st_size < len(pieces(path.read_bytes())[0].data)
    await check_flipped_bit(folder, byte, bit, sealed=True)
    if not in_first:
        await check_goes_on(folder, len(TEXTS))


@examples(150, 20_000)
@given(
    start=st.floats(0, 1),
    length=st.integers(1, 600),
    fill=st.sampled_from([b"\0", b"\n", b"{", b'{"_sg":1,']),
)
async def test_an_overwritten_stretch_costs_only_the_records_in_it(
    start: float, length: int, fill: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    await write_journal(folder, TEXTS)
    (path,) = segments(folder)
    data = path.read_bytes()
    found = pieces(data)
    first = len(found[0].data)
    begin = first + int(start * (len(data) - first - 1))
    end = min(begin + length, len(data))
    path.write_bytes(data[:begin] + (fill * length)[: end - begin] + data[end:])
    offset, untouched = first, []
    for piece in found[1:]:
        changed = path.read_bytes()[offset : offset + len(piece.data)] != piece.data
        if not changed and "control" not in piece.header:
            untouched.append(piece.header["seq"])
        offset += len(piece.data)
    journal = open_unsynced(folder)
    assert [seq for seq, _ in kept(journal)] == untouched
    if len(untouched) < len(TEXTS):
        assert journal.report.damaged or journal.report.torn_bytes
    last_seq = journal.last_seq
    await journal.close()
    await check_goes_on(folder, last_seq)


async def damaged_middle(folder: Path, change: Callable[[list[bytes]], list[bytes]]) -> FileJournal:
    """Write five sealed records, let `change` rearrange the pieces after the first, and open."""
    await write_journal(folder, TEXTS)
    (path,) = segments(folder)
    found = [piece.data for piece in pieces(path.read_bytes())]
    path.write_bytes(found[0] + b"".join(change(found[1:])))
    return open_unsynced(folder)


async def test_a_record_cut_out_on_its_boundaries_is_missed(tmp_path: Path) -> None:
    journal = await damaged_middle(tmp_path, lambda r: [r[0], *r[2:]])
    assert [seq for seq, _ in kept(journal)] == [1, 3, 4, 5]
    assert lost_seqs(journal) == [2]
    await journal.close()


async def test_a_record_that_is_there_twice_is_replayed_once(tmp_path: Path) -> None:
    journal = await damaged_middle(tmp_path, lambda r: [r[0], r[1], r[1], *r[2:]])
    assert kept(journal) == expected(TEXTS)
    assert lost_seqs(journal) == []
    assert [damage.problem for damage in journal.report.damaged] == ["a record that was there before"]
    await journal.close()


async def test_records_that_changed_places_are_replayed_in_order_or_reported(tmp_path: Path) -> None:
    journal = await damaged_middle(tmp_path, lambda r: [r[0], r[2], r[1], *r[3:]])
    assert [seq for seq, _ in kept(journal)] == [1, 3, 4, 5]
    assert lost_seqs(journal) == [2]
    await journal.close()


async def test_garbage_between_records_costs_none_of_them(tmp_path: Path) -> None:
    journal = await damaged_middle(tmp_path, lambda r: [r[0], b"\0" * 4096, *r[1:]])
    assert kept(journal) == expected(TEXTS)
    assert journal.report.damaged[0].size == 4096
    await journal.close()


def garbage_behind_the_first(size: int, records: list[bytes]) -> list[bytes]:
    return [records[0], b"x" * size, *records[1:]]


async def test_garbage_longer_than_what_is_searched_at_once_is_searched_through(tmp_path: Path) -> None:
    for extra in (0, 1, 20, 40, 60):
        folder = tmp_path / str(extra)
        journal = await damaged_middle(folder, partial(garbage_behind_the_first, (1 << 20) - extra))
        assert kept(journal) == expected(TEXTS)
        await journal.close()


async def test_payload_lines_cannot_pose_as_headers(tmp_path: Path) -> None:
    """A payload that quotes whole, valid records of this very segment is a payload, even beside damage."""
    await write_journal(tmp_path / "other", ["forged", "forged", "forged", "forged"])
    journal = open_unsynced(tmp_path / "here")
    await write_all(journal, ["first"])
    (path,) = segments(tmp_path / "here")
    quoted = path.read_bytes() + segments(tmp_path / "other")[0].read_bytes()
    quoting = Entry(payload=quoted, count=quoted.count(b"\n"), at_us=0, source="http")
    await journal.append(quoting, ignore)
    await write_all(journal, ["last"])
    await journal.close()
    whole = [*expected(["first"]), (2, quoted), *expected(["last"], 3)]
    journal = open_unsynced(tmp_path / "here")
    assert kept(journal) == whole
    await journal.close()
    data = bytearray(path.read_bytes())
    data[data.index(b'"seq":2,')] ^= 1
    path.write_bytes(data)
    journal = open_unsynced(tmp_path / "here")
    assert kept(journal) == [whole[0], whole[2]]
    assert lost_seqs(journal) == [2]
    await journal.close()


async def test_a_length_that_claims_too_much_is_not_believed(tmp_path: Path) -> None:
    await write_journal(tmp_path, TEXTS)
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    at = data.index(b'"bytes":', len(pieces(data)[0].data))
    path.write_bytes(data[:at] + data[at:].replace(b'"bytes":', b'"bytes":99999999999999999999', 1))
    journal = open_unsynced(tmp_path)
    assert [seq for seq, _ in kept(journal)] == [2, 3, 4, 5]
    assert lost_seqs(journal) == [1]
    await journal.close()


async def test_damage_after_opening_stops_replay_instead_of_being_passed_over(tmp_path: Path) -> None:
    await write_journal(tmp_path, TEXTS)
    journal = open_unsynced(tmp_path)
    path = segments(tmp_path)[0]
    data = bytearray(path.read_bytes())
    data[data.index(b'"type":"c"')] ^= 1
    path.write_bytes(data)
    with pytest.raises(JournalDamaged, match=path.name):
        kept(journal)
    await journal.close()
    journal = open_unsynced(tmp_path)
    assert [seq for seq, _ in kept(journal)] == [1, 2, 4, 5]
    assert lost_seqs(journal) == [3]
    await journal.close()
