"""`GET /api/sources`: every door through which events can come, and what has come through it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamgauge.event import RESERVED, FieldMapping
from streamgauge.ledger import Counts, Ledger
from streamgauge.live.pulse import Pulse
from streamgauge.source import RunningSource
from streamgauge.sources.doors import DoorNote
from streamgauge.sources.http import SOURCE as HTTP
from streamgauge.sources.socket import SOURCE as WEBSOCKET

PATH: Final = "/api/sources"
OTHER: Final = "other"
DETAILS: Final = ("url", "connected", "problems", "topics", "example", "type_field")


class Door(msgspec.Struct, omit_defaults=True):
    """A way in for events, and what came by it.

    kind: http, websocket, cloudevents, python, files, the kind of a `[[source]]` (mqtt), or other: what has no sender,
    as a demo. name: of the door. source: under which the ledger counts its events. own: the counts are this door's,
    since the server was started, as the ledger counts it together with others; else they are the ledger's, for ever.
    rate, rejected_rate: events a second, null where nobody measures them just now. last_ms: when the last event came,
    in milliseconds since 1970. last_problem: what was wrong with the last one that was rejected, or with the connection.
    url, connected, problems, topics, example (a topic to publish to), type_field: of what has a connection of its own.
    """

    kind: str
    name: str
    source: str
    own: bool
    received: int
    rejected: int
    duplicate: int
    rate: float | None
    rejected_rate: float | None
    last_ms: int | None
    last_problem: str | None
    url: str | None = None
    connected: bool | None = None
    problems: list[str] = []
    topics: list[str] = []
    example: str | None = None
    type_field: str | None = None


class DoorList(msgspec.Struct):
    """Every door. started_at: when the server was. fields: which field of an event plays which part, unless said otherwise."""

    as_of: int
    started_at: int
    fields: dict[str, str]
    doors: list[Door]


@dataclass(frozen=True, slots=True, kw_only=True)
class DoorDesk:
    """Knows the doors of a running server. notes: of the doors that stand within HTTP. Times in ms since 1970."""

    ledger: Ledger
    pulse: Pulse
    notes: Mapping[str, DoorNote]
    sources: Callable[[], Sequence[RunningSource]]
    mapping: Callable[[], FieldMapping]
    started_ms: int
    now_ms: Callable[[], int]

    def doors(self) -> DoorList:
        """Give every door, also those by which nothing came yet."""
        running = {source.name: source.status() for source in self.sources()}
        health = self.pulse.sources()
        listed = [
            self._booked("http", HTTP, health),
            self._booked("websocket", WEBSOCKET, health),
            *(self._booked(str(status["kind"]), name, health, status) for name, status in running.items()),
            *(_noted(name, note) for name, note in self.notes.items()),
            *(self._booked(OTHER, name, health) for name in self._others(running)),
        ]
        mapping = self.mapping()
        fields = {part: getattr(mapping, part) for part in RESERVED}
        return DoorList(self.now_ms(), self.started_ms, fields, listed)

    def _others(self, running: Iterable[str]) -> list[str]:
        return sorted(set(self.ledger.sources) - {HTTP, WEBSOCKET, *running})

    def _booked(
        self,
        kind: str,
        name: str,
        health: Mapping[str, Mapping[str, Any]],
        status: Mapping[str, Any] | None = None,
    ) -> Door:
        """Give a door that the ledger counts by itself."""
        counts = self.ledger.sources.get(name, Counts())
        seen = health.get(name, {})
        measured = self.pulse.is_measuring
        extra = {} if status is None else {key: status[key] for key in DETAILS if key in status}
        return Door(
            kind=kind,
            name=name,
            source=name,
            own=False,
            received=counts.received,
            rejected=counts.rejected,
            duplicate=counts.duplicate,
            rate=seen.get("rate", 0.0) if measured else None,
            rejected_rate=seen.get("rejected_rate", 0.0) if measured else None,
            last_ms=seen.get("last_ms"),
            last_problem=seen.get("last_problem"),
            **extra,
        )


def _noted(name: str, note: DoorNote) -> Door:
    return Door(
        kind=name,
        name=name,
        source=HTTP,
        own=True,
        received=note.received,
        rejected=note.rejected,
        duplicate=note.duplicate,
        rate=note.rate,
        rejected_rate=None,
        last_ms=note.last_ms,
        last_problem=note.problem,
    )


def routes(desk: DoorDesk) -> list[Route]:
    """Give the route of the doors."""

    async def doors(request: Request) -> Response:  # noqa: ARG001  a route's handler takes the request
        return Response(msgspec.json.encode(desk.doors()), media_type="application/json")

    return [Route(PATH, doors, methods=["GET"])]
