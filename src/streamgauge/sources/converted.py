"""What a format makes of a body: lines for the door, and why some events are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

UNREADABLE: Final = (
    b"null"  # stands for an event that is none, so that it is counted, as rejected, in its place
)


@dataclass(frozen=True, slots=True)
class Converted:
    """lines: one event each, some of them UNREADABLE. problems: why, by their place among the lines."""

    lines: bytes
    problems: Mapping[int, str]

    def explain(self, errors: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """Give the errors of a receipt with our reasons for those that the door could only find unreadable."""
        return [(place, self.problems.get(place, reason)) for place, reason in errors]
