"""How each kind of stage works."""

import asyncio
from time import perf_counter
from typing import Any

from streamgauge.pipeline.consumer import Consumer
from streamgauge.pipeline.failure import RestartLimit
from streamgauge.pipeline.producer import Producer
from streamgauge.pipeline.producer_consumer import ProducerConsumer
from streamgauge.pipeline.runner import Runner
from streamgauge.pipeline.sending import Sending
from streamgauge.pipeline.slices import Events, sized
from streamgauge.pipeline.stage import Stage
from streamgauge.pipeline.taking import Taking


class ProducerRunner(Runner):
    """Asks a source as long as there is demand."""

    def __init__(self, stage: Producer, limit: RestartLimit) -> None:
        super().__init__(stage, limit)
        self._producer = stage
        self._sending = Sending(stage.outlet, self.recovery)
        self._ended = False
        self._asking: asyncio.Task[Any] | None = None
        self._recalled = False

    def drain(self) -> None:
        """Ask the source no more; a call of `handle_demand` that waits is cancelled."""
        self._ended = True
        asking = self._asking
        if asking is not None and asking is not asyncio.current_task() and not self._recalled:
            self._recalled = asking.cancel()
        super().drain()

    def close(self) -> None:
        """End all subscriptions at once."""
        self._producer.outlet.close()

    def give_up(self) -> None:
        """Ask the source no more."""
        self._ended = True

    def is_over(self) -> bool:
        """Whether the source has ended and all its events have been handled."""
        return self._ended and self._sending.is_empty(patient=not (self.draining or self.failed))

    async def step(self) -> bool:
        """Ask the source once and hand out what it gave."""
        outlet = self._producer.outlet
        if outlet.waiting:
            await self._sending.flush()
        demand = outlet.demand
        if self._ended or demand <= 0:
            return False
        events = await self._request(demand)
        if events is not None:
            started = perf_counter()
            await self._sending.emit(events)
            self._producer.busy_seconds += perf_counter() - started
            if outlet.demand <= 0:
                return False
            # more is wanted; first let the consumers have what there is
            await asyncio.sleep(0)
        return True

    async def _request(self, demand: int) -> Events | None:
        """Ask the source; None when it has ended, was called off, or raised and was restarted."""
        try:
            events = await self._call(demand)
        except _CalledOff:
            return None
        except Exception as error:  # noqa: BLE001 - whatever a callback raises restarts its stage
            await self.recovery.restart(error)
            return None
        self._producer.events_in += len(events)
        if not len(events):
            self._ended = True
            return None
        return events

    async def _call(self, demand: int) -> Events:
        """Call `handle_demand` so that a drain can cancel it; raises _CalledOff when one did."""
        self._asking = task = asyncio.current_task()
        try:
            events = await self._producer.handle_demand(demand)
            return sized(events, self._producer.name, "handle_demand")
        except asyncio.CancelledError as error:
            if task is None or task.cancelling() > int(self._recalled):
                raise
            if self._recalled:
                raise _CalledOff from error
            problem = f"stage {self._producer.name}: handle_demand let a CancelledError out"
            raise RuntimeError(problem) from error
        finally:
            self._asking = None
            if self._recalled and task is not None:
                task.uncancel()


class _CalledOff(Exception):
    """A drain cancelled the call of a source."""


class ConsumerRunner(Runner):
    """Takes slices and handles them."""

    def __init__(self, stage: Consumer, limit: RestartLimit) -> None:
        super().__init__(stage, limit)
        self._inlet = stage.inlet
        self._taking = Taking(stage, self.recovery, wants=self._wants, emit=None)

    def close(self) -> None:
        """End all subscriptions at once."""
        self._inlet.close()

    def give_up(self) -> None:
        """Take no more; what waits goes to other consumers where it can."""
        self._inlet.close()

    def is_over(self) -> bool:
        """Whether nothing more comes in."""
        return self.failed or self._inlet.is_over(draining=self.draining)

    async def step(self) -> bool:
        """Handle one slice."""
        return await self._taking.take()

    def _wants(self) -> bool:
        return not self.failed


class ProducerConsumerRunner(Runner):
    """Takes slices while it is being asked, handles them and hands out what that gives."""

    def __init__(self, stage: ProducerConsumer, limit: RestartLimit) -> None:
        super().__init__(stage, limit)
        self._inlet = stage.inlet
        self._outlet = stage.outlet
        self._sending = Sending(stage.outlet, self.recovery)
        self._taking = Taking(stage, self.recovery, wants=self._wants, emit=self._sending.emit)

    def close(self) -> None:
        """End all subscriptions at once."""
        self._inlet.close()
        self._outlet.close()

    def give_up(self) -> None:
        """Take no more; what waits to be handled goes to other consumers where it can."""
        self._inlet.close()

    def is_over(self) -> bool:
        """Whether nothing more comes in and all has gone out, as far as there is anybody to take it."""
        patient = not (self.draining or self.failed)
        blocked = self.failed or (self.draining and self._outlet.stalled)
        if blocked or self._inlet.is_over(draining=self.draining):
            return self._sending.is_empty(patient=patient)
        return False

    async def step(self) -> bool:
        """Hand out what waits, then handle one slice."""
        if self._outlet.waiting:
            await self._sending.flush()
        return await self._taking.take()

    def _wants(self) -> bool:
        return not self.failed and self._outlet.demand > 0


def runner_of(stage: Stage, limit: RestartLimit) -> Runner:
    """Make what runs this stage; TypeError for something that is none of the three kinds."""
    match stage:
        case Producer():
            return ProducerRunner(stage, limit)
        case ProducerConsumer():
            return ProducerConsumerRunner(stage, limit)
        case Consumer():
            return ConsumerRunner(stage, limit)
        case _:
            raise TypeError(
                f"found {type(stage).__name__}; give a Producer, a ProducerConsumer or a Consumer"
            )
