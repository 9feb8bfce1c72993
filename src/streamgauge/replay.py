"""Sends files of events to a server: NDJSON or CSV, plain or compressed, with its fields named as they are."""

from __future__ import annotations

import csv
import gzip
import http.client
import io
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final, cast
from urllib.parse import urlencode, urlsplit

import msgspec
import zstandard

from streamgauge.errors import StreamgaugeError
from streamgauge.event import RESERVED, FieldMapping
from streamgauge.events.clock import parse_timestamp

LINES_A_REQUEST: Final = 1000
BYTES_A_REQUEST: Final = 1024 * 1024
PATIENCE_S: Final = 60.0
STANDARD_INPUT: Final = "-"


class ReplayError(StreamgaugeError):
    """A file could not be sent."""


@dataclass(slots=True)
class Outcome:
    """What became of what was sent. first_ms, last_ms: the range of its times."""

    accepted: int = 0
    rejected: int = 0
    errors: list[str] = field(default_factory=list)
    first_ms: int | None = None
    last_ms: int | None = None

    def cover(self, time_ms: int) -> None:
        """Widen the range."""
        self.first_ms = time_ms if self.first_ms is None else min(self.first_ms, time_ms)
        self.last_ms = time_ms if self.last_ms is None else max(self.last_ms, time_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How fast: speed 0 as fast as the server takes it, 1 as it happened. shift_to_now: the last event is now."""

    speed: float = 0.0
    shift_to_now: bool = False


def open_file(name: str) -> IO[bytes]:
    """Open a file of events; `-` is standard input; .gz and .zst are inflated."""
    if name == STANDARD_INPUT:
        return sys.stdin.buffer
    try:
        if name.endswith(".gz"):
            return cast("IO[bytes]", gzip.open(name, "rb"))
        raw = Path(name).open("rb")  # noqa: SIM115  given to the caller, who closes it
    except OSError as exc:
        raise ReplayError(f"{name}: {exc.strerror}") from exc
    if name.endswith(".zst"):
        return io.BufferedReader(zstandard.ZstdDecompressor().stream_reader(raw, closefd=True))
    return raw


def lines_of(name: str, file: IO[bytes]) -> Iterator[bytes]:
    """Give a file's events as lines of JSON, each with its newline."""
    if ".csv" in Path(name).suffixes:
        yield from _csv_lines(file)
        return
    for line in file:
        if line.strip():
            yield line if line.endswith(b"\n") else line + b"\n"


def _csv_lines(file: IO[bytes]) -> Iterator[bytes]:
    encode = msgspec.json.Encoder().encode
    for row in csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline="")):
        event = {name: _cell(text) for name, text in row.items() if name and text not in {None, ""}}
        yield encode(event) + b"\n"


def _cell(text: str) -> Any:
    """Take a cell for a number or a truth value where it is written as one."""
    if text in {"true", "false"}:
        return text == "true"
    if text[:1] in "-0123456789" and not (text[:1] == "0" and text[1:2].isdigit()):
        try:
            return int(text) if text.lstrip("-").isdigit() and len(text) < 19 else float(text)
        except ValueError:
            return text
    return text


def replay(
    names: list[str],
    url: str,
    *,
    mapping: FieldMapping,
    pace: Pace,
    progress: Callable[[int], None] = lambda bytes_sent: None,
) -> Outcome:
    """Send files, one behind the other; raises ReplayError with what the server said where it takes none of it."""
    outcome = Outcome()
    shift_ms = _shift(names, mapping) if pace.shift_to_now else 0
    sender = _Sender(url, mapping)
    clock = _Clock(pace.speed)
    try:
        for name in names:
            with open_file(name) as file:
                for body in _bodies(lines_of(name, file)):
                    times = _times(body, mapping)
                    moved = _move(body, mapping, shift_ms) if shift_ms else body
                    for moment in times:
                        outcome.cover(moment + shift_ms)
                    clock.wait_for(times)
                    sender.send(moved, outcome)
                    progress(len(body))
    finally:
        sender.close()
    return outcome


def _bodies(lines: Iterator[bytes]) -> Iterator[bytes]:
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        if waiting and (len(waiting) >= LINES_A_REQUEST or size + len(line) > BYTES_A_REQUEST):
            yield b"".join(waiting)
            waiting, size = [], 0
        waiting.append(line)
        size += len(line)
    if waiting:
        yield b"".join(waiting)


