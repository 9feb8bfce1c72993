"""Formats of events other than JSON and lines of JSON: told by the media type of a body, by a header, or by an address.

A format turns a body into lines for the door, and may have words of its own for the answer. A new one is a file in this
folder and a line in `FORMATS`; it has its own place on the page of sources, and everything else as JSON has it: limits,
compression, keys that make a request count once, journal and ledger.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from streamgauge.errors import StreamgaugeError, UnsupportedEncoding
from streamgauge.source import Receipt
from streamgauge.sources import cloudevents
from streamgauge.sources.converted import Converted, Sent

Convert: TypeAlias = Callable[[Sent], Awaitable[Converted]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender is answered. headers: without the length of the body."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


def _as_usual(_outcome: Receipt | StreamgaugeError, usual: Answer) -> Answer:
    return usual


@dataclass(frozen=True, slots=True)
class Format:
    """How bodies of some kind become lines.

    door: under which the page shows what comes this way. convert: makes lines of what was sent, with the reserved parts
    under the names that it is told. Raises DecodeError where the body as a whole cannot be read, and lets the event loop
    turn every few milliseconds.
    media_types: in lower case, without parameters. mark: a header that says so by itself, whatever the media type.
    paths: addresses at which every body is of this format, such as /api/v2/write; what stands behind their question mark
    is for `convert`.
    answer: says in the protocol's words what became of the events, or why nothing was taken, given what is said usually;
    its senders rely on the status and `Retry-After` of what is refused for now.
    """

    door: str
    convert: Convert
    media_types: frozenset[str] = field(default_factory=frozenset)
    mark: bytes = b""
    paths: frozenset[str] = field(default_factory=frozenset)
    answer: Callable[[Receipt | StreamgaugeError, Answer], Answer] = _as_usual


class Formats:
    """Knows which format a request has. paths: the formats of whole addresses."""

    def __init__(self, *formats: Format) -> None:
        self.doors = tuple(dict.fromkeys(one.door for one in formats))
        self.paths = {path: one for one in formats for path in one.paths}
        self._by_media_type = {kind: one for one in formats for kind in one.media_types}
        self._by_mark = {one.mark: one for one in formats if one.mark}
        self.marks = frozenset(self._by_mark)

    def is_known(self, kind: str) -> bool:
        """Tell whether a media type is that of a format here."""
        return kind in self._by_media_type

    def of(self, headers: Mapping[bytes, bytes]) -> Format:
        """Give the format of a request that has the media type or the mark of one; raises UnsupportedEncoding."""
        kind = media_type(headers.get(b"content-type", b""))
        known = self._by_media_type.get(kind)
        if known is None and not kind.startswith(
            cloudevents.PREFIX
        ):  # an envelope of a kind that is not spoken here
            known = next((one for mark, one in self._by_mark.items() if mark in headers), None)
        if known is None:
            spoken = ", ".join(sorted(self._by_media_type))
            raise UnsupportedEncoding(f"Content-Type: expected one of {spoken}, got {kind[:80]!r}")
        return known


CLOUD_EVENTS: Final = "cloudevents"
FORMATS: Final = Formats(
    Format(CLOUD_EVENTS, cloudevents.structured, frozenset({cloudevents.STRUCTURED})),
    Format(CLOUD_EVENTS, cloudevents.batched, frozenset({cloudevents.BATCHED})),
    Format(CLOUD_EVENTS, cloudevents.binary, mark=cloudevents.MARK),
)


def media_type(content_type: bytes) -> str:
    """Give the media type without its parameters, in lower case."""
    return content_type.split(b";")[0].strip().lower().decode("latin-1")
