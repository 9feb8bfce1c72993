"""A server whose journal was damaged between two runs: what is untouched counts once, what is touched is reported exactly."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, Oracle, check, close, sending, tallied, until

from journal_tools import Piece, pieces
from server_process import ServerProcess

Start = Callable[..., ServerProcess]
UNCOMMITTED = '[store]\ncommit_interval = "1m"\n[journal]\nsegment_bytes = "64KiB"\n' + CONFIGURATION
COMMITTED = UNCOMMITTED.replace('commit_interval = "1m"', 'commit_interval = "50ms"')
WAY_OUT = "restore it from a backup, or move it out of the folder to start without its events"


@dataclass
class Folder:
    """A data folder with several journal segments of which nothing is committed, and what its senders know."""

    data: Path
    oracle: Oracle

    def copy(self, place: Path) -> Path:
        shutil.copytree(self.data, place)
        return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Folder:
    oracle = Oracle(a_seed())
    server = ServerProcess(tmp_path_factory.mktemp("faults") / "data", configuration=UNCOMMITTED)
    try:
        with sending(oracle, server):
            until(lambda: len(segments_of(server.data)) > 5)
    finally:
        server.kill()
    assert oracle.events("unknown") == 0
    return Folder(server.data, oracle)


def segments_of(data: Path) -> list[Path]:
    return sorted((data / "journal").glob("*.ndjson"))


def events_in(records: list[Piece]) -> int:
    return sum(int(str(record.header.get("n", 0))) for record in records)


def touch_one_record(file: Path, chance: random.Random) -> int:
    """Flip a bit behind a segment's first record; give how many events that costs."""
    data = bytearray(file.read_bytes())
    records = pieces(bytes(data))
    place = chance.randrange(len(records[0].data), len(data))
    data[place] ^= 1 << chance.randrange(8)
    file.write_bytes(data)
    for record in records:
        if place < len(record.data):
            return events_in([record])
        place -= len(record.data)
    raise AssertionError("the place is behind the end")


def cut(file: Path, chance: random.Random) -> int:
    """Cut a segment somewhere behind its first record; give how many events that costs."""
    data = file.read_bytes()
    records = pieces(data)
    place = chance.randrange(len(records[0].data), len(data))
    file.write_bytes(data[:place])
    end, lost = 0, []
    for record in records:
        end += len(record.data)
        lost += [record] if end > place else []
    return events_in(lost)


def remove(file: Path, _chance: random.Random) -> int:
    lost = events_in(pieces(file.read_bytes()))
    file.unlink()
    return lost


def restore_an_older_copy(file: Path, chance: random.Random) -> int:
    """Put a segment back as it was when only some of its records were written."""
    records = pieces(file.read_bytes())
    kept = chance.randrange(1, len(records) - 1)
    file.write_bytes(b"".join(record.data for record in records[:kept]))
    return events_in(records[kept:])


DAMAGES: list[Any] = [
    pytest.param(cut, -1, "torn", id="torn tail"),
    pytest.param(touch_one_record, 2, "events are lost", id="flipped bit"),
    pytest.param(remove, 2, "events are lost", id="missing segment"),
    pytest.param(cut, 1, "events are lost", id="cut segment"),
    pytest.param(restore_an_older_copy, 3, "events are lost", id="older copy"),
]


@pytest.mark.parametrize(("damage", "which", "said"), DAMAGES)
def test_only_what_was_damaged_is_missing_and_it_is_said(  # noqa: PLR0917  two fixtures, three parameters, a folder
    folder: Folder,
    start_server: Start,
    tmp_path: Path,
    damage: Callable[[Path, random.Random], int],
    which: int,
    said: str,
) -> None:
    chance, damaged = chance_of(seed := a_seed()), 0
    with tallied(f"journal: {damage.__name__}", seed) as tally:
        for trial in range(trials(1, 40)):
            data = folder.copy(tmp_path / str(trial))
            file = segments_of(data)[which]
            lost = damage(file, chance)
            server = start_server(data=data, configuration=COMMITTED)
            folder.oracle.stored = 0
            damaged += lost
            tally.name = f"journal: {damage.__name__}, {damaged} events damaged"
            check(folder.oracle, server, tally, lost=lost)
            if lost:
                assert said in server.errors()
            tally.trials += 1
            tally.faults += 1
            if damage in (touch_one_record, cut):  # once more: it must not get worse
                server.kill()
                server = start_server(data=data, configuration=COMMITTED)
                check(folder.oracle, server, lost=lost)
            close(server)


def empty(file: Path, _folder: Folder) -> None:
    file.write_bytes(b"")


def make_a_folder(file: Path, _folder: Folder) -> None:
    file.unlink()
    file.mkdir()


def put_in_from_elsewhere(file: Path, _folder: Folder) -> None:
    data = file.read_bytes()
    file.write_bytes(re.sub(rb'"instance":"[0-9a-f]{8}', b'"instance":"00000000', data, count=1))


def splice(file: Path, folder: Folder) -> None:
    """Put another segment of the same journal in its place."""
    shutil.copy(segments_of(folder.data)[0], file)


def forbid(file: Path, _folder: Folder) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    file.chmod(0)


@pytest.mark.parametrize("spoil", [empty, make_a_folder, put_in_from_elsewhere, splice, forbid])
def test_a_file_that_is_no_segment_of_this_journal_is_named_with_the_way_out_and_left_alone(
    folder: Folder, start_server: Start, tmp_path: Path, spoil: Callable[[Path, Folder], None]
) -> None:
    data = folder.copy(tmp_path / "copy")
    file = segments_of(data)[2]
    lost = events_in(pieces(file.read_bytes()))
    spoil(file, folder)
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(RuntimeError, match=f"(?s){file.name}.*{WAY_OUT}"):
        start_server(data=data, configuration=COMMITTED)
    assert (file.read_bytes() if file.is_file() else None) == before
    if spoil is empty:  # the way out
        file.rename(tmp_path / "moved")
        server = start_server(data=data, configuration=COMMITTED)
        folder.oracle.stored = 0
        check(folder.oracle, server, lost=lost)
        close(server)
