"""The second stage: changes events, and decides which of them are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from streamgauge.event import EventBatch
from streamgauge.metrics.expression import Expression
from streamgauge.pipeline import ProducerConsumer
from streamgauge.transform.change import Change
from streamgauge.transform.module import Failure


class Transformer(ProducerConsumer):
    """Lets `change` change the events, and those through that `keep` holds for.

    settled: told the batch, how many of its events were left out, and which have failed for good; once for each slice
    where there are any, after all of the slice is done. failed: told of events that cannot be handled.
    """

    def __init__(
        self,
        *,
        keep: Expression | None,
        settled: Callable[[EventBatch, int, Sequence[Failure]], None],
        failed: Callable[[EventBatch, Exception], None],
        change: Change | None = None,
    ) -> None:
        super().__init__(name="transform")
        self._keep, self.change = keep, change
        self._settled, self._failed = settled, failed

    async def handle_events(self, events: EventBatch) -> EventBatch:
        """Change and filter one slice."""
        changed: EventBatch | None = events
        failures: Sequence[Failure] = ()
        if self.change is not None:
            changed, failures = await self.change.apply(events)
        kept = events[:0] if changed is None else self._kept(changed)
        left_out = len(events) - len(kept) - len(failures)
        if left_out or failures:
            self._settled(events, left_out, failures)
        return kept

    def _kept(self, events: EventBatch) -> EventBatch:
        if self._keep is None:
            return events
        wanted = self._keep.condition(events)
        return events if np.all(wanted) else events.select(wanted)

    async def handle_failed(self, events: EventBatch, error: Exception) -> None:
        """Set aside events that fail alone and repeatedly."""
        self._failed(events, error)
