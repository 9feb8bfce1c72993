import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.pipeline.demand import Credit


def test_the_first_ask_is_for_the_maximum() -> None:
    credit = Credit(max_demand=100, min_demand=80)
    assert credit.ask() == 100
    assert credit.ask() == 0


def test_it_asks_again_once_no_more_than_the_minimum_is_left() -> None:
    credit = Credit(max_demand=100, min_demand=80)
    credit.ask()
    credit.handled(19)
    assert credit.ask() == 0
    credit.handled(1)
    assert credit.ask() == 20
    assert credit.outstanding == 100


def test_with_a_maximum_of_one_it_asks_for_one_event_at_a_time() -> None:
    credit = Credit(max_demand=1, min_demand=0)
    assert [credit.ask(), credit.ask()] == [1, 0]
    credit.handled(1)
    assert credit.ask() == 1
    assert credit.slice_size == 1


@pytest.mark.parametrize(
    ("max_demand", "min_demand", "named"),
    [(0, 0, "max_demand"), (10, 10, "min_demand"), (10, -1, "min_demand"), (-5, 0, "max_demand")],
)
def test_limits_that_could_never_move_are_refused_by_name(
    max_demand: int, min_demand: int, named: str
) -> None:
    with pytest.raises(ValueError, match=f"^{named}: found"):
        Credit(max_demand, min_demand)


@given(
    st.integers(1, 1000).flatmap(lambda top: st.tuples(st.just(top), st.integers(0, top - 1))),
    st.lists(st.integers(1, 1000)),
)
def test_outstanding_never_exceeds_the_maximum_and_never_sticks_at_the_minimum(
    limits: tuple[int, int], served: list[int]
) -> None:
    credit = Credit(*limits)
    asked = credit.ask()
    answered = 0
    for wish in served:
        count = min(wish, credit.slice_size, credit.outstanding)
        credit.handled(count)
        answered += count
        asked += credit.ask()
        assert asked - answered == credit.outstanding
        assert credit.min_demand < credit.outstanding <= credit.max_demand
