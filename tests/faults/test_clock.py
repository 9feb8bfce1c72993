"""The wall clock is set while a server runs, and between its lives: nothing stalls, nothing is lost or counted twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from effort import a_seed, chance_of, trials
from moved_clock import MovedClock
from oracle import CONFIGURATION, Oracle, check, close, sending, tallied, until

from server_process import ServerProcess

Start = Callable[..., ServerProcess]
HOUR_S: Final = 3600.0
YEAR_S: Final = 365 * 24 * HOUR_S
OFTEN: Final = (
    '[store]\ncommit_interval = "50ms"\ncheckpoint_interval = "300ms"\n[journal]\nsegment_age = "200ms"\n'
)
STEPS_S: Final = (
    1.0,
    -1.0,
    HOUR_S,
    -HOUR_S,
    24 * HOUR_S,
    -24 * HOUR_S,
    YEAR_S,
    -2 * YEAR_S,
    10 * YEAR_S,
    70 * YEAR_S,
    0.0,
)
SOON_S: Final = 10.0


def is_counted(server: ServerProcess, oracle: Oracle) -> bool:
    """Whether all that was acknowledged until now is in the answers."""
    acknowledged = oracle.events("acknowledged")
    answer = server.get("/api/metrics/all", **{"from": "all", "by": "", "step": 86_400})["series"]
    stored = server.ask("SELECT count(*) FROM events")[0][0]
    return bool(answer) and answer[0]["totals"]["count"] >= acknowledged and stored >= acknowledged


def test_steps_of_the_clock_neither_stall_nor_lose_nor_double_anything(
    start_server: Start, tmp_path: Path
) -> None:
    clock = MovedClock(tmp_path / "clock")
    chance = chance_of(seed := a_seed())
    oracle = Oracle(seed)
    start = partial(start_server, configuration=OFTEN + CONFIGURATION, environment=clock.environment)
    with tallied("steps of the clock", seed) as tally:
        for _ in range(trials(2, 60)):
            server = start()
            check(oracle, server, tally)
            with sending(oracle, server, senders=2):
                for step_s in chance.choices(STEPS_S, k=trials(4, 11)):
                    clock.move(step_s)
                    before = oracle.events("acknowledged")
                    until(partial(oracle.has, before + 500, "acknowledged"), SOON_S, f"stalled at {step_s} s")
                    tally.faults += 1
            until(partial(is_counted, server, oracle), SOON_S, "what was acknowledged is not counted")
            server.kill()
            clock.move(chance.choice(STEPS_S))  # and the next life begins at yet another time
            tally.trials += 1
        clock.move(0.0)
        server = start()
        check(oracle, server, tally)
        close(server)


def test_a_machine_that_starts_in_1970_counts_before_and_after_its_clock_is_set(
    start_server: Start, tmp_path: Path
) -> None:
    clock = MovedClock(tmp_path / "clock")
    clock.move(-time.time() + 60)
    server = start_server(configuration=OFTEN, environment=clock.environment)
    assert server.post(b'{"type":"early"}').json() == {"accepted": 1}
    server.wait_until_committed()
    assert (
        server.post(b'{"type":"a","timestamp":"2026-01-01T00:00:00Z"}').status_code == 422
    )  # 56 years ahead
    clock.move(0.0)
    assert server.post(b'{"type":"late"}\n{"type":"a","timestamp":"2026-01-01T00:00:00Z"}').json() == {
        "accepted": 2
    }
    server.wait_until_committed()
    assert server.ask("SELECT type, year(time) < 1971 FROM events ORDER BY time") == [
        ["early", True],
        ["a", False],
        ["late", False],
    ]
    answer = server.get("/api/metrics/events", **{"from": "all", "by": "", "step": 86_400 * 365})["series"]
    assert answer[0]["totals"]["count"] == 3
    close(server)
