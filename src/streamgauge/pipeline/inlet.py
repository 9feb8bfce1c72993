"""The side of a stage where events come in: its subscriptions and the mailbox of slices. No loop."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from streamgauge.pipeline.slices import pieces

if TYPE_CHECKING:
    from collections.abc import Collection

    from streamgauge.pipeline.outlet import Outlet
    from streamgauge.pipeline.slices import Events
    from streamgauge.pipeline.subscription import Subscription
    from streamgauge.pipeline.wakeup import Signal


class Inlet:
    """Holds slices until the stage takes them; bounded by the sum of its subscriptions' max_demand.

    mailbox: slices that wait, oldest first, each with its subscription.
    ended: whether a producer has ended. With no subscription left, the stage then ends too.
    closed: whether the stage takes no more.
    """

    def __init__(self, signal: Signal) -> None:
        self._signal = signal
        self.subscriptions: list[Subscription] = []
        self.mailbox: deque[tuple[Subscription, Events]] = deque()
        self.ended = False
        self.closed = False

    @property
    def buffered(self) -> int:
        """Events that wait."""
        return sum(len(events) for _, events in self.mailbox)

    def add(self, subscription: Subscription) -> None:
        """Begin a subscription; the stage asks when it runs."""
        self.subscriptions.append(subscription)
        self._signal.wake()

    def ask(self) -> None:
        """Ask all producers for what the credit of each allows."""
        for subscription in self.subscriptions:
            subscription.ask()

    def deliver(self, subscription: Subscription, events: Events) -> None:
        """Put events into the mailbox, in slices of the size that the subscription allows."""
        size = subscription.credit.slice_size
        if len(events) <= size:
            self.mailbox.append((subscription, events))
        else:
            self.mailbox.extend((subscription, piece) for piece in pieces(events, size))
        self._signal.wake()

    def put_back(self, subscription: Subscription, events: Events | None) -> None:
        """Put what was taken and not handled before all that waits; None is nothing."""
        if events is not None and len(events):
            self.mailbox.appendleft((subscription, events))

    def withdraw(self, subscription: Subscription) -> list[Events]:
        """Remove a subscription with all that still waits of it; gives those slices, oldest first."""
        undelivered = [events for source, events in self.mailbox if source is subscription]
        self.mailbox = deque(entry for entry in self.mailbox if entry[0] is not subscription)
        self.remove(subscription)
        return undelivered

    def remove(self, subscription: Subscription, *, ended: bool = False) -> None:
        """Remove a subscription; what waits of it stays. ended: because its producer has."""
        self.subscriptions.remove(subscription)
        self.ended = self.ended or ended
        self._signal.wake()

    def is_over(self, *, draining: bool) -> bool:
        """Whether nothing waits and nothing more will come. draining: no subscription will be added."""
        return not self.subscriptions and not self.mailbox and (self.ended or draining)

    def keep_only(self, outlets: Collection[Outlet]) -> None:
        """Leave all producers but these, and keep what they have handed over."""
        for subscription in self.subscriptions.copy():
            if subscription.outlet not in outlets:
                subscription.leave()

    def close(self) -> None:
        """Give up all subscriptions: the stage takes no more."""
        self.closed = True
        for subscription in self.subscriptions.copy():
            subscription.abandon()
