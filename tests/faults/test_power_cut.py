"""The power fails: what is lost is what `journal.fsync` says may be, and the next start goes on with the rest."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import pytest
from broken_runs import BrokenRun
from effort import a_seed, chance_of, trials
from faulty_calls import Call, read_record
from oracle import SPACING, Oracle, Outcome, Tally, check, close, tallied
from power_cut import Disk

from server_process import ServerProcess

if TYPE_CHECKING:
    from _typeshed import SupportsLenAndGetItem

T = TypeVar("T")
Start = Callable[..., ServerProcess]


def known_then(oracle: Oracle, until_ns: int, safe_ns: int) -> Oracle:
    """Give what was known at a moment. safe_ns: what was acknowledged before this must have survived."""
    then = Oracle(oracle.seed)
    for number, (count, _) in oracle.outcomes.items():
        if oracle.sent_ns[number] < until_ns:
            outcome: Outcome = "acknowledged" if oracle.answered_ns[number] < safe_ns else "unknown"
            then.outcomes[number] = (count, outcome)
    return then


def safe_until(calls: list[Call], until_ns: int, fsync: str) -> int:
    """Until when what was acknowledged is promised to be on the disk, if the power fails after these calls."""
    if fsync == "always":
        return until_ns
    syncs = [call for call in calls if call.name == "sync" and call.path.suffix == ".ndjson"]
    return syncs[-1].began_ns if syncs and fsync == "interval" else 0


class Worst(random.Random):
    """A chance by which the disk has only what it must have: of every choice the first."""

    def choice(self, seq: SupportsLenAndGetItem[T]) -> T:
        return seq[0]


@pytest.mark.parametrize("fsync", ["always", "interval", "never"])
def test_a_power_cut_costs_what_is_said_and_nothing_else(
    fsync: str, start_server: Start, tmp_path: Path
) -> None:
    chance = chance_of(seed := a_seed())
    oracle = Oracle(seed)
    run = BrokenRun(tmp_path / "run", oracle, fsync)
    run.live(None, tmp_path / "record")
    assert run.code == 0
    calls = [call for call in read_record(tmp_path / "record") if call.path != run.log]
    last_answer_ns = max(oracle.answered_ns.values())
    answered = sum(call.ended_ns <= last_answer_ns for call in calls)
    with tallied(f"power cut, fsync {fsync}", seed) as tally:
        for trial in range(trials(3, 300)):
            made = chance.randrange(len(calls)) if trial else answered
            place = tmp_path / str(trial)
            disk_after(calls[:made], run).after_a_cut(place, chance if trial else Worst())
            until_ns = calls[made].began_ns
            then = known_then(oracle, until_ns, safe_until(calls[:made], until_ns, fsync))
            so_far = Tally(f"after call {made} of {len(calls)}", seed, trials=1, faults=1)
            try:
                start_again(then, place / "data", run, start_server, so_far)
            finally:
                tally.add(so_far)


def disk_after(calls: list[Call], run: BrokenRun) -> Disk:
    disk = Disk(run.folder)
    for call in calls:
        disk.do(call)
    return disk


def start_again(then: Oracle, data: Path, run: BrokenRun, start_server: Start, tally: Tally) -> None:
    server = start_server(data=data, configuration=run.configuration)
    check(then, server, tally)
    kept = server.ask(
        f"SELECT DISTINCT (event->>'$.id')::BIGINT // {SPACING} AS request FROM events WHERE type <> 'probe' ORDER BY ALL"
    )
    if kept != [[number] for number in range(len(kept))]:  # the disk wrote a later part first: that is said
        assert "events are lost: the journal is damaged" in server.errors()
    assert server.post(b'{"type":"after the cut"}').status_code == 202
    close(server)
