"""What the bodies of all requests may hold together, from their first bytes until their events are accepted."""

from __future__ import annotations

from typing import Final, Self

from streamgauge.errors import Saturated

UNCOUNTED_BYTES: Final = 64 * 1024  # of each body; so many a connection may have waiting in any case
RETRY_AFTER_S: Final = 5.0


class Bodies:
    """Counts bytes against a bound. most_bytes: of all bodies, beyond the first 64 KiB of each.

    Small requests are never refused here: what they may hold is bounded by how many connections there may be.
    """

    def __init__(self, most_bytes: int) -> None:
        self.most_bytes = most_bytes
        self.held_bytes = 0

    def begin(self) -> Body:
        """Begin a body; use it in a `with`, at the end of which it holds nothing any more."""
        return Body(self)


class Body:
    """What one request holds."""

    __slots__ = ("_bodies", "_counted_bytes")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies, self._counted_bytes = bodies, 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._bodies.held_bytes -= self._counted_bytes
        self._counted_bytes = 0

    def hold(self, size: int) -> None:
        """Note that it holds `size` bytes by now. Raises Saturated where that is more than there is room for."""
        more = size - UNCOUNTED_BYTES - self._counted_bytes
        if more <= 0:
            return
        bodies = self._bodies
        if bodies.held_bytes + more > bodies.most_bytes:
            raise Saturated(
                f"the bodies of requests hold {bodies.held_bytes} bytes, and may hold {bodies.most_bytes}",
                RETRY_AFTER_S,
            )
        bodies.held_bytes += more
        self._counted_bytes += more
