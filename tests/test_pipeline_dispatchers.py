from collections import defaultdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.pipeline import BroadcastDispatcher, DemandDispatcher, PartitionDispatcher
from streamgauge.pipeline.dispatcher import Dispatcher


def ready(dispatcher: Dispatcher, **demands: int) -> Dispatcher:
    for consumer, demand in demands.items():
        dispatcher.subscribe(consumer)
        dispatcher.ask(consumer, demand)
    return dispatcher


def odd_and_even(max_buffered: int = 1000) -> PartitionDispatcher:
    return PartitionDispatcher(
        partitions=["even", "odd"],
        key=lambda event: "odd" if event % 2 else "even",
        max_buffered=max_buffered,
    )


def plain(events: Any) -> list[int]:
    return list(events or [])


class Columns:
    """A batch that can be sliced and taken from, and must not be iterated."""

    def __init__(self, values: list[int]) -> None:
        self.values = values

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, index: slice) -> "Columns":
        return Columns(self.values[index])

    def take(self, indices: list[int]) -> "Columns":
        return Columns([self.values[index] for index in indices])

    def __iter__(self) -> Any:
        raise AssertionError("a batch in columns was iterated")


# --- to the greatest demand


def test_the_greatest_demand_is_served_first() -> None:
    dispatcher = ready(DemandDispatcher(), a=3, b=5)
    assert dispatcher.dispatch([1, 2, 3]) == ([("b", [1, 2, 3])], None)
    assert dispatcher.dispatch([4, 5, 6]) == ([("a", [4, 5, 6])], None)
    assert dispatcher.demand == 2


def test_at_a_tie_the_first_that_asked_is_served() -> None:
    dispatcher = ready(DemandDispatcher(), a=0, b=0)
    dispatcher.ask("b", 2)
    dispatcher.ask("a", 2)
    assert dispatcher.dispatch([1, 2, 3]) == ([("b", [1, 2]), ("a", [3])], None)


def test_single_events_take_turns_between_equal_consumers() -> None:
    dispatcher = ready(DemandDispatcher(), a=10, b=10)
    served = [dispatcher.dispatch([event])[0][0][0] for event in range(6)]
    assert served == ["a", "b", "a", "b", "a", "b"]


def test_events_beyond_the_demand_are_left() -> None:
    dispatcher = ready(DemandDispatcher(), a=1, b=1)
    assert dispatcher.dispatch([1, 2, 3, 4]) == ([("a", [1]), ("b", [2])], [3, 4])
    assert dispatcher.demand == 0


def test_a_slice_that_fits_is_handed_on_as_the_same_object() -> None:
    events = [1, 2, 3]
    for dispatcher in (ready(DemandDispatcher(), a=3), ready(BroadcastDispatcher(), a=3, b=4)):
        deliveries, _ = dispatcher.dispatch(events)
        assert all(given is events for _, given in deliveries)


def test_cancelling_withdraws_the_demand_and_gives_back_what_was_not_handled() -> None:
    dispatcher = ready(DemandDispatcher(), a=3, b=5)
    assert dispatcher.cancel("b", [[1], [2]]) == [[1], [2]]
    assert dispatcher.demand == 3


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 50))), st.lists(st.integers(1, 60)))
def test_each_event_goes_to_one_consumer_within_its_demand(
    asks: list[tuple[str, int]], sizes: list[int]
) -> None:
    dispatcher = ready(DemandDispatcher(), a=0, b=0, c=0)
    asked: dict[str, int] = defaultdict(int)
    for consumer, count in asks:
        dispatcher.ask(consumer, count)
        asked[consumer] += count
    received: list[int] = []
    left: list[int] = []
    for size in sizes:
        start = len(received) + len(left)
        deliveries, rest = dispatcher.dispatch(list(range(start, start + size)))
        for consumer, events in deliveries:
            asked[consumer] -= len(events)
            received += plain(events)
        left += plain(rest)
    assert received + left == list(range(sum(sizes)))
    assert all(count >= 0 for count in asked.values())
    assert dispatcher.demand == sum(asked.values())


# --- to all


