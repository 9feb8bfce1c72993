"""Each event to one consumer: the one that wants most."""

from collections.abc import Hashable, Iterable

from streamgauge.pipeline.dispatcher import Delivery, Dispatcher, Selector
from streamgauge.pipeline.slices import Events


class DemandDispatcher(Dispatcher):
    """Sends events to the consumer with the greatest pending demand, first come at ties."""

    def __init__(self) -> None:
        # The order of the dict is the order of coming: whoever asks or is served goes to the end.
        self._pending: dict[Hashable, int] = {}
        self._demand = 0

    @property
    def demand(self) -> int:
        """The sum of what all consumers wait for."""
        return self._demand

    @property
    def stalled(self) -> bool:
        """True without consumers."""
        return not self._pending

    def subscribe(
        self, consumer: Hashable, *, selector: Selector | None = None, partition: Hashable | None = None
    ) -> None:
        """Add a consumer without demand; neither option makes sense here."""
        if selector is not None or partition is not None:
            raise ValueError(
                "selector, partition: not for a DemandDispatcher; "
                "give the producer a BroadcastDispatcher or a PartitionDispatcher"
            )
        self._pending[consumer] = 0

    def ask(self, consumer: Hashable, count: int) -> Iterable[Delivery]:
        """Add to a consumer's demand; nothing ever waits in here."""
        self._pending[consumer] = self._pending.pop(consumer) + count
        self._demand += count
        return ()

    def dispatch(self, events: Events) -> tuple[list[Delivery], Events | None]:
        """Serve the greatest demand, then the next, until the events or the demand are used up."""
        total = len(events)
        deliveries: list[Delivery] = []
        start = 0
        while start < total and self._demand:
            consumer = max(self._pending, key=self._pending.__getitem__)
            pending = self._pending.pop(consumer)
            count = min(pending, total - start)
            self._pending[consumer] = pending - count
            self._demand -= count
            deliveries.append((consumer, events if count == total else events[start : start + count]))
            start += count
        if start == total:
            return deliveries, None
        return deliveries, events[start:] if start else events

    def cancel(self, consumer: Hashable, undelivered: list[Events]) -> list[Events]:
        """Remove a consumer; all that it did not handle goes to others."""
        self._demand -= self._pending.pop(consumer)
        return undelivered
