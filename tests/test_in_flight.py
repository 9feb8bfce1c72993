"""The note about a replay: who finds one that was not taken back knows that the process died of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge.event import EventBatch, FieldMapping, Origin
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import EventLimits
from streamgauge.in_flight import FILE, InFlight, Killer, by_append, leave_out

ONE, OTHER = Killer(5, 2, "why"), Killer(9, 0, "why not")


def test_without_a_note_nobody_has_died(tmp_path: Path) -> None:
    assert not InFlight(tmp_path).has_died(0)


def test_a_replay_that_came_to_no_end_is_noticed_until_the_store_has_all_of_it(tmp_path: Path) -> None:
    InFlight(tmp_path).begin(3, 10)
    assert InFlight(tmp_path).has_died(3)
    assert InFlight(tmp_path).has_died(9)
    assert not InFlight(tmp_path).has_died(10)


@pytest.mark.parametrize("committed_seq", [4, 10, 12])
def test_an_orderly_end_is_no_death(tmp_path: Path, committed_seq: int) -> None:
    note = InFlight(tmp_path)
    note.begin(3, 10)
    note.end(committed_seq)
    assert not InFlight(tmp_path).has_died(committed_seq)
    assert (tmp_path / FILE).exists() == (committed_seq < 10)


def test_where_there_is_nothing_to_replay_there_is_no_note(tmp_path: Path) -> None:
    InFlight(tmp_path).begin(3, 10)
    InFlight(tmp_path).begin(10, 10)
    assert not (tmp_path / FILE).exists()


def test_what_was_set_aside_is_known_until_the_store_has_it(tmp_path: Path) -> None:
    note = InFlight(tmp_path)
    note.begin(3, 10)
    note.add(ONE)
    note.add(OTHER)
    note = InFlight(tmp_path)
    assert note.killers == (ONE, OTHER)
    note.end(4)
    assert InFlight(tmp_path).killers == (ONE, OTHER)
    note.begin(5, 11)
    assert InFlight(tmp_path).killers == (OTHER,)
    note.end(11)
    assert InFlight(tmp_path).killers == ()


def test_a_note_that_cannot_be_read_stands_in_nobodys_way(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\0\0\0")
    note = InFlight(tmp_path)
    assert not note.has_died(0)
    note.begin(0, 2)
    assert InFlight(tmp_path).has_died(0)


def test_a_note_that_cannot_be_written_stands_in_nobodys_way(tmp_path: Path) -> None:
    note = InFlight(tmp_path / "gone")
    note.begin(0, 2)
    note.end(1)
    note.end(2)


def batch(seq: int, events: int) -> EventBatch:
    text = b"".join(b'{"type":"a","value":%d}\n' % number for number in range(events))
    found = (
        EventDecoder(frozenset(), EventLimits())
        .decode(text, Origin("http", 7, FieldMapping()), now_us=7)
        .batch
    )
    assert found is not None
    found.seq = seq
    return found


def test_a_batch_is_given_without_its_killers_which_become_dead_letters() -> None:
    kept, letters = leave_out(batch(5, 4), by_append([ONE, OTHER]), at_us=9)
    assert kept.index.tolist() == [0, 1, 3]
    assert kept.value.values.tolist() == [0, 1, 3]
    [letter] = letters
    assert (letter.seq, letter.index, letter.reason) == (5, 2, "why")
    assert letter.payload == b'{"type":"a","value":2}'


def test_a_piece_of_an_append_loses_only_what_is_in_it() -> None:
    kept, letters = leave_out(batch(5, 4)[:2], by_append([ONE]), at_us=9)
    assert (len(kept), letters) == (2, [])


def test_other_appends_lose_nothing() -> None:
    kept, letters = leave_out(batch(6, 4), by_append([ONE]), at_us=9)
    assert (len(kept), letters) == (4, [])
