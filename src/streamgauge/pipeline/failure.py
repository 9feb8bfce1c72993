"""What is known of failures: the error that goes up, what was set aside, and how often is too often."""

from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from streamgauge.pipeline.slices import Events


class StageFailed(Exception):
    """A stage failed for good; its own error is the cause.

    stage: its name. restarts: how often it was restarted within the last `seconds`.
    """

    def __init__(self, stage: str, restarts: int, seconds: float, problem: str) -> None:
        self.stage, self.restarts, self.seconds = stage, restarts, seconds
        super().__init__(
            f"stage {stage}: {problem} after {restarts} restarts in {seconds:g} s; "
            "see the cause, then mend the stage or allow more (max_restarts, max_seconds)"
        )


class FailedEvents(NamedTuple):
    """Events that a stage could not handle, and what it raised."""

    events: Events
    error: Exception


class GivingUp(Exception):
    """A stage cannot go on; `rest` is what it had in hand and did not handle."""

    def __init__(self, failure: StageFailed, rest: Events | None) -> None:
        self.failure, self.rest = failure, rest
        super().__init__(str(failure))


class RestartLimit:
    """Counts the restarts of one stage in a sliding window.

    max_restarts: how many are allowed within max_seconds. clock: gives seconds and never goes back.
    """

    def __init__(self, max_restarts: int, max_seconds: float, clock: Callable[[], float]) -> None:
        if max_restarts < 0:
            raise ValueError(f"max_restarts: found {max_restarts}; give 0 or more")
        if max_seconds <= 0:
            raise ValueError(f"max_seconds: found {max_seconds}; give more than 0")
        self.max_restarts, self.max_seconds = max_restarts, max_seconds
        self._clock = clock
        self._at: deque[float] = deque(maxlen=max_restarts)

    @property
    def recent(self) -> int:
        """Restarts within the last max_seconds."""
        oldest = self._clock() - self.max_seconds
        while self._at and self._at[0] <= oldest:
            self._at.popleft()
        return len(self._at)

    def allow(self) -> bool:
        """Note a restart that is made now; False when it would be one too many."""
        if self.recent >= self.max_restarts:
            return False
        self._at.append(self._clock())
        return True
