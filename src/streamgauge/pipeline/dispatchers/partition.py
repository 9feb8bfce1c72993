"""Each event to the consumer of its partition."""

from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from numbers import Number
from typing import Any
from zlib import crc32

from streamgauge.pipeline.dispatcher import Delivery, Dispatcher, Selector
from streamgauge.pipeline.slices import Events, pick


@dataclass(slots=True)
class _Partition:
    """One partition: its consumer if there is one, what that waits for, or what waits for it."""

    consumer: Hashable | None = None
    pending: int = 0
    queued: int = 0
    queue: deque[Events] = field(default_factory=deque)

    def release(self) -> list[Delivery]:
        """Give out of the queue as much as is wanted."""
        deliveries: list[Delivery] = []
        while self.queue and self.pending:
            events = self.queue.popleft()
            if len(events) > self.pending:
                self.queue.appendleft(events[self.pending :])
                events = events[: self.pending]
            self.pending -= len(events)
            self.queued -= len(events)
            deliveries.append((self.consumer, events))
        return deliveries


class PartitionDispatcher(Dispatcher):
    """Sends events with the same key to the same consumer.

    partitions: a number n (they are then named 0 to n - 1, and a key's hash chooses one; numbers are taken
        modulo n, so that 0 and 1 go to 0 and 1; the same in every process), or their names (a key must
        then be one of them).
    key: gives an event's key. Or keys: gives the keys of a whole slice at once, for batches in columns.
    max_buffered: events that may wait for one partition. While one is full, the producer is not asked.

    A consumer subscribes with `partition=`; each partition has at most one. Events of a partition without
    a consumer wait for one.
    """

    def __init__(
        self,
        *,
        partitions: int | Iterable[Hashable],
        key: Callable[[Any], Hashable] | None = None,
        keys: Callable[[Any], Iterable[Hashable]] | None = None,
        max_buffered: int = 1000,
    ) -> None:
        if (key is None) == (keys is None):
            raise ValueError("key, keys: give exactly one of them")
        if max_buffered < 1:
            raise ValueError(f"max_buffered: found {max_buffered}; give at least 1")
        self._hashed = isinstance(partitions, int)
        names = range(partitions) if isinstance(partitions, int) else partitions
        self._partitions = {name: _Partition() for name in names}
        if not self._partitions:
            raise ValueError(f"partitions: found {partitions!r}; give at least one")
        self._key, self._keys = key, keys
        self._max_buffered = max_buffered
        self._of_consumer: dict[Hashable, _Partition] = {}

    @property
    def demand(self) -> int:
        """What all partitions wait for, but no more than each could still take if it got everything."""
        wanted = 0
        room = self._max_buffered
        for partition in self._partitions.values():
            wanted += partition.pending
            room = min(room, self._max_buffered + partition.pending - partition.queued)
        return max(0, min(wanted, room))

    @property
    def stalled(self) -> bool:
        """True without consumers, or when a partition without a consumer is full."""
        return not self._of_consumer or any(
            partition.consumer is None and partition.queued >= self._max_buffered
            for partition in self._partitions.values()
        )

    @property
    def buffered(self) -> int:
        """Events that wait for the demand of their partition."""
        return sum(partition.queued for partition in self._partitions.values())

    @property
    def orphaned(self) -> int:
        """Events that wait in partitions without a consumer."""
        return sum(partition.queued for partition in self._partitions.values() if partition.consumer is None)

    def subscribe(
        self, consumer: Hashable, *, selector: Selector | None = None, partition: Hashable | None = None
    ) -> None:
        """Give a partition its consumer; ValueError when it is unknown or has one."""
        if selector is not None:
            raise ValueError(
                "selector: not for a PartitionDispatcher; give the producer a BroadcastDispatcher"
            )
        chosen = self._find(partition)
        if chosen.consumer is not None:
            raise ValueError(f"partition: {partition!r} has a consumer; cancel that subscription first")
        chosen.consumer = consumer
        self._of_consumer[consumer] = chosen

    def ask(self, consumer: Hashable, count: int) -> Iterable[Delivery]:
        """Add to the demand of a partition; gives what had been waiting for it."""
        partition = self._of_consumer[consumer]
        partition.pending += count
        return partition.release()

    def dispatch(self, events: Events) -> tuple[list[Delivery], Events | None]:
        """Sort all events into their partitions; what a partition does not want yet waits in it."""
        deliveries: list[Delivery] = []
        for partition, indices in self._sorted(events):
            partition.queue.append(pick(events, indices))
            partition.queued += len(indices)
            deliveries += partition.release()
        return deliveries, None

    def cancel(self, consumer: Hashable, undelivered: list[Events]) -> list[Events]:
        """Take a partition's consumer away; what it did not handle waits for the next one."""
        partition = self._of_consumer.pop(consumer)
        partition.consumer = None
        partition.pending = 0
        partition.queue.extendleft(reversed(undelivered))
        partition.queued += sum(map(len, undelivered))
        return []

    def _sorted(self, events: Any) -> list[tuple[_Partition, list[int]]]:
        """Find the positions of each partition's events, before anything is changed."""
        keys = self._keys(events) if self._keys is not None else map(self._key_of, events)
        indices: dict[Hashable, list[int]] = {}
        for index, key in enumerate(keys):
            indices.setdefault(self._name(key), []).append(index)
        return [(self._find(name), positions) for name, positions in indices.items()]

    def _key_of(self, event: Any) -> Hashable:
        assert self._key is not None  # noqa: S101 - the constructor saw to it
        return self._key(event)

    def _name(self, key: Hashable) -> Hashable:
        if not self._hashed:
            return key
        # Python's own hash of a string differs from process to process; that of a number does not.
        spread = hash(key) if isinstance(key, Number) else crc32(_bytes(key))
        return spread % len(self._partitions)

    def _find(self, name: Hashable | None) -> _Partition:
        partition = self._partitions.get(name)
        if partition is None:
            known = ", ".join(map(repr, list(self._partitions)[:20]))
            raise ValueError(f"partition: found {name!r}; give one of {known}")
        return partition


def _bytes(key: Hashable) -> bytes:
    if isinstance(key, bytes):
        return key
    return (key if isinstance(key, str) else repr(key)).encode("utf-8", "surrogatepass")
