"""What a benchmark and the processes it starts tell each other."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

LINES: Final = "application/x-ndjson"
JSON: Final = "application/json"


class SendPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. rate: requests a second on a fixed timetable; None: on each connection as fast as it answers.

    source: a gzipped file of events, or "" for made-up ones. seconds: for how long.
    """

    port: int
    seconds: float
    events: int = 1000
    connections: int = 4
    rate: float | None = None
    media_type: str = LINES
    source: str = ""


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent. started: on the machine's monotonic clock, in seconds; cpu_s: what the sender itself used.

    p50_ms, p99_ms: from when a request was due until its answer was there.
    """

    started: float
    started_ms: int
    ended: float
    ended_ms: int
    requests: int
    accepted: int
    rejected: int
    refused: int
    cpu_s: float
    p50_ms: float
    p99_ms: float

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return self.ended - self.started


class WatchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How many viewers to be, and for how long to measure once told to."""

    port: int
    viewers: int
    seconds: float


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """What the viewers saw. p50_ms, p99_ms: from a diff's `as_of` to its arrival; closed: viewers that were lost."""

    diffs: int
    snapshots: int
    bytes: int
    closed: int
    cpu_s: float
    p50_ms: float
    p99_ms: float


class PushPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How to hand over how many events, or to count them in a plain loop."""

    form: Literal["one", "batches", "loop"]
    events: int
    warm_up: int = 10_000
    batch: int = 10_000


class Pushed(msgspec.Struct, frozen=True, kw_only=True):
    """How long it took until all was counted, and how many events the count says there were."""

    seconds: float
    seen: int
