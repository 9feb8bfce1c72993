"""From received to aggregated, as the server's own metric `latency` has it, at fixed rates.

And how long the event loop is busy with something else while all it can take comes in, as another client finds it.
"""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.children import program
from benchmarks.plans import JSON, LINES, Probed, ProbePlan, SendPlan, Sent
from benchmarks.row import Row, Setting, measured
from benchmarks.sending import check_sent, send, sending
from benchmarks.server import Gauge, decode_only, gauge

RATE = 1000.0
CONNECTIONS = 32
WARM_UP_MS = 2000
SECOND_MS = 1000
LOADS = (("single", 1, JSON), ("bodies of 100", 100, LINES))
FIGURES = (("p50", "P50"), ("p99", "P99"), ("max", "maximum"))
PROBE_S = 60.0  # for a prober to start and to end


def run(setting: Setting) -> Iterator[Row]:
    for name, events, media_type in LOADS:
        yield from _rows(setting, name, events, media_type)
    yield from _event_loop(setting)


def _rows(setting: Setting, name: str, events: int, media_type: str) -> Iterator[Row]:
    seconds = setting.choose(full=60.0, quick=3.0)
    with gauge(setting) as server:
        plan = SendPlan(
            port=server.port,
            seconds=seconds,
            events=events,
            connections=CONNECTIONS,
            rate=RATE,
            media_type=media_type,
        )
        cost = send(setting, plan, server)
        sent = cost.sent
        server.settle(sent.accepted)
        server.check(sent.accepted, raw_events=True)
        found = server.latency_ms(sent.started_ms + WARM_UP_MS, sent.ended_ms + SECOND_MS)
    what = f"received to aggregated at {RATE * events:,.0f} events/s, {events:,} a request"
    reached = sent.accepted / sent.seconds
    notes = (
        f"{reached:,.0f} events/s were reached; the sender had its answers after {sent.p50_ms:.2f} ms (P50), "
        f"{sent.p99_ms:.2f} ms (P99); {cost.about}"
    )
    for figure, label in FIGURES:
        yield measured(
            f"latency {name}, {label}", what, found[figure], "ms", notes=notes if figure == "p50" else ""
        )


def _event_loop(setting: Setting) -> Iterator[Row]:
    seconds = setting.choose(full=30.0, quick=1.5)
    with decode_only(setting) as reference:
        least, _ = _probe(setting, reference, seconds)
    with gauge(setting) as server:
        found, sent = _probe(setting, server, seconds)
    what = "at full load, until the loop answers a question that comes every 5 ms"
    notes = (
        f"{found.answers:,} questions beside {sent.accepted / sent.seconds:,.0f} events/s in bodies of 1,000; an answer "
        f"waits for whatever is in front of it, and for a core"
    )
    figures = (
        ("P50", found.p50_ms, least.p50_ms),
        ("P99.9", found.p999_ms, least.p999_ms),
        ("maximum", found.max_ms, least.max_ms),
    )
    for label, figure, beside in figures:
        yield measured(
            f"event loop, {label}",
            what,
            figure,
            "ms",
            reference=("decode-only application", beside),
            notes=notes if label == "P50" else "",
        )


def _probe(setting: Setting, server: Gauge, seconds: float) -> tuple[Probed, Sent]:
    """Ask another question all the time while events come in as fast as they are taken."""
    load = SendPlan(port=server.port, seconds=seconds)
    plan = ProbePlan(port=server.port, seconds=seconds)
    with (
        sending(setting, load) as sender,
        program("prober", plan, folder=setting.folder, timeout_s=seconds + PROBE_S) as prober,
    ):
        prober.line()
        found = prober.result(Probed)
        sent = sender.result(Sent)
    check_sent(load, sent)
    return found, sent
