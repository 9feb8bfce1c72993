"""What the pipeline knows about events: they have a length and can be sliced."""

from collections.abc import Iterator
from typing import Any, Protocol


class Events(Protocol):
    """A sequence of events: a list, or a batch in columns.

    A slice of it is again such a sequence. It may offer `take(indices: list[int])`, which picks events by
    position; partitioning uses it where it is there.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, index: slice, /) -> Any: ...


def pieces(events: Events, size: int) -> Iterator[Events]:
    """Cut events into slices of at most `size`, in order."""
    for start in range(0, len(events), size):
        yield events[start : start + size]


def pick(events: Events, indices: list[int]) -> Events:
    """Give the events at these positions, in this order; all of them is the same object."""
    if len(indices) == len(events):
        return events
    take = getattr(events, "take", None)
    if take is not None:
        picked: Events = take(indices)
        return picked
    plain: Any = events
    return [plain[index] for index in indices]


def sized(events: Any, stage: str, callback: str) -> Events:
    """Give back what a callback of a stage gave; TypeError when it is no sequence."""
    if not hasattr(events, "__len__"):
        raise TypeError(
            f"stage {stage}: {callback} gave {type(events).__name__}; give a sequence of events, an empty one for none"
        )
    checked: Events = events
    return checked
