"""What the journal costs: the same load without one, with the default, and with each answer waiting for the disk.

Each of the three runs several times, in turns, so that what else the machine does meets all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import median

from benchmarks.plans import SendPlan
from benchmarks.row import Row, Setting, measured
from benchmarks.sending import send
from benchmarks.server import gauge

OFF = "no journal"
KINDS = {
    OFF: '[journal]\npath = ":memory:"\n',
    "interval": '[journal]\nfsync = "interval"\n',
    "always": '[journal]\nfsync = "always"\n',
}
TARGET = {"interval": 0.85}  # of the events a second without a journal
EVENTS, CONNECTIONS = 1000, 4
RATE = 200.0  # requests a second where answers are timed: well below what each can take


@dataclass
class _Found:
    """What the turns of one kind gave."""

    per_second: list[float] = field(default_factory=list)
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)


def run(setting: Setting) -> Iterator[Row]:
    found = {kind: _Found() for kind in KINDS}
    for _ in range(setting.choose(full=7, quick=1)):
        for kind, options in KINDS.items():
            _measure(setting, options, found[kind])
    for kind in KINDS:
        yield from _rows(kind, found[kind], found[OFF])


def _measure(setting: Setting, options: str, found: _Found) -> None:
    with gauge(setting, options) as server:
        full = SendPlan(
            port=server.port,
            seconds=setting.choose(full=3.0, quick=0.7),
            events=EVENTS,
            connections=CONNECTIONS,
        )
        sent = send(setting, full, server).sent
        settled = server.settle(sent.accepted)
        found.per_second.append(sent.accepted / (settled.aggregated - sent.started))
        timed = SendPlan(
            port=server.port,
            seconds=setting.choose(full=1.5, quick=0.5),
            events=10,
            connections=CONNECTIONS,
            rate=RATE,
        )
        answers = send(setting, timed, server).sent
        found.p50_ms.append(answers.p50_ms)
        found.p99_ms.append(answers.p99_ms)
        server.settle(sent.accepted + answers.accepted)
        server.check(sent.accepted + answers.accepted, raw_events=True)


def _rows(kind: str, found: _Found, off: _Found) -> Iterator[Row]:
    name = "journal off" if kind == OFF else f"journal {kind}"
    turns = ", ".join(f"{figure:,.0f}" for figure in found.per_second)
    beside = [None if kind == OFF else (OFF, median(of)) for of in (off.per_second, off.p50_ms, off.p99_ms)]
    target = f"; the ratio is to be {TARGET[kind]} or more" if kind in TARGET else ""
    yield measured(
        name,
        f"{EVENTS:,} events a body, as fast as they are taken",
        median(found.per_second),
        "events/s",
        reference=beside[0],
        notes=f"the median of {len(found.per_second)}, in turns with the others: {turns}{target}",
    )
    answer = f"from request to answer, {RATE:,.0f} requests a second of 10 events"
    yield measured(f"{name}, P50", answer, median(found.p50_ms), "ms", reference=beside[1])
    yield measured(f"{name}, P99", answer, median(found.p99_ms), "ms", reference=beside[2])
