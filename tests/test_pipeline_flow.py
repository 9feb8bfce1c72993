"""What moves when, in chains of stages: the behaviour of GenStage."""

import asyncio

import streamgauge.pipeline
from pipeline_tools import Counter, Pass, Sink, Source, run, settle, until, until_seen
from streamgauge.pipeline import Supervisor


async def test_with_80_percent_minimum_the_sink_sees_slices_of_20_and_the_producer_demands_of_20() -> None:
    counter, sink = Counter(end=200), Sink()
    sink.subscribe_to(counter, max_demand=100, min_demand=80)
    await run(counter, sink)
    assert counter.demands[:6] == [100, 20, 20, 20, 20, 20]
    assert sink.sizes == [20] * 10
    assert sink.events == list(range(200))


async def test_by_default_a_consumer_asks_for_1000_and_gets_slices_of_500() -> None:
    counter, sink = Counter(end=2000), Sink()
    sink.subscribe_to(counter)
    await run(counter, sink)
    assert counter.demands[:3] == [1000, 500, 500]
    assert sink.sizes == [500] * 4


async def test_with_a_maximum_of_one_events_come_one_at_a_time() -> None:
    counter, sink = Counter(end=5), Sink()
    sink.subscribe_to(counter, max_demand=1, min_demand=0)
    await run(counter, sink)
    assert counter.demands == [1] * 6
    assert sink.slices == [[0], [1], [2], [3], [4]]


async def test_small_answers_are_not_asked_for_again_before_the_minimum_is_reached() -> None:
    source, sink = Source(), Sink()
    sink.subscribe_to(source, max_demand=100, min_demand=80)
    async with Supervisor([source, sink]):
        for event in range(25):
            source.feed(event)
            await until_seen(sink, event + 1)
        await settle()
    # 100 wanted at first; after 20 single events the consumer asks for 20 more
    assert source.demands == [*range(100, 80, -1), *range(100, 94, -1)]
    assert sink.sizes == [1] * 25


async def test_never_more_than_the_maximum_is_under_way_on_a_subscription() -> None:
    counter, sink = Counter(), Sink(open_gate=False)
    sink.subscribe_to(counter, max_demand=10, min_demand=5)
    async with Supervisor([counter, sink], drain_timeout=0):
        await settle()
        assert counter.demands == [10]
        assert sink.slices == [[0, 1, 2, 3, 4]]
        assert sink.buffered == 5
    assert counter.events_out == 10


async def test_demand_passes_through_the_middle_of_a_chain() -> None:
    counter, doubler, sink = Counter(end=200), Pass(times=2), Sink()
    sink.subscribe_to(doubler, max_demand=100, min_demand=50)
    doubler.subscribe_to(counter, max_demand=100, min_demand=80)
    await run(counter, doubler, sink)
    assert counter.demands[:4] == [100, 20, 20, 20]
    assert [len(events) for events in doubler.slices] == [20] * 10
    assert sink.sizes == [40] * 10
    assert sink.events == [event for event in range(200) for _ in range(2)]


async def test_slices_are_cut_to_the_size_of_each_subscription() -> None:
    counter, doubler, sink = Counter(end=160), Pass(times=2), Sink()
    sink.subscribe_to(doubler, max_demand=100, min_demand=50)
    doubler.subscribe_to(counter, max_demand=100, min_demand=20)
    await run(counter, doubler, sink)
    assert [len(events) for events in doubler.slices] == [80, 20, 60]
    assert max(sink.sizes) == 50
    assert sink.events == [event for event in range(160) for _ in range(2)]


async def test_a_producer_consumer_nobody_asks_asks_nobody() -> None:
    counter, middle = Counter(), Pass()
    middle.subscribe_to(counter, max_demand=10)
    async with Supervisor([counter, middle]):
        await settle()
    assert counter.demands == []


