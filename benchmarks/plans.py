"""What a benchmark and the processes it starts tell each other."""

from __future__ import annotations

from typing import Final, Literal

import msgspec

LINES: Final = "application/x-ndjson"
JSON: Final = "application/json"


class SendPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to send. rate: requests a second on a fixed timetable; None: on each connection as fast as it answers.

    source: a gzipped file of events, or "" for made-up ones. seconds: for how long.
    note_times: tell when each request was written, too.
    """

    port: int
    seconds: float
    events: int = 1000
    connections: int = 4
    rate: float | None = None
    media_type: str = LINES
    source: str = ""
    note_times: bool = False


class Sent(msgspec.Struct, frozen=True, kw_only=True):
    """What was sent. started: on the machine's monotonic clock, in seconds; cpu_s: what the sender itself used.

    p50_ms, p99_ms: from when a request was due until its answer was there. written_ms: when each request was
    written, where the plan asks for it; in order, milliseconds since 1970.
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
    written_ms: tuple[float, ...] = ()

    @property
    def seconds(self) -> float:
        """From the first request to the last answer."""
        return self.ended - self.started


class SocketPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to push over the socket. window: pushes under way on each connection."""

    port: int
    seconds: float
    events: int
    connections: int
    window: int


class WatchPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How many viewers to be, and for how long to measure each time when told to."""

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


class IdlePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How many viewers to be that join and never read: so many in each group, a new group each time when told to."""

    port: int
    viewers: int


class ProbePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How long to ask for `/healthz`, one question at a time. every_s: seconds from one question to the next."""

    port: int
    seconds: float
    every_s: float = 0.005


class Probed(msgspec.Struct, frozen=True, kw_only=True):
    """How long the answers took. The percentiles count questions that were due while another was being waited for."""

    answers: int
    p50_ms: float
    p999_ms: float
    max_ms: float


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


class PublishPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What to publish to an MQTT broker, as fast as it takes it; one event a message."""

    port: int
    topic: str
    qos: int
    messages: int


class Published(msgspec.Struct, frozen=True, kw_only=True):
    """When publishing began and ended, on the monotonic clock; acknowledged: PUBACKs, at QoS 1."""

    started: float
    ended: float
    acknowledged: int


class SubscribePlan(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages to wait for, and for how long at most."""

    port: int
    topic: str
    qos: int
    messages: int
    seconds: float


class Received(msgspec.Struct, frozen=True, kw_only=True):
    """How many messages came, and when the last one had."""

    messages: int
    ended: float


class ClientPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How long to push through the client library; otherwise to post what it would send."""

    port: int
    seconds: float
    through_client: bool


class ClientSent(msgspec.Struct, frozen=True, kw_only=True):
    """What was accepted. started, ended: on the monotonic clock, from the first event to the last answer."""

    started: float
    ended: float
    accepted: int
    cpu_s: float
