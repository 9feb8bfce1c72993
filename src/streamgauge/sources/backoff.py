"""How long to wait before the next attempt: longer each time, and never all at the same moment."""

from __future__ import annotations

import random
from collections.abc import Callable


class Backoff:
    """Waits that double from `first_s` up to `most_s`; each is drawn from its upper half, so that clients spread."""

    def __init__(
        self, first_s: float, most_s: float, draw: Callable[[float, float], float] = random.uniform
    ) -> None:
        self._first_s, self._most_s, self._draw = first_s, most_s, draw
        self._next_s = first_s

    def next(self) -> float:
        """Give the next wait in seconds."""
        wait, self._next_s = self._next_s, min(self._most_s, 2 * self._next_s)
        return self._draw(wait / 2, wait)

    def reset(self) -> None:
        """Begin again: the last attempt went well."""
        self._next_s = self._first_s
