"""Events a second over HTTP, counted until all is aggregated, and every count compared with what was accepted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks.data import RETAIL
from benchmarks.plans import SendPlan
from benchmarks.row import Row, Setting, measured
from benchmarks.sending import send
from benchmarks.server import Gauge, decode_only, gauge

WITHOUT_RAW_EVENTS = "[store]\nraw_events = false\n"
UNIT = "events/s"


@dataclass(frozen=True, slots=True)
class Load:
    """One row's load. seconds: of the full form and of the quick one."""

    name: str
    what: str
    events: int
    seconds: tuple[float, float] = (60.0, 1.5)
    source: str = ""
    raw_events: bool = True


LOADS = (
    Load("http", "1,000 events a body, default configuration", 1000, (60.0, 3.0)),
    Load("http without raw events", "1,000 events a body, raw events off", 1000, raw_events=False),
    Load("http small bodies", "100 events a body, default configuration", 100),
    Load("http large bodies", "10,000 events a body, default configuration", 10_000),
    Load("http retail orders", "real events (212 bytes), 1,000 a body", 1000, source=str(RETAIL)),
)


def run(setting: Setting) -> Iterator[Row]:
    limits: dict[tuple[int, str], float] = {}
    with decode_only(setting) as reference:
        for load in LOADS[: setting.choose(full=len(LOADS), quick=2)]:
            if load.source and not RETAIL.is_file():
                continue
            kind = load.events, load.source
            if kind not in limits:
                limits[kind] = _decode_only(setting, load, reference)
            yield _row(setting, load, limits[kind])


def _decode_only(setting: Setting, load: Load, reference: Gauge) -> float:
    seconds = setting.choose(full=15.0, quick=1.0)
    plan = SendPlan(port=reference.port, seconds=seconds, events=load.events, source=load.source)
    sent = send(setting, plan, reference).sent
    return sent.accepted / sent.seconds


def _row(setting: Setting, load: Load, limit: float) -> Row:
    full, quick = load.seconds
    with gauge(setting, "" if load.raw_events else WITHOUT_RAW_EVENTS) as server:
        seconds = setting.choose(full=full, quick=quick)
        plan = SendPlan(port=server.port, seconds=seconds, events=load.events, source=load.source)
        cost = send(setting, plan, server)
        sent = cost.sent
        settled = server.settle(sent.accepted)
        server.check(sent.accepted, raw_events=load.raw_events)
    places = "ledger, metric and table" if load.raw_events else "ledger and metric"
    return measured(
        load.name,
        load.what,
        sent.accepted / (settled.aggregated - sent.started),
        UNIT,
        reference=("decode-only application", limit),
        notes=f"{sent.accepted:,} events in {sent.seconds:.1f} s, the same number in {places}; "
        f"committed {settled.committed - sent.ended:.1f} s after the last answer; {cost.about}",
    )
