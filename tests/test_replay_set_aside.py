"""What is noted as not to be tried again is not replayed: it is a dead letter, and all else is counted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from streamgauge import config
from streamgauge.event import FieldMapping
from streamgauge.in_flight import FILE, InFlight, Killer
from streamgauge.opening import OpenEngine, verify_folder
from streamgauge.options import Options

WAIT_S = 30.0
LONG = "1m"


def options_of(data: Path, interval: str = "10ms") -> Options:
    return config.from_mapping({"data": str(data), "store": {"commit_interval": interval}})


@pytest.fixture
async def crashed(tmp_path: Path) -> Path:
    """A data folder as a crash leaves it, with two appends that the store does not have: of ten events, and of two."""
    data, copy = tmp_path / "data", tmp_path / "copy"
    whole = OpenEngine(options_of(data, LONG))
    engine = await whole.start()
    for events in (10, 2):
        payload = b"".join(b'{"type":"a","value":%d}\n' % value for value in range(events))
        await engine.intake.accept(payload, "test", FieldMapping())
    shutil.copytree(data, copy)
    await whole.stop()
    return copy


@pytest.mark.parametrize(
    "killers", [[(1, 3)], [(1, 0), (1, 9), (2, 1)], [(2, 0), (2, 1)], [(1, line) for line in range(10)]]
)
async def test_they_become_dead_letters_and_the_others_are_counted(
    crashed: Path, killers: list[tuple[int, int]]
) -> None:
    note = InFlight(crashed)
    note.begin(0, 2)
    for seq, index in killers:
        note.add(Killer(seq, index, f"killed by {seq}:{index}"))
    note.end(1)  # it was ended in good order before the store had all of it
    whole = OpenEngine(options_of(crashed))
    engine = await whole.start()
    assert await engine.caught_up(2, WAIT_S)
    counts = engine.ledger.total()
    assert (counts.received, counts.stored, counts.dead_lettered) == (12, 12 - len(killers), len(killers))
    letters = engine.store.dead_letters(100)
    assert sorted((kept.letter.seq, kept.letter.index) for kept in letters) == killers
    assert {kept.letter.reason for kept in letters} == {f"killed by {seq}:{index}" for seq, index in killers}
    assert {kept.letter.source for kept in letters} == {"test"}
    await whole.stop()
    assert not (crashed / FILE).exists()
    assert verify_folder(options_of(crashed)).differences == []


async def test_a_replay_that_was_cut_short_is_looked_into_and_nothing_is_lost_that_kills_nobody(
    crashed: Path,
) -> None:
    InFlight(crashed).begin(0, 2)
    whole = OpenEngine(options_of(crashed))
    engine = await whole.start()
    assert await engine.caught_up(2, WAIT_S)
    assert (engine.ledger.total().stored, engine.ledger.total().dead_lettered) == (12, 0)
    await whole.stop()
    assert not (crashed / FILE).exists()


async def test_told_to_end_while_it_looks_it_leaves_the_looking_to_the_next_start(crashed: Path) -> None:
    InFlight(crashed).begin(0, 2)
    whole = OpenEngine(options_of(crashed))
    whole.hurry()
    engine = await whole.start()
    await whole.stop()
    assert engine.book.committed_seq == 0
    assert InFlight(crashed).has_died(0)


async def test_the_note_is_there_from_the_beginning_of_a_replay_until_the_store_has_all_of_it(
    crashed: Path,
) -> None:
    whole = OpenEngine(options_of(crashed, LONG))
    engine = await whole.start()
    assert InFlight(crashed).has_died(0), "a process that is killed now leaves this behind"
    assert not InFlight(crashed).has_died(2)
    engine.committer.stop()
    assert await engine.caught_up(2, WAIT_S)
    await whole.stop()
    assert not (crashed / FILE).exists()
