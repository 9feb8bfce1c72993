"""A middle stage of a pipeline: events in, events out."""

from abc import abstractmethod
from typing import Any

from streamgauge.pipeline.dispatcher import Dispatcher
from streamgauge.pipeline.slices import Events
from streamgauge.pipeline.stage import Emitter, Receiver


class ProducerConsumer(Emitter, Receiver):
    """Turns events into other events, and asks its producers only while it is being asked itself.

    What it emits beyond the demand of its consumers waits in it, and it takes nothing more until that has
    gone out.

    dispatcher: how events are shared among consumers; by default a `DemandDispatcher`.
    deadline: seconds that a slice may take; one that takes longer is cancelled and treated as failed. Code
        that does not await cannot be cancelled.
    """

    def __init__(
        self,
        *,
        dispatcher: Dispatcher | None = None,
        deadline: float | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(dispatcher=dispatcher, deadline=deadline, name=name)

    @abstractmethod
    async def handle_events(self, events: Any) -> Events:
        """Turn one slice, which is never empty, into any number of events; for none give an empty sequence.

        Never called again before it returned. If it raises, nothing of this slice has been emitted: the
        stage is restarted and the slice tried again, then event by event; see `handle_failed`.
        """

    @property
    def buffered(self) -> int:
        """Events that wait to be handled, and those that wait to be asked for."""
        return self.inlet.buffered + self.outlet.buffered
