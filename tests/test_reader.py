"""Reads while commits happen: whatever lies between, nothing is counted zero or two times."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_tools import NOW_S, batch, tick
from pipeline_tools import until
from streamgauge.config import from_mapping
from streamgauge.epoch import Contribution, Epoch, EpochBook
from streamgauge.errors import StoreError, UnknownMetric
from streamgauge.metric import SeriesLimit, compute
from streamgauge.partials import Partials, empty, merge
from streamgauge.reader import Reader
from streamgauge.settings import metrics_of
from streamgauge.store import Snapshot
from web_tools import Served, serving

T = TypeVar("T")
EVENTS = metrics_of(from_mapping({}))["events"]


class Gate:
    """A call that is under way: it runs when it is let in, and answers when it is let out."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._answer: Any = None
        self.ran = False
        self.left = asyncio.Event()

    def let_in(self) -> None:
        if not self.ran:
            self._answer, self.ran = self._call(), True

    async def answer(self) -> Any:
        await self.left.wait()
        self.let_in()
        return self._answer


class GatedReader(Reader):
    """Runs its calls to the store when the test says so."""

    def __init__(self, **parts: Any) -> None:
        super().__init__(**parts)
        self.under_way: list[Gate] = []

    async def in_thread(self, call: Callable[[], T]) -> T:
        gate = Gate(call)
        self.under_way.append(gate)
        answer: T = await gate.answer()
        return answer


class Shelf:
    """A store that holds whole epochs, from the moment that `hold` is called."""

    def __init__(self) -> None:
        self.epochs: list[tuple[int, Partials]] = []

    def hold(self, epoch: Epoch) -> None:
        self.epochs.append((epoch.number, epoch.merged().get("events", empty(EVENTS.states))))

    def read(
        self,
        name: str,
        definition: str,
        by: Sequence[str],
        states: tuple[str, ...],
        *,
        start: int | None,
        end: int | None,
    ) -> Snapshot:
        held = [partials for _, partials in self.epochs]
        last = self.epochs[-1][0] if self.epochs else 0
        return Snapshot(partials=merge(held, states, 1), epochs={"0": last} if last else {})

    def extent(self, name: str) -> tuple[int, int] | None:
        buckets = [int(bucket) for _, partials in self.epochs for bucket in partials.bucket]
        return (min(buckets), max(buckets)) if buckets else None


class World:
    """A book that fills, a store that takes its epochs in two moves, and readers at every point in between."""

    def __init__(self) -> None:
        self.book = EpochBook(shard="0", committed_seq=0, next_number=1, now=0.0)
        self.shelf = Shelf()
        self.waiting: list[Contribution] = []
        store: Any = self.shelf
        self.reader = GatedReader(store=store, book=self.book, metrics={"events": EVENTS}, settle=self.settle)
        self.pushed = 0
        self.stored: Epoch | None = None

    def push(self) -> None:
        """Accept an event, a second after the last one; it waits to be counted until somebody settles."""
        seq = self.book.open.last_seq + 1
        number = self.book.admit(seq, 1)
        self.pushed += 1
        ticks = batch([tick(second=self.pushed)], seq=seq, epoch=number)
        found = compute(EVENTS, ticks, SeriesLimit(100), now_s=0.0)
        assert found is not None
        settled = {"http": {"stored": 1}}
        self.waiting.append(Contribution(epoch=number, settled=settled, partials={"events": found}))

    def settle(self) -> None:
        waiting, self.waiting = self.waiting, []
        for contribution in waiting:
            self.book.add(contribution)

    def store(self) -> None:
        """First half of a commit: the store has the epoch, and the book does not know it yet."""
        if self.stored is None and (epoch := self.book.ready()) is not None:
            self.shelf.hold(epoch)
            self.stored = epoch

    def mark(self) -> None:
        """Second half."""
        if self.stored is not None:
            self.book.mark_committed(self.stored.number)
            self.stored = None


class Reading:
    """One question, from when it is asked until it is answered."""

    def __init__(self, world: World, task: asyncio.Task[Any], gate: Gate) -> None:
        self.world, self.task, self.gate = world, task, gate

    async def finish(self) -> tuple[Any, int]:
        """Give the answer, and how many events had been pushed before it."""
        self.gate.left.set()
        return await self.task, self.world.pushed


