"""The embedded pipeline: events that lie in memory as dicts, until a query sees all of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from benchmarks.children import program
from benchmarks.plans import Pushed, PushPlan
from benchmarks.row import BenchmarkFailed, Row, Setting, measured

TIMEOUT_S = 300.0
BESIDE = "a plain Python loop with the same aggregates"


def run(setting: Setting) -> Iterator[Row]:
    loop = _rate(setting, "loop")
    what = "dicts in memory, by type and second; {}; journal and raw events off"
    for form, name, how in (
        ("one", "in process", "one push_event for each"),
        ("batches", "in process, batches", "push_events of 10,000"),
    ):
        rate = _rate(setting, form)  # type: ignore[arg-type]  # mypy widens the names in the tuple
        yield measured(name, what.format(how), rate, "events/s", reference=(BESIDE, loop))


def _rate(setting: Setting, form: Literal["one", "batches", "loop"]) -> float:
    plan = PushPlan(form=form, events=setting.choose(full=1_000_000, quick=200_000))
    with program("pusher", plan, folder=setting.folder, timeout_s=TIMEOUT_S) as child:
        pushed = child.result(Pushed)
    if pushed.seen != plan.events + plan.warm_up:
        raise BenchmarkFailed(
            f"in_process ({form}): {pushed.seen:,} of {plan.events + plan.warm_up:,} events were seen"
        )
    return plan.events / pushed.seconds
