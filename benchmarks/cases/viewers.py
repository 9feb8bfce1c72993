"""Many viewers of the dashboard while events flow: what they cost the server, and how soon they have what is new.

And what it changes for them that some never read what they are sent.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.children import Child, program
from benchmarks.plans import IdlePlan, SendPlan, Sent, Watched, WatchPlan
from benchmarks.row import BenchmarkFailed, Row, Setting, measured
from benchmarks.sending import check_sent, sending
from benchmarks.server import Gauge, gauge

REQUESTS_A_SECOND = 100.0
EVENTS_A_REQUEST = 10
JOIN_S = 120.0
MORE_S = 2.0  # that events flow after what is measured
FILES_BESIDE = 200
CLOSED_S = 15.0  # after the deadline, until those that never read must be gone
POLL_S = 0.1


def run(setting: Setting) -> Iterator[Row]:
    most = _raise_file_limit() - FILES_BESIDE
    for viewers in setting.choose(full=(500, 2000, 5000), quick=(500,)):
        if viewers > most:
            raise BenchmarkFailed(
                f"viewers: {viewers:,} need as many open files, {most:,} are allowed; raise ulimit -n"
            )
        with gauge(setting) as server:
            yield from _rows(setting, viewers, server)
    yield from _rows_with_idlers(setting)


def _raise_file_limit() -> int:
    """Raise the limit on open files, which children inherit, as far as it goes; give it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _rows(setting: Setting, viewers: int, server: Gauge) -> Iterator[Row]:
    seconds = setting.choose(full=20.0, quick=2.0)
    watching = WatchPlan(port=server.port, viewers=viewers, seconds=seconds)
    flowing = SendPlan(
        port=server.port,
        seconds=seconds + MORE_S,
        events=EVENTS_A_REQUEST,
        rate=REQUESTS_A_SECOND,
    )
    with program("watcher", watching, folder=setting.folder, timeout_s=JOIN_S + seconds) as watcher:
        watcher.line()
        with sending(setting, flowing) as sender:
            before = server.child.cpu_s
            watcher.tell("measure")
            seen = watcher.result(Watched)
            cores = (server.child.cpu_s - before) / seconds
            check_sent(flowing, sender.result(Sent))
    name, what = (
        f"viewers {viewers:,}",
        f"{viewers:,} viewers, {REQUESTS_A_SECOND * EVENTS_A_REQUEST:,.0f} events/s",
    )
    notes = (
        f"{seen.bytes / max(1, seen.diffs + seen.snapshots):,.0f} bytes a message; {seen.snapshots:,} skipped ahead to a "
        f"snapshot; {seen.closed:,} lost; the viewers' process {seen.cpu_s / seconds:.2f} cores"
    )
    yield measured(f"{name}, CPU", f"{what}: the server", cores, "cores", notes=notes)
    yield measured(f"{name}, memory", f"{what}: the server", server.child.memory_mib, "MiB")
    rate = seen.diffs / viewers / seconds
    yield measured(f"{name}, diffs", f"{what}: what each is sent", rate, "diffs/s")
    delivery = f"{what}: from the state to its arrival"
    yield measured(f"{name}, delivery P50", delivery, seen.p50_ms, "ms")
    yield measured(f"{name}, delivery P99", delivery, seen.p99_ms, "ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Crowd:
    """Viewers that read, beside groups of viewers that do not: a new group each time the last one was closed."""

    viewers: int
    idlers: int
    groups: int
    deadline_s: float

    @property
    def seconds(self) -> float:
        return self.groups * self.deadline_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Beside:
    """What was seen with those that never read. grown_mib: by how much the server's memory grew meanwhile."""

    seen: Watched
    grown_mib: float
    skipped: int
    joined: int
    left: int


def _rows_with_idlers(setting: Setting) -> Iterator[Row]:
    crowd = setting.choose(
        full=_Crowd(viewers=1000, idlers=50, groups=3, deadline_s=10.0),
        quick=_Crowd(viewers=200, idlers=10, groups=1, deadline_s=2.0),
    )
    alone, beside = _measure_crowd(setting, crowd)
    name = f"viewers with {crowd.idlers} that never read"
    what = f"{crowd.viewers:,} viewers that read, beside {crowd.idlers:,} that never do"
    notes = (
        f"a new {crowd.idlers} every {crowd.deadline_s:g} s, {beside.joined:,} in all: for them {beside.skipped:,} diffs "
        f"were skipped, and {beside.joined - beside.left:,} were closed at the deadline of {crowd.deadline_s:g} s"
    )
    yield measured(
        f"{name}, delivery P99",
        f"{what}: from the state to its arrival at those that read",
        beside.seen.p99_ms,
        "ms",
        reference=("without them", alone.seen.p99_ms),
        notes=notes,
    )
    rates = [one.seen.diffs / crowd.viewers / crowd.seconds for one in (beside, alone)]
    what_each = f"{what}: what each that reads is sent"
    yield measured(f"{name}, diffs", what_each, rates[0], "diffs/s", reference=("without them", rates[1]))
    yield measured(f"{name}, memory", f"{what}: by what the server grows", beside.grown_mib, "MiB")
    share = (beside.joined - beside.left) / beside.joined
    yield measured(f"{name}, closed", "of those that never read, closed at the deadline", share * 100, "%")


def _measure_crowd(setting: Setting, crowd: _Crowd) -> tuple[_Beside, _Beside]:
    """Measure for the same time without and with viewers that never read, on one server."""
    options = f'[limits]\nviewer_send_deadline = "{crowd.deadline_s:g}s"\n'
    with ExitStack() as held:
        server = held.enter_context(gauge(setting, options))
        timeout_s = JOIN_S + 2 * crowd.seconds + CLOSED_S
        plan = WatchPlan(port=server.port, viewers=crowd.viewers, seconds=crowd.seconds)
        watcher = held.enter_context(program("watcher", plan, folder=setting.folder, timeout_s=timeout_s))
        watcher.line()
        idle = IdlePlan(port=server.port, viewers=crowd.idlers)
        idlers = held.enter_context(program("idlers", idle, folder=setting.folder, timeout_s=timeout_s))
        idlers.line()
        flowing = SendPlan(
            port=server.port,
            seconds=2 * crowd.seconds + 2 * MORE_S + crowd.deadline_s + CLOSED_S,
            events=EVENTS_A_REQUEST,
            rate=REQUESTS_A_SECOND,
        )
        held.enter_context(sending(setting, flowing))
        time.sleep(MORE_S)
        return _watch(server, watcher, None, crowd), _watch(server, watcher, idlers, crowd)


def _watch(server: Gauge, watcher: Child, idlers: Child | None, crowd: _Crowd) -> _Beside:
    memory, skipped = server.child.memory_mib, server.metric("streamgauge_viewers_skipped_total")
    watcher.tell("measure")
    joined = 0
    if idlers is not None:
        for group in range(crowd.groups):
            started = time.monotonic()
            idlers.tell("join")
            joined = idlers.result(int)
            if group < crowd.groups - 1:
                time.sleep(max(0.0, started + crowd.deadline_s - time.monotonic()))
    seen = watcher.result(Watched)
    grown = server.child.memory_mib - memory
    return _Beside(
        seen=seen,
        grown_mib=grown,
        skipped=int(server.metric("streamgauge_viewers_skipped_total") - skipped),
        joined=joined,
        left=_left(server, crowd) if joined else 0,
    )


def _left(server: Gauge, crowd: _Crowd) -> int:
    """Wait until those that never read have been closed; give how many have not."""
    end = time.monotonic() + crowd.deadline_s + CLOSED_S
    while True:
        left = int(server.metric("streamgauge_viewers")) - crowd.viewers
        if left <= 0 or time.monotonic() > end:
            return left
        time.sleep(POLL_S)
