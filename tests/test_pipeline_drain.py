"""How a pipeline comes to its end."""

import asyncio
from typing import Any

import pytest

from pipeline_tools import Counter, Pass, Sink, Source, run, settle, until, until_seen
from streamgauge.pipeline import BroadcastDispatcher, PartitionDispatcher, Supervisor


async def test_leaving_the_block_lets_everything_under_way_pass_through() -> None:
    counter, doubler, sink = Counter(), Pass(times=2), Sink()
    sink.subscribe_to(doubler, max_demand=100)
    doubler.subscribe_to(counter, max_demand=100)
    async with Supervisor([counter, doubler, sink]) as supervisor:
        await until(lambda: len(sink.events) > 500)
    assert supervisor.finished
    assert sink.events == [event for event in range(counter.next) for _ in range(2)]


async def test_a_drain_tells_that_nothing_was_left_behind() -> None:
    counter, sink = Counter(), Sink(open_gate=False)
    sink.subscribe_to(counter, max_demand=100, min_demand=80)
    async with Supervisor([counter, sink]) as supervisor:
        await settle()
        draining = asyncio.create_task(supervisor.drain(5))
        await settle()
        sink.gate.set()
        assert await draining == 0
    assert sink.events == list(range(100))
    assert counter.demands == [100]


async def test_a_source_that_waits_is_called_off_and_loses_nothing() -> None:
    source, sink = Source(), Sink()
    sink.subscribe_to(source)
    async with Supervisor([source, sink]) as supervisor:
        source.feed(1)
        await until(lambda: sink.events == [1])
        assert await supervisor.drain(5) == 0
        source.feed(2)
    assert (source.stock, sink.events) == ([2], [1])


async def test_a_source_that_answers_a_cancellation_with_events_gets_them_through() -> None:
    class Stubborn(Source):
        async def handle_demand(self, demand: int) -> list[Any]:
            try:
                return await super().handle_demand(demand)
            except asyncio.CancelledError:
                return ["the last"]

    stubborn, sink = Stubborn(), Sink(deadline=5)
    sink.subscribe_to(stubborn)
    async with Supervisor([stubborn, sink]):
        await settle()
    assert sink.events == ["the last"]


async def test_when_the_producer_ends_the_rest_drains_and_wait_returns() -> None:
    counter, doubler, sink = Counter(end=1000), Pass(times=2), Sink()
    sink.subscribe_to(doubler, max_demand=10)
    doubler.subscribe_to(counter, max_demand=100)
    async with Supervisor([counter, doubler, sink]) as supervisor, asyncio.timeout(5):
        await supervisor.wait()
        assert supervisor.finished
        assert len(sink.events) == 2000


async def test_a_consumer_ends_when_its_last_producer_has() -> None:
    short, long, sink = Counter(end=5), Source(), Sink()
    sink.subscribe_to(short, max_demand=10)
    sink.subscribe_to(long, max_demand=10)
    async with Supervisor([short, long, sink]) as supervisor:
        await until(lambda: len(sink.events) == 5)
        long.feed("x")
        await until(lambda: sink.events[-1] == "x")
        assert not supervisor.finished
        long.finish()
        async with asyncio.timeout(5):
            await supervisor.wait()


async def test_a_consumer_ends_when_one_producer_has_ended_and_the_other_is_cancelled() -> None:
    short, foreign, sink = Counter(end=5), Source(), Sink()
    sink.subscribe_to(short, max_demand=10)
    subscription = sink.subscribe_to(foreign, max_demand=10)
    async with Supervisor([foreign]), Supervisor([short, sink]) as supervisor, asyncio.timeout(5):
        await until_seen(sink, 5)
        await settle()
        assert not supervisor.finished
        subscription.cancel()
        await supervisor.wait()


async def test_a_consumer_of_somebody_elses_producer_ends_with_it() -> None:
    counter, sink = Counter(end=5), Sink()
    sink.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter]), Supervisor([sink]) as supervisor, asyncio.timeout(5):
        await supervisor.wait()
    assert sink.events == list(range(5))


async def test_an_ended_producer_waits_for_the_consumer_that_its_last_events_are_for() -> None:
    counter = Counter(end=10, dispatcher=PartitionDispatcher(partitions=2, key=lambda event: event % 2))
    even, odd = Sink(), Sink()
    even.subscribe_to(counter, max_demand=20, partition=0)
    async with Supervisor([counter, even, odd]) as supervisor, asyncio.timeout(5):
        await until_seen(even, 5)
        await settle()
        assert not supervisor.finished
        odd.subscribe_to(counter, max_demand=2, partition=1)
        await supervisor.wait()
    assert odd.events == [1, 3, 5, 7, 9]


async def test_what_a_stage_has_in_hand_when_time_is_up_is_counted_as_left_behind() -> None:
    counter, sink = Counter(), Sink(open_gate=False)
    sink.subscribe_to(counter, max_demand=100, min_demand=80)
    supervisor = Supervisor([counter, sink])
    supervisor.start()
    await settle()
    assert await supervisor.drain(0.01) == 100
    assert supervisor.finished