def test_broadcast_goes_at_the_pace_of_the_slowest() -> None:
    dispatcher = ready(BroadcastDispatcher(), fast=10, slow=2)
    assert dispatcher.demand == 2
    assert dispatcher.dispatch([1, 2, 3]) == ([("fast", [1, 2]), ("slow", [1, 2])], [3])
    assert dispatcher.dispatch([3]) == ([], [3])
    dispatcher.ask("slow", 5)
    assert dispatcher.dispatch([3]) == ([("fast", [3]), ("slow", [3])], None)


def test_a_consumer_that_has_not_asked_holds_broadcast_back_until_it_cancels() -> None:
    dispatcher = ready(BroadcastDispatcher(), a=10)
    dispatcher.subscribe("late")
    assert dispatcher.demand == 0
    assert dispatcher.cancel("late", [[1]]) == []
    assert dispatcher.demand == 10


def test_what_a_selector_leaves_out_costs_no_demand() -> None:
    dispatcher = BroadcastDispatcher()
    dispatcher.subscribe("all")
    dispatcher.subscribe("even", selector=lambda events: [event for event in events if event % 2 == 0])
    dispatcher.ask("all", 4)
    dispatcher.ask("even", 4)
    assert dispatcher.dispatch([1, 2, 3]) == ([("all", [1, 2, 3]), ("even", [2])], None)
    dispatcher.ask("all", 3)
    assert dispatcher.demand == 3
    assert dispatcher.dispatch([1, 3, 5]) == ([("all", [1, 3, 5])], None)


def test_a_selector_that_raises_changes_nothing() -> None:
    dispatcher = ready(BroadcastDispatcher(), a=4)
    dispatcher.subscribe("b", selector=lambda events: 1 / 0)  # type: ignore[arg-type, return-value]
    dispatcher.ask("b", 4)
    with pytest.raises(ZeroDivisionError):
        dispatcher.dispatch([1, 2])
    assert dispatcher.demand == 4


# --- by key


def test_events_go_to_the_consumer_of_their_partition() -> None:
    dispatcher = odd_and_even()
    for name in ("even", "odd"):
        dispatcher.subscribe(name.upper(), partition=name)
        dispatcher.ask(name.upper(), 10)
    deliveries, left = dispatcher.dispatch([1, 2, 3, 4, 6])
    assert dict(deliveries) == {"ODD": [1, 3], "EVEN": [2, 4, 6]}
    assert left is None


def test_events_of_a_partition_without_demand_wait_and_then_come_in_order() -> None:
    dispatcher = odd_and_even()
    dispatcher.subscribe("E", partition="even")
    dispatcher.ask("E", 10)
    dispatcher.dispatch([1, 2, 3])
    dispatcher.dispatch([5, 7])
    assert dispatcher.buffered == dispatcher.orphaned == 4
    dispatcher.subscribe("O", partition="odd")
    assert list(dispatcher.ask("O", 3)) == [("O", [1, 3]), ("O", [5])]
    assert (dispatcher.buffered, dispatcher.orphaned) == (1, 0)


def test_a_full_partition_holds_everybody_back_and_none_ever_exceeds_its_limit() -> None:
    dispatcher = odd_and_even(max_buffered=3)
    dispatcher.subscribe("E", partition="even")
    dispatcher.ask("E", 100)
    assert dispatcher.demand == 3
    dispatcher.dispatch([1, 3])
    assert dispatcher.demand == 1
    dispatcher.dispatch([5])
    assert dispatcher.demand == 0
    assert dispatcher.stalled


def test_what_a_cancelled_consumer_did_not_handle_waits_for_the_next_of_its_partition() -> None:
    dispatcher = odd_and_even()
    dispatcher.subscribe("O", partition="odd")
    dispatcher.ask("O", 2)
    dispatcher.dispatch([1, 3, 5])
    assert dispatcher.cancel("O", [[1, 3]]) == []
    dispatcher.subscribe("next", partition="odd")
    assert list(dispatcher.ask("next", 9)) == [("next", [1, 3]), ("next", [5])]


