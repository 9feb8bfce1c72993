"""What happens when a stage raises: it is restarted; its slice is tried again, then one by one."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from streamgauge.pipeline.failure import GivingUp, RestartLimit, StageFailed
from streamgauge.pipeline.slices import Events
from streamgauge.pipeline.stage import Stage

_log = logging.getLogger(__name__)

Call = Callable[[Events], Awaitable[Any]]
Emit = Callable[[Any], Awaitable[None]]


class Recovery:
    """Keeps one stage going as long as its limit of restarts allows."""

    def __init__(self, stage: Stage, limit: RestartLimit) -> None:
        self._stage, self._limit = stage, limit

    async def restart(self, error: Exception, rest: Events | None = None) -> None:
        """Restart the stage; raises GivingUp with `rest` when that was too often."""
        if not self._limit.allow():
            raise self._giving_up(f"raised {error!r}", error, rest)
        self._stage.restarts += 1
        _log.warning("stage %s is restarted after %r", self._stage.name, error, exc_info=error)
        await self._reset(rest)

    async def recover(self, call: Call, emit: Emit, events: Events, error: Exception) -> None:
        """Bring a slice through after `call(events)` raised `error`; what the calls give goes to `emit`.

        The slice counts as one restart, however many of its events turn out to be bad. A slice of one event
        is not tried a third time. Raises GivingUp, with what was not handled, when the stage cannot go on.
        """
        await self.restart(error, events)
        result, failed = await _attempt(call, events)
        if failed is None:
            await emit(result)
        elif len(events) == 1:
            await self._set_aside(events, failed, None)
        else:
            await self._reset(events)
            await self._one_by_one(call, emit, events)

    async def _one_by_one(self, call: Call, emit: Emit, events: Events) -> None:
        for index in range(len(events)):
            event, rest = events[index : index + 1], events[index + 1 :]
            result, failed = await _attempt(call, event)
            try:
                if failed is None:
                    await emit(result)
                else:
                    await self._set_aside(event, failed, rest)
            except GivingUp as given_up:
                if given_up.rest is None:
                    given_up.rest = rest
                raise
            # a slice may be long and its callback may never wait: let others run
            await asyncio.sleep(0)

    async def _set_aside(self, events: Events, error: Exception, rest: Events | None) -> None:
        try:
            await self._stage.handle_failed(events, error)
        except Exception as problem:
            raise self._giving_up(f"handle_failed raised {problem!r}", problem, rest) from problem
        self._stage.events_failed += len(events)
        await self._reset(rest)

    async def _reset(self, rest: Events | None) -> None:
        try:
            await self._stage.on_restart()
        except Exception as problem:
            raise self._giving_up(f"on_restart raised {problem!r}", problem, rest) from problem

    def _giving_up(self, problem: str, cause: Exception, rest: Events | None) -> GivingUp:
        limit = self._limit
        failure = StageFailed(self._stage.name, limit.recent, limit.max_seconds, problem)
        failure.__cause__ = cause
        return GivingUp(failure, rest)


async def _attempt(call: Call, events: Events) -> tuple[Any, Exception | None]:
    try:
        return await call(events), None
    except Exception as error:  # noqa: BLE001 - whatever a callback raises belongs to the events it was given
        return None, error


def cancelled_from_outside() -> bool:
    """Whether the current task is being cancelled, as against a callback that let a CancelledError out."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
