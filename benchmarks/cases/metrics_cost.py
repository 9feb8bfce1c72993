"""What each further metric costs an event, in batches as large as the aggregator joins them to."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial

import msgspec

from benchmarks.data import make_events
from benchmarks.percentiles import percentiles
from benchmarks.row import BenchmarkFailed, Row, Setting, measured
from streamgauge.event import EventBatch, Origin
from streamgauge.events.decode import EventDecoder
from streamgauge.metric import Metric, SeriesLimit, compute
from streamgauge.metrics.expression import Expression

BATCH = 8192
NANOSECONDS = 1e9
FULL = ("count", "sum", "avg", "min", "max", "p50", "p95", "p99")
METRICS = (
    ("count", Metric(name="a", aggregates=("count",))),
    ("count by type", Metric(name="b", by=("type",), aggregates=("count",))),
    (
        "count, sum, min, max by type",
        Metric(name="c", by=("type",), aggregates=("count", "sum", "min", "max")),
    ),
    ("everything with quantiles by type", Metric(name="d", by=("type",), aggregates=FULL)),
    ("everything by type and country", Metric(name="e", by=("type", "country"), aggregates=FULL)),
    (
        "revenue: sum and P95 of purchases by country",
        Metric(
            name="f",
            where=Expression.parse("type = 'purchase'"),
            value=Expression.parse("value * 1.19"),
            by=("country",),
            aggregates=("sum", "p95"),
        ),
    ),
    ("last by page", Metric(name="g", by=("page",), aggregates=("count", "last"))),
)


def run(setting: Setting) -> Iterator[Row]:
    repeats = setting.choose(full=300, quick=30)
    now_ms = time.time_ns() // 1_000_000
    events = make_events(BATCH, start_ms=now_ms - 1000, span_ms=1000)
    payload = msgspec.json.Encoder().encode_lines(events)
    decoder = EventDecoder({field for _, metric in METRICS for field in metric.fields})
    origin = Origin("benchmark", now_ms * 1000)

    def decode() -> EventBatch:
        batch = decoder.decode(payload, origin, now_us=now_ms * 1000).batch
        if batch is None or len(batch) != BATCH:
            raise BenchmarkFailed(f"metrics_cost: {BATCH} valid events were not decoded")
        return batch

    batch = decode()
    decoding = _ns_an_event(lambda _: decode(), batch, repeats)
    for what, metric in METRICS:
        call = partial(compute, metric, limit=SeriesLimit(metric.max_series), now_s=0.0)
        cost = _ns_an_event(call, batch, repeats)
        about = f"one metric, batches of {BATCH:,}"
        yield measured(f"metric: {what}", about, cost, "ns an event", reference=("decoding", decoding))


def _ns_an_event(call: Callable[[EventBatch], object], batch: EventBatch, repeats: int) -> float:
    """Give the median time of a call with a batch whose columns of properties have not been made yet."""
    times = []
    for _ in range(repeats):
        fresh = batch[:]
        started = time.perf_counter()
        call(fresh)
        times.append(time.perf_counter() - started)
    return percentiles(times, [50])[0] / len(batch) * NANOSECONDS
