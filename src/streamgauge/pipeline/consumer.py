"""The last stage of a pipeline: where events arrive."""

from abc import abstractmethod
from typing import Any

from streamgauge.pipeline.stage import Receiver


class Consumer(Receiver):
    """Handles events and emits none.

    deadline: seconds that a slice may take; one that takes longer is cancelled and treated as failed. Code
        that does not await cannot be cancelled.
    """

    def __init__(self, *, deadline: float | None = None, name: str | None = None) -> None:
        super().__init__(deadline=deadline, name=name)

    @abstractmethod
    async def handle_events(self, events: Any) -> None:
        """Handle one slice, which is never empty.

        Never called again before it returned. If it raises, the stage is restarted and the slice tried
        again, then event by event; see `handle_failed`. So it may get events again that it had handled
        before it raised.
        """

    @property
    def events_out(self) -> int:
        """Nothing leaves a consumer."""
        return 0

    @property
    def demand(self) -> int:
        """Nobody asks a consumer."""
        return 0

    @property
    def buffered(self) -> int:
        """Events that wait to be handled."""
        return self.inlet.buffered
