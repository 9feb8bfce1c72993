"""The side of a stage where events go out: its dispatcher, and what waits for demand. No loop."""

from collections import deque
from collections.abc import Hashable, Iterable

from streamgauge.pipeline.dispatcher import Delivery, Dispatcher, Selector
from streamgauge.pipeline.slices import Events
from streamgauge.pipeline.subscription import Subscription
from streamgauge.pipeline.wakeup import Signal


class Outlet:
    """Hands events to the consumers as the dispatcher says.

    waiting: slices for which there was no demand, oldest first. Once handed out as far as possible, there
        are none or the demand is 0. The stage then takes in nothing, so they are at most what one call of
        it gave, and what cancelled consumers left.
    passed: events handed out so far, to consumers or to wait in their partition; an event that goes to
        several consumers counts once.
    closed: whether the stage has ended.
    ending: whether the stage takes in nothing more and only waits for its consumers.
    """

    def __init__(self, dispatcher: Dispatcher, signal: Signal) -> None:
        self._dispatcher, self._signal = dispatcher, signal
        self._subscriptions: list[Subscription] = []
        self.waiting: deque[Events] = deque()
        self.passed = 0
        self.closed = False
        self.ending = False

    @property
    def demand(self) -> int:
        """Events that may be asked of this stage now."""
        return self._dispatcher.demand

    @property
    def reroutes(self) -> bool:
        """Whether what a leaving consumer did not handle goes to others."""
        return self._dispatcher.reroutes

    @property
    def stalled(self) -> bool:
        """Whether the present consumers cannot make it move again."""
        return self._dispatcher.stalled

    @property
    def buffered(self) -> int:
        """Events that wait for demand."""
        return sum(map(len, self.waiting)) + self._dispatcher.buffered

    @property
    def deliverable(self) -> int:
        """Those of the waiting events that present consumers can still ask for."""
        if self._dispatcher.stalled:
            return self._dispatcher.buffered - self._dispatcher.orphaned
        return self.buffered - self._dispatcher.orphaned

    @property
    def settled(self) -> bool:
        """Whether all consumers have handled all that they were given."""
        return not any(subscription.under_way for subscription in self._subscriptions)

    def subscribe(
        self, subscription: Subscription, *, selector: Selector | None, partition: Hashable | None
    ) -> None:
        """Begin a subscription, without demand yet."""
        self._dispatcher.subscribe(subscription, selector=selector, partition=partition)
        self._subscriptions.append(subscription)

    def ask(self, subscription: Subscription, count: int) -> None:
        """Add to the demand of a subscription."""
        self._deliver(self._dispatcher.ask(subscription, count))
        if self.ending or self._dispatcher.demand > 0:
            self._signal.wake()

    def handled(self) -> None:
        """Take note that a consumer has handled a slice, which may have been the last."""
        if self.ending:
            self._signal.wake()

    def cancel(self, subscription: Subscription, undelivered: list[Events]) -> None:
        """End a subscription; what goes to others goes before everything that waits already."""
        again = self._dispatcher.cancel(subscription, undelivered)
        self._subscriptions.remove(subscription)
        self.waiting.extendleft(reversed(again))
        self.passed -= sum(map(len, again))
        self._signal.wake()

    def hand_out(self, events: Events) -> Events | None:
        """Give events to consumers that want them; what is left or None. Raises what a key or selector does."""
        deliveries, left = self._dispatcher.dispatch(events)
        self.passed += len(events) - (0 if left is None else len(left))
        self._deliver(deliveries)
        return left

    def close(self) -> None:
        """Tell all consumers that nothing more will come."""
        self.closed = True
        for subscription in self._subscriptions:
            subscription.end()
        self._subscriptions.clear()

    def _deliver(self, deliveries: Iterable[Delivery]) -> None:
        for subscription, events in deliveries:
            subscription.deliver(events)
