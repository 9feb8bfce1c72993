"""The deadline of what is sent: a peer that takes nothing does not hold its connection for ever."""

import asyncio


class Outgoing:
    """Since when a peer has not taken what was sent to it, or has kept a closed connection from ending."""

    __slots__ = ("stuck_since",)

    def __init__(self) -> None:
        self.stuck_since = 0.0

    def is_overdue(self, transport: asyncio.Transport, now: float, timeout_s: float) -> bool:
        """Tell whether that is longer than it may be. `now`: the loop's clock."""
        if not self.stuck_since and transport.is_closing():
            self.stuck_since = now
        return self.stuck_since > 0.0 and now - self.stuck_since > timeout_s

    def forgive(self, lost_s: float) -> None:
        """Leave out so many seconds."""
        if self.stuck_since:
            self.stuck_since += lost_s