async def begin(world: World, question: Callable[[], Any]) -> Reading:
    task = asyncio.create_task(question())
    before = len(world.reader.under_way)
    await until(lambda: len(world.reader.under_way) > before)
    return Reading(world, task, world.reader.under_way[-1])


STEPS = ("push", "push", "settle", "close", "store", "mark", "begin", "snapshot", "finish")
MOST_READERS = 4
SEEDS = st.integers(0, 2**32)


@given(SEEDS)
def test_an_answer_counts_each_event_once_whatever_is_committed_meanwhile(seed: int) -> None:
    def check(parts: Sequence[Partials], pushed: int) -> None:
        assert sum(part.count for part in parts) == pushed

    asyncio.run(interleave(seed, lambda reader: reader.parts(EVENTS, None, None), check))


@given(SEEDS)
def test_the_extent_reaches_over_all_events_whatever_is_committed_meanwhile(seed: int) -> None:
    def check(extent: tuple[int, int] | None, pushed: int) -> None:
        assert extent == ((NOW_S + 1, NOW_S + pushed) if pushed else None)

    asyncio.run(interleave(seed, lambda reader: reader.extent(EVENTS), check))


async def interleave(seed: int, ask: Callable[[Reader], Any], check: Callable[[Any, int], None]) -> None:
    """Walk at random, then let every reader finish; each is to see all that was pushed before it answers."""
    world, readings = World(), list[Reading]()
    chance = random.Random(seed)  # noqa: S311  a choice of interleavings, no secret
    for step in [*chance.choices(STEPS, k=200), *["finish"] * MOST_READERS]:
        if step == "begin" and len(readings) < MOST_READERS:
            readings.append(await begin(world, lambda: ask(world.reader)))
        elif step == "snapshot" and readings:
            chance.choice(readings).gate.let_in()
        elif step == "finish" and readings:
            check(*await readings.pop(chance.randrange(len(readings))).finish())
        elif step == "close":
            world.book.close(0.0)
        elif step in {"push", "settle", "store", "mark"}:
            getattr(world, step)()
    assert not world.book._kept, "memory of committed epochs is kept though nobody reads"
    world.reader.close()


async def test_a_read_that_failed_lets_go_of_the_memory_that_was_kept_for_it() -> None:
    world = World()
    world.push()
    world.settle()
    world.book.close(0.0)

    def broken(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is gone")

    reading = await begin(world, lambda: world.reader.parts(EVENTS, None, None))
    world.store()
    world.mark()
    assert world.book._kept
    world.shelf.read = broken  # type: ignore[method-assign, assignment]
    with pytest.raises(StoreError):
        await reading.finish()
    assert not world.book._kept
    world.reader.close()


async def test_a_read_that_was_given_up_lets_go_of_the_memory_that_was_kept_for_it() -> None:
    world = World()
    reading = await begin(world, lambda: world.reader.parts(EVENTS, None, None))
    reading.task.cancel()
    await asyncio.wait([reading.task])
    world.push()
    world.settle()
    world.book.close(0.0)
    world.store()
    world.mark()
    assert not world.book._kept
    world.reader.close()


def test_an_unknown_metric_is_named_with_those_there_are() -> None:
    reader = World().reader
    with pytest.raises(UnknownMetric, match="no metric named 'sales'; there are: events"):
        reader.metric("sales")
    reader.close()


async def test_a_real_store_answers_exactly_while_it_is_written_to() -> None:
    """Answers only ever grow, by what was sent between them; checked against commits every 10 ms."""
    async with serving(store={"commit_interval": "10ms"}) as server:
        sent = 0

        async def send() -> None:
            nonlocal sent
            for number in range(1, 60):
                await server.send(*({"type": str(number % 3)} for _ in range(number)))
                sent += number

        sending = asyncio.create_task(send())
        before = 0
        while not sending.done():
            least = sent
            count = await _count(server)
            assert least <= count <= 59 * 60 // 2
            assert count >= before
            before = count
        await sending
        assert await _count(server) == 59 * 60 // 2
        assert server.app.engine.book.committed > 1


async def _count(server: Served) -> int:
    answer = await server.get("/api/metrics/events", **{"from": "all", "by": "", "aggregates": "count"})
    return sum(series["totals"]["count"] for series in answer["series"])
