"""Killed at any moment, again and again: nothing acknowledged is missing, nothing is counted twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, Oracle, check, close, kill_while_starting, sending, tallied

from server_process import ServerProcess

OFTEN = '[store]\ncommit_interval = "50ms"\ncheckpoint_interval = "300ms"\n'
JOURNAL = '[journal]\nfsync = "{fsync}"\nsegment_bytes = "64KiB"\nsegment_age = "200ms"\n'
IN_START = 0.3  # this share of the kills meets a server that is starting


@pytest.mark.parametrize(("fsync", "rounds"), [("interval", (4, 120)), ("always", (2, 80))])
def test_nothing_acknowledged_is_lost_or_doubled_by_kill_9_under_load(
    fsync: str, rounds: tuple[int, int], start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    configuration = JOURNAL.format(fsync=fsync) + OFTEN + CONFIGURATION
    chance = chance_of(seed := a_seed())
    oracle = Oracle(seed)
    with tallied(f"kill -9 under load, fsync {fsync}", seed) as tally:
        for _ in range(trials(*rounds)):
            server = start_server(configuration=configuration)
            check(oracle, server, tally)
            with sending(oracle, server):
                time.sleep(chance.uniform(0.0, 0.8))
                server.kill()
            tally.trials += 1
            tally.faults += 1
            if chance.random() < IN_START:
                kill_while_starting(server.data, tmp_path / "data.toml", chance.uniform(0.0, 1.5))
                tally.faults += 1
        server = start_server(configuration=configuration)
        check(oracle, server, tally)
        close(server)
    assert tally.acknowledged, "nothing was acknowledged before the kills"