def test_numbered_partitions_share_out_any_keys_the_same_way_in_every_process() -> None:
    dispatcher = PartitionDispatcher(partitions=4, key=lambda event: event)
    for partition in range(4):
        dispatcher.subscribe(partition, partition=partition)
        dispatcher.ask(partition, 10)
    assert dict(dispatcher.dispatch([0, 5, 2, 7])[0]) == {0: [0], 1: [5], 2: [2], 3: [7]}
    assert dict(dispatcher.dispatch(["ada", "grace", "alan"])[0]) == {0: ["ada"], 3: ["grace", "alan"]}
    assert dict(dispatcher.dispatch([1, 1.0, True])[0]) == {1: [1, 1.0, True]}


def test_a_batch_in_columns_is_taken_from_and_not_iterated() -> None:
    dispatcher = PartitionDispatcher(partitions=2, keys=lambda batch: [value % 2 for value in batch.values])
    for partition in range(2):
        dispatcher.subscribe(partition, partition=partition)
        dispatcher.ask(partition, 10)
    deliveries, _ = dispatcher.dispatch(Columns([1, 2, 3]))
    batches: dict[int, Any] = dict(deliveries)
    assert {partition: batch.values for partition, batch in batches.items()} == {1: [1, 3], 0: [2]}
    batch = Columns([2, 4])
    assert dispatcher.dispatch(batch)[0] == [(0, batch)]


def test_an_unknown_partition_is_refused_before_anything_moves() -> None:
    dispatcher = PartitionDispatcher(partitions=["a", "b"], key=lambda event: event)
    dispatcher.subscribe("A", partition="a")
    dispatcher.ask("A", 5)
    with pytest.raises(ValueError, match="found 'c'; give one of 'a', 'b'"):
        dispatcher.dispatch(["a", "c"])
    assert (dispatcher.demand, dispatcher.buffered) == (5, 0)


@given(st.lists(st.lists(st.integers(0, 20), min_size=1, max_size=12)), st.integers(1, 10))
def test_partitions_lose_nothing_and_keep_the_order_within_each(slices: list[list[int]], ask: int) -> None:
    dispatcher = PartitionDispatcher(partitions=3, key=lambda event: event)
    received: dict[int, list[int]] = defaultdict(list)
    for partition in range(3):
        dispatcher.subscribe(partition, partition=partition)
    for events in slices:
        deliveries, left = dispatcher.dispatch(events)
        assert left is None
        for partition in range(3):
            deliveries += dispatcher.ask(partition, ask)
        for partition, some in deliveries:
            received[partition] += plain(some)
    for partition in range(3):
        for _, some in dispatcher.ask(partition, 10_000):
            received[partition] += plain(some)
        assert received[partition] == [e for events in slices for e in events if e % 3 == partition]
    assert dispatcher.buffered == 0


@pytest.mark.parametrize(
    ("dispatcher", "options", "named"),
    [
        (DemandDispatcher(), {"partition": 1}, "selector, partition: not for a DemandDispatcher"),
        (BroadcastDispatcher(), {"partition": 1}, "partition: not for a BroadcastDispatcher"),
        (odd_and_even(), {"selector": len, "partition": "odd"}, "selector: not for a PartitionDispatcher"),
        (odd_and_even(), {}, "partition: found None; give one of 'even', 'odd'"),
    ],
)
def test_an_option_of_another_dispatcher_is_refused_by_name(
    dispatcher: Dispatcher, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(ValueError, match=named):
        dispatcher.subscribe("a", **options)


def test_a_partition_has_one_consumer() -> None:
    dispatcher = odd_and_even()
    dispatcher.subscribe("a", partition="odd")
    with pytest.raises(ValueError, match="'odd' has a consumer"):
        dispatcher.subscribe("b", partition="odd")


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"partitions": 2}, "key, keys"),
        ({"partitions": 2, "key": len, "keys": len}, "key, keys"),
        ({"partitions": 0, "key": len}, "partitions"),
        ({"partitions": 2, "key": len, "max_buffered": 0}, "max_buffered"),
    ],
)
def test_a_partition_dispatcher_that_could_not_work_is_refused(options: dict[str, Any], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        PartitionDispatcher(**options)
