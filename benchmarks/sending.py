"""Sending from another process, with what it cost the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.children import Child, program
from benchmarks.plans import SendPlan, Sent
from benchmarks.row import BenchmarkFailed, Setting
from benchmarks.server import Gauge

START_S = 60.0  # for building bodies
END_S = 90.0  # for the last answers
LEAST_ANSWERED = 0.98


@dataclass(frozen=True, slots=True)
class Cost:
    """What was sent. cores: how many the server kept busy meanwhile."""

    sent: Sent
    cores: float

    @property
    def about(self) -> str:
        """Say in a few words who used how much of the machine."""
        sender = self.sent.cpu_s / self.sent.seconds
        refused = f", {self.sent.refused:,} requests refused with 503" if self.sent.refused else ""
        return f"server {self.cores:.2f} cores, sender {sender:.2f}{refused}"


@contextmanager
def sending(setting: Setting, plan: SendPlan) -> Iterator[Child]:
    """Start a sender; the block begins when it sends, and may read its result."""
    with program("sender", plan, folder=setting.folder, timeout_s=START_S + plan.seconds + END_S) as child:
        child.line()
        yield child


def send(setting: Setting, plan: SendPlan, server: Gauge) -> Cost:
    """Send it all. Raises BenchmarkFailed where events are rejected, which these never should be."""
    with sending(setting, plan) as child:
        before = server.child.cpu_s
        sent = child.result(Sent)
        used = server.child.cpu_s - before
    check_sent(plan, sent)
    return Cost(sent, used / sent.seconds)


def check_sent(plan: SendPlan, sent: Sent) -> None:
    """Raise BenchmarkFailed unless every event was taken, and on a timetable nearly every request."""
    if sent.rejected or not sent.accepted:
        raise BenchmarkFailed(f"{sent.accepted:,} events accepted, {sent.rejected:,} rejected; all are valid")
    planned = plan.seconds * (plan.rate or 0.0)
    if sent.requests < LEAST_ANSWERED * planned:
        raise BenchmarkFailed(
            f"{sent.requests:,} of {planned:,.0f} requests accepted, {sent.refused:,} refused"
        )
