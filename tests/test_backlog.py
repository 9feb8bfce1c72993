"""A sender that found no room is told to come back when there is likely to be some."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.backlog import DrainRate, retry_after_s

COUNTS = st.integers(0, 10**12)
RATES = st.floats(0, 1e9)
CHANCES = st.floats(0, 1)


def test_the_wait_is_as_long_as_half_of_what_waits_takes() -> None:
    assert retry_after_s(200_000, 10_000.0, 0.0) == 10.0
    assert retry_after_s(200_000, 20_000.0, 0.0) == 5.0


def test_chance_spreads_senders_over_half_as_much_again() -> None:
    assert retry_after_s(200_000, 10_000.0, 1.0) == 15.0


def test_where_nothing_gets_done_the_wait_is_a_guess() -> None:
    assert retry_after_s(1, 0.0, 0.0) == 10.0


@given(waiting=COUNTS, rate=RATES, chance=CHANCES)
def test_the_wait_is_always_between_a_second_and_a_minute(waiting: int, rate: float, chance: float) -> None:
    assert 1.0 <= retry_after_s(waiting, rate, chance) <= 60.0


@given(waiting=COUNTS, more=COUNTS, rate=RATES, faster=RATES, chance=CHANCES)
def test_more_that_waits_means_a_longer_wait_and_faster_work_a_shorter_one(
    waiting: int, more: int, rate: float, faster: float, chance: float
) -> None:
    assert retry_after_s(waiting, rate, chance) <= retry_after_s(waiting + more, rate, chance)
    if rate > 0:
        assert retry_after_s(waiting, rate + faster, chance) <= retry_after_s(waiting, rate, chance)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = DrainRate()
    assert rate.per_second == 0.0
    rate.note(0.0, 0)
    assert rate.per_second == 0.0
    for quarter in range(1, 100):
        rate.note(quarter / 4, 0 if quarter < 50 else (quarter - 50) * 250)
    assert rate.per_second == pytest.approx(1000.0)


def test_a_count_that_went_back_or_a_clock_that_stood_still_is_no_rate() -> None:
    rate = DrainRate()
    rate.note(1.0, 10)
    rate.note(1.0, 20)
    assert rate.per_second == 0.0
    rate.note(2.0, 5)
    assert rate.per_second == 0.0
