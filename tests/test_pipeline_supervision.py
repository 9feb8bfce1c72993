"""Stages that raise, hang and die."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from pipeline_tools import Counter, Fragile, Pass, Sink, Source, run, settle, until, until_seen
from streamgauge.pipeline import (
    BroadcastDispatcher,
    Consumer,
    DemandDispatcher,
    PartitionDispatcher,
    ProducerConsumer,
    StageFailed,
    Supervisor,
)
from streamgauge.pipeline.dispatcher import Dispatcher


class Clock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


async def test_a_slice_that_succeeds_on_the_retry_counts_as_one_restart() -> None:
    counter, sink = Counter(end=30), Fragile(faults=1)
    sink.subscribe_to(counter, max_demand=10, min_demand=0)
    assert await run(counter, sink) is None
    assert sink.events == list(range(30))
    assert sink.tried[:2] == [list(range(10))] * 2
    assert (sink.restarts, sink.resets, sink.events_failed) == (1, 1, 0)


async def test_only_the_events_that_fail_alone_are_set_aside_and_the_rest_flows_on() -> None:
    counter, sink = Counter(end=20), Fragile(bad={3, 7})
    sink.subscribe_to(counter, max_demand=10, min_demand=0)
    assert await run(counter, sink) is None
    assert sorted(sink.events) == [event for event in range(20) if event not in (3, 7)]
    assert [failed.events for failed in sink.failed] == [[3], [7]]
    assert "cannot handle [3]" in str(sink.failed[0].error)
    assert (sink.events_failed, sink.restarts, sink.events_in) == (2, 1, 20)
    assert sink.resets == 4
    assert sink.tried == [list(range(10))] * 2 + [[event] for event in range(10)] + [list(range(10, 20))]


async def test_a_stage_decides_itself_what_becomes_of_failed_events() -> None:
    letters: list[tuple[list[Any], Exception]] = []

    class Careful(Fragile):
        async def handle_failed(self, events: list[Any], error: Exception) -> None:
            letters.append((events, error))

    counter, sink = Counter(end=4), Careful(bad={2})
    sink.subscribe_to(counter, max_demand=1, min_demand=0)
    assert await run(counter, sink) is None
    assert [events for events, _ in letters] == [[2]]
    assert letters[0][1].__traceback__ is not None
    assert (sink.events, sink.events_failed, len(sink.failed)) == ([0, 1, 3], 1, 0)
    assert sink.tried == [[0], [1], [2], [2], [3]]


async def test_searching_a_long_slice_for_bad_events_lets_others_run() -> None:
    counter, sink = Counter(end=200), Fragile(bad=set(range(200)))
    sink.subscribe_to(counter, max_demand=200, min_demand=0)
    turns = 0
    async with Supervisor([counter, sink]) as supervisor:
        while not supervisor.finished:
            turns += 1
            await asyncio.sleep(0)
    assert turns >= 200


async def test_failed_events_are_kept_only_up_to_a_limit_and_all_are_counted() -> None:
    counter, sink = Counter(end=300), Fragile(bad=set(range(300)))
    sink.subscribe_to(counter, max_demand=300, min_demand=0)
    assert await run(counter, sink) is None
    assert (len(sink.failed), sink.events_failed) == (100, 300)
    assert sink.failed[-1].events == [299]


async def test_a_failing_middle_stage_emits_each_event_once_and_in_order() -> None:
    class Picky(Pass):
        async def handle_events(self, events: list[Any]) -> list[Any]:
            if 5 in events:
                raise ValueError("not five")
            return await super().handle_events(events)

    counter, picky, sink = Counter(end=20), Picky(), Sink(open_gate=False)
    picky.subscribe_to(counter, max_demand=10, min_demand=0)
    sink.subscribe_to(picky, max_demand=3, min_demand=2)
    async with Supervisor([counter, picky, sink]) as supervisor, asyncio.timeout(5):
        await settle()
        sink.gate.set()
        await supervisor.wait()
    assert sink.events == [event for event in range(20) if event != 5]
    assert picky.events_failed == 1


async def test_a_middle_stage_that_is_tried_again_emits_each_event_once() -> None:
    class Stumbling(Pass):
        stumbled = False

        async def handle_events(self, events: list[Any]) -> list[Any]:
            if 15 in events and not self.stumbled:
                self.stumbled = True
                raise ValueError("only this once")
            return await super().handle_events(events)

    counter, stumbling, sink = Counter(end=30), Stumbling(), Sink()
    stumbling.subscribe_to(counter, max_demand=10, min_demand=0)
    sink.subscribe_to(stumbling)
    assert await run(counter, stumbling, sink) is None
    assert sink.events == list(range(30))
    assert (stumbling.restarts, stumbling.events_failed) == (1, 0)


async def test_restarts_are_forgiven_after_a_while() -> None:
    clock = Clock()
    source, sink = Source(), Fragile()
    sink.subscribe_to(source)
    async with Supervisor([source, sink], max_restarts=1, max_seconds=5, clock=clock):
        for event in range(4):
            sink.faults = 1
            source.feed(event)
            await until_seen(sink, event + 1)
            clock.now += 5.1
    assert sink.restarts == 4


async def test_one_restart_too_many_goes_up_with_its_cause() -> None:
    clock = Clock()
    source, sink = Source(), Fragile(name="writer")
    sink.subscribe_to(source)
    supervisor = Supervisor([source, sink], max_restarts=2, max_seconds=5, clock=clock)
    supervisor.start()
    for event in range(3):
        assert sink.events == list(range(event))
        clock.now += 1
        sink.faults = 1
        source.feed(event)
        await settle()
    assert supervisor.finished
    with pytest.raises(StageFailed, match="stage writer: raised OSError") as caught:
        await supervisor.wait()
    failure = caught.value
    assert (failure.stage, failure.restarts, failure.seconds) == ("writer", 2, 5)
    assert isinstance(failure.__cause__, OSError)
    assert sink.events == [0, 1]


async def test_without_restarts_the_first_error_goes_up_through_wait() -> None:
    counter, sink = Counter(), Fragile(faults=1)
    sink.subscribe_to(counter, max_demand=10)
    with pytest.raises(StageFailed) as caught:
        async with Supervisor([counter, sink], max_restarts=0) as supervisor, asyncio.timeout(5):
            await supervisor.wait()
    assert caught.value.restarts == 0
    assert supervisor.finished


async def test_a_consumer_that_dies_leaves_its_events_to_the_others_which_drain() -> None:
    counter, dying, living = Counter(), Fragile(), Sink(open_gate=False)
    living.subscribe_to(counter, max_demand=10)
    dying.subscribe_to(counter, max_demand=10)
    dying.faults = 1
    supervisor = Supervisor([counter, dying, living], max_restarts=0)
    supervisor.start()
    await settle()
    living.gate.set()
    with pytest.raises(StageFailed, match="Fragile"):
        await supervisor.wait()
    assert dying.events == []
    # first what it had been given, then what the dead one had in hand and what waited for it
    assert living.events == [*range(10, 20), *range(10)]
    assert counter.events_out == counter.next == 20


async def test_a_consumer_under_another_supervisor_dies_and_the_rest_goes_on() -> None:
    counter, dying, living = Counter(end=1000), Fragile(faults=1), Sink()
    living.subscribe_to(counter, max_demand=10)
    dying.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter, living]) as supervisor:
        with pytest.raises(StageFailed):
            async with Supervisor([dying], max_restarts=0) as other:
                await other.wait()
        async with asyncio.timeout(5):
            await supervisor.wait()
    assert sorted(living.events) == list(range(1000))


async def test_a_dead_consumer_no_longer_holds_a_broadcast_back() -> None:
    counter, dying, living = Counter(end=100, dispatcher=BroadcastDispatcher()), Fragile(bad={25}), Sink()
    living.subscribe_to(counter, max_demand=10)
    dying.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter, living]) as supervisor:
        with pytest.raises(StageFailed):
            async with Supervisor([dying], max_restarts=0) as other:
                await other.wait()
        async with asyncio.timeout(5):
            await supervisor.wait()
    assert living.events == list(range(100))
    assert dying.buffered + len(dying.events) in range(25, 40)
    assert dying.buffered > 0


@pytest.mark.parametrize("dispatcher", [DemandDispatcher, BroadcastDispatcher])
async def test_a_dead_middle_stage_still_hands_out_what_it_had_finished(
    dispatcher: Callable[[], Dispatcher],
) -> None:
    class Dying(Pass):
        async def handle_events(self, events: list[Any]) -> list[Any]:
            if 4 in events:
                raise ValueError("four")
            return await super().handle_events(events)

    counter, middle, sink = Counter(dispatcher=dispatcher()), Dying(times=4), Sink()
    middle.subscribe_to(counter, max_demand=12, min_demand=8)
    sink.subscribe_to(middle, max_demand=2, min_demand=0)
    with pytest.raises(StageFailed) as caught:
        async with Supervisor([counter, middle, sink], max_restarts=0) as supervisor, asyncio.timeout(5):
            await supervisor.wait()
    assert isinstance(caught.value.__cause__, ValueError)
    assert sink.events == [event for event in range(4) for _ in range(4)]


async def test_a_producer_that_raises_is_asked_again() -> None:
    class Shaky(Counter):
        async def handle_demand(self, demand: int) -> list[int]:
            if len(self.demands) == 2 and not self.restarts:
                raise ConnectionError("the source was away")
            return await super().handle_demand(demand)

    shaky, sink = Shaky(end=100), Sink()
    sink.subscribe_to(shaky, max_demand=10)
    assert await run(shaky, sink) is None
    assert sink.events == list(range(100))
    assert shaky.restarts == 1


async def test_when_a_producer_fails_for_good_its_events_still_arrive() -> None:
    class Breaking(Counter):
        async def handle_demand(self, demand: int) -> list[int]:
            if self.next >= 50:
                raise ConnectionError("the source is gone")
            return await super().handle_demand(demand)

    breaking, sink = Breaking(), Sink()
    sink.subscribe_to(breaking, max_demand=10)
    failure = await run(breaking, sink)
    assert failure is not None
    assert (failure.stage, failure.restarts) == ("Breaking", 3)
    assert isinstance(failure.__cause__, ConnectionError)
    assert sink.events == list(range(50))


async def test_a_slice_that_takes_too_long_is_cancelled_and_treated_as_failed() -> None:
    class Hanging(Sink):
        async def handle_events(self, events: list[Any]) -> None:
            if 2 in events:
                await asyncio.Event().wait()
            await super().handle_events(events)

    counter, hanging = Counter(end=4), Hanging(deadline=0.01)
    hanging.subscribe_to(counter, max_demand=4, min_demand=0)
    assert await run(counter, hanging) is None
    assert hanging.events == [0, 1, 3]
    assert [failed.events for failed in hanging.failed] == [[2]]
    assert "1 events took longer than the deadline of 0.01 s" in str(hanging.failed[0].error)


async def test_a_callback_that_lets_a_cancellation_out_has_failed_and_does_not_stop_its_stage() -> None:
    class Confused(Sink):
        async def handle_events(self, events: list[Any]) -> None:
            if 1 in events:
                raise asyncio.CancelledError
            await super().handle_events(events)

    counter, confused = Counter(end=3), Confused()
    confused.subscribe_to(counter, max_demand=1, min_demand=0)
    assert await run(counter, confused) is None
    assert (confused.events, confused.events_failed) == ([0, 2], 1)


async def test_a_middle_stage_that_forgets_to_return_is_told_so() -> None:
    class Forgetful(ProducerConsumer):
        async def handle_events(self, events: Any) -> Any:
            pass

    counter, forgetful, sink = Counter(end=1), Forgetful(), Sink()
    forgetful.subscribe_to(counter)
    sink.subscribe_to(forgetful)
    assert await run(counter, forgetful, sink) is None
    assert str(forgetful.failed[0].error) == (
        "stage Forgetful: handle_events gave NoneType; give a sequence of events, an empty one for none"
    )


async def test_an_event_without_a_partition_is_set_aside_and_the_rest_flows_on() -> None:
    counter = Counter(
        end=10, dispatcher=PartitionDispatcher(partitions=["a"], key=lambda e: "b" if e == 4 else "a")
    )
    sink = Sink()
    sink.subscribe_to(counter, max_demand=3, partition="a")
    assert await run(counter, sink) is None
    assert sink.events == [event for event in range(10) if event != 4]
    assert [failed.events for failed in counter.failed] == [[4]]


async def test_a_selector_that_fails_on_an_event_costs_that_event_alone() -> None:
    counter, picky, other = Counter(end=10, dispatcher=BroadcastDispatcher()), Sink(), Sink()
    picky.subscribe_to(counter, max_demand=4, selector=lambda events: [e for e in events if 12 / (e - 6)])
    other.subscribe_to(counter, max_demand=4)
    assert await run(counter, picky, other) is None
    assert picky.events == other.events == [event for event in range(10) if event != 6]
    assert counter.events_failed == 1


async def test_when_a_middle_stage_dies_over_its_output_the_rest_of_its_slice_goes_to_others() -> None:
    class Single(Pass):
        async def handle_events(self, events: list[Any]) -> list[Any]:
            if len(events) > 1:
                raise ValueError("one at a time")
            return await super().handle_events(events)

    counter = Counter(end=3)
    single = Single(dispatcher=PartitionDispatcher(partitions=["a"], key=lambda event: {}[event]))
    sink, other = Sink(), Sink()
    single.subscribe_to(counter, max_demand=3, min_demand=0)
    sink.subscribe_to(single, partition="a")
    other.subscribe_to(counter, max_demand=1, min_demand=0)
    with pytest.raises(StageFailed) as caught:
        async with Supervisor([counter, single, sink, other], max_restarts=1) as supervisor:
            await supervisor.wait()
    assert isinstance(caught.value.__cause__, KeyError)
    assert other.events == [1, 2]
    assert single.buffered == 1


async def test_what_is_left_of_a_slice_with_a_bad_event_goes_out_before_what_waits() -> None:
    class Fourfold(ProducerConsumer):
        async def handle_events(self, events: list[int]) -> list[tuple[int, int]]:
            if len(events) > 1:
                raise ValueError("one at a time, so that several results wait")
            return [(events[0], part) for part in range(4)]

    def selector(events: list[tuple[int, int]]) -> list[tuple[int, int]]:
        if (1, 1) in events:
            raise ValueError("not that one")
        return events

    counter, fourfold, sink = (
        Counter(end=4),
        Fourfold(dispatcher=BroadcastDispatcher()),
        Sink(open_gate=False),
    )
    fourfold.subscribe_to(counter, max_demand=4, min_demand=0)
    sink.subscribe_to(fourfold, max_demand=2, min_demand=0, selector=selector)
    async with Supervisor([counter, fourfold, sink]) as supervisor, asyncio.timeout(5):
        await settle()
        sink.gate.set()
        await until(lambda: (0, 3) in sink.events)
        sink.gate.clear()
        await settle()
        assert sink.events[-1] == (1, 0)
        sink.gate.set()
        await supervisor.wait()
    assert sink.events == [(n, part) for n in range(4) for part in range(4) if (n, part) != (1, 1)]
    assert [failed.events for failed in fourfold.failed] == [[(1, 1)]]


@pytest.mark.parametrize("hook", ["on_restart", "handle_failed"])
async def test_a_hook_that_raises_fails_the_stage_for_good_and_loses_nothing_of_the_rest(hook: str) -> None:
    class Hopeless(Fragile):
        pass

    async def raising(*_: object) -> None:
        raise RuntimeError("out of ideas")

    setattr(Hopeless, hook, raising)
    counter, hopeless, other = Counter(end=10), Hopeless(bad={0}), Sink()
    hopeless.subscribe_to(counter, max_demand=10, min_demand=0)
    other.subscribe_to(counter, max_demand=1)
    failure = await run(counter, hopeless, other)
    assert failure is not None
    assert f"{hook} raised RuntimeError('out of ideas')" in str(failure)
    lost = {0} if hook == "handle_failed" else set()
    assert sorted(hopeless.events + other.events) == [event for event in range(10) if event not in lost]


async def test_two_failures_are_both_told() -> None:
    counters = [Counter(), Counter()]
    sinks = [Fragile(faults=1, name=name) for name in ("first", "second")]
    for counter, sink in zip(counters, sinks, strict=True):
        sink.subscribe_to(counter, max_demand=10)
    with pytest.raises(StageFailed, match="stage first") as caught:
        async with Supervisor([*counters, *sinks], max_restarts=0) as supervisor:
            await supervisor.wait()
    assert any("stage second" in note for note in caught.value.__notes__)


async def test_an_error_of_the_block_is_not_hidden_by_that_of_a_stage() -> None:
    counter, sink = Counter(), Fragile(faults=1)
    sink.subscribe_to(counter, max_demand=10)

    async def block() -> None:
        async with Supervisor([counter, sink], max_restarts=0):
            await settle()
            raise KeyError("mine")

    with pytest.raises(KeyError) as caught:
        await block()
    assert any("stage Fragile" in note for note in caught.value.__notes__)


async def test_a_deadline_or_limit_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="deadline: found 0"):
        Sink(deadline=0)
    with pytest.raises(ValueError, match="max_restarts: found -1"):
        Supervisor([Sink()], max_restarts=-1)
    with pytest.raises(ValueError, match="max_seconds: found 0"):
        Supervisor([Sink()], max_seconds=0)


async def test_a_stage_runs_once() -> None:
    counter, sink = Counter(end=1), Sink()
    sink.subscribe_to(counter)
    await run(counter, sink)
    with pytest.raises(RuntimeError, match="stage Counter has been started before"):
        Supervisor([counter]).start()


def test_a_stage_without_its_callback_cannot_be_made() -> None:
    with pytest.raises(TypeError, match="handle_events"):
        Consumer()  # type: ignore[abstract]
