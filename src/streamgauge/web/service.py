"""What the API needs of the running server, in one place and without HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from streamgauge.errors import Saturated
from streamgauge.ledger import Ledger
from streamgauge.metric import Metric
from streamgauge.metrics.query import SeriesAnswer, ask
from streamgauge.reader import Reader
from streamgauge.store import Store, Table

COVERED_S: Final = 2.0  # a query covers all that was accepted this long before it
WAIT_S: Final = 5.0
COUNTED_S: Final = 1.0  # how long a metric's answer waits for what was accepted just before to be counted
MOST_QUERIES: Final = 32  # that run or wait for their turn


class Progress(Protocol):
    """How far accepted events have come."""

    def accepted_ago(self, seconds: float) -> int:
        """Give the last append that was accepted so long ago, or shortly after that."""

    async def caught_up(self, seq: int, timeout_s: float) -> bool:
        """Wait until the store holds everything up to an append."""

    async def flush(self, timeout_s: float) -> bool:
        """Wait until everything that was accepted is counted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A metric's answer; times in milliseconds, step in seconds."""

    metric: str
    start_ms: int
    end_ms: int
    step: int
    as_of: int
    aggregates: tuple[str, ...]
    series: Sequence[SeriesAnswer]
    by: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class Service:
    """Answers questions about the running server."""

    reader: Reader
    store: Store
    ledger: Ledger
    progress: Progress
    now_us: Callable[[], int]
    not_ready: Callable[[], list[str]]
    degraded: Callable[[], list[str]] = list
    once: Callable[[], Mapping[str, int]] = dict
    exposition: Callable[[str], Awaitable[tuple[bytes, str]]]
    sql_timeout_s: float
    sql_max_rows: int
    queries: int = field(default=0, init=False)

    async def answer_metric(
        self, metric: Metric, *, start: int | None, end: int | None, **options: Any
    ) -> Answer:
        """Answer totals and series of a range, in seconds; None: from the first to the last event there is.

        What was accepted before is in it, unless counting it takes longer than a second.
        """
        await self.progress.flush(COUNTED_S)
        if start is None or end is None:
            first, last = await self.reader.extent(metric) or (self.now_us() // 1_000_000,) * 2
            start, end = first if start is None else start, last + 1 if end is None else end
            start = min(start, end - 1)
        question = ask(metric, start=start, end=end, **options)
        series = await self.reader.answer(metric, question)
        return Answer(
            metric=metric.name,
            start_ms=start * 1000,
            end_ms=end * 1000,
            step=question.step,
            as_of=self.now_us() // 1000,
            aggregates=question.aggregates,
            series=series,
            by=question.by,
        )

    async def answer_sql(self, sql: str, params: Sequence[Any]) -> tuple[Table, int]:
        """Answer a SELECT that has been checked, once the store covers what was accepted two seconds ago."""
        if self.queries >= MOST_QUERIES:
            raise Saturated(f"{MOST_QUERIES} queries are under way already", 2.0)
        self.queries += 1
        try:
            return await self._answer_sql(sql, params)
        finally:
            self.queries -= 1

    async def _answer_sql(self, sql: str, params: Sequence[Any]) -> tuple[Table, int]:
        as_of_us = self.now_us() - int(COVERED_S * 1e6)
        if not await self.progress.caught_up(self.progress.accepted_ago(COVERED_S), WAIT_S):
            raise Saturated("the store has not caught up with what was accepted two seconds ago", 2.0)
        table = await self.reader.in_query_thread(
            lambda: self.store.query(sql, params, timeout_s=self.sql_timeout_s, max_rows=self.sql_max_rows)
        )
        return table, as_of_us // 1000
