"""The small files of a data folder, damaged or gone: the next start has everything, or says which file and what to do."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest
from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, Oracle, Tally, check, sending, tallied, until

from server_process import NoStart, ServerProcess

Start = Callable[..., ServerProcess]
LATE: Final = '[store]\ncommit_interval = "1m"\n' + CONFIGURATION
SOON: Final = '[store]\ncommit_interval = "50ms"\n' + CONFIGURATION
MEND_BY_HAND: Final = 2
BIG: Final = ("*.ndjson", "*.duckdb*")  # these have tests of their own


def delete(file: Path, _: random.Random) -> None:
    file.unlink()


def empty(file: Path, _: random.Random) -> None:
    file.write_bytes(b"")


def cut(file: Path, chance: random.Random) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: chance.randrange(len(data) + 1)])


def flip(file: Path, chance: random.Random) -> None:
    data = bytearray(file.read_bytes() or b"\0")
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    file.write_bytes(data)


def garbage(file: Path, chance: random.Random) -> None:
    file.write_bytes(chance.randbytes(5000))


def folder_in_its_place(file: Path, _: random.Random) -> None:
    file.unlink()
    file.mkdir()


WAYS: Final = (delete, empty, cut, flip, garbage, folder_in_its_place)


def small_files(data: Path) -> list[Path]:
    files = [path.relative_to(data) for path in sorted(data.rglob("*")) if path.is_file()]
    return [path for path in files if not any(path.match(big) for big in BIG)]


def chosen(files: list[Path], chance: random.Random) -> list[Path]:
    """All of them, or a few: the folder's name, which the journal needs, and another one."""
    needed, others = [Path("instance")], [file for file in files if file != Path("instance")]
    return needed + chance.sample(others, min(len(others), trials(1, 100)))


@pytest.fixture(scope="module")
def crashed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Oracle]:
    """A data folder whose replay was killed as well, so that every file is there that ever is."""
    data, oracle = tmp_path_factory.mktemp("small") / "data", Oracle(a_seed())
    server = ServerProcess(data, configuration=LATE)
    try:
        with sending(oracle, server, senders=2, most=50):
            until(lambda: oracle.has(1000, "acknowledged"))
    finally:
        server.kill()
    again = ServerProcess(data, configuration=LATE.replace("value > 500", "value > 501"))
    again.kill()
    return data, oracle


@pytest.mark.parametrize("way", WAYS)
def test_a_small_file_that_is_damaged_costs_nothing_or_is_named(
    way: Callable[[Path, random.Random], None],
    crashed: tuple[Path, Oracle],
    start_server: Start,
    tmp_path: Path,
) -> None:
    data, oracle = crashed
    chance = chance_of(seed := a_seed())
    with tallied(f"small files, {way.__name__}", seed) as tally:
        for number, file in enumerate(chosen(small_files(data), chance)):
            copy = tmp_path / str(number) / "data"
            copy.parent.mkdir()
            shutil.copytree(data, copy)
            way(copy / file, chance)
            so_far = Tally(str(file), seed, trials=1, faults=1)
            server = started(start_server, copy)
            try:
                if isinstance(server, NoStart):
                    assert server.code == MEND_BY_HAND, server
                    assert f"`{file.name}`" in str(server) or str(copy / file) in str(server)
                else:
                    check(oracle, server, so_far)
                    server.kill()
            finally:
                tally.add(so_far)


def started(start_server: Start, data: Path) -> ServerProcess | NoStart:
    """Start a server, or give how it refused."""
    try:
        return start_server(data=data, configuration=SOON)
    except NoStart as problem:
        return problem
