"""Resident memory of the server: idle, at most while all it can take comes in over HTTP, and afterwards."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.plans import SendPlan
from benchmarks.row import Row, Setting, measured
from benchmarks.sending import send
from benchmarks.server import decode_only, gauge

BESIDE = "decode-only application"
UNIT = "MiB"


def run(setting: Setting) -> Iterator[Row]:
    seconds = setting.choose(full=60.0, quick=1.0)
    with decode_only(setting) as reference:
        least_idle = reference.child.memory_mib
        send(setting, SendPlan(port=reference.port, seconds=min(seconds, 15.0)), reference)
        least_full = reference.child.most_memory_mib
    with gauge(setting) as server:
        server.ask("/readyz")
        idle = server.child.memory_mib
        cost = send(setting, SendPlan(port=server.port, seconds=seconds), server)
        server.settle(cost.sent.accepted)
        most, after = server.child.most_memory_mib, server.child.memory_mib
    rate = cost.sent.accepted / cost.sent.seconds
    yield measured(
        "memory idle", "resident, before the first event", idle, UNIT, reference=(BESIDE, least_idle)
    )
    yield measured(
        "memory at full load",
        "the most that was resident",
        most,
        UNIT,
        reference=(BESIDE, least_full),
        notes=f"{cost.sent.seconds:.0f} s of 1,000 events a body, {rate:,.0f} events/s",
    )
    yield measured("memory after", "resident, once all is committed", after, UNIT)
