"""The pipeline's own stages: what comes in goes out once, in slices as they are wanted, and a bad event costs only itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from aggregation_tools import EVENTS, NOW_US, Event, batch, count, table, tick
from pipeline_tools import settle, until
from streamgauge.epoch import Contribution
from streamgauge.errors import InternalError
from streamgauge.event import EventBatch
from streamgauge.events.decode import EventDecoder
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.metrics.expression import Expression
from streamgauge.partials import Partials, merge
from streamgauge.pipeline import Supervisor
from streamgauge.stages import aggregator as aggregator_module
from streamgauge.stages.aggregator import Aggregator, AggregatorSettings
from streamgauge.stages.producer import EventProducer
from streamgauge.stages.raw import join_raw, raw_rows
from streamgauge.stages.transformer import Transformer

BY_SHOP = Metric(name="by shop", by=("shop",), aggregates=("count",))
LATENCY = Metric(name="latency", aggregates=("count", "sum", "min", "max", "p50"))


def ticks(number: int, first: int = 0) -> list[Event]:
    return [tick(value=value) for value in range(first, first + number)]


def values(events: EventBatch | tuple[()]) -> list[float]:
    return [] if isinstance(events, tuple) else events.value.values.tolist()


# The producer.


@given(st.lists(st.integers(1, 12), max_size=6), st.lists(st.integers(1, 20), min_size=1))
async def test_batches_go_out_in_order_in_slices_no_larger_than_wanted(
    sizes: list[int], demands: list[int]
) -> None:
    producer = EventProducer(capacity=1000)
    first = 0
    for size in sizes:
        producer.push(batch(ticks(size, first)))
        first += size
    producer.finish()
    assert producer.buffered == first
    seen: list[float] = []
    turn = 0
    while found := values(await producer.handle_demand(demands[turn % len(demands)])):
        assert len(found) <= demands[turn % len(demands)]
        seen += found
        turn += 1
    assert seen == list(range(first))
    assert producer.buffered == 0


async def test_demand_waits_for_an_event() -> None:
    producer = EventProducer(capacity=10)
    waiting = asyncio.create_task(producer.handle_demand(5))
    await settle()
    assert not waiting.done()
    producer.push(batch(ticks(2)))
    assert values(await asyncio.wait_for(waiting, 5)) == [0, 1]


async def test_a_demand_that_is_given_up_loses_nothing() -> None:
    producer = EventProducer(capacity=10)
    waiting = asyncio.create_task(producer.handle_demand(5))
    await settle()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    producer.push(batch(ticks(2)))
    assert values(await producer.handle_demand(5)) == [0, 1]


async def test_sources_wait_while_the_producer_is_full_though_what_is_accepted_is_always_taken() -> None:
    producer = EventProducer(capacity=10)
    producer.push(batch(ticks(9)))
    before = producer.has_room
    await asyncio.wait_for(producer.room(), 5)
    producer.push(batch(ticks(50)))
    assert (before, producer.has_room) == (True, False)
    waiting = asyncio.create_task(producer.room())
    await producer.handle_demand(9)
    await producer.handle_demand(40)
    await settle()
    assert producer.buffered == 10
    assert not waiting.done()
    await producer.handle_demand(1)
    await asyncio.wait_for(waiting, 5)
    assert producer.has_room
    assert producer.buffered == 9


async def test_a_producer_that_is_finished_ends_when_what_waited_has_gone_out() -> None:
    producer = EventProducer(capacity=10)
    producer.push(batch(ticks(1)))
    producer.finish()
    assert values(await producer.handle_demand(10)) == [0]
    assert await producer.handle_demand(10) == ()


# The transformer.


@dataclass
class Filtered:
    """What a transformer told of what it left out."""

    left_out: list[int] = field(default_factory=list)
    failed: list[tuple[int, str]] = field(default_factory=list)

    def transformer(self, keep: str | None) -> Transformer:
        return Transformer(
            keep=None if keep is None else Expression.parse(keep),
            settled=lambda events, number, failures: self.left_out.append(number),
            failed=lambda events, error: self.failed.append((len(events), str(error))),
        )


async def test_what_is_not_kept_is_counted_as_filtered() -> None:
    seen = Filtered()
    transformer = seen.transformer("value IS NULL OR value >= 3")
    kept = await transformer.handle_events(batch([*ticks(5), tick("none")]))
    assert kept.index.tolist() == [3, 4, 5]
    assert seen.left_out == [3]


@pytest.mark.parametrize(
    ("keep", "wanted", "left_out"), [(None, 5, []), ("value >= 0", 5, []), ("value < 0", 0, [5])]
)
async def test_everything_or_nothing_may_be_kept(keep: str | None, wanted: int, left_out: list[int]) -> None:
    seen = Filtered()
    assert len(await seen.transformer(keep).handle_events(batch(ticks(5)))) == wanted
    assert seen.left_out == left_out


async def test_what_a_transformer_cannot_handle_is_handed_on_as_failed() -> None:
    seen = Filtered()
    await seen.transformer("value > 1").handle_failed(batch(ticks(1)), ValueError("no"))
    assert seen.failed == [(1, "no")]


# The aggregator.


@dataclass
class Clock:
    """The time, as an aggregator reads it: what counting costs is what `cost` says."""

    now: float = 1000.0
    cost: float = 0.0
    calls: int = 0

    def perf_counter(self) -> float:
        self.calls += 1
        self.now += self.cost
        return self.now

    def monotonic(self) -> float:
        return self.now


@dataclass
class Book:
    """Keeps what an aggregator books."""

    booked: list[Contribution] = field(default_factory=list)

    def aggregator(
        self, *metrics: Metric, latency: Metric | None = None, max_wait_s: float = 60.0, max_batch: int = 1000,
        raw_events: bool = False, replayed_to: int = 0,
    ) -> Aggregator:  # fmt: skip
        chosen = metrics or (EVENTS,)
        settings = AggregatorSettings(
            metrics=chosen,
            limits={metric.name: SeriesLimit(100) for metric in chosen},
            latency=latency,
            raw_events=raw_events,
            max_batch=max_batch,
            max_wait_s=max_wait_s,
        )
        return Aggregator(
            settings, book=self.booked.append, now_us=lambda: NOW_US + 2000, replayed_to=replayed_to
        )

    def settled(self, fate: str, source: str = "http") -> int:
        return sum(one.settled.get(source, {}).get(fate, 0) for one in self.booked)

    def counted(self, metric: Metric = EVENTS) -> Partials:
        parts = [one.partials[metric.name] for one in self.booked if metric.name in one.partials]
        return merge(parts, metric.states, 1)


async def test_many_small_slices_are_counted_together() -> None:
    book = Book()
    aggregator = book.aggregator()
    whole = batch(ticks(100))
    for start in range(0, 100, 10):
        await aggregator.handle_events(whole[start : start + 10])
    assert aggregator.buffered == 100
    await until(lambda: book.booked)
    (one,) = book.booked
    assert one.settled == {"http": {"stored": 100}}
    assert table(one.partials["events"]) == table(count(EVENTS, ticks(100)))
    assert aggregator.buffered == 0


async def test_a_slice_is_counted_at_once_when_little_comes_in() -> None:
    book = Book()
    aggregator = book.aggregator(max_wait_s=3600.0)
    await aggregator.handle_events(batch(ticks(1)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert book.settled("stored") == 1


async def test_when_counting_is_dear_slices_wait_for_company(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(cost=50.0)
    monkeypatch.setattr(aggregator_module, "time", clock)
    book = Book()
    aggregator = book.aggregator(max_wait_s=3600.0)
    await aggregator.handle_events(batch(ticks(3)))
    await until(lambda: book.booked)
    await aggregator.handle_events(batch(ticks(3)))
    await aggregator.handle_events(batch(ticks(3)))
    await settle()
    assert book.settled("stored") == 3
    aggregator.flush()
    assert [one.settled for one in book.booked] == [{"http": {"stored": 3}}, {"http": {"stored": 6}}]
    aggregator.flush()
    assert len(book.booked) == 2


async def test_a_slice_never_waits_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(cost=50.0)
    monkeypatch.setattr(aggregator_module, "time", clock)
    book = Book()
    aggregator = book.aggregator(max_wait_s=0.0)
    await aggregator.handle_events(batch(ticks(3)))
    await until(lambda: len(book.booked) == 1)
    await aggregator.handle_events(batch(ticks(3)))
    await until(lambda: len(book.booked) == 2)


async def test_a_full_batch_is_not_made_to_wait() -> None:
    book = Book()
    aggregator = book.aggregator(max_batch=10)
    await aggregator.handle_events(batch(ticks(9)))
    assert not book.booked
    await aggregator.handle_events(batch(ticks(1)))
    assert book.settled("stored") == 10


async def test_epochs_are_never_mixed() -> None:
    book = Book()
    aggregator = book.aggregator()
    for seq, epoch in enumerate((1, 1, 2, 2, 1), 1):
        await aggregator.handle_events(batch(ticks(seq), seq=seq, epoch=epoch))
    aggregator.flush()
    assert [(one.epoch, one.settled["http"]["stored"]) for one in book.booked] == [(1, 3), (2, 7), (1, 5)]


async def test_events_of_different_shapes_are_not_mixed_and_all_are_counted() -> None:
    book = Book()
    aggregator = book.aggregator()
    await aggregator.handle_events(batch(ticks(2)))
    await aggregator.handle_events(batch(ticks(3), decoder=EventDecoder(("shop",))))
    aggregator.flush()
    assert [one.settled["http"]["stored"] for one in book.booked] == [2, 3]


async def test_each_source_has_its_own_count() -> None:
    book = Book()
    aggregator = book.aggregator()
    await aggregator.handle_events(batch(ticks(2), source="mqtt"))
    await aggregator.handle_events(batch(ticks(3), source="http"))
    aggregator.flush()
    (one,) = book.booked
    assert one.settled == {"mqtt": {"stored": 2}, "http": {"stored": 3}}


async def test_an_empty_slice_is_nothing() -> None:
    book = Book()
    aggregator = book.aggregator()
    await aggregator.handle_events(batch(ticks(2))[:0])
    aggregator.flush()
    assert not book.booked


async def test_of_equal_moments_the_last_is_that_of_the_later_append() -> None:
    book = Book()
    aggregator = book.aggregator()
    for seq, value in ((1, 10), (2, 20)):
        await aggregator.handle_events(batch([tick(value=value), tick(value=value + 1)], seq=seq))
    aggregator.flush()
    assert [row["last"] for row in table(book.counted()).values()] == [21.0]


def shop_that_may_fail(row: Any) -> Any:
    """Give the shop of an event, and fail on a bad one."""
    found = row.shop
    if found == "bad":
        raise ValueError("cannot handle this shop")
    return found


def fragile(events: Sequence[Event], getters: Mapping[str, Callable[[Any], Any]], *, seq: int) -> EventBatch:
    one = batch(events, seq=seq)
    original = one.getters["shop"]
    assert original is not None
    one.rows = [Row(original(row), row, row.user_id, row.event_id) for row in one.rows]
    one.getters = {**{name: one.getters[name] for name in ("user_id", "event_id")}, **getters}
    return one


@dataclass
class Row:
    """An event's row whose shop can be looked at by name."""

    shop: Any
    row: Any
    user_id: Any
    event_id: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.row, name)


