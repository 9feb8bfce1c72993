"""Subscriptions that come, go and are shared."""

import asyncio

import pytest

from pipeline_tools import Counter, Pass, Sink, Source, run, settle, until
from streamgauge.pipeline import BroadcastDispatcher, PartitionDispatcher, Supervisor


async def test_several_producers_feed_one_consumer() -> None:
    low, high, sink = Counter(end=50), Counter(start=1000, end=1050), Sink()
    sink.subscribe_to(low, max_demand=10)
    sink.subscribe_to(high, max_demand=20, min_demand=16)
    await run(low, high, sink)
    assert sorted(sink.events) == [*range(50), *range(1000, 1050)]
    assert [event for event in sink.events if event < 1000] == list(range(50))
    assert (low.demands[:2], high.demands[:2]) == ([10, 5], [20, 4])


async def test_consumers_share_the_events_of_a_producer() -> None:
    counter, one, two = Counter(end=100), Sink(), Sink()
    one.subscribe_to(counter, max_demand=10)
    two.subscribe_to(counter, max_demand=10)
    await run(counter, one, two)
    assert sorted(one.events + two.events) == list(range(100))
    assert one.events
    assert two.events


async def test_a_slow_consumer_does_not_hold_back_those_that_share_with_it() -> None:
    counter, slow, fast = Counter(end=1000), Sink(open_gate=False), Sink()
    slow.subscribe_to(counter, max_demand=10)
    fast.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter, slow, fast]):
        await until(lambda: len(fast.events) == 990)
        slow.gate.set()
    assert len(slow.events) == 10


async def test_broadcast_gives_every_event_to_everybody_at_the_pace_of_the_slowest() -> None:
    counter, slow, fast = Counter(end=100, dispatcher=BroadcastDispatcher()), Sink(open_gate=False), Sink()
    slow.subscribe_to(counter, max_demand=10, min_demand=0)
    fast.subscribe_to(counter, max_demand=20, min_demand=0)
    async with Supervisor([counter, slow, fast]) as supervisor:
        await settle()
        assert fast.events == list(range(10))
        slow.gate.set()
        await supervisor.wait()
    assert slow.events == fast.events == list(range(100))
    assert counter.events_out == 100


async def test_a_selector_chooses_what_a_consumer_of_a_broadcast_sees() -> None:
    counter, tens, everything = Counter(end=100, dispatcher=BroadcastDispatcher()), Sink(), Sink()
    tens.subscribe_to(counter, max_demand=5, selector=lambda events: [e for e in events if e % 10 == 0])
    everything.subscribe_to(counter, max_demand=20)
    await run(counter, tens, everything)
    assert tens.events == list(range(0, 100, 10))
    assert everything.events == list(range(100))


async def test_a_late_consumer_gets_what_comes_from_then_on() -> None:
    source, early, late = Source(dispatcher=BroadcastDispatcher()), Sink(), Sink()
    early.subscribe_to(source, max_demand=10)
    async with Supervisor([source, early, late]):
        source.feed(1, 2, 3)
        await until(lambda: early.events == [1, 2, 3])
        late.subscribe_to(source, max_demand=10)
        await settle()
        source.feed(4, 5)
        await until(lambda: early.events == [1, 2, 3, 4, 5])
    assert late.events == [4, 5]


async def test_a_late_consumer_shares_from_then_on() -> None:
    counter, early, late = Counter(), Sink(open_gate=False), Sink()
    early.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter, early, late]):
        await settle()
        late.subscribe_to(counter, max_demand=10)
        await until(lambda: len(late.events) >= 100)
        early.gate.set()
    assert late.events[:100] == list(range(10, 110))


async def test_what_a_cancelled_consumer_did_not_take_up_goes_to_others() -> None:
    counter, leaving, staying = Counter(end=100), Sink(open_gate=False), Sink()
    subscription = leaving.subscribe_to(counter, max_demand=10, min_demand=8)
    async with Supervisor([counter, leaving, staying]) as supervisor:
        await settle()
        assert (leaving.events, leaving.buffered, counter.events_out) == ([0, 1], 8, 10)
        staying.subscribe_to(counter, max_demand=10, min_demand=8)
        subscription.cancel()
        subscription.cancel()
        assert (leaving.buffered, counter.buffered) == (0, 8)
        await until(lambda: staying.events == list(range(2, 100)))
        leaving.gate.set()
        await supervisor.wait()
    assert leaving.events == [0, 1]
    assert counter.events_out == 100


