"""Requests a second with one event in each, from many connections."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.plans import JSON, SendPlan
from benchmarks.row import Row, Setting, measured
from benchmarks.sending import send
from benchmarks.server import decode_only, gauge

CONNECTIONS = 64
BESIDE = "decode-only application"


def run(setting: Setting) -> Iterator[Row]:
    seconds = setting.choose(full=30.0, quick=1.0)
    with decode_only(setting) as reference:
        least = send(setting, _plan(reference.port, seconds), reference).sent
    with gauge(setting) as server:
        cost = send(setting, _plan(server.port, seconds), server)
        server.settle(cost.sent.accepted)
        server.check(cost.sent.accepted, raw_events=True)
    sent = cost.sent
    what = f"one event a request, {CONNECTIONS} connections"
    rate = sent.requests / sent.seconds
    yield measured(
        "single",
        what,
        rate,
        "requests/s",
        reference=(BESIDE, least.requests / least.seconds),
        notes=cost.about,
    )
    answer = "from request to answer, at that rate"
    yield measured("single P50", answer, sent.p50_ms, "ms", reference=(BESIDE, least.p50_ms))
    yield measured("single P99", answer, sent.p99_ms, "ms", reference=(BESIDE, least.p99_ms))


def _plan(port: int, seconds: float) -> SendPlan:
    return SendPlan(port=port, seconds=seconds, events=1, connections=CONNECTIONS, media_type=JSON)