@given(
    st.lists(
        st.lists(st.sampled_from(["good", "good", "fine", "bad"]), min_size=1, max_size=9),
        min_size=1,
        max_size=5,
    )
)
async def test_only_events_that_cannot_be_counted_are_set_aside(lists: list[list[str]]) -> None:
    book = Book()
    aggregator = book.aggregator(BY_SHOP, raw_events=True)
    getters = {"shop": shop_that_may_fail}
    with capture_logs():
        for seq, shops in enumerate(lists, 1):
            await aggregator.handle_events(fragile([tick(shop=shop) for shop in shops], getters, seq=seq))
        aggregator.flush()
    flat = [(seq, index, shop) for seq, shops in enumerate(lists, 1) for index, shop in enumerate(shops)]
    good = [shop for _, _, shop in flat if shop != "bad"]
    assert book.settled("dead_lettered") == len(flat) - len(good)
    assert book.settled("stored") == len(good)
    assert {series: row["count"] for (series, _), row in table(book.counted(BY_SHOP), ["count"]).items()} == {
        (shop,): good.count(shop) for shop in set(good)
    }
    stored = [
        (seq, index)
        for one in book.booked
        for rows in one.raw
        for seq, index in zip(rows.seq.tolist(), rows.index.tolist(), strict=True)
    ]
    assert stored == [(seq, index) for seq, index, shop in flat if shop != "bad"]


