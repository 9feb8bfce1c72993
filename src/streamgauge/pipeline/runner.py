"""Stages at work: one task each, which does one piece of work at a time and sleeps when there is none."""

from abc import ABC, abstractmethod
from collections.abc import Callable

from streamgauge.pipeline.failure import GivingUp, RestartLimit, StageFailed
from streamgauge.pipeline.recovery import Recovery
from streamgauge.pipeline.stage import Stage


class Runner(ABC):
    """Runs one stage.

    draining: take in no more than what is under way, then end. failed: the stage has failed for good; it
    takes in nothing, and only hands out what it still has.
    """

    def __init__(self, stage: Stage, limit: RestartLimit) -> None:
        self.stage = stage
        self.recovery = Recovery(stage, limit)
        self.draining = False
        self.failed = False

    async def run(self, report: Callable[[StageFailed], None]) -> None:
        """Work until there is nothing more to do. report: called once when the stage fails for good."""
        signal = self.stage.signal
        while True:
            signal.clear()
            try:
                worked = await self.step()
            except GivingUp as given_up:
                if self.failed:
                    break
                self.failed = worked = True
                self.give_up()
                report(given_up.failure)
            if not worked:
                if self.is_over():
                    break
                await signal.wait()
        self.close()

    def drain(self) -> None:
        """Begin to drain."""
        self.draining = True
        self.stage.signal.wake()

    @abstractmethod
    def close(self) -> None:
        """End all subscriptions at once."""

    @abstractmethod
    def is_over(self) -> bool:
        """Whether there is nothing more to do, now or later."""

    @abstractmethod
    async def step(self) -> bool:
        """Do one piece of work if there is any; False when there is no more before the signal."""

    @abstractmethod
    def give_up(self) -> None:
        """Stop taking in, because the stage has failed for good."""
