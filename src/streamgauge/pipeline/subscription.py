"""One consumer's subscription to one producer: where a producer's outlet and a consumer's inlet meet."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamgauge.pipeline.demand import Credit
    from streamgauge.pipeline.inlet import Inlet
    from streamgauge.pipeline.outlet import Outlet
    from streamgauge.pipeline.slices import Events


class Subscription:
    """What `subscribe_to` returns. `cancel()` ends it; everything else is called by the two stages.

    credit: its demand. under_way: events handed over and not handled yet. active: False once it has ended.
    outlet: the producer's.
    """

    __slots__ = ("_inlet", "active", "credit", "outlet", "under_way")

    def __init__(self, inlet: Inlet, outlet: Outlet, credit: Credit) -> None:
        self._inlet, self.outlet = inlet, outlet
        self.credit = credit
        self.under_way = 0
        self.active = True

    def cancel(self) -> None:
        """End the subscription; a second time does nothing.

        The slice in hand is finished. Unserved demand is withdrawn. Events that were handed over and not
        taken up yet go to the producer's other consumers, wait for the next consumer of the partition, or,
        under broadcast, are dropped: the others have had them.
        """
        if self.active:
            self.active = False
            self.outlet.cancel(self, self._inlet.withdraw(self))

    def leave(self) -> None:
        """End the subscription, and still handle what has been handed over."""
        if self.active:
            self.active = False
            self.outlet.cancel(self, [])
            self._inlet.remove(self)

    def abandon(self) -> None:
        """End the subscription of a stage that handles no more: others get its events, or it keeps them."""
        if self.outlet.reroutes:
            self.cancel()
        else:
            self.leave()

    def end(self) -> None:
        """Take note that the producer has ended: nothing more will come."""
        if self.active:
            self.active = False
            self._inlet.remove(self, ended=True)

    def ask(self) -> None:
        """Ask the producer for more if the credit says so."""
        if self.active and (count := self.credit.ask()):
            self.outlet.ask(self, count)

    def deliver(self, events: Events) -> None:
        """Hand events over to the consumer."""
        self.under_way += len(events)
        self._inlet.deliver(self, events)

    def handled(self, count: int) -> None:
        """Take note that a slice has been handled; does not ask for more."""
        self.under_way -= count
        self.credit.handled(count)
        if self.active:
            self.outlet.handled()
