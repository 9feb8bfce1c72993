"""The contract of a dispatcher: who gets which events. Arithmetic only; it neither waits nor delivers."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable
from typing import Any

from streamgauge.pipeline.slices import Events

Delivery = tuple[Any, Events]
"""A consumer, as it was named to `subscribe`, and the slice that it is to get."""

Selector = Callable[[Any], Events]
"""Gives the part of a slice that one consumer wants; empty for nothing."""


class Dispatcher(ABC):
    """Shares the events of one producer among its consumers.

    A consumer is anything hashable. It is named to `subscribe` before any other call, and not used after
    `cancel`. When `dispatch` raises (a key or a selector of the user's did), nothing has changed.
    """

    reroutes: bool = True
    """Whether events that a leaving consumer did not handle go to somebody else."""

    @property
    @abstractmethod
    def demand(self) -> int:
        """How many events may be asked of the producer now."""

    @property
    @abstractmethod
    def stalled(self) -> bool:
        """Whether no ask of the present consumers can raise the demand above 0 again."""

    @property
    def buffered(self) -> int:
        """Events that wait in here for a consumer to ask."""
        return 0

    @property
    def orphaned(self) -> int:
        """Those of the buffered events that no present consumer can ask for."""
        return 0

    @abstractmethod
    def subscribe(
        self, consumer: Hashable, *, selector: Selector | None = None, partition: Hashable | None = None
    ) -> None:
        """Add a consumer without demand; ValueError when it may not have that option."""

    @abstractmethod
    def ask(self, consumer: Hashable, count: int) -> Iterable[Delivery]:
        """Add to a consumer's demand; gives what had been waiting for it."""

    @abstractmethod
    def dispatch(self, events: Events) -> tuple[list[Delivery], Events | None]:
        """Share out events as far as there is demand; gives the deliveries, and what is left or None."""

    @abstractmethod
    def cancel(self, consumer: Hashable, undelivered: list[Events]) -> list[Events]:
        """Remove a consumer with its demand; gives those of its undelivered slices to dispatch again."""
