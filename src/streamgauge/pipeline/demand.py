"""The arithmetic of demand on one subscription. No loop, no stages."""

from dataclasses import dataclass


@dataclass(slots=True)
class Credit:
    """Demand of one subscription, counted in events.

    max_demand: most events that are under way; at least 1.
    min_demand: ask again once this few are left; 0 to max_demand - 1.
    outstanding: asked for and not handled yet.

    With max_demand=100, min_demand=80: `ask()` gives 100; `handled(20)`, `ask()` gives 20; `handled(10)`,
    `ask()` gives 0, because 90 are still outstanding; `handled(10)`, `ask()` gives 20.
    """

    max_demand: int
    min_demand: int
    outstanding: int = 0

    def __post_init__(self) -> None:
        if self.max_demand < 1:
            raise ValueError(f"max_demand: found {self.max_demand}; give at least 1")
        if not 0 <= self.min_demand < self.max_demand:
            raise ValueError(
                f"min_demand: found {self.min_demand}; give 0 to {self.max_demand - 1}, "
                f"less than max_demand ({self.max_demand})"
            )

    @property
    def slice_size(self) -> int:
        """Most events that are handed over in one slice."""
        return self.max_demand - self.min_demand

    def ask(self) -> int:
        """Give the number of events to ask for now; 0 while more than min_demand are outstanding."""
        if self.outstanding > self.min_demand:
            return 0
        wanted = self.max_demand - self.outstanding
        self.outstanding = self.max_demand
        return wanted

    def handled(self, count: int) -> None:
        """Take `count` events off what is outstanding."""
        self.outstanding -= count
