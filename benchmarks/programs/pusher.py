"""Hands events that lie in memory to an embedded Streamgauge, or counts them in a plain loop."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from typing import Any, Final

from benchmarks.data import Event, make_events
from benchmarks.plans import Pushed, PushPlan
from benchmarks.programs.talk import hear, say
from streamgauge import Streamgauge

SPAN_MS: Final = 60_000
AGGREGATES: Final = ("count", "sum", "min", "max", "p50", "p95", "p99")
QUANTILES: Final = (0.5, 0.95, 0.99)
PATIENCE_S: Final = 60.0

Group = tuple[int, float, float, float, list[float]]


def count_in_a_loop(events: list[Event]) -> dict[tuple[str, str], Group]:
    """Give count, sum, min, max and quantiles by type and second: what one writes without any library."""
    groups: dict[tuple[str, str], list[Any]] = {}
    for event in events:
        key, value = (event["type"], event["timestamp"][:19]), event["value"]
        group = groups.get(key)
        if group is None:
            groups[key] = [1, value, value, value, [value]]
            continue
        group[0] += 1
        group[1] += value
        if value < group[2]:  # noqa: PLR1730  calling min and max would slow the loop we compare with
            group[2] = value
        if value > group[3]:  # noqa: PLR1730  as above
            group[3] = value
        group[4].append(value)
    return {key: (*group[:4], _quantiles(group[4])) for key, group in groups.items()}


def _quantiles(values: list[float]) -> list[float]:
    values.sort()
    return [values[int(quantile * (len(values) - 1))] for quantile in QUANTILES]


def seen_by(gauge: Streamgauge, wanted: int) -> int:
    """Ask until everything that was pushed is counted; give how many events that is."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        series = gauge.query("events", by="type", aggregates=AGGREGATES)
        seen = sum(one["totals"]["count"] for one in series)
        if seen >= wanted or time.monotonic() > deadline:
            return int(seen)


def push_each(gauge: Streamgauge, events: list[Event], _batch: int) -> None:
    push = gauge.push_event
    for event in events:
        push(event)


def push_batches(gauge: Streamgauge, events: list[Event], batch: int) -> None:
    for start in range(0, len(events), batch):
        gauge.push_events(events[start : start + batch])


def embedded(
    push: Callable[[Streamgauge, list[Event], int], None], plan: PushPlan, events: list[Event]
) -> Pushed:
    """Push all events, the first of them unmeasured, until a query sees them."""
    with Streamgauge() as gauge:
        push(gauge, events[: plan.warm_up], plan.batch)
        seen_by(gauge, plan.warm_up)
        measured = events[plan.warm_up :]
        started = time.perf_counter()
        push(gauge, measured, plan.batch)
        seen = seen_by(gauge, len(events))
        return Pushed(seconds=time.perf_counter() - started, seen=seen)


def loop(plan: PushPlan, events: list[Event]) -> Pushed:
    """Count all events in a plain loop, the first of them unmeasured."""
    warm = count_in_a_loop(events[: plan.warm_up])
    measured = events[plan.warm_up :]
    started = time.perf_counter()
    groups = count_in_a_loop(measured)
    seconds = time.perf_counter() - started
    return Pushed(seconds=seconds, seen=sum(group[0] for one in (warm, groups) for group in one.values()))


def main() -> None:
    plan = hear(PushPlan)
    start_ms = time.time_ns() // 1_000_000 - SPAN_MS
    events = make_events(plan.warm_up + plan.events, start_ms=start_ms, span_ms=SPAN_MS)
    gc.collect()
    gc.freeze()  # the events are not what is measured; all three ways are given the same
    if plan.form == "loop":
        say(loop(plan, events))
    else:
        say(embedded(push_each if plan.form == "one" else push_batches, plan, events))


if __name__ == "__main__":
    main()
