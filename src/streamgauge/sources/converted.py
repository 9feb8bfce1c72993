"""What a format is given, and what it makes of it: lines for the door, and why some events are none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from streamgauge.event import FieldMapping

UNREADABLE: Final = (
    b"null"  # stands for an event that is none, so that it is counted, as rejected, in its place
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a sender sent. body: inflated. headers: names in lower case. query: what stands behind the question mark.

    mapping: which fields play the reserved parts.
    """

    body: bytes
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    query: bytes = b""
    mapping: FieldMapping = field(default_factory=FieldMapping)


@dataclass(frozen=True, slots=True)
class Converted:
    """lines: one event each, some of them UNREADABLE. problems: why, by their place among the lines."""

    lines: bytes
    problems: Mapping[int, str]

    def explain(self, errors: Sequence[tuple[int, str]]) -> list[tuple[int, str]]:
        """Give the errors of a receipt with our reasons for those that the door could only find unreadable."""
        return [(place, self.problems.get(place, reason)) for place, reason in errors]
