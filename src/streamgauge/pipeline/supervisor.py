"""Runs the stages of a pipeline: starts them, drains them, and says when one has failed for good."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from streamgauge.pipeline.failure import RestartLimit, StageFailed
from streamgauge.pipeline.producer import Producer
from streamgauge.pipeline.runner import Runner
from streamgauge.pipeline.runners import runner_of
from streamgauge.pipeline.stage import Emitter, Receiver, Stage

_log = logging.getLogger(__name__)


class Supervisor:
    """Runs stages, one task each, from `async with` (or `start`) until they have ended or are drained.

    stages: in any order. Each belongs to one supervisor; stages of different ones may subscribe to each
        other, and each supervisor then drains what has been handed over to its own.
    max_restarts, max_seconds: how often each stage may be restarted, and within what time. One time more,
        and that stage has failed for good: the others are drained, and `wait`, `drain` and leaving the
        block raise StageFailed.
    drain_timeout: seconds that a drain may take when a stage has failed or the block is left.
    clock: gives seconds and never goes back.

    Leaving the block drains, also when an Exception leaves it; when it is cancelled, all stops at once.
    """

    def __init__(
        self,
        stages: Iterable[Stage],
        *,
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        drain_timeout: float | None = 30.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stages = tuple(stages)
        self._runners = [
            runner_of(stage, RestartLimit(max_restarts, max_seconds, clock)) for stage in self.stages
        ]
        self._drain_timeout = drain_timeout
        self._tasks: dict[asyncio.Task[None], Runner] = {}
        self._started = False
        self._finished = asyncio.Event()
        self._finished_or_failed = asyncio.Event()
        self._failure: BaseException | None = None

    @property
    def finished(self) -> bool:
        """Whether all stages have ended."""
        return self._finished.is_set()

    def start(self) -> None:
        """Start all stages; the event loop must be running. RuntimeError if one has been started before."""
        for stage in self.stages:
            if stage.supervised:
                raise RuntimeError(f"stage {stage.name} has been started before; make a new one")
            stage.supervised = True
        self._started = True
        for runner in self._runners:
            task = asyncio.create_task(runner.run(self._fail), name=f"stage {runner.stage.name}")
            self._tasks[task] = runner
            task.add_done_callback(self._task_done)
        self._finish_if_done()

    async def wait(self) -> None:
        """Wait until all stages have ended, because their producers have or because of a drain.

        Consumers without a subscription end when all producers of this supervisor have.
        Raises StageFailed when a stage has failed for good, after the others have been drained.
        """
        await self._finished_or_failed.wait()
        if self._failure is not None:
            await self.drain(self._drain_timeout)

    async def drain(self, timeout: float | None = None) -> int:  # noqa: ASYNC109 - a limit to be kept, not a cut
        """Ask the producers no more, let all that is under way pass through to the end, and stop.

        timeout: seconds; what has not passed through by then is left behind, as are events that no
            consumer is subscribed for. Returns how many events were left behind, 0 when all went through.
        Raises StageFailed when a stage has failed for good, RuntimeError when nothing has been started.
        """
        if not self._started:
            raise RuntimeError("the supervisor has not been started; use `async with`, or start() it first")
        self._begin_drain()
        try:
            async with asyncio.timeout(timeout):
                await self._finished.wait()
        except TimeoutError:
            await self._stop()
        left = sum(stage.buffered for stage in self.stages)
        if left:
            _log.warning("a drain left %d events behind", left)
        if self._failure is not None:
            raise self._failure
        return left

    async def __aenter__(self) -> Self:
        self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None or isinstance(error, Exception):
                await self.drain(self._drain_timeout)
        except StageFailed as failure:
            if error is None:
                raise
            if error is not failure:
                error.add_note(f"besides: {failure}")
        finally:
            await self._stop()

    def _begin_drain(self) -> None:
        outlets = {stage.outlet for stage in self.stages if isinstance(stage, Emitter)}
        for runner in self._runners:
            runner.drain()
            if isinstance(runner.stage, Receiver):
                # a producer outside would go on sending for ever
                runner.stage.inlet.keep_only(outlets)

    def _fail(self, failure: BaseException) -> None:
        if self._failure is None:
            self._failure = failure
        else:
            self._failure.add_note(f"besides: {failure}")
        self._finished_or_failed.set()
        self._begin_drain()

    def _task_done(self, task: asyncio.Task[None]) -> None:
        runner = self._tasks.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            # callbacks' errors are dealt with in the stage, so this is a bug: nothing to be restarted
            runner.close()
            self._fail(error)
        self._end_the_idle()
        self._finish_if_done()

    def _end_the_idle(self) -> None:
        """Drain what has no subscription when no producer is left that it might wait for."""
        producers = sum(isinstance(stage, Producer) for stage in self.stages)
        left = self._tasks.values()
        if not producers or any(isinstance(runner.stage, Producer) for runner in left):
            return
        for runner in left:
            if isinstance(runner.stage, Receiver) and not runner.stage.inlet.subscriptions:
                runner.drain()

    def _finish_if_done(self) -> None:
        if not self._tasks:
            self._finished.set()
            self._finished_or_failed.set()

    async def _stop(self) -> None:
        """Cancel what still runs, and end its subscriptions."""
        running = dict(self._tasks)
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for runner in running.values():
            runner.close()
        self._finish_if_done()
