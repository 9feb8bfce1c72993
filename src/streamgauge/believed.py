"""The wall clock, as far as it is believed where something is deleted for its age."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

AT_ONCE_US: Final = 60_000_000  # a clock may be put forward by this much
BELIEVED_AFTER_S: Final = 3600.0


class BelievedClock:
    """Gives the wall clock, of which a large step ahead counts only when it has lasted for an hour.

    Else a clock that is set wrongly, even for a moment, would make everything look old enough to be deleted.
    """

    def __init__(self, now_us: Callable[[], int], steady_s: Callable[[], float] = time.monotonic) -> None:
        self._now_us, self._steady_s = now_us, steady_s
        self._ahead_us = now_us() - int(steady_s() * 1e6)
        self._doubted_since_s: float | None = None

    def __call__(self) -> int:
        """Give the time in microseconds since 1970."""
        steady_s = self._steady_s()
        ahead_us = self._now_us() - int(steady_s * 1e6)
        if ahead_us <= self._ahead_us + AT_ONCE_US:
            self._ahead_us, self._doubted_since_s = ahead_us, None
        elif self._doubted_since_s is None:
            self._doubted_since_s = steady_s
        elif steady_s - self._doubted_since_s >= BELIEVED_AFTER_S:
            self._ahead_us, self._doubted_since_s = ahead_us, None
        return int(steady_s * 1e6) + self._ahead_us
