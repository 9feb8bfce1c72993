"""Lines of a file put together to what is sent at once, with the times of their events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from streamgauge.event import FieldMapping
from streamgauge.event_files import STANDARD_INPUT, Line
from streamgauge.events.clock import parse_column, parse_timestamp

LINES_AT_ONCE: Final = 1000
BYTES_AT_ONCE: Final = 1024 * 1024
LINGER_S: Final = 0.3


@dataclass(slots=True)
class Body:
    """Events of one request. at_us: their times, None where there is none that can be read.

    unread: where there is a time, but it cannot be read. is_early: more of the file was still to come when it was put
    together, as that came slowly.
    """

    file: str
    rows: list[Line]
    at_us: list[int | None]
    unread: frozenset[int] = frozenset()
    is_early: bool = False

    @property
    def lines(self) -> list[bytes]:
        """The events as JSON."""
        return [row.text for row in self.rows]

    def place(self, index: int) -> str:
        """Say where an event stood."""
        row = self.rows[index] if 0 <= index < len(self.rows) else self.rows[-1]
        name = "standard input" if self.file == STANDARD_INPUT else self.file
        return f"{name}, {row.unit} {row.number:,}"


class Times:
    """Reads the times of events."""

    def __init__(self, mapping: FieldMapping) -> None:
        stamp: Any = msgspec.defstruct(
            "Stamp",
            [("timestamp", str | int | float | None, None)],
            rename={"timestamp": mapping.timestamp},
        )
        self._decoder: Any = msgspec.json.Decoder(stamp)

    def of(self, rows: list[Line]) -> tuple[list[int | None], frozenset[int]]:
        """Give the times of events, None where there is none that can be read; and where there is one that cannot be."""
        lines = [row.text for row in rows]
        try:
            stamps = [row.timestamp for row in self._decoder.decode_lines(b"".join(lines))]
            if len(stamps) == len(lines) and None not in stamps:
                return parse_column(stamps, 0).tolist(), frozenset()
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError):
            pass  # one by one then, so that the bad ones do not cost the others their times
        at_us: list[int | None] = []
        unread = set()
        for place, line in enumerate(lines):
            try:
                stamp = self._decoder.decode(line).timestamp
                at_us.append(None if stamp is None else parse_timestamp(stamp))
            except (msgspec.DecodeError, UnicodeDecodeError, ValueError):  # the server will say what is wrong
                at_us.append(None)
                unread.add(place)
        return at_us, frozenset(unread)


class Gathering:
    """Gathers a file's lines until they are as many as go together, or the first of them has waited long enough.

    give: is handed what goes together. monotonic: the time in seconds.
    """

    def __init__(
        self,
        file: str,
        times: Times,
        give: Callable[[Body], None],
        monotonic: Callable[[], float],
    ) -> None:
        self._file, self._times, self._give, self._monotonic = file, times, give, monotonic
        self._rows: list[Line] = []
        self._bytes, self._since = 0, 0.0

    def put(self, line: Line) -> None:
        """Take a line."""
        if self._rows and (len(self._rows) >= LINES_AT_ONCE or self._bytes + len(line.text) > BYTES_AT_ONCE):
            self.give()
        if not self._rows:
            self._since = self._monotonic()
        self._rows.append(line)
        self._bytes += len(line.text)

    def hurry(self) -> float | None:
        """Give what has waited long enough, as nothing more is there just now.

        Tells in how many seconds the rest will have; None where nothing waits.
        """
        if not self._rows:
            return None
        left_s = self._since + LINGER_S - self._monotonic()
        if left_s > 0:
            return left_s
        self.give(is_early=True)
        return None

    def give(self, *, is_early: bool = False) -> None:
        """Give what is there."""
        if self._rows:
            rows, self._rows, self._bytes = self._rows, [], 0
            self._give(Body(self._file, rows, *self._times.of(rows), is_early))