async def test_what_comes_back_from_a_cancelled_consumer_goes_out_before_what_waits() -> None:
    class Generous(Counter):
        async def handle_demand(self, demand: int) -> list[int]:
            return await super().handle_demand(demand * 2)

    generous, leaving, staying = Generous(end=20), Sink(open_gate=False), Sink()
    subscription = leaving.subscribe_to(generous, max_demand=10, min_demand=8)
    async with Supervisor([generous, leaving, staying]) as supervisor:
        await settle()
        assert generous.buffered == 10
        subscription.cancel()
        staying.subscribe_to(generous, max_demand=5)
        leaving.gate.set()
        await supervisor.wait()
    assert leaving.events == [0, 1]
    assert staying.events == list(range(2, 20))


async def test_a_cancelled_consumer_no_longer_holds_a_broadcast_back() -> None:
    counter, stuck, free = Counter(end=100, dispatcher=BroadcastDispatcher()), Sink(open_gate=False), Sink()
    subscription = stuck.subscribe_to(counter, max_demand=10)
    free.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter, stuck, free]):
        await settle()
        assert len(free.events) == 10
        subscription.cancel()
        await until(lambda: free.events == list(range(100)))
        stuck.gate.set()
    assert stuck.events == list(range(5))


async def test_a_cancelled_subscription_withdraws_its_unserved_demand() -> None:
    source, leaving, staying = Source(), Sink(), Sink()
    subscription = leaving.subscribe_to(source, max_demand=100)
    async with Supervisor([source, leaving, staying]):
        await until(lambda: source.demands == [100])
        subscription.cancel()
        assert source.demand == 0
        source.feed(*range(60))
        await until(lambda: source.buffered == 60)
        staying.subscribe_to(source, max_demand=10)
        await until(lambda: staying.events == list(range(60)))
        await until(lambda: source.demands[1:])
    assert leaving.events == []


async def test_partitions_keep_each_key_with_one_consumer_in_order() -> None:
    counter = Counter(end=100, dispatcher=PartitionDispatcher(partitions=2, key=lambda event: event % 2))
    even, odd = Sink(), Sink()
    even.subscribe_to(counter, max_demand=10, partition=0)
    odd.subscribe_to(counter, max_demand=10, partition=1)
    await run(counter, even, odd)
    assert even.events == list(range(0, 100, 2))
    assert odd.events == list(range(1, 100, 2))


async def test_a_full_partition_holds_the_producer_back_until_somebody_takes_from_it() -> None:
    counter = Counter(
        end=200, dispatcher=PartitionDispatcher(partitions=2, key=lambda event: event % 2, max_buffered=10)
    )
    even, odd = Sink(), Sink()
    even.subscribe_to(counter, max_demand=100, partition=0)
    async with Supervisor([counter, even, odd]) as supervisor:
        await settle(200)
        assert counter.buffered == 10
        assert even.events == list(range(0, 20, 2))
        odd.subscribe_to(counter, max_demand=10, partition=1)
        async with asyncio.timeout(5):
            await supervisor.wait()
    assert odd.events == list(range(1, 200, 2))
    assert even.events == list(range(0, 200, 2))


async def test_a_new_consumer_of_a_partition_gets_what_the_old_one_left() -> None:
    counter = Counter(end=30, dispatcher=PartitionDispatcher(partitions=1, key=lambda event: event))
    old, new = Sink(open_gate=False), Sink()
    subscription = old.subscribe_to(counter, max_demand=10, min_demand=8, partition=0)
    async with Supervisor([counter, old, new]) as supervisor:
        await settle()
        subscription.cancel()
        new.subscribe_to(counter, max_demand=10, partition=0)
        await until(lambda: new.events == list(range(2, 30)))
        old.gate.set()
        await supervisor.wait()


async def test_a_stage_that_has_ended_cannot_be_subscribed() -> None:
    counter, sink, late = Counter(end=1), Sink(), Sink()
    sink.subscribe_to(counter)
    await run(counter, sink)
    with pytest.raises(RuntimeError, match="stage Counter has ended"):
        late.subscribe_to(counter)
    with pytest.raises(RuntimeError, match="stage Sink has ended"):
        sink.subscribe_to(Counter())


async def test_a_refused_subscription_leaves_no_trace() -> None:
    counter, sink = Counter(end=10), Sink()
    with pytest.raises(ValueError, match="min_demand: found 10; give 0 to 9"):
        sink.subscribe_to(counter, max_demand=10, min_demand=10)
    with pytest.raises(ValueError, match="partition"):
        sink.subscribe_to(counter, partition=3)
    sink.subscribe_to(counter)
    await run(counter, sink)
    assert sink.events == list(range(10))


async def test_stages_fan_out_and_in_again_without_loss() -> None:
    counter, workers, sink = Counter(end=1000), [Pass() for _ in range(4)], Sink()
    for worker in workers:
        worker.subscribe_to(counter, max_demand=20)
        sink.subscribe_to(worker, max_demand=30)
    await run(counter, *workers, sink)
    assert sorted(sink.events) == list(range(1000))
    assert all(worker.events_in > 0 for worker in workers)
