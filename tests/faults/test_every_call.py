"""Whatever call to the system is a server's last, or fails: nothing acknowledged is lost, nothing is counted twice.

The calls are those of the whole process on its data folder, the database's included, from the first start to the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from errno import EIO, ENOSPC
from pathlib import Path
from typing import Final

import pytest
from broken_runs import ENDED_BY_ITSELF, KILLED, MEND_BY_HAND, BrokenRun, calls_of_a_whole_run
from effort import a_seed, chance_of, trials
from faulty_calls import WRITES, Call, Fault
from oracle import Oracle, Tally, tallied

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
KILLS: Final = ("kill_before", "kill_after", "kill_within")
ERRORS: Final = (f"error:{EIO}", f"error:{ENOSPC}", "short")
LASTING: Final = 0.3  # of the faults stay; the others pass


def each_in_turn(calls: list[Call], ways: tuple[str, ...], most: int, chance: random.Random) -> list[Fault]:
    """Every call with every fault that it can have; or some, of as many kinds of calls as there are."""
    kinds: dict[str, list[Fault]] = {}
    for number, call in enumerate(calls, 1):
        for do in ways:
            if call.name == WRITES or do not in ("kill_within", "short"):
                kinds.setdefault(call.kind, []).append(Fault(at=number, do=do))
    for faults in kinds.values():
        chance.shuffle(faults)
    order = list(kinds)
    chance.shuffle(order)
    return list(_round_robin([kinds[kind] for kind in order]))[:most]


def _round_robin(kinds: list[list[Fault]]) -> Iterator[Fault]:
    while kinds:
        for faults in kinds:
            yield faults.pop()
        kinds = [faults for faults in kinds if faults]


@pytest.mark.parametrize("fsync", ["interval", "always"])
def test_whatever_call_is_its_last_nothing_acknowledged_is_lost_or_doubled(
    fsync: str, start_server: Start, tmp_path: Path
) -> None:
    chance = chance_of(seed := a_seed())
    with tallied(f"killed at a call, fsync {fsync}", seed) as tally:
        calls = calls_of_a_whole_run(tmp_path / "whole", fsync)
        faults = each_in_turn(calls, KILLS, trials(4, 10_000), chance)
        for fault in faults:
            run = BrokenRun(tmp_path / f"{fault.at} {fault.do}", Oracle(seed), fsync)
            run.live(fault)
            died = run.code == KILLED  # a run may have fewer calls than the one that was counted
            so_far = Tally(str(fault), seed, trials=1, faults=died)
            try:
                run.next_life(so_far, start_server, last=fault is faults[-1])
            finally:
                tally.add(so_far)
    assert tally.faults > tally.trials / 2


@pytest.mark.parametrize("fsync", ["interval", "always"])
def test_whatever_call_fails_it_refuses_or_ends_and_nothing_acknowledged_is_lost_or_doubled(
    fsync: str, start_server: Start, tmp_path: Path
) -> None:
    chance = chance_of(seed := a_seed())
    with tallied(f"a call that fails, fsync {fsync}", seed) as tally:
        calls = calls_of_a_whole_run(tmp_path / "whole", fsync)
        faults = each_in_turn(calls, ERRORS, trials(4, 10_000), chance)
        for fault in faults:
            lasting = replace(fault, lasting=chance.random() < LASTING)
            run = BrokenRun(tmp_path / f"{fault.at} {fault.do}", Oracle(seed), fsync)
            run.live(lasting)
            assert run.code in (0, ENDED_BY_ITSELF, MEND_BY_HAND), f"{lasting}: {run.said()}"
            assert set(run.oracle.answers) <= {202, 503}, f"{lasting}: {run.oracle.answers}"
            so_far = Tally(str(lasting), seed, trials=1, faults=1)
            try:
                run.next_life(so_far, start_server, last=fault is faults[-1])
            finally:
                tally.add(so_far)
