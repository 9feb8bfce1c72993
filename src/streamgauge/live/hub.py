"""The live hub: what changed is computed and encoded once for all viewers of a view, a few times a second.

Viewers of the same range share one `Channel`. A viewer that has fallen behind is not queued for: it is skipped, and gets
the newest snapshot when it can take it, or is closed when that takes too long. Nothing runs while nobody looks.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeGuard

import msgspec
import structlog

from streamgauge.channels import encode_broadcast
from streamgauge.distribution import Distribution
from streamgauge.errors import StreamgaugeError
from streamgauge.ledger import Ledger
from streamgauge.live.diff import diff
from streamgauge.live.pulse import Pulse, Tail
from streamgauge.live.view import EVENTS, LATENCY, PRESETS_S, Range, View
from streamgauge.partials import Partials
from streamgauge.reader import Reader

log = structlog.get_logger()

TOPIC: Final = "dashboard:overview"
MOST_CHANNELS: Final = 64
MOST_PARTS: Final = 64  # that wait for a tick before they are merged early
MOST_TYPE_CHARACTERS: Final = 1024
MOST_TIME_MS: Final = 8_640_000_000_000_000  # on both sides of 1970: as far as a browser's Date reaches
MOST_RANGE_MS: Final = 100 * 365 * 86_400_000
SLICE: Final = 500  # viewers written to before the event loop gets a turn
STOOD_STILL_S: Final = (
    1.0  # a loop that is later than this was not only busy: its process was stopped, or the machine
)
QUIET_S: Final = 5.0  # at least this often something is sent, so that a page can tell quiet from dead


class Watcher(Protocol):
    """One viewer's connection."""

    def send(self, frame: bytes) -> bool:
        """Send one text message, or say False and send nothing: the viewer is behind."""

    def ready(self) -> bool:
        """Whether it has taken in what was sent."""

    def close(self, code: int, reason: str) -> None:
        """End the connection."""


class JoinRefused(StreamgaugeError):
    """A viewer asked for something that there is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a page says of the server: when it was started, and the name of the demo it runs, if any."""

    started_ms: int
    demo: str | None
    epoch: str


class Channel:
    """One view with its viewers, its version, and the state that they have."""

    def __init__(self, view: View) -> None:
        self.view = view
        self.viewers: set[Watcher] = set()
        self.joining = 0
        self.complete = False
        self.behind: dict[Watcher, float] = {}
        self.version = 0
        self.state: dict[str, Any] = {}
        self.loaded = asyncio.Lock()
        self.pending: dict[str, list[Partials]] = {}
        self.shown: tuple[int, int, float] = (-1, -1, -1.0)
        self.sent_at = 0.0

    def observe(self, partials: Mapping[str, Partials]) -> None:
        """Note what a batch adds, for the metrics that have been loaded."""
        for name, parts in self.pending.items():
            if name in partials:
                parts.append(partials[name])
                if len(parts) >= MOST_PARTS:
                    self.absorb()

    def absorb(self) -> bool:
        """Bring what is pending into the view; tell whether there was anything."""
        changed = False
        for name, parts in self.pending.items():
            if parts:
                self.view.absorb(name, parts)
                parts.clear()
                changed = True
        return changed


