"""Reads that see everything aggregated so far: the store in one snapshot, and the memory of what it does not hold yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from streamgauge.epoch import EpochBook
from streamgauge.errors import UnknownMetric
from streamgauge.metric import Metric
from streamgauge.metrics.query import Question, SeriesAnswer, answer
from streamgauge.partials import Partials
from streamgauge.store import Store

T = TypeVar("T")


class Reader:
    """Answers questions about metrics. settle: makes sure that what waits to be counted has been.

    metrics: those that there are now.
    """

    def __init__(
        self, *, store: Store, book: EpochBook, metrics: Mapping[str, Metric], settle: Callable[[], None]
    ) -> None:
        self.metrics = metrics
        self._store, self._book, self._settle = store, book, settle
        self._threads = ThreadPoolExecutor(2, "store-reader")
        # apart, so that a page or a metric does not wait for somebody's long SELECT
        self._query_threads = ThreadPoolExecutor(2, "store-query")

    def metric(self, name: str) -> Metric:
        """Give a metric by its name."""
        if name not in self.metrics:
            raise UnknownMetric(name, sorted(self.metrics))
        return self.metrics[name]

    async def parts(self, metric: Metric, start: int | None, end: int | None) -> list[Partials]:
        """Give the partials of a range: those of the store's snapshot, and those of every epoch after it.

        The memory is looked at after the snapshot, in one go: no partial is counted twice or left out, whatever is
        committed in between.
        """
        begun = self._book.begin_read()
        try:
            snapshot = await self.in_thread(
                lambda: self._store.read(
                    metric.name, metric.definition, metric.by, metric.states, start=start, end=end
                )
            )
            self._settle()
            memory = self._book.memory(
                metric.name, snapshot.epochs.get(self._book.shard, 0), metric.definition
            )
        finally:
            self._book.end_read(begun)
        return [snapshot.partials, *memory]

    async def answer(self, metric: Metric, question: Question) -> list[SeriesAnswer]:
        """Answer a question."""
        parts = await self.parts(metric, question.start, question.end)
        return await self.in_thread(lambda: answer(metric, question, parts))

    async def extent(self, metric: Metric) -> tuple[int, int] | None:
        """Give the first and last bucket of a metric, in seconds; None where it has none."""
        begun = self._book.begin_read()
        try:
            stored = await self.in_thread(lambda: self._store.extent(metric.name))
            self._settle()
            memory = self._book.memory(metric.name, begun)
        finally:
            self._book.end_read(begun)
        ends = list(stored or ())
        for part in memory:
            ends += [int(part.bucket.min()), int(part.bucket.max())]
        return (min(ends), max(ends)) if ends else None

    async def in_thread(self, call: Callable[[], T]) -> T:
        """Run a call that blocks beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def in_query_thread(self, call: Callable[[], T]) -> T:
        """Run a call that may block for seconds beside the event loop."""
        return await asyncio.get_running_loop().run_in_executor(self._query_threads, call)

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._query_threads.shutdown(wait=False, cancel_futures=True)