async def test_what_a_producer_consumer_emits_beyond_the_demand_waits_and_it_takes_no_more() -> None:
    counter, doubler, sink = Counter(), Pass(times=2), Sink(open_gate=False)
    doubler.subscribe_to(counter, max_demand=10, min_demand=8)
    sink.subscribe_to(doubler, max_demand=3, min_demand=2)
    async with Supervisor([counter, doubler, sink], drain_timeout=0):
        await settle()
        assert doubler.slices == [[0, 1]]
        assert counter.demands == [10]
        assert (doubler.events_out, doubler.outlet.buffered, doubler.inlet.buffered) == (3, 1, 8)
        assert (doubler.buffered, doubler.demand) == (9, 0)
        sink.gate.set()
        await until(lambda: len(sink.events) >= 40)
        assert sink.events[:40] == [event for event in range(20) for _ in range(2)]


async def test_a_producer_consumer_that_keeps_everything_goes_on_asking() -> None:
    counter, filtering, sink = Counter(end=100), Pass(times=0), Sink()
    filtering.subscribe_to(counter, max_demand=10, min_demand=8)
    sink.subscribe_to(filtering, max_demand=10)
    await run(counter, filtering, sink)
    assert [len(events) for events in filtering.slices] == [2] * 50
    assert sink.slices == []


async def test_a_producer_that_gives_too_much_is_not_asked_before_that_has_gone_out() -> None:
    class Generous(Counter):
        async def handle_demand(self, demand: int) -> list[int]:
            return await super().handle_demand(demand) + await super().handle_demand(demand)

    generous, sink = Generous(end=40), Sink(open_gate=False)
    sink.subscribe_to(generous, max_demand=10, min_demand=5)
    async with Supervisor([generous, sink]) as supervisor:
        await settle()
        assert (generous.demands, generous.buffered) == ([10, 10], 10)
        sink.gate.set()
        await supervisor.wait()
    assert sink.events == list(range(40))


async def test_a_slice_that_fits_arrives_as_the_same_object() -> None:
    source, middle, sink = Source(), Pass(), Sink()
    sink.subscribe_to(middle, max_demand=10, min_demand=0)
    middle.subscribe_to(source, max_demand=10, min_demand=0)
    given: list[list[int]] = []

    async def handle_demand(demand: int) -> list[int]:
        given.append([1, 2, 3] if not given else [])
        return given[-1]

    source.handle_demand = handle_demand  # type: ignore[method-assign]
    await run(source, middle, sink)
    assert middle.slices[0] is given[0]


async def test_events_arrive_within_a_few_turns_of_the_loop() -> None:
    source, middle, sink = Source(), Pass(), Sink()
    sink.subscribe_to(middle)
    middle.subscribe_to(source)
    async with Supervisor([source, middle, sink]):
        await settle()
        source.feed(1)
        # one for the source's own event, then one for each hand-over
        for _ in range(4):
            await asyncio.sleep(0)
        assert sink.events == [1]


async def test_figures_add_up_along_the_chain() -> None:
    counter, doubler, sink = Counter(end=300), Pass(times=2), Sink(name="the end")
    sink.subscribe_to(doubler, max_demand=100)
    doubler.subscribe_to(counter, max_demand=100)
    await run(counter, doubler, sink)
    assert (counter.name, doubler.name, sink.name) == ("Counter", "Pass", "the end")
    assert (counter.events_in, counter.events_out) == (300, 300)
    assert (doubler.events_in, doubler.events_out) == (300, 600)
    assert (sink.events_in, sink.events_out, sink.demand) == (600, 0, 0)
    assert counter.buffered == doubler.buffered == sink.buffered == 0
    assert all(stage.busy_seconds > 0 for stage in (counter, doubler, sink))


def test_the_public_names_are_those_that_exist() -> None:
    assert all(hasattr(streamgauge.pipeline, name) for name in streamgauge.pipeline.__all__)
    assert {"Producer", "ProducerConsumer", "Consumer", "Supervisor", "StageFailed"} <= set(
        streamgauge.pipeline.__all__
    )
