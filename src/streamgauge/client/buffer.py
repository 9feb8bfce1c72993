"""What a client holds until it is sent: encoded events in the order of their pushing, cut into batches. No threads, no clock."""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice


@dataclass(frozen=True, slots=True)
class Batch:
    """Events of one request. key: its name for ever; it is repeated with the same key and the same lines, or not at all."""

    key: str
    lines: tuple[bytes, ...]

    @property
    def body(self) -> bytes:
        """The events as lines of JSON."""
        return b"".join(self.lines)

    def halves(self) -> tuple[Batch, Batch]:
        """Give two batches of half the events each, for a server that does not take so many at once."""
        middle = len(self.lines) // 2
        return Batch(f"{self.key}a", self.lines[:middle]), Batch(f"{self.key}b", self.lines[middle:])


def _new_key() -> str:
    return uuid.uuid4().hex


class Buffer:
    """Events on their way. Not safe for threads: whoever shares it holds a lock.

    A batch is due when it is full (`batch_events`, `batch_bytes`) or its first event has waited for `linger_s`. What was
    taken counts as held until it is settled, so that `most_events` and `most_bytes` bound everything there is.
    """

    def __init__(
        self,
        *,
        batch_events: int,
        batch_bytes: int,
        linger_s: float,
        most_events: int,
        most_bytes: int,
        new_key: Callable[[], str] = _new_key,
    ) -> None:
        self.batch_events, self.batch_bytes, self.linger_s = batch_events, batch_bytes, linger_s
        self.most_events, self.most_bytes = most_events, most_bytes
        self._new_key = new_key
        self._lines: deque[bytes] = deque()
        self._line_bytes = 0  # of those that wait
        self._since = 0.0  # when the first of those that wait came, or earlier
        self.events = self.bytes = 0
        self.pushed = self.taken = self.settled = 0

    def put(self, lines: Sequence[bytes], now: float) -> int:
        """Take as many lines, from the first on, as there is room for; give how many. now: in seconds."""
        if not self._lines:
            self._since = now
        count = 0
        for line in lines:
            if self.events >= self.most_events or self.bytes + len(line) > self.most_bytes:
                break
            self._lines.append(line)
            self._line_bytes += len(line)
            self.bytes += len(line)
            self.events += 1
            count += 1
        self.pushed += count
        return count

    def due_in(self, now: float) -> float | None:
        """Give in how many seconds a batch is due, 0 where one is; None where nothing waits."""
        if not self._lines:
            return None
        if len(self._lines) >= self.batch_events or self._line_bytes >= self.batch_bytes:
            return 0.0
        return max(0.0, self._since + self.linger_s - now)

    def take(self, now: float, *, hurry: bool = False) -> Batch | None:
        """Give the next batch, if one is due. hurry: it is due already if there is anything."""
        if not self._lines or not (hurry or self.due_in(now) == 0.0):
            return None
        count = self._count()
        lines = tuple(self._lines.popleft() for _ in range(count))
        self._line_bytes -= sum(map(len, lines))
        self.taken += count
        return Batch(self._new_key(), lines)

    def _count(self) -> int:
        """Count the events of the next batch: at least one, however large."""
        size = 0
        for place, line in enumerate(islice(self._lines, self.batch_events)):
            size += len(line)
            if size > self.batch_bytes and place:
                return place
        return min(len(self._lines), self.batch_events)

    def shrink(self, batch: Batch) -> None:
        """Make the batches that follow no larger than half of this one."""
        self.batch_bytes = max(1, min(self.batch_bytes, len(batch.body) // 2))

    def settle(self, batch: Batch) -> None:
        """Make room: a batch that was taken is delivered, or never will be."""
        self.events -= len(batch.lines)
        self.bytes -= sum(map(len, batch.lines))
        self.settled += len(batch.lines)

    def drop_waiting(self) -> int:
        """Forget what was not taken yet; give how many events that were."""
        count = len(self._lines)
        self.events -= count
        self.bytes -= self._line_bytes
        self.taken += count
        self.settled += count
        self._lines.clear()
        self._line_bytes = 0
        return count