async def test_events_that_nobody_is_subscribed_for_do_not_hold_a_drain_up() -> None:
    counter = Counter(
        dispatcher=PartitionDispatcher(partitions=2, key=lambda event: event % 2, max_buffered=10)
    )
    even = Sink()
    even.subscribe_to(counter, max_demand=10, partition=0)
    supervisor = Supervisor([counter, even])
    supervisor.start()
    await settle(200)
    async with asyncio.timeout(5):
        assert await supervisor.drain() == 10
    assert even.events == list(range(0, 20, 2))


async def test_a_middle_stage_whose_consumers_have_gone_does_not_hold_a_drain_up() -> None:
    counter, middle, sink = Counter(), Pass(), Sink(open_gate=False)
    middle.subscribe_to(counter, max_demand=10, min_demand=8)
    subscription = sink.subscribe_to(middle, max_demand=2, min_demand=0)
    supervisor = Supervisor([counter, middle, sink])
    supervisor.start()
    await settle()
    subscription.cancel()
    sink.gate.set()
    async with asyncio.timeout(5):
        assert await supervisor.drain() == counter.next - len(sink.events)
    assert sink.events == [0, 1]


async def test_a_drained_consumer_of_somebody_elses_producer_handles_what_it_was_given() -> None:
    counter, mine, other = Counter(), Sink(open_gate=False), Sink()
    mine.subscribe_to(counter, max_demand=10)
    other.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter, other]):
        supervisor = Supervisor([mine])
        supervisor.start()
        await until(lambda: mine.slices)
        draining = asyncio.create_task(supervisor.drain(5))
        await settle()
        mine.gate.set()
        assert await draining == 0
        reached = len(other.events)
        await until(lambda: len(other.events) > reached + 100)
    assert len(mine.events) == 10
    assert sorted(mine.events + other.events) == list(range(counter.next))


async def test_an_ended_producer_takes_back_what_a_leaving_consumer_did_not_handle() -> None:
    counter, leaving, staying = Counter(end=20), Sink(open_gate=False), Sink()
    subscription = leaving.subscribe_to(counter, max_demand=20, min_demand=15)
    async with Supervisor([counter, leaving, staying]) as supervisor:
        await settle()
        staying.subscribe_to(counter, max_demand=10)
        await settle()
        assert counter.demands == [20, 10]
        subscription.cancel()
        leaving.gate.set()
        async with asyncio.timeout(5):
            await supervisor.wait()
    assert leaving.events == list(range(5))
    assert staying.events == list(range(5, 20))


async def test_consumers_that_nobody_feeds_any_more_end_with_the_last_producer() -> None:
    counter, fed, idle = Counter(end=10), Sink(), Sink()
    fed.subscribe_to(counter)
    async with Supervisor([counter, fed, idle]) as supervisor, asyncio.timeout(5):
        await supervisor.wait()
    assert fed.events == list(range(10))


async def test_broadcast_drains_to_all() -> None:
    counter, sinks = Counter(dispatcher=BroadcastDispatcher()), [Sink() for _ in range(3)]
    for size, sink in enumerate(sinks, start=1):
        sink.subscribe_to(counter, max_demand=size * 7)
    async with Supervisor([counter, *sinks]):
        await until(lambda: len(sinks[0].events) > 100)
    assert all(sink.events == list(range(counter.next)) for sink in sinks)


async def test_an_error_in_the_block_still_drains() -> None:
    counter, sink = Counter(), Sink()
    sink.subscribe_to(counter, max_demand=10)

    async def block() -> None:
        async with Supervisor([counter, sink]):
            await until(lambda: sink.events)
            raise KeyError("mine")

    with pytest.raises(KeyError):
        await block()
    assert sink.events == list(range(counter.next))


async def test_a_cancelled_block_stops_at_once() -> None:
    counter, sink = Counter(), Sink(open_gate=False)
    sink.subscribe_to(counter, max_demand=10)
    supervisor = Supervisor([counter, sink])

    async def block() -> None:
        async with supervisor:
            await asyncio.Event().wait()

    task = asyncio.create_task(block())
    await until(lambda: sink.slices)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert supervisor.finished
    assert len(sink.slices) == 1


async def test_giving_up_waiting_stops_no_stage() -> None:
    counter, sink = Counter(), Sink()
    sink.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter, sink]) as supervisor:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await supervisor.wait()
        reached = len(sink.events)
        await until(lambda: len(sink.events) > reached + 50)


async def test_nothing_started_cannot_be_drained() -> None:
    with pytest.raises(RuntimeError, match="has not been started"):
        await Supervisor([Sink()]).drain()


async def test_a_supervisor_of_nothing_has_finished() -> None:
    await run()