async def test_an_event_that_fails_in_the_pipeline_is_set_aside_too() -> None:
    book = Book()
    with capture_logs():
        await book.aggregator().handle_failed(batch(ticks(1)), ValueError("no"))
    assert book.settled("dead_lettered") == 1


async def test_what_is_set_aside_is_told_once_a_second_with_the_number_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    monkeypatch.setattr(aggregator_module, "time", clock)
    book = Book()
    aggregator = book.aggregator()
    with capture_logs() as logged:
        for second in (0.0, 0.5, 0.9, 1.0, 5.0):
            clock.now = second
            await aggregator.handle_failed(batch(ticks(1), seq=3), ValueError("no"))
    assert [(entry["events"], entry["seq"]) for entry in logged] == [(1, 3), (3, 3), (1, 3)]
    assert book.settled("dead_lettered") == 5


async def test_a_batch_without_its_lines_cannot_be_stored() -> None:
    one = batch(ticks(1))
    one.lines = None
    with pytest.raises(InternalError, match="without its lines"):
        raw_rows(one, NOW_US)


async def test_latency_is_that_from_arrival_and_not_counted_for_what_came_back_from_the_journal() -> None:
    book = Book()
    aggregator = book.aggregator(latency=LATENCY, replayed_to=1)
    await aggregator.handle_events(batch(ticks(4), seq=1))
    await aggregator.handle_events(batch(ticks(3), seq=2))
    aggregator.flush()
    ((_, row),) = table(book.counted(LATENCY), ["count", "sum", "min", "max", "p50"]).items()
    assert row == {"count": 3, "sum": 6.0, "min": 2.0, "max": 2.0, "p50": 2.0}


