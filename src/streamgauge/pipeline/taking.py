"""The half of a running stage that takes events in."""

import asyncio
from collections.abc import Callable
from time import perf_counter
from typing import Any

from streamgauge.pipeline.failure import GivingUp
from streamgauge.pipeline.recovery import Emit, Recovery, cancelled_from_outside
from streamgauge.pipeline.slices import Events, sized
from streamgauge.pipeline.stage import Receiver


class Taking:
    """Asks for slices, has the stage handle them, and asks again.

    wants: whether to ask and to take at this moment.
    emit: gets what `handle_events` gave; None for a stage that emits nothing.
    """

    def __init__(
        self, stage: Receiver, recovery: Recovery, *, wants: Callable[[], bool], emit: Emit | None
    ) -> None:
        self._stage, self._recovery = stage, recovery
        self._wants, self._emit = wants, emit

    async def take(self) -> bool:
        """Ask, handle one slice, ask again; False when nothing waits or none is wanted."""
        if not self._wants():
            return False
        inlet = self._stage.inlet
        inlet.ask()
        if not inlet.mailbox:
            return False
        subscription, events = inlet.mailbox.popleft()
        count = len(events)
        try:
            await self._handle(events)
        except (GivingUp, asyncio.CancelledError) as stop:
            rest = stop.rest if isinstance(stop, GivingUp) else events
            inlet.put_back(subscription, rest)
            self._stage.events_in += count - (0 if rest is None else len(rest))
            raise
        self._stage.events_in += count
        subscription.handled(count)
        if self._wants():
            subscription.ask()
        if not inlet.mailbox:
            return False
        # one slice a turn: the producer answers each ask, and other stages are not starved
        await asyncio.sleep(0)
        return True

    async def _handle(self, events: Events) -> None:
        try:
            result = await self._call(events)
        except Exception as error:  # noqa: BLE001 - whatever a callback raises restarts its stage
            await self._recovery.recover(self._call, self._pass_on, events, error)
        else:
            if self._emit is not None:
                await self._emit(result)

    async def _pass_on(self, result: Any) -> None:
        if self._emit is not None:
            await self._emit(result)

    async def _call(self, events: Events) -> Any:
        """Call `handle_events`, timed; what it raises is an Exception, unless the task is being stopped."""
        stage = self._stage
        started = perf_counter()
        try:
            if stage.deadline is None:
                result = await stage.handle_events(events)
            else:
                result = await self._call_in_time(events, stage.deadline)
            return result if self._emit is None else sized(result, stage.name, "handle_events")
        except asyncio.CancelledError as error:
            if cancelled_from_outside():
                raise
            raise RuntimeError(f"stage {stage.name}: handle_events let a CancelledError out") from error
        finally:
            stage.busy_seconds += perf_counter() - started

    async def _call_in_time(self, events: Events, deadline: float) -> Any:
        try:
            async with asyncio.timeout(deadline) as limit:
                return await self._stage.handle_events(events)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TimeoutError(
                f"stage {self._stage.name}: {len(events)} events took longer than the deadline of {deadline:g} s"
            ) from error
