"""When a sender that found no room should come back: from how much waits, and how fast it has been getting less."""

from __future__ import annotations

from collections import deque
from typing import Final

LEAST_S: Final = 1.0
MOST_S: Final = 60.0
UNKNOWN_S: Final = 10.0  # nothing has got done for a while, so nothing can be foretold
NOTES: Final = 40


class DrainRate:
    """How many events a second get done, over the last notes, which are some seconds when taken a few times a second."""

    def __init__(self) -> None:
        self._notes: deque[tuple[float, int]] = deque(maxlen=NOTES)

    def note(self, now_s: float, done: int) -> None:
        """Note how many events are done in all, and when, on a monotonic clock."""
        self._notes.append((now_s, done))

    @property
    def per_second(self) -> float:
        """Events done a second; 0 while that is not known."""
        if len(self._notes) < 2:
            return 0.0
        (first_s, first), (last_s, last) = self._notes[0], self._notes[-1]
        return max(0, last - first) / (last_s - first_s) if last_s > first_s else 0.0


def retry_after_s(waiting: int, per_second: float, chance: float) -> float:
    """Give the seconds until half of the events that wait will be done, between 1 and 60; 10 where that is unknown.

    chance: a random number from 0 to 1, which adds up to half of that, so that senders do not all come back at once.
    """
    wait_s = waiting / 2 / per_second if per_second > 0 else UNKNOWN_S
    return min(MOST_S, max(LEAST_S, wait_s) * (1 + chance / 2))
