"""How the server itself is doing, for the page: stages, sources, and the last few events. Rates are over two seconds."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from streamgauge.event import FieldMapping, Lines, Origin
from streamgauge.events.clock import parse_timestamp
from streamgauge.events.objects import UNWRITABLE
from streamgauge.ledger import Ledger

WINDOW_S: Final = 2.0
MOST_SAMPLES: Final = 64
TAIL: Final = 8
BUSY: Final = 0.8  # from here on a stage is named as the bottleneck
DIGITS: Final = 4


@dataclass(frozen=True, slots=True)
class StageCount:
    """What a stage has counted: events handled, seconds busy; and what it holds now."""

    name: str
    events: int
    busy_s: float
    buffer: int
    capacity: int
    demand: int


@dataclass(frozen=True, slots=True)
class _Sample:
    at: float
    received: Mapping[str, int]
    rejected: Mapping[str, int]
    stages: Mapping[str, StageCount]


@dataclass(slots=True)
class SourceNote:
    """When a source last brought an event, and the last one that was rejected."""

    last_ms: int | None = None
    problem: str | None = None
    watermark_us: int = 0  # the latest event time that it brought


class Tail:
    """Remembers where the last few events lie, without looking at them until somebody asks."""

    def __init__(self) -> None:
        self._recent: deque[tuple[Origin, Lines | Sequence[Mapping[str, Any]]]] = deque(maxlen=TAIL)
        self.changes = 0

    def note(self, origin: Origin, events: Lines | Sequence[Mapping[str, Any]]) -> None:
        """Take in accepted events: their lines, or the last few of them as mappings."""
        self._recent.append((origin, events))
        self.changes += 1

    def events(self, type_name: str | None = None) -> list[dict[str, Any]]:
        """Give the last few events, the newest first; of one type only, where one is named."""
        found: list[dict[str, Any]] = []
        for origin, events in reversed(self._recent):
            for line in _newest(events):
                row = _row(line, origin)
                if type_name is None or row["type"] == type_name:
                    found.append(row)
                if len(found) == TAIL:
                    return found
        return found


def _newest(events: Lines | Sequence[Mapping[str, Any]]) -> Iterator[bytes]:
    if isinstance(events, Lines):
        for place in range(len(events.starts) - 1, max(-1, len(events.starts) - 1 - 4 * TAIL), -1):
            yield events.line(place)
        return
    for event in reversed(events):
        with suppress(*UNWRITABLE):  # nobody promised that a mapping can be written; then it is not shown
            yield msgspec.json.encode(event)


def _row(line: bytes, origin: Origin) -> dict[str, Any]:
    event = msgspec.json.decode(line)
    mapping: FieldMapping = origin.mapping
    stamp = event.get(mapping.timestamp)
    at_us = origin.at_us if stamp is None else parse_timestamp(stamp)
    user = event.get(mapping.user_id)
    return {
        "time": at_us // 1000,
        "type": event[mapping.type],
        "user_id": None if user is None else str(user),
        "value": event.get(mapping.value),
        "source": origin.source,
        "event": event,
    }


class Pulse:
    """Takes samples of the running server and tells rates.

    stages: what each has counted so far, in order. statuses: of the sources that have a connection of their own.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        stages: Callable[[], Sequence[StageCount]],
        notes: Callable[[], Mapping[str, SourceNote]],
        statuses: Callable[[], Mapping[str, Mapping[str, Any]]] = dict,
    ) -> None:
        self._ledger, self._stages, self._notes = ledger, stages, notes
        self._statuses = statuses
        self._samples: deque[_Sample] = deque(maxlen=MOST_SAMPLES)

    def sample(self) -> None:
        """Take a sample; a few times a second while somebody looks."""
        sources = self._ledger.sources
        self._samples.append(
            _Sample(
                at=time.monotonic(),
                received={name: counts.received for name, counts in sources.items()},
                rejected={name: counts.rejected for name, counts in sources.items()},
                stages={stage.name: stage for stage in self._stages()},
            )
        )

    def forget(self) -> None:
        """Drop the samples: nobody has looked for a while."""
        self._samples.clear()

    @property
    def is_measuring(self) -> bool:
        """Whether there are rates: somebody looks, and has for a moment."""
        return self._ends() is not None

    def _ends(self) -> tuple[_Sample, _Sample] | None:
        if len(self._samples) < 2:
            return None
        newest, before = self._samples[-1], self._samples[-2]  # samples may be further apart than the window
        oldest = next((sample for sample in self._samples if newest.at - sample.at <= WINDOW_S), before)
        oldest = before if oldest is newest else oldest
        return (oldest, newest) if newest.at > oldest.at else None

    def rate(self) -> float:
        """Events received a second, from all sources."""
        ends = self._ends()
        if ends is None:
            return 0.0
        old, new = ends
        return _short((sum(new.received.values()) - sum(old.received.values())) / (new.at - old.at))

    def sources(self) -> dict[str, dict[str, Any]]:
        """Give each source's rates and what it brought last; where a source has a connection, also how that is."""
        ends, notes, statuses = self._ends(), self._notes(), self._statuses()
        found: dict[str, dict[str, Any]] = {}
        for name in {**self._ledger.sources, **statuses}:
            note, status = notes.get(name, SourceNote()), statuses.get(name, {})
            problem = next(iter(status.get("problems", ())), note.problem)
            found[name] = {
                "rate": _growth(ends, name, lambda sample: sample.received),
                "rejected_rate": _growth(ends, name, lambda sample: sample.rejected),
                "last_ms": note.last_ms,
                "last_problem": problem,
                **{key: status[key] for key in ("url", "connected") if key in status},
            }
        return found

    def pipeline(self) -> dict[str, Any]:
        """Give each stage's rate and load, and say in words which one is the bottleneck, if one is."""
        ends = self._ends()
        if ends is None:
            return {"stages": [_stage(stage, 0.0, 0.0) for stage in self._stages()], "bottleneck": None}
        old, new = ends
        seconds = new.at - old.at
        stages = []
        for name, stage in new.stages.items():
            before = old.stages.get(name, stage)
            busy = min(1.0, (stage.busy_s - before.busy_s) / seconds)
            stages.append(_stage(stage, (stage.events - before.events) / seconds, busy))
        return {"stages": stages, "bottleneck": _bottleneck(stages)}


def _growth(
    ends: tuple[_Sample, _Sample] | None, name: str, counts: Callable[[_Sample], Mapping[str, int]]
) -> float:
    if ends is None:
        return 0.0
    old, new = ends
    return _short((counts(new).get(name, 0) - counts(old).get(name, 0)) / (new.at - old.at))


def _stage(stage: StageCount, rate: float, busy: float) -> dict[str, Any]:
    return {
        "name": stage.name,
        "rate": _short(rate),
        "buffer": stage.buffer,
        "capacity": stage.capacity,
        "demand": stage.demand,
        "busy": round(busy, 2),
    }


def _bottleneck(stages: Sequence[Mapping[str, Any]]) -> str | None:
    full = next(
        (stage for stage in stages if stage["capacity"] and stage["buffer"] >= stage["capacity"]), None
    )
    slowest = max(stages, key=lambda stage: float(stage["busy"]), default=None)
    if slowest is not None and slowest["busy"] >= BUSY:
        return f"{slowest['name']} is the slowest: busy {slowest['busy']:.0%}"
    return None if full is None else f"{full['name']} is full: {full['buffer']:,} events wait"


def _short(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")