class Hub:
    """Keeps every view that has viewers up to date."""

    def __init__(
        self,
        *,
        reader: Reader,
        ledger: Ledger,
        about: About,
        now_s: Callable[[], float],
        pulse: Pulse,
        tail: Tail,
        rate_hz: float,
        send_deadline_s: float,
        quiet_s: float = QUIET_S,
    ) -> None:
        self._pulse, self._tail = pulse, tail
        self._reader, self._ledger, self._about, self._now_s = reader, ledger, about, now_s
        self._interval_s, self._deadline_s, self._quiet_s = 1.0 / rate_hz, send_deadline_s, quiet_s
        self._channels: dict[Range, Channel] = {}
        self._watched = asyncio.Event()
        self._extent: tuple[int, int] | None = None
        self._extent_known = False
        self.encoded = self.skipped = self.joins = self.bytes_sent = 0
        self.durations = Distribution()
        self._oldest: float | None = None

    def set_rate(self, rate_hz: float) -> None:
        """Send this many diffs a second at most from here on."""
        self._interval_s = 1.0 / rate_hz

    @property
    def viewers(self) -> int:
        """How many viewers there are."""
        return sum(len(channel.viewers) for channel in self._channels.values())

    @property
    def behind(self) -> int:
        """How many viewers have not taken in what was sent."""
        return sum(len(channel.behind) for channel in self._channels.values())

    def observe(self, partials: Mapping[str, Partials]) -> None:
        """Take what a batch adds to the metrics; costs nothing while nobody looks."""
        if self._channels and LATENCY in partials:
            arrived = self._now_s() - float(partials[LATENCY].columns["max"].max()) / 1000.0
            self._oldest = arrived if self._oldest is None else min(self._oldest, arrived)
        if self._extent_known and EVENTS in partials:
            bucket = partials[EVENTS].bucket
            first, last = int(bucket.min()), int(bucket.max())
            before = self._extent or (first, last)
            self._extent = min(before[0], first), max(before[1], last)
        for channel in list(self._channels.values()):
            try:
                channel.observe(partials)
            except Exception:  # what has been counted is counted, whatever becomes of a page
                log.exception("a view could not take in a batch", range=channel.view.range)
                self._give_up(channel)

    async def join(
        self, watcher: Watcher, params: Mapping[str, Any], deliver: Callable[[bytes], bool]
    ) -> Range:
        """Let a viewer in; give the range it watches. Raises JoinRefused.

        deliver: called with the snapshot that answers the join, in the same instant in which the viewer begins to be
        sent what changes after it; says whether it could be sent at once.
        """
        wanted = parse_range(params)
        channel = self._channels.get(wanted)
        if channel is None:
            if len(self._channels) >= MOST_CHANNELS:
                raise JoinRefused("too many different ranges are being watched; try again later")
            channel = self._channels[wanted] = Channel(View(wanted, self._reader.metrics))
        channel.joining += 1
        try:
            async with channel.loaded:
                if not channel.complete:
                    await self._load(channel)
        finally:
            channel.joining -= 1
            self._tidy(wanted, channel)
        self._channels[wanted] = channel
        if not deliver(self._snapshot(channel)):
            channel.behind[watcher] = time.monotonic()
        channel.viewers.add(watcher)
        self.joins += 1
        self._watched.set()
        return wanted

    async def _load(self, channel: Channel) -> None:
        # anew, in case that an earlier attempt got half-way
        channel.view, channel.pending = View(channel.view.range, self._reader.metrics), {}
        start, end = channel.view.range.earliest(self._now_s()), channel.view.range.at(self._now_s())[1]
        upto = None if channel.view.range.preset else end
        for name in (EVENTS, LATENCY):
            parts = await self._reader.parts(self._reader.metric(name), start, upto)
            channel.pending[name] = []  # from this instant on, what batches add is noted
            channel.view.absorb(name, [part.select(part.bucket >= start) for part in parts if len(part)])
        if not self._extent_known:
            self._extent = await self._reader.extent(self._reader.metric(EVENTS))
            self._extent_known = True
        channel.absorb()
        channel.state = self._state(channel)
        channel.version += 1
        channel.complete = True

    def leave(self, watcher: Watcher, wanted: Range) -> None:
        """Let a viewer go; the last one takes the view with it."""
        channel = self._channels.get(wanted)
        if channel is None:
            return
        channel.viewers.discard(watcher)
        channel.behind.pop(watcher, None)
        self._tidy(wanted, channel)

    def _tidy(self, wanted: Range, channel: Channel) -> None:
        """Let go of a view that nobody looks at."""
        if not channel.viewers and not channel.joining:
            self._channels.pop(wanted, None)
        if not self._channels:
            self._watched.clear()
            self._pulse.forget()

    async def run(self) -> None:
        """Send what changed, a few times a second, for as long as there are viewers."""
        while True:
            await self._watched.wait()
            started = time.monotonic()
            self._pulse.sample()
            for channel in list(self._channels.values()):
                if channel.complete and channel.viewers:
                    try:
                        await self._tick(channel)
                    except Exception:
                        log.exception("a view could not be brought up to date", range=channel.view.range)
                        self._give_up(channel)
            if self._oldest is not None:
                self.durations.observe(self._now_s() - self._oldest)
                self._oldest = None
            asleep = time.monotonic()
            wait_s = max(0.0, self._interval_s - (asleep - started))
            await asyncio.sleep(wait_s)
            self._forgive(time.monotonic() - asleep - wait_s)

    def _forgive(self, late_s: float) -> None:
        """Count not against viewers that are behind the time in which the loop, and so their sending, stood still."""
        if late_s > STOOD_STILL_S:
            for channel in self._channels.values():
                channel.behind = {viewer: since + late_s for viewer, since in channel.behind.items()}

    def _give_up(self, channel: Channel) -> None:
        """Let go of a view that is not what it should be; its viewers come back and get a new one."""
        viewers = list(channel.viewers)
        channel.complete = False
        channel.viewers.clear()
        channel.behind.clear()
        self._tidy(channel.view.range, channel)
        for viewer in viewers:
            viewer.close(1011, "the view failed; connect again")

    async def _tick(self, channel: Channel) -> None:
        changed = channel.absorb()
        shown = (self._ledger.changes, channel.view.range.at(self._now_s())[1], self._pulse.rate())
        now = time.monotonic()
        if changed or shown != channel.shown or now - channel.sent_at > self._quiet_s:
            channel.shown, channel.sent_at = shown, now
            state = self._state(channel)
            shift = _shift(channel.state["time"], state["time"])
            patch = diff(channel.state, state, shift)
            channel.state = state
            payload = {
                "epoch": self._about.epoch,
                "from": channel.version,
                "version": channel.version + 1,
                "patch": patch,
            }
            channel.version += 1
            self.encoded += 1
            await self._broadcast(channel, encode_broadcast(TOPIC, "diff", msgspec.json.encode(payload)))
        self._catch_up(channel)

    async def _broadcast(self, channel: Channel, frame: bytes) -> None:
        now = time.monotonic()
        for number, viewer in enumerate(list(channel.viewers)):
            if number and number % SLICE == 0:
                await asyncio.sleep(0)
            if viewer in channel.behind:
                self.skipped += 1
            elif viewer in channel.viewers and viewer.send(frame):
                self.bytes_sent += len(frame)
            elif viewer in channel.viewers:
                channel.behind[viewer] = now
                self.skipped += 1

    def _catch_up(self, channel: Channel) -> None:
        """Bring viewers that were behind to the newest state, or close those that stay behind."""
        if not channel.behind:
            return
        now = time.monotonic()
        frame: bytes | None = None
        for viewer, since in list(channel.behind.items()):
            if viewer.ready():
                frame = frame or encode_broadcast(TOPIC, "snapshot", self._snapshot(channel))
                if viewer.send(frame):
                    del channel.behind[viewer]
            elif now - since > self._deadline_s:
                viewer.close(1013, "too slow")
                channel.viewers.discard(viewer)
                del channel.behind[viewer]

    def announce(self, event: str, payload: Mapping[str, Any]) -> None:
        """Tell every viewer something."""
        frame = encode_broadcast(TOPIC, event, msgspec.json.encode(payload))
        for channel in self._channels.values():
            for viewer in list(channel.viewers):
                viewer.send(frame)

    def _snapshot(self, channel: Channel) -> bytes:
        return msgspec.json.encode(
            {"epoch": self._about.epoch, "version": channel.version, "state": channel.state}
        )

    def _state(self, channel: Channel) -> dict[str, Any]:
        ledger = self._ledger.total()
        return {
            "as_of": int(self._now_s() * 1000),
            "started_at": self._about.started_ms,
            "demo": self._about.demo,
            "extent": _milliseconds(self._extent),
            "total_events": ledger.stored + ledger.pending,
            "rate": self._pulse.rate(),
            "ledger": self._ledger.as_dict(),
            "pipeline": self._pulse.pipeline(),
            "sources": self._pulse.sources(),
            "tail": self._tail.events(channel.view.range.type),
            **channel.view.figures(self._now_s()),
        }


