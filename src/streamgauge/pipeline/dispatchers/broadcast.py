"""Each event to all consumers, at the pace of the slowest."""

from collections.abc import Hashable, Iterable

from streamgauge.pipeline.dispatcher import Delivery, Dispatcher, Selector
from streamgauge.pipeline.slices import Events


class BroadcastDispatcher(Dispatcher):
    """Sends every event to every consumer once all of them want it.

    A consumer may subscribe with a `selector`: it is given each slice and gives back the part of it that
    this consumer wants, as `lambda events: [e for e in events if e.ok]`. What it leaves out costs the
    consumer no demand. A late consumer gets what is sent out after it came.
    """

    reroutes = False

    def __init__(self) -> None:
        self._pending: dict[Hashable, int] = {}
        self._selectors: dict[Hashable, Selector | None] = {}

    @property
    def demand(self) -> int:
        """What the slowest consumer waits for."""
        return min(self._pending.values(), default=0)

    @property
    def stalled(self) -> bool:
        """True without consumers."""
        return not self._pending

    def subscribe(
        self, consumer: Hashable, *, selector: Selector | None = None, partition: Hashable | None = None
    ) -> None:
        """Add a consumer; until it asks, nobody gets anything."""
        if partition is not None:
            raise ValueError(
                "partition: not for a BroadcastDispatcher; give the producer a PartitionDispatcher"
            )
        self._pending[consumer] = 0
        self._selectors[consumer] = selector

    def ask(self, consumer: Hashable, count: int) -> Iterable[Delivery]:
        """Add to a consumer's demand; nothing ever waits in here."""
        self._pending[consumer] += count
        return ()

    def dispatch(self, events: Events) -> tuple[list[Delivery], Events | None]:
        """Send to all as many as the slowest wants."""
        total = len(events)
        count = min(self.demand, total)
        if not count:
            return [], events
        common = events if count == total else events[:count]
        deliveries = [
            (consumer, common if selector is None else _selected(selector, common))
            for consumer, selector in self._selectors.items()
        ]
        for consumer, chosen in deliveries:
            self._pending[consumer] -= len(chosen)
        left = None if count == total else events[count:]
        return [delivery for delivery in deliveries if len(delivery[1])], left

    def cancel(self, consumer: Hashable, undelivered: list[Events]) -> list[Events]:  # noqa: ARG002 - the contract's
        """Remove a consumer; the others have had its events already."""
        del self._pending[consumer], self._selectors[consumer]
        return []


def _selected(selector: Selector, events: Events) -> Events:
    """Ask a selector; ValueError when it gives more than it got, which would break the consumer's limit."""
    chosen = selector(events)
    if len(chosen) > len(events):
        raise ValueError(
            f"selector: gave {len(chosen)} events of a slice of {len(events)}; give a part of the slice"
        )
    return chosen
