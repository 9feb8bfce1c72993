"""Whatever the batches and the order of merging, figures are those of all events counted at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_tools import (
    EVENTS,
    Event,
    Expected,
    cell_of,
    count,
    events_with,
    expected,
    extreme,
    histogram,
    merge_at_random,
    moderate,
    split,
    table,
    tick,
)
from soak import examples
from streamgauge.aggregates import AGGREGATES, STATES, states_of
from streamgauge.aggregates.quantiles import QUANTILES, estimates_of, keys_of
from streamgauge.aggregates.total import add_runs
from streamgauge.metrics.query import plain
from streamgauge.partials import ALL_TIME, Partials, merge

RESOLUTIONS = (1, 5, 60, 3600)
STEP = 2.0**-1074


def counted(events: Sequence[Event]) -> Partials:
    return count(EVENTS, events)


def total(values: Sequence[float]) -> float | None:
    together = merge([counted([tick(value=value) for value in values])], EVENTS.states, ALL_TIME)
    (row,) = table(together, ["sum"]).values()
    return row["sum"]


def tolerance(expected: Expected) -> Fraction:
    """One unit in the last place; where huge values cancel, what two doubles could not hold."""
    size = sum((abs(Fraction(value)) for value in expected.values), Fraction(0))
    return Fraction(math.ulp(float(expected.sum))) + size / 2**95


@examples(100, 20_000)
@given(st.data(), st.lists(events_with(moderate), min_size=1, max_size=40), st.sampled_from(RESOLUTIONS))
def test_any_batches_and_any_tree_of_merges_give_what_counting_at_once_gives(
    data: st.DataObject, events: list[Event], resolution: int
) -> None:
    parts = [count(EVENTS, piece, seq=seq) for seq, piece in enumerate(split(data, events), 1)]
    merged = merge_at_random(data, parts, EVENTS.states, resolution)
    wanted = expected(events, resolution)
    found = table(merged)
    assert found.keys() == wanted.keys()
    for key, row in found.items():
        assert {name: row[name] for name in ("count", "min", "max", "last")} == wanted[key].plain
        assert histogram(merged).get(key, {}) == wanted[key].cells
        check_sum(row["sum"], row["avg"], wanted[key])
        check_quantiles(row, wanted[key])


def check_sum(total: float | None, average: float | None, wanted: Expected) -> None:
    if not wanted.values:
        assert total is None
        assert average is None
        return
    assert total is not None
    assert average is not None
    assert abs(Fraction(total) - wanted.sum) <= tolerance(wanted)
    assert average == total / len(wanted.values)


def check_quantiles(row: dict[str, int | float | None], wanted: Expected) -> None:
    for name, q in QUANTILES.items():
        found = row[name]
        if not wanted.values:
            assert found is None
            continue
        assert found is not None
        exact, size = wanted.quantile(q)
        of_one_sign = min(wanted.values) >= 0 or max(wanted.values) <= 0
        allowed = Fraction(0.011) * (abs(exact) if of_one_sign else Fraction(size))
        assert abs(Fraction(found) - exact) <= allowed + 2 * Fraction(STEP), name
        assert min(wanted.values) <= found <= max(wanted.values)


@examples(100, 20_000)
@given(st.data(), st.lists(st.integers(-(2**53), 2**53), min_size=1, max_size=60))
def test_integers_add_exactly_beyond_64_bits(data: st.DataObject, values: list[int]) -> None:
    events = [tick(value=value) for value in values]
    parts = [counted(piece) for piece in split(data, events)]
    merged = merge_at_random(data, parts, EVENTS.states)
    high, low = merged.columns["sum"].tolist()[0], merged.columns["sum_low"].tolist()[0]
    assert int(high) + int(low) == sum(values)


def test_a_million_times_the_largest_integer_is_exact() -> None:
    parts = [counted([tick(value=2**53 - 1)] * 1000)] * 1000
    merged = merge(parts, EVENTS.states, 1)
    assert int(merged.columns["sum"][0]) + int(merged.columns["sum_low"][0]) == 10**6 * (2**53 - 1)


@given(
    st.lists(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30), min_size=1, max_size=5),
    st.integers(-250, 250),
)
def test_small_values_beside_huge_ones_of_another_series_are_added_as_well_as_alone(
    runs: list[list[float]], exponent: int
) -> None:
    runs = [[2.0**exponent], *runs]
    values = np.array([value for run in runs for value in run])
    starts = np.cumsum([0, *(len(run) for run in runs[:-1])])
    totals, lows = add_runs(values, None, starts)
    assert totals.tolist() == [math.fsum(run) for run in runs]
    for one, low, run in zip(totals.tolist(), lows.tolist(), runs, strict=True):
        assert abs(Fraction(one) + Fraction(low) - sum(map(Fraction, run))) <= Fraction(one) / 2**72


@examples(100, 20_000)
@given(st.lists(extreme, min_size=1, max_size=30))
def test_the_sum_is_that_of_fsum_at_every_magnitude(values: list[float]) -> None:
    exact = sum((Fraction(value) for value in values), Fraction(0))
    found = total(values)
    try:
        wanted = float(exact)
    except OverflowError:
        assert found is None
        return
    size = sum((abs(Fraction(value)) for value in values), Fraction(0))
    assert found is not None
    assert abs(Fraction(found) - exact) <= Fraction(math.ulp(wanted)) + size / 2**95


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([0.1] * 10, 1.0),
        ([1e16, 1.0, -1e16], 1.0),
        ([1e300, 1.0, -1e300], 1.0),
        ([1e308, 5e-324, -1e308], 5e-324),
        ([5e-324] * 3, 1.5e-323),
        ([1.7e308, 1e307, -1e307], 1.7e308),
        ([1e308, 1e308, -1e308], 1e308),
        ([1e308, 1e308], None),
        ([-1e308, -1e308], None),
        ([-0.0, -0.0], 0.0),
        ([0], 0.0),
    ],
)
def test_sums_at_the_edges(values: list[float], wanted: float | None) -> None:
    assert total(values) == wanted


def test_an_integer_beyond_2_to_53_survives_a_huge_value_of_another_series() -> None:
    both = counted([tick("big", value=1e308), *[tick("small", value=2**53 - 1)] * 3])
    merged = merge([both, both], EVENTS.states, 1)
    small = merged.series.index(("small",))
    row = merged.code.tolist().index(small)
    assert int(merged.columns["sum"][row]) + int(merged.columns["sum_low"][row]) == 6 * (2**53 - 1)


def test_a_sum_beyond_a_double_stays_unknown_whatever_follows() -> None:
    beyond = counted([tick(value=1e308)] * 2)
    below = counted([tick(value=-1e308)] * 2)
    merged = merge([beyond, below], EVENTS.states, 1)
    assert [
        row["sum"] for row in table(merge([merged, counted([tick(value=1)])], EVENTS.states, 1)).values()
    ] == [None]
    assert [row["count"] for row in table(merged).values()] == [4]


@pytest.mark.parametrize("value", [1e308, -1e308, 1.7976931348623157e308, 5e-324, -5e-324, 0.0])
def test_every_figure_of_a_single_value_is_that_value(value: float) -> None:
    (row,) = table(counted([tick(value=value)])).values()
    assert row == {
        "count": 1,
        **dict.fromkeys(["sum", "avg", "min", "max", "last", "p50", "p90", "p95", "p99"], value),
    }


def test_quantiles_across_the_whole_range_of_doubles_do_not_overflow() -> None:
    (row,) = table(counted([tick(value=value) for value in (-1.7e308, -1.6e308, 1.6e308, 1.7e308)])).values()
    assert row["p50"] == pytest.approx(0.0, abs=1.6e308 * 0.011)
    assert row["p99"] == pytest.approx(1.697e308, rel=0.011)


@given(
    st.lists(st.floats(1e-300, 1e300), min_size=1, max_size=200)
    | st.lists(st.integers(1, 10), min_size=1, max_size=200)
)
def test_a_quantile_is_within_1_1_percent_for_values_of_one_sign(values: list[float]) -> None:
    for sign in (1, -1):
        signed = [sign * value for value in values]
        wanted = Expected([(tick(value=value), place) for place, value in enumerate(signed)])
        check_quantiles(next(iter(table(counted([tick(value=value) for value in signed])).values())), wanted)


@given(extreme)
def test_a_value_lies_in_the_cell_that_opentelemetry_gives_it(value: float) -> None:
    (key,) = keys_of(np.array([float(value)])).tolist()
    assert key == cell_of(float(value))


def test_a_power_of_two_is_the_upper_bound_of_its_cell() -> None:
    powers = np.ldexp(1.0, np.arange(-1074, 1024))
    assert keys_of(powers).tolist() == [cell_of(value) for value in powers.tolist()]
    normal = powers[1074 - 1022 :]
    assert (keys_of(np.nextafter(normal, np.inf)) == keys_of(normal) + 1).all()


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=20))
def test_cells_stand_in_the_order_of_their_values(values: list[float]) -> None:
    ordered = np.array(sorted(values))
    assert (np.diff(keys_of(ordered)) >= 0).all()
    estimates = estimates_of(keys_of(ordered))
    assert (estimates[1:] >= estimates[:-1]).all()


def test_of_two_moments_that_are_equal_the_later_arrival_is_the_last() -> None:
    first, second = (
        count(EVENTS, [tick(value=1), tick(value=2)], seq=1),
        count(EVENTS, [tick(value=3)], seq=2),
    )
    late = count(EVENTS, [tick(second=-5, value=4)], seq=3)
    for parts in ([first, second, late], [late, second, first], [second, late, first]):
        assert [row["last"] for row in table(merge(parts, EVENTS.states, 3600)).values()] == [3.0]


def test_count_counts_events_without_a_value_and_nothing_else_does() -> None:
    (row,) = table(counted([tick(), tick(value=None)])).values()
    assert row == {
        "count": 2,
        **dict.fromkeys(["sum", "avg", "min", "max", "last", "p50", "p90", "p95", "p99"]),
    }
    merged = merge([counted([tick(), tick(value=None)]), counted([tick(value=4)])], EVENTS.states, 1)
    (row,) = table(merged).values()
    assert (row["count"], row["sum"], row["avg"], row["p50"]) == (3, 4.0, 4.0, 4.0)


@pytest.mark.parametrize("name", sorted(AGGREGATES))
def test_an_aggregate_needs_only_the_states_that_it_names(name: str) -> None:
    states = states_of((name,))
    partials = merge([counted([tick(value=2), tick(value=2)])], states, 1)
    assert set(partials.columns) == {
        column for state in states if state in STATES for column in STATES[state].columns
    }
    assert plain(AGGREGATES[name].finish(partials), name) == [{"count": 2, "sum": 4.0}.get(name, 2.0)]