def _times(body: bytes, mapping: FieldMapping) -> list[int]:
    """Give the first, the last, the earliest and the latest time of a body, in milliseconds, where it has any."""
    stamp: Any = msgspec.defstruct(
        "Stamp", [("timestamp", str | int | float | None, None)], rename={"timestamp": mapping.timestamp}
    )
    try:
        found = [row.timestamp for row in msgspec.json.Decoder(stamp).decode_lines(body)]
        moments = [parse_timestamp(value) // 1000 for value in found if value is not None]
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
        return []  # the server will say what is wrong with which line
    return [min(moments), max(moments)] if moments else []


def _shift(names: list[str], mapping: FieldMapping) -> int:
    latest: int | None = None
    for name in names:
        if name == STANDARD_INPUT:
            raise ReplayError("--shift-to-now: standard input cannot be read twice; give a file")
        with open_file(name) as file:
            for body in _bodies(lines_of(name, file)):
                latest = max([*_times(body, mapping), latest if latest is not None else -(2**62)])
    return 0 if latest is None else time.time_ns() // 1_000_000 - latest


def _move(body: bytes, mapping: FieldMapping, shift_ms: int) -> bytes:
    events = [msgspec.json.decode(line) for line in body.splitlines()]
    for event in events:
        if isinstance(event, dict) and event.get(mapping.timestamp) is not None:
            event[mapping.timestamp] = parse_timestamp(event[mapping.timestamp]) // 1000 + shift_ms
    return msgspec.json.Encoder().encode_lines(events)


class _Clock:
    """Keeps events as far apart as they were, divided by the speed."""

    def __init__(self, speed: float) -> None:
        self._speed = speed
        self._begun: tuple[float, int] | None = None

    def wait_for(self, times: list[int]) -> None:
        if self._speed <= 0 or not times:
            return
        if self._begun is None:
            self._begun = (time.monotonic(), times[0])
        due = self._begun[0] + (times[-1] - self._begun[1]) / 1000.0 / self._speed
        time.sleep(max(0.0, due - time.monotonic()))


class _Sender:
    """Sends bodies over one connection; waits and tries again while the server has no room."""

    def __init__(self, url: str, mapping: FieldMapping) -> None:
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ReplayError(f"--url: expected something like http://localhost:4000, got {url!r}")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=PATIENCE_S)
        self._url = url
        fields = msgspec.to_builtins(mapping)
        self._path = "/api/events" + (f"?{urlencode(fields)}" if fields else "")

    def send(self, body: bytes, outcome: Outcome) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            status, headers, answer = self._post(body)
            if status != 503 or time.monotonic() > deadline:
                break
            time.sleep(min(5.0, float(headers.get("retry-after", "1"))))
        if status not in {202, 422}:
            raise ReplayError(f"{self._url} answered {status}: {answer.get('detail', answer)}")
        position = outcome.accepted + outcome.rejected
        outcome.accepted += answer["accepted"]
        outcome.rejected += answer.get("rejected", 0)
        for problem in answer.get("errors", ())[: max(0, 10 - len(outcome.errors))]:
            outcome.errors.append(f"event {position + problem['index'] + 1}: {problem['error']}")
        if status == 422 and not outcome.accepted:
            raise ReplayError(_nothing_accepted(outcome))

    def _post(self, body: bytes) -> tuple[int, Mapping[str, str], dict[str, Any]]:
        try:
            self._connection.request("POST", self._path, body, {"Content-Type": "application/x-ndjson"})
            response = self._connection.getresponse()
            text = response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise ReplayError(f"{self._url} cannot be reached: {exc}; is the server running there?") from exc
        headers = {name.lower(): value for name, value in response.getheaders()}
        try:
            answer = msgspec.json.decode(text)
        except msgspec.DecodeError:
            answer = {"detail": text[:200].decode(errors="replace")}
        return response.status, headers, answer if isinstance(answer, dict) else {}

    def close(self) -> None:
        self._connection.close()


def _nothing_accepted(outcome: Outcome) -> str:
    lines = "\n  ".join(outcome.errors[:5])
    options = ", ".join(f"--{name.replace('_', '-')}" for name in RESERVED)
    return f"no event was accepted:\n  {lines}\nName the file's own fields with {options}."


def page_address(url: str, outcome: Outcome) -> str:
    """Give the address of the page that shows what was sent."""
    base = (url if "//" in url else f"http://{url}").rstrip("/")
    if outcome.first_ms is None or outcome.last_ms is None:
        return f"{base}/"
    return f"{base}/?from={outcome.first_ms}&to={outcome.last_ms + 1000}"


def describe_range(outcome: Outcome) -> str:
    """Say in words which times were sent."""
    if outcome.first_ms is None or outcome.last_ms is None:
        return "now"
    first, last = (
        datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        for ms in (outcome.first_ms, outcome.last_ms)
    )
    return f"{first} to {last} UTC"
