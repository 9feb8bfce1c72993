"""The half of a running stage that hands events out."""

from streamgauge.pipeline.failure import GivingUp
from streamgauge.pipeline.outlet import Outlet
from streamgauge.pipeline.recovery import Recovery
from streamgauge.pipeline.slices import Events


class Sending:
    """Passes events to an outlet in order, and survives keys and selectors that raise."""

    def __init__(self, outlet: Outlet, recovery: Recovery) -> None:
        self.outlet = outlet
        self._recovery = recovery

    async def emit(self, events: Events) -> None:
        """Pass events on; those without demand wait."""
        if len(events):
            self.outlet.waiting.append(events)
            await self.flush()

    async def flush(self) -> None:
        """Hand out what waits, oldest first, as far as there is demand."""
        waiting = self.outlet.waiting
        while waiting:
            events = waiting.popleft()
            try:
                left = self.outlet.hand_out(events)
            except Exception as error:  # noqa: BLE001 - a key or selector of the user's may raise anything
                await self._hand_out_carefully(events, error)
                continue
            if left is not None:
                waiting.appendleft(left)
                return

    def is_empty(self, *, patient: bool) -> bool:
        """Whether all has gone out and been handled; called when nothing more will come in.

        patient: wait for consumers still to come, as against only those that are there.
        """
        self.outlet.ending = True
        left = self.outlet.buffered if patient else self.outlet.deliverable
        return left == 0 and self.outlet.settled

    async def _hand_out_carefully(self, events: Events, error: Exception) -> None:
        """Hand out a slice on which a key or selector raised; its bad events are set aside."""
        kept: list[Events] = []

        async def hand_out(some: Events) -> Events | None:
            return self.outlet.hand_out(some)

        async def keep(left: Events | None) -> None:
            if left is not None:
                kept.append(left)

        try:
            await self._recovery.recover(hand_out, keep, events, error)
        except GivingUp as given_up:
            if given_up.rest is not None:
                kept.append(given_up.rest)
                given_up.rest = None
            raise
        finally:
            self.outlet.waiting.extendleft(reversed(kept))