def parse_range(params: Mapping[str, Any]) -> Range:
    """Read what a viewer wants to see; raises JoinRefused that says what is allowed."""
    start, end, preset = params.get("from"), params.get("to"), params.get("range", "15m")
    kind = params.get("type")
    if kind is not None and not (isinstance(kind, str) and 0 < len(kind) <= MOST_TYPE_CHARACTERS):
        raise JoinRefused("type: expected the name of a type of events")
    if start is not None or end is not None:
        if not (_is_time(start) and _is_time(end) and 0 < end - start <= MOST_RANGE_MS):
            raise JoinRefused(
                "from, to: expected two times in milliseconds, the first one earlier, at most 100 years apart"
            )
        return Range(None, start // 1000, -(-end // 1000), kind)
    if not isinstance(preset, str) or preset not in PRESETS_S:
        raise JoinRefused(f"range: expected one of {', '.join(PRESETS_S)}, or `from` and `to`")
    return Range(preset, type=kind)


def _is_time(value: Any) -> TypeGuard[int]:
    return type(value) is int and abs(value) <= MOST_TIME_MS


def _shift(before: Sequence[int], after: Sequence[int]) -> int:
    """By how many places the axis of time has moved on."""
    if len(before) < 2 or not after or before[0] >= after[0]:
        return 0
    return min(len(before), (after[0] - before[0]) // (before[1] - before[0]))


def _milliseconds(extent: tuple[int, int] | None) -> dict[str, int] | None:
    return extent and {"from": extent[0] * 1000, "to": (extent[1] + 1) * 1000}
