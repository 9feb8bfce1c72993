"""How many events a second came in, over the last few seconds."""

from __future__ import annotations

from typing import Final

SPAN_S: Final = 5


class EventRate:
    """Counts events by the second. Times in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        self._seconds: dict[int, int] = {}

    def add(self, now: float, events: int) -> None:
        """Count events that came now."""
        second = int(now)
        if second not in self._seconds:
            self._seconds = {at: n for at, n in self._seconds.items() if at >= second - SPAN_S}
        self._seconds[second] = self._seconds.get(second, 0) + events

    def rate(self, now: float) -> float:
        """Give events a second over the last five whole seconds."""
        second = int(now)
        return sum(n for at, n in self._seconds.items() if second - SPAN_S <= at < second) / SPAN_S
