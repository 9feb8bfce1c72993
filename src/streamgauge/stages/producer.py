"""The first stage: hands the batches that the sources pushed to whoever has demand."""

from __future__ import annotations

import asyncio
from collections import deque

from streamgauge.event import EventBatch
from streamgauge.pipeline import Producer


class EventProducer(Producer):
    """Keeps journaled batches until they are asked for. What is pushed is never refused: it is accepted already.

    capacity: how many events may wait before `has_room` says no; sources look there before they accept more.
    """

    def __init__(self, *, capacity: int) -> None:
        super().__init__(name="receive")
        self.capacity = capacity
        self._batches: deque[EventBatch] = deque()
        self._waiting_events = 0
        self._arrival = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closed = False

    @property
    def buffered(self) -> int:
        """Events that wait to be asked for."""
        return self._waiting_events + super().buffered

    @property
    def has_room(self) -> bool:
        """Whether sources may accept more."""
        return self._waiting_events < self.capacity

    async def room(self) -> None:
        """Wait until sources may accept more."""
        await self._room.wait()

    def push(self, batch: EventBatch) -> None:
        """Take a batch; called in the order of the journal."""
        self._batches.append(batch)
        self._waiting_events += len(batch)
        self._arrival.set()
        if not self.has_room:
            self._room.clear()

    def finish(self) -> None:
        """Say that nothing more will come: the stage ends when what waits has gone out."""
        self._closed = True
        self._arrival.set()

    async def handle_demand(self, demand: int) -> EventBatch | tuple[()]:
        """Give the next batch, or as much of it as is wanted."""
        while not self._batches:
            if self._closed:
                return ()
            self._arrival.clear()
            await self._arrival.wait()
        batch = self._batches.popleft()
        if len(batch) > demand:
            self._batches.appendleft(batch[demand:])
            batch = batch[:demand]
        self._waiting_events -= len(batch)
        if self.has_room:
            self._room.set()
        return batch
