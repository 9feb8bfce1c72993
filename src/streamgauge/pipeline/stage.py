"""What all stages have in common for those who write and watch them. How they run is in `runner`."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Hashable
from typing import Any

from streamgauge.pipeline.demand import Credit
from streamgauge.pipeline.dispatcher import Dispatcher, Selector
from streamgauge.pipeline.dispatchers import DemandDispatcher
from streamgauge.pipeline.failure import FailedEvents
from streamgauge.pipeline.inlet import Inlet
from streamgauge.pipeline.outlet import Outlet
from streamgauge.pipeline.slices import Events
from streamgauge.pipeline.subscription import Subscription
from streamgauge.pipeline.wakeup import Signal

KEPT_FAILURES = 100
"""How many of the latest failed slices a stage keeps when it does not override `handle_failed`."""


class Stage(ABC):
    """A step of a pipeline, run by a `Supervisor`. Made once, run once.

    name: for messages and figures; by default the name of the class.
    events_in: events taken in and done with, also those that failed.
    busy_seconds: spent in `handle_events`, waits inside it included; a producer's counts handing events
        out, not the wait for its source.
    restarts: how often it was restarted. events_failed: events given to `handle_failed`.
    failed: the latest of them, with their errors, unless `handle_failed` is overridden.
    signal: wakes its task; supervised: whether it has been started. Both for the pipeline's own use.
    """

    def __init__(self, *, name: str | None = None) -> None:
        self.name = type(self).__name__ if name is None else name
        self.events_in = 0
        self.events_failed = 0
        self.busy_seconds = 0.0
        self.restarts = 0
        self.failed: deque[FailedEvents] = deque(maxlen=KEPT_FAILURES)
        self.signal = Signal()
        self.supervised = False

    @property
    @abstractmethod
    def events_out(self) -> int:
        """Events passed on; an event that goes to several consumers counts once."""

    @property
    @abstractmethod
    def demand(self) -> int:
        """Events asked for by the consumers of this stage and not passed on yet; 0 for a consumer."""

    @property
    @abstractmethod
    def buffered(self) -> int:
        """Events that wait in this stage, to be handled or to be asked for; without the slice in hand."""

    async def on_restart(self) -> None:  # noqa: B027 - a hook: most stages have nothing to reset
        """Make the stage usable again after a callback of it raised. Override it to reset state.

        Called before the next callback. If it raises, the stage has failed for good.
        """

    async def handle_failed(self, events: Any, error: Exception) -> None:
        """Take events that the stage failed on, alone and repeatedly; `error` has the traceback.

        Override it to put them somewhere. If it raises, the stage has failed for good.
        """
        self.failed.append(FailedEvents(events, error))


class Emitter(Stage):
    """A stage that others subscribe to; subclass `Producer` or `ProducerConsumer`."""

    def __init__(self, *, dispatcher: Dispatcher | None = None, **others: Any) -> None:
        super().__init__(**others)
        self.outlet = Outlet(DemandDispatcher() if dispatcher is None else dispatcher, self.signal)

    @property
    def events_out(self) -> int:
        """Events passed on; an event that goes to several consumers counts once."""
        return self.outlet.passed

    @property
    def demand(self) -> int:
        """Events asked for by the consumers of this stage and not passed on yet."""
        return self.outlet.demand


class Receiver(Stage):
    """A stage that subscribes to others; subclass `Consumer` or `ProducerConsumer`."""

    def __init__(self, *, deadline: float | None = None, **others: Any) -> None:
        super().__init__(**others)
        if deadline is not None and deadline <= 0:
            raise ValueError(f"deadline: found {deadline}; give more than 0 seconds, or None for no deadline")
        self.deadline = deadline
        self.inlet = Inlet(self.signal)

    @abstractmethod
    async def handle_events(self, events: Any) -> Events | None:
        """Handle one slice; see `Consumer` and `ProducerConsumer`."""

    def subscribe_to(
        self,
        producer: Emitter,
        *,
        max_demand: int = 1000,
        min_demand: int | None = None,
        selector: Selector | None = None,
        partition: Hashable | None = None,
    ) -> Subscription:
        """Receive events from a producer, from now on; at any time, also while both run.

        max_demand: most events under way. min_demand: ask again once this few are left; by default half.
        selector: for a BroadcastDispatcher; partition: for a PartitionDispatcher, which needs it.
        Raises ValueError for an option out of range or not for that dispatcher, RuntimeError when one of
        the two has ended.
        """
        for stage, has_ended in ((self, self.inlet.closed), (producer, producer.outlet.closed)):
            if has_ended:
                raise RuntimeError(f"stage {stage.name} has ended; make a new one to subscribe")
        credit = Credit(max_demand, max_demand // 2 if min_demand is None else min_demand)
        subscription = Subscription(self.inlet, producer.outlet, credit)
        producer.outlet.subscribe(subscription, selector=selector, partition=partition)
        self.inlet.add(subscription)
        return subscription
