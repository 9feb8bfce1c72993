"""Sends files of events to a server, with their fields named as they are. How files are read is in `event_files`."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode
from uuid import uuid4

import msgspec

from streamgauge.errors import StreamgaugeError
from streamgauge.event import RESERVED, FieldMapping
from streamgauge.event_files import FORMATS, STANDARD_INPUT, Format, Line, UnreadableFile, lines_of
from streamgauge.events.clock import parse_timestamp
from streamgauge.events.limits import LIKELY_TYPE_FIELDS
from streamgauge.remote import Address, Remote, RemoteError, detail_of, unreachable
from streamgauge.replay_bodies import Body, Gathering, Times

TICK_S: Final = 0.1  # with a speed, events this near to each other go together
TIMEOUT_S: Final = 60.0
PATIENCE_S: Final = 60.0
LONGEST_WAIT_S: Final = 30.0
IDLE_S: Final = 5.0  # a connection unused for longer may have been closed by the server
MOST_ERRORS: Final = 10
FEWEST_JUDGED: Final = 10  # events of a stream that must all be rejected before it is given up
HEADERS: Final[Mapping[str, str]] = {"Content-Type": "application/x-ndjson", "Streamgauge-Door": "files"}
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
ACCEPTED, NOT_JSON, UNPROCESSABLE = 202, 400, 422
NO_ROOM: Final = (429, 503)
RETRY_S: Final = 1.0
LIKELY_SINCE_US: Final = 946_684_800_000_000  # the year 2000; what is before is more likely another number
LIKELY_TIME_FIELDS: Final = (
    "ts", "time", "@timestamp", "datetime", "date", "created_at", "createdAt", "event_time", "eventTime", "occurred_at", "at",
)  # fmt: skip


class ReplayError(StreamgaugeError):
    """A file could not be sent."""


class _Broken(ReplayError):
    """The connection broke while a request was under way; nobody knows what became of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast: speed 0 as fast as the server takes it, 1 as it happened. shift_to_now: the last event is now."""

    speed: float = 0.0
    shift_to_now: bool = False

    def __post_init__(self) -> None:
        if not 0.0 <= self.speed < float("inf"):
            raise ReplayError(
                f"--speed: expected 0 or more, got {self.speed:g}; 1 is as fast as it happened, 0 as fast as possible"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Clock:
    """What a replay takes for the time. now_us: microseconds since 1970; the others in seconds."""

    now_us: Callable[[], int] = lambda: time.time_ns() // 1000
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


@dataclass(slots=True)
class Outcome:
    """What became of what was sent. errors: the first few. first_us, last_us: the range of the accepted events' times.

    was_interrupted: by Ctrl-C, before the end of the files. unknown: events that were under way then.
    """

    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    duplicates: int = 0
    unknown: int = 0
    was_interrupted: bool = False
    errors: list[str] = field(default_factory=list)
    first_us: int | None = None
    last_us: int | None = None
    first_event: bytes = b""

    def cover(self, time_us: int) -> None:
        """Widen the range."""
        self.first_us = time_us if self.first_us is None else min(self.first_us, time_us)
        self.last_us = time_us if self.last_us is None else max(self.last_us, time_us)

    def skip(self, problem: str) -> None:
        """Count what could not even be sent."""
        self.rejected += 1
        self.complain(problem)

    def complain(self, problem: str) -> None:
        """Keep the first few problems."""
        if len(self.errors) < MOST_ERRORS:
            self.errors.append(problem)


class _Refused(msgspec.Struct):
    index: int
    error: str


class _Doors(msgspec.Struct):
    fields: dict[str, str] = {}


class _Receipt(msgspec.Struct):
    accepted: int
    rejected: int = 0
    errors: list[_Refused] = []
    duplicates: int = 0


def replay(
    names: Sequence[str],
    url: str,
    *,
    fields: Mapping[str, str],
    form: Format = "auto",
    pace: Pace | None = None,
    clock: Clock | None = None,
    progress: Callable[[int], None] = lambda bytes_read: None,
) -> Outcome:
    """Send files, one behind the other. form: how they are written; "auto" tells it of each.

    fields: which field plays which part, where that is not what the server says. A request whose answer was lost is sent
    again, and counts once. progress: told of the bytes read of the files, as they are on the disk.
    What comes slowly on standard input is sent after a moment, whole requests or not; Ctrl-C sends what was read of it.
    Raises ReplayError or UnreadableFile, which say what was accepted before, and RemoteError for a bad address.
    """
    pace, clock = pace or Pace(), clock or Clock()
    address, outcome = Address.read(url), Outcome()
    mapping = FieldMapping(**{**_fields_at(url), **fields})
    times = Times(mapping)
    shift_us = _shift(names, mapping, form, times, clock) if pace.shift_to_now else 0
    schedule = _Schedule(pace.speed, clock)
    sender = _Sender(address, fields, clock)

    def give(body: Body) -> None:
        if "timestamp" not in fields and not outcome.sent:
            _check_times(body, mapping)
        for part in schedule.parts(body):
            _send(sender, _moved(part, mapping, shift_us), mapping, outcome, clock)

    try:
        for name in names:
            gathering = Gathering(name, times, give, clock.monotonic)
            idle = gathering.hurry if name == STANDARD_INPUT else None
            lines = lines_of(name, form=form, fields=mapping, skipped=outcome.skip, read=progress, idle=idle)
            _gather(gathering, lines, is_stream=name == STANDARD_INPUT)
        _check_accepted(outcome, mapping)
    except KeyboardInterrupt:
        outcome.was_interrupted = True
    except (ReplayError, UnreadableFile) as exc:
        if outcome.accepted:
            raise ReplayError(f"{exc}; {outcome.accepted:,} events had been accepted before") from exc
        raise
    finally:
        sender.close()
    return outcome


def _gather(gathering: Gathering, lines: Iterator[Line], *, is_stream: bool) -> None:
    try:
        for line in lines:
            gathering.put(line)
    except KeyboardInterrupt:
        if is_stream:  # it cannot be read again
            gathering.give()
        raise
    gathering.give()


def _fields_at(url: str) -> dict[str, str]:
    """Ask a server which field plays which part; nothing where it does not say, and then it says why when it is sent to."""
    try:
        return Remote(url).call("GET", "/api/sources", _Doors).fields
    except RemoteError:
        return {}


def _check_times(body: Body, mapping: FieldMapping) -> None:
    """Refuse events that would all be counted at this moment, though they look as if they knew their time."""
    if any(at is not None for at in body.at_us) or body.unread:
        return
    try:
        likely = _time_field(msgspec.json.decode(body.rows[0].text, type=dict[str, Any]))
    except (msgspec.DecodeError, UnicodeDecodeError):  # the server will say what is wrong
        return
    if likely is not None:
        raise ReplayError(
            f"{body.place(0)}: no `{mapping.timestamp}`, so the events would be counted as of now; `{likely}` looks like "
            f"their time: say --timestamp {likely}, or --timestamp {mapping.timestamp} to send them as of now"
        )


def _time_field(event: Mapping[str, Any]) -> str | None:
    """Give the field of an event that looks like its time."""
    return next((name for name in LIKELY_TIME_FIELDS if _is_time(event.get(name))), None)


def _is_time(value: object) -> bool:
    try:
        return value is not None and parse_timestamp(value) >= LIKELY_SINCE_US
    except ValueError:
        return False


def _send(sender: _Sender, body: Body, mapping: FieldMapping, outcome: Outcome, clock: Clock) -> None:
    try:
        receipt = sender.send(b"".join(body.lines))
    except KeyboardInterrupt:
        outcome.unknown += len(body.rows)
        raise
    refused = {problem.index for problem in receipt.errors}
    for problem in receipt.errors:
        outcome.complain(f"{body.place(problem.index)}: {problem.error}")
    outcome.sent += len(body.rows)
    outcome.accepted += receipt.accepted
    outcome.rejected += receipt.rejected
    outcome.duplicates += receipt.duplicates
    outcome.first_event = outcome.first_event or body.rows[0].text
    if outcome.sent >= FEWEST_JUDGED or not body.is_early:
        _check_accepted(outcome, mapping)
    if receipt.accepted:
        for place, at_us in enumerate(body.at_us):
            if place not in refused and place not in body.unread:
                outcome.cover(clock.now_us() if at_us is None else at_us)


def _shift(names: Sequence[str], mapping: FieldMapping, form: Format, times: Times, clock: Clock) -> int:
    """Give how far the last event of all files is from now, in microseconds."""
    if STANDARD_INPUT in names:
        raise ReplayError("--shift-to-now: standard input cannot be read twice; give a file")
    latest: int | None = None

    def look(body: Body) -> None:
        nonlocal latest
        latest = max((at for at in (latest, *body.at_us) if at is not None), default=None)

    for name in names:
        lines = lines_of(name, form=form, fields=mapping)
        _gather(Gathering(name, times, look, clock.monotonic), lines, is_stream=False)
    return 0 if latest is None else clock.now_us() - latest


def _moved(body: Body, mapping: FieldMapping, shift_us: int) -> Body:
    if not shift_us:
        return body
    rows = [
        row._replace(text=_moved_line(row.text, at, mapping, shift_us))
        for row, at in zip(body.rows, body.at_us, strict=True)
    ]
    at_us = [None if at is None else at + shift_us for at in body.at_us]
    return Body(body.file, rows, at_us, body.unread, body.is_early)


def _moved_line(line: bytes, at_us: int | None, mapping: FieldMapping, shift_us: int) -> bytes:
    if at_us is None:
        return line
    event = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
    moment = EPOCH + timedelta(microseconds=at_us + shift_us)
    event[mapping.timestamp] = msgspec.Raw(msgspec.json.encode(moment))
    return msgspec.json.encode(event) + b"\n"


class _Schedule:
    """Keeps events as far apart as they were, divided by the speed."""

    def __init__(self, speed: float, clock: Clock) -> None:
        self._speed, self._clock = speed, clock
        self._begun: tuple[float, int] | None = None

    def parts(self, body: Body) -> Iterator[Body]:
        """Give a body in parts, each when it is due."""
        if self._speed <= 0:
            yield body
            return
        for start, end in self._cuts(body.at_us):
            self._wait(next((at for at in body.at_us[start:end] if at is not None), None))
            unread = frozenset(place - start for place in body.unread if start <= place < end)
            yield Body(body.file, body.rows[start:end], body.at_us[start:end], unread, body.is_early)

    def _cuts(self, at_us: Sequence[int | None]) -> Iterator[tuple[int, int]]:
        step_us = TICK_S * self._speed * 1e6
        start, since = 0, None
        for place, at in enumerate(at_us):
            if at is None:
                continue
            if since is not None and at - since >= step_us:
                yield start, place
                start, since = place, at
            elif since is None:
                since = at
        yield start, len(at_us)

    def _wait(self, at_us: int | None) -> None:
        if at_us is None:
            return
        if self._begun is None:
            self._begun = (self._clock.monotonic(), at_us)
        due = self._begun[0] + (at_us - self._begun[1]) / 1e6 / self._speed
        wait_s = due - self._clock.monotonic()
        if wait_s > 0:
            self._clock.sleep(wait_s)


class _Sender:
    """Sends bodies over one connection; waits and tries again while the server has no room, or has gone."""

    def __init__(self, address: Address, fields: Mapping[str, str], clock: Clock) -> None:
        self._address, self._clock = address, clock
        self._run, self._sent, self._answered = uuid4().hex, 0, 0
        self._connection = address.connect(TIMEOUT_S)
        self._used_at = clock.monotonic()
        self._path = f"{address.path}/api/events" + (f"?{urlencode(fields)}" if fields else "")

    def send(self, body: bytes) -> _Receipt:
        deadline = self._clock.monotonic() + PATIENCE_S
        self._sent += 1
        while True:
            try:
                status, headers, text = self._post(body)
            except _Broken:
                if self._clock.monotonic() >= deadline:
                    raise
                self._connection.close()
                self._clock.sleep(RETRY_S)
                continue
            if status not in NO_ROOM or self._clock.monotonic() >= deadline:
                break
            self._clock.sleep(_wait_of(headers.get("retry-after", "")))
        if status == NOT_JSON:  # of this part; another may be better
            return _Receipt(0, body.count(b"\n"), [_Refused(0, detail_of(text))])
        if status not in {ACCEPTED, UNPROCESSABLE}:
            raise ReplayError(f"{self._address.url} answered {status}: {detail_of(text)}")
        try:
            return msgspec.json.decode(text, type=_Receipt)
        except msgspec.DecodeError as exc:
            raise ReplayError(f"{self._address.url} is no Streamgauge server: {exc}") from exc

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        if self._clock.monotonic() - self._used_at > IDLE_S:
            self._connection.close()  # a request on it would be lost; it opens again by itself
        try:
            if self._connection.sock is None:
                self._connection.connect()
        except (OSError, http.client.HTTPException) as exc:
            problem = unreachable(self._address, exc)
            raise (ReplayError if self._answered == 0 else _Broken)(problem) from exc
        try:
            headers = {**HEADERS, "Idempotency-Key": f"replay-{self._run}-{self._sent}"}
            self._connection.request("POST", self._path, body, headers)
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as exc:
            events = body.count(b"\n")
            raise _Broken(
                f"{self._address.url}: the connection broke: {exc}; whether the last {events:,} events were accepted is not known"
            ) from exc
        self._used_at = self._clock.monotonic()
        self._answered += 1
        return response.status, {name.lower(): value for name, value in response.getheaders()}, text

    def close(self) -> None:
        self._connection.close()


def _wait_of(retry_after: str) -> float:
    """Read `Retry-After` in seconds; where it is a date (RFC 9110, 10.2.3) or nothing, a second has to do."""
    return min(LONGEST_WAIT_S, float(retry_after)) if retry_after.isascii() and retry_after.isdigit() else 1.0


def _check_accepted(outcome: Outcome, mapping: FieldMapping) -> None:
    """Raise ReplayError where events were sent, and all of them rejected."""
    if not outcome.sent or outcome.accepted or outcome.duplicates:
        return
    problems = "\n  ".join(outcome.errors[:5])
    raise ReplayError(f"no event was accepted:\n  {problems}\n{_advice(outcome.first_event, mapping)}")


def _advice(line: bytes, mapping: FieldMapping) -> str:
    """Say what an event that was rejected seems to be, and what would help."""
    try:
        event = msgspec.json.decode(line)
    except UnicodeDecodeError:
        return "It is no UTF-8."
    except msgspec.DecodeError:
        if line.startswith(b"{"):
            return "Each event has to be whole on a line of its own; jq -c . FILE writes them so."
        return f"The first line is no JSON; --format says what it is: {', '.join(FORMATS[1:])}."
    if not isinstance(event, dict):
        return f"Each line has to be a JSON object; the first is {type(event).__name__}."
    names = ", ".join(f"`{name}`" for name in list(event)[:20])
    inside = next((name for name, held in event.items() if isinstance(held, list) and held), None)
    if inside is not None and len(event) == 1:
        return f"The first event has nothing but `{inside}`, a list; jq -c '.{inside}[]' FILE | streamgauge replay - sends what is in it."
    options = ", ".join(f"--{name.replace('_', '-')}" for name in RESERVED)
    hint = _hint(event, mapping)
    return (
        f"The first event has the fields {names or '(none)'}. {hint}Say which field is which with {options}."
    )


def _hint(event: Mapping[str, Any], mapping: FieldMapping) -> str:
    """Name the fields of an event that look like its type and its time, where it has none."""
    likely = next((name for name in LIKELY_TYPE_FIELDS if isinstance(event.get(name), str)), None)
    hints = [f"--type {likely}"] if likely and not event.get(mapping.type) else []
    when = _time_field(event)
    hints += [f"--timestamp {when}"] if hints and when and mapping.timestamp not in event else []
    return f"Try {' '.join(hints)}. " if hints else ""


def page_address(url: str, outcome: Outcome) -> str:
    """Give the address of the page that shows what was sent."""
    base = Address.read(url).url
    if outcome.first_us is None or outcome.last_us is None:
        return f"{base}/"
    return f"{base}/?from={outcome.first_us // 1000}&to={outcome.last_us // 1000 + 1000}"


def describe_range(outcome: Outcome) -> str:
    """Say in words which times were sent; nothing where nothing was."""
    if outcome.first_us is None or outcome.last_us is None:
        return ""
    first, last = (
        (EPOCH + timedelta(microseconds=at)).strftime("%Y-%m-%d %H:%M:%S")
        for at in (outcome.first_us, outcome.last_us)
    )
    return f"{first} to {last} UTC"


__all__ = [
    "Clock",
    "Outcome",
    "Pace",
    "RemoteError",
    "ReplayError",
    "describe_range",
    "page_address",
    "replay",
]
