"""Events a second through the client library, beside a loop that posts the same bytes over the same connection."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.children import program
from benchmarks.plans import ClientPlan, ClientSent
from benchmarks.row import Row, Setting, measured
from benchmarks.server import gauge

TIMEOUT_S = 300.0


def run(setting: Setting) -> Iterator[Row]:
    reference = _send(setting, through_client=False)
    sent = _send(setting, through_client=True)
    seconds = sent.ended - sent.started
    yield measured(
        "client",
        "dicts, one push_event each, one thread, batches of 1,000 until all are accepted; default configuration",
        _rate(sent),
        "events/s",
        reference=("the same bytes posted by a loop", _rate(reference)),
        notes=f"{sent.accepted:,} events in {seconds:.1f} s, the same number in ledger, metric and table;"
        f" the client used {sent.cpu_s / sent.accepted * 1e6:.1f} us of CPU an event, the loop"
        f" {reference.cpu_s / reference.accepted * 1e6:.1f}",
    )


def _send(setting: Setting, *, through_client: bool) -> ClientSent:
    with gauge(setting) as server:
        seconds = setting.choose(full=20.0, quick=1.0)
        plan = ClientPlan(port=server.port, seconds=seconds, through_client=through_client)
        with program("client_sender", plan, folder=setting.folder, timeout_s=TIMEOUT_S) as child:
            child.line()
            sent = child.result(ClientSent)
        server.settle(sent.accepted)
        server.check(sent.accepted, raw_events=True)
    return sent


def _rate(sent: ClientSent) -> float:
    return sent.accepted / (sent.ended - sent.started)