# Raw rows.


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 400))
def test_raw_rows_are_joined_without_a_loss(sizes: list[int], most_bytes: int) -> None:
    rows = [
        raw_rows(
            batch(
                [tick("größe" if seq % 2 else "a", user_id=f"{seq}", value=place) for place in range(size)],
                seq=seq,
            ),
            NOW_US + seq,
        )
        for seq, size in enumerate(sizes, 1)
    ]
    joined = join_raw(rows, most_bytes)
    for read in (
        lambda one: one.seq.tolist(),
        lambda one: one.index.tolist(),
        texts_of,
        lambda one: one.processed_us.tolist(),
    ):
        assert [value for one in joined for value in read(one)] == [
            value for one in rows for value in read(one)
        ]
    assert all(len(one.event.data) <= most_bytes or len(set(one.seq.tolist())) == 1 for one in joined)
    kinds = [str(one.type.values[code]) for one in joined for code in one.type.codes.tolist()]
    assert kinds == ["größe" if seq % 2 else "a" for seq, size in enumerate(sizes, 1) for _ in range(size)]


def texts_of(one: Any) -> list[bytes]:
    ends = one.event.offsets.tolist()
    return [bytes(one.event.data[start:end]) for start, end in pairwise(ends)]


def test_a_slice_of_a_batch_has_the_lines_of_its_own_events() -> None:
    one = raw_rows(batch(ticks(5))[2:4], NOW_US)
    assert [b'"value":2' in text for text in texts_of(one)] == [True, False]
    assert [b'"value":3' in text for text in texts_of(one)] == [False, True]
    assert one.index.tolist() == [2, 3]


def test_ids_are_texts_and_missing_where_an_event_has_none() -> None:
    one = raw_rows(
        batch([tick(user_id="größe"), tick(user_id=7), tick(user_id=1.5), tick(user_id=None), tick()]), NOW_US
    )
    assert one.user_id is not None
    assert one.event_id is None
    ends = one.user_id.offsets.tolist()
    assert [one.user_id.data[a:b].decode() for a, b in pairwise(ends)] == [
        "größe",
        "7",
        "1.5",
        "",
        "",
    ]
    assert one.user_id.valid is not None
    assert one.user_id.valid.tolist() == [True, True, True, False, False]


# All three.


async def test_every_event_is_stored_or_filtered_exactly_once_on_its_way_through_the_pipeline() -> None:
    book, seen = Book(), Filtered()
    producer = EventProducer(capacity=10_000)
    transformers = [seen.transformer("value < 40") for _ in range(3)]
    aggregators = [book.aggregator(max_batch=37) for _ in range(2)]
    for transformer in transformers:
        transformer.subscribe_to(producer, max_demand=20, min_demand=10)
        for aggregator in aggregators:
            aggregator.subscribe_to(transformer, max_demand=20, min_demand=10)
    for seq in range(1, 11):
        producer.push(batch(ticks(50), seq=seq))
    producer.finish()
    async with Supervisor([producer, *transformers, *aggregators]) as supervisor, asyncio.timeout(10):
        await supervisor.wait()
    for aggregator in aggregators:
        aggregator.flush()
    assert book.settled("stored") == 400
    assert sum(seen.left_out) == 100
    ((_, row),) = table(book.counted(), ["count", "sum", "max"]).items()
    assert row == {"count": 400, "sum": 10 * sum(range(40)), "max": 39.0}
