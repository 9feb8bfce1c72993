"""A clock that is set wrongly for a while does not make anything look old."""

from __future__ import annotations

import pytest

from streamgauge.believed import BelievedClock

NOW_S = 1_770_000_000.0
YEAR_S = 365 * 86_400.0
HOUR_S = 3600.0


class Clocks:
    """A wall clock that can be set, and a steady one."""

    def __init__(self) -> None:
        self.steady_s, self.set_by_s = 5.0, NOW_S
        self.believed = BelievedClock(lambda: round(self.wall_s * 1e6), lambda: self.steady_s)

    @property
    def wall_s(self) -> float:
        return self.steady_s + self.set_by_s

    def read_s(self) -> float:
        return self.believed() / 1e6


@pytest.fixture
def clocks() -> Clocks:
    return Clocks()


def test_an_undisturbed_clock_is_believed(clocks: Clocks) -> None:
    for _ in range(10):
        assert clocks.read_s() == pytest.approx(clocks.wall_s, abs=1e-5)
        clocks.steady_s += 1000 * HOUR_S


@pytest.mark.parametrize("step_s", [-10 * YEAR_S, -HOUR_S, -1.0, 1.0, 59.0])
def test_it_may_be_put_back_by_anything_and_forward_by_a_minute(clocks: Clocks, step_s: float) -> None:
    clocks.set_by_s += step_s
    assert clocks.read_s() == pytest.approx(clocks.wall_s, abs=1e-5)


def test_a_large_step_ahead_counts_when_it_has_lasted_for_an_hour(clocks: Clocks) -> None:
    clocks.set_by_s += 10 * YEAR_S
    for _ in range(4):
        assert clocks.read_s() == pytest.approx(NOW_S + clocks.steady_s, abs=1e-5)
        clocks.steady_s += HOUR_S / 4
    assert clocks.read_s() == pytest.approx(clocks.wall_s, abs=1e-5)


def test_a_step_ahead_that_is_taken_back_leaves_no_trace(clocks: Clocks) -> None:
    for _ in range(5):
        clocks.set_by_s += 10 * YEAR_S
        assert clocks.read_s() == pytest.approx(NOW_S + clocks.steady_s, abs=1e-5)
        clocks.steady_s += HOUR_S * 0.9
        clocks.set_by_s -= 10 * YEAR_S
        assert clocks.read_s() == pytest.approx(clocks.wall_s, abs=1e-5)
