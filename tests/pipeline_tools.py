"""Stages that record what they saw, and a way to wait without a clock."""

import asyncio
from collections.abc import Callable, Hashable
from typing import Any

from streamgauge.pipeline import Consumer, Producer, ProducerConsumer, StageFailed, Supervisor
from streamgauge.pipeline.dispatcher import Dispatcher


async def until(predicate: Callable[[], object], turns: int = 5000) -> None:
    """Let the loop turn until something is true; fail when it never becomes so."""
    for _ in range(turns):
        if predicate():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not happen")


async def until_seen(sink: "Sink", count: int) -> None:
    """Let the loop turn until a sink has seen so many events."""
    await until(lambda: len(sink.events) >= count)


async def settle(turns: int = 50) -> None:
    """Let everything happen that can happen now."""
    for _ in range(turns):
        await asyncio.sleep(0)


class Counter(Producer):
    """Counts 0, 1, 2 ... and answers every demand in full, up to `end`."""

    def __init__(
        self, *, end: int | None = None, dispatcher: Dispatcher | None = None, start: int = 0
    ) -> None:
        super().__init__(dispatcher=dispatcher)
        self.next = start
        self.end = end
        self.demands: list[int] = []

    async def handle_demand(self, demand: int) -> list[int]:
        self.demands.append(demand)
        stop = self.next + demand if self.end is None else min(self.end, self.next + demand)
        events = list(range(self.next, stop))
        self.next = stop
        return events


class Source(Producer):
    """Gives what the test feeds it, and waits while there is nothing."""

    def __init__(self, *, dispatcher: Dispatcher | None = None, name: str | None = None) -> None:
        super().__init__(dispatcher=dispatcher, name=name)
        self.stock: list[Any] = []
        self.demands: list[int] = []
        self.finished = False
        self._changed = asyncio.Event()

    def feed(self, *events: Any) -> None:
        self.stock.extend(events)
        self._changed.set()

    def finish(self) -> None:
        self.finished = True
        self._changed.set()

    async def handle_demand(self, demand: int) -> list[Any]:
        self.demands.append(demand)
        while not self.stock and not self.finished:
            self._changed.clear()
            await self._changed.wait()
        events, self.stock = self.stock[:demand], self.stock[demand:]
        return events


class Pass(ProducerConsumer):
    """Emits each event `times` times."""

    def __init__(self, *, times: int = 1, dispatcher: Dispatcher | None = None) -> None:
        super().__init__(dispatcher=dispatcher)
        self.times = times
        self.slices: list[list[Any]] = []

    async def handle_events(self, events: list[Any]) -> list[Any]:
        self.slices.append(events)
        return [event for event in events for _ in range(self.times)]


class Sink(Consumer):
    """Keeps the slices that it got; while `gate` is closed it holds the slice that it has."""

    def __init__(
        self, *, name: str | None = None, open_gate: bool = True, deadline: float | None = None
    ) -> None:
        super().__init__(name=name, deadline=deadline)
        self.slices: list[list[Any]] = []
        self.gate = asyncio.Event()
        if open_gate:
            self.gate.set()

    @property
    def events(self) -> list[Any]:
        return [event for events in self.slices for event in events]

    @property
    def sizes(self) -> list[int]:
        return [len(events) for events in self.slices]

    async def handle_events(self, events: list[Any]) -> None:
        self.slices.append(events)
        await self.gate.wait()


class Fragile(Sink):
    """Raises on the events in `bad`, and the first `faults` times whatever it gets."""

    def __init__(self, *, bad: set[Hashable] | None = None, faults: int = 0, name: str | None = None) -> None:
        super().__init__(name=name)
        self.bad = bad or set()
        self.faults = faults
        self.tried: list[list[Any]] = []
        self.resets = 0

    async def handle_events(self, events: list[Any]) -> None:
        self.tried.append(events)
        if self.faults:
            self.faults -= 1
            raise OSError("the disk was away for a moment")
        if found := self.bad.intersection(events):
            raise ValueError(f"cannot handle {sorted(found, key=repr)}")
        await super().handle_events(events)

    async def on_restart(self) -> None:
        self.resets += 1


async def run(*stages: Producer | ProducerConsumer | Consumer) -> StageFailed | None:
    """Run stages until their producers have ended; gives the failure if there was one."""
    try:
        async with Supervisor(stages) as supervisor, asyncio.timeout(5):
            await supervisor.wait()
    except StageFailed as failure:
        return failure
    return None
