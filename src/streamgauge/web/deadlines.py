"""The clock over all connections: one timer that has each of them look at its deadlines."""

import asyncio
from typing import Protocol

__all__ = ["Watch", "Watched"]


class Watched(Protocol):
    """A connection with deadlines."""

    def check(self, now: float, elapsed: float) -> None:
        """End the connection if it is late. `now`: the loop's clock; `elapsed`: seconds since the last check."""

    def forgive(self, lost_s: float) -> None:
        """Move the deadlines: so many seconds are not to count, since nothing could be received in them."""


class Watch:
    """Looks at the deadlines of all connections, `period_s` apart, with one timer for all of them.

    A timer for each request would cost more than the request's own header; this costs the requests nothing.
    A deadline is noticed at most one period late. Without connections there is no timer. Time in which the loop
    stood still, as in a process that was stopped, does not count: what came meanwhile has not been read yet.
    """

    def __init__(self, period_s: float) -> None:
        self._period_s = period_s
        self._watched: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._last = 0.0

    def add(self, connection: Watched) -> None:
        """Watch this connection until it is discarded."""
        self._watched.add(connection)
        if self._timer is None:
            self._start(asyncio.get_running_loop())

    def discard(self, connection: Watched) -> None:
        """Watch this connection no longer; nothing happens if it was not watched."""
        self._watched.discard(connection)
        if not self._watched and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        self._last = loop.time()
        self._timer = loop.call_later(self._period_s, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        elapsed = loop.time() - self._last
        self._start(loop)  # first, so that a failing check does not end the watch over the others
        lost_s = elapsed - self._period_s
        if lost_s > self._period_s:
            for connection in self._watched:
                connection.forgive(lost_s)
        for connection in tuple(self._watched):
            connection.check(self._last, elapsed)
