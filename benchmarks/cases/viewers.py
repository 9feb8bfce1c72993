"""Many viewers of the dashboard while events flow: what they cost the server, and how soon they have what is new."""

from __future__ import annotations

import resource
from collections.abc import Iterator

from benchmarks.children import program
from benchmarks.plans import SendPlan, Sent, Watched, WatchPlan
from benchmarks.row import BenchmarkFailed, Row, Setting, measured
from benchmarks.sending import check_sent, sending
from benchmarks.server import Gauge, gauge

REQUESTS_A_SECOND = 100.0
EVENTS_A_REQUEST = 10
JOIN_S = 120.0
MORE_S = 2.0  # that events flow after what is measured
FILES_BESIDE = 200


def run(setting: Setting) -> Iterator[Row]:
    most = _raise_file_limit() - FILES_BESIDE
    for viewers in setting.choose(full=(500, 2000, 5000), quick=(500,)):
        if viewers > most:
            raise BenchmarkFailed(
                f"viewers: {viewers:,} need as many open files, {most:,} are allowed; raise ulimit -n"
            )
        with gauge(setting) as server:
            yield from _rows(setting, viewers, server)


def _raise_file_limit() -> int:
    """Raise the limit on open files, which children inherit, as far as it goes; give it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def _rows(setting: Setting, viewers: int, server: Gauge) -> Iterator[Row]:
    seconds = setting.choose(full=20.0, quick=4.0)
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
