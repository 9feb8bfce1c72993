"""The second stage: decides which events are kept."""

from __future__ import annotations

from collections.abc import Callable

from streamgauge.event import EventBatch
from streamgauge.metrics.expression import Expression
from streamgauge.pipeline import ProducerConsumer


class Transformer(ProducerConsumer):
    """Lets the events through that `keep` holds for; what it leaves out is counted as filtered.

    filtered: told the batch and how many of its events were left out. failed: told of events that cannot be handled.
    """

    def __init__(
        self,
        *,
        keep: Expression | None,
        filtered: Callable[[EventBatch, int], None],
        failed: Callable[[EventBatch, Exception], None],
    ) -> None:
        super().__init__(name="transform")
        self._keep = keep
        self._filtered, self._failed = filtered, failed

    async def handle_events(self, events: EventBatch) -> EventBatch:
        """Filter one slice."""
        if self._keep is None:
            return events
        wanted = self._keep.condition(events)
        left_out = len(wanted) - int(wanted.sum())
        if not left_out:
            return events
        kept = events.select(wanted)
        self._filtered(events, left_out)
        return kept

    async def handle_failed(self, events: EventBatch, error: Exception) -> None:
        """Set aside events that fail alone and repeatedly."""
        self._failed(events, error)
