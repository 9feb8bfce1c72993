"""The first stage of a pipeline: a source of events."""

from abc import abstractmethod

from streamgauge.pipeline.dispatcher import Dispatcher
from streamgauge.pipeline.slices import Events
from streamgauge.pipeline.stage import Emitter


class Producer(Emitter):
    """Gives events when it is asked for them.

    dispatcher: how events are shared among consumers; by default a `DemandDispatcher`. One dispatcher
        belongs to one stage.
    """

    def __init__(self, *, dispatcher: Dispatcher | None = None, name: str | None = None) -> None:
        super().__init__(dispatcher=dispatcher, name=name)

    @abstractmethod
    async def handle_demand(self, demand: int) -> Events:
        """Give 1 to `demand` events, waiting while there are none; an empty result: the source has ended.

        demand: all that consumers want at this moment, at least 1. Events beyond it are not lost: they wait
            in this stage, and it is not called before they have gone out.
        Never called again before it returned, nor after it gave nothing. While it waits it may be cancelled
        to stop the pipeline, and must lose no events then. If it raises, the stage is restarted and it is
        called again.
        """

    @property
    def buffered(self) -> int:
        """Events that wait to be asked for."""
        return self.outlet.buffered
