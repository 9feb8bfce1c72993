"""The second stage: changes events, and decides which of them are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from streamgauge.event import EventBatch
from streamgauge.metrics.expression import Expression
from streamgauge.pipeline import ProducerConsumer
from streamgauge.transform.change import Change
from streamgauge.transform.module import Failure
from streamgauge.transform.rebuild import decoded_again

if TYPE_CHECKING:
    from streamgauge.events.decode import EventDecoder


class Steps(NamedTuple):
    """What is done with the events of an epoch. decoder: what decodes all that anything refers to; None: it is decoded."""

    keep: Expression | None
    change: Change | None
    decoder: EventDecoder | None = None


class Transformer(ProducerConsumer):
    """Lets `change` change the events, and those through that `keep` holds for.

    steps_of: gives what is done with the events of an epoch, where that is not always the same.
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
        steps_of: Callable[[int], Steps] | None = None,
    ) -> None:
        super().__init__(name="transform")
        always = Steps(keep, change)
        self._steps_of = steps_of or (lambda epoch: always)
        self._settled, self._failed = settled, failed

    async def handle_events(self, events: EventBatch) -> EventBatch:
        """Change and filter one slice."""
        steps = self._steps_of(events.epoch)
        if steps.decoder is not None and not steps.decoder.fields <= events.getters.keys():
            # decoded at the door just before other rules came into force
            events = await decoded_again(events, steps.decoder)
        changed: EventBatch | None = events
        failures: Sequence[Failure] = ()
        if steps.change is not None:
            changed, failures = await steps.change.apply(events)
        kept = events[:0] if changed is None else _kept(changed, steps.keep)
        left_out = len(events) - len(kept) - len(failures)
        if left_out or failures:
            self._settled(events, left_out, failures)
        return kept

    async def handle_failed(self, events: EventBatch, error: Exception) -> None:
        """Set aside events that fail alone and repeatedly."""
        self._failed(events, error)


def _kept(events: EventBatch, keep: Expression | None) -> EventBatch:
    if keep is None:
        return events
    wanted = keep.condition(events)
    return events if np.all(wanted) else events.select(wanted)
