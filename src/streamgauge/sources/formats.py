"""Formats of events other than JSON and lines of JSON, by the media type of a body or a header beside it.

A format turns a body into lines for the door. A new one is a file in this folder and a line in `FORMATS`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from streamgauge.errors import UnsupportedEncoding
from streamgauge.event import FieldMapping
from streamgauge.sources import cloudevents
from streamgauge.sources.converted import Converted

Headers: TypeAlias = Mapping[bytes, bytes]
Convert: TypeAlias = Callable[[bytes, Headers, FieldMapping], Awaitable[Converted]]


@dataclass(frozen=True, slots=True)
class Format:
    """How bodies of some media types become lines.

    convert: is given the body, the request's headers (names in lower case) and which fields play the reserved parts,
    under whose names it writes them. Raises DecodeError where the body as a whole cannot be read, and lets the event
    loop turn every few milliseconds.
    media_types: in lower case, without parameters. mark: a header that says so by itself, whatever the media type.
    """

    convert: Convert
    media_types: frozenset[str] = field(default_factory=frozenset)
    mark: bytes = b""


FORMATS: Final = (
    Format(cloudevents.structured, frozenset({cloudevents.STRUCTURED})),
    Format(cloudevents.batched, frozenset({cloudevents.BATCHED})),
    Format(cloudevents.binary, mark=cloudevents.MARK),
)
MARK: Final = cloudevents.MARK  # the only one, as every request is asked for it
_BY_MEDIA_TYPE: Final = {kind: one for one in FORMATS for kind in one.media_types}


def media_type(content_type: bytes) -> str:
    """Give the media type without its parameters, in lower case."""
    return content_type.split(b";")[0].strip().lower().decode("latin-1")


def is_known(kind: str) -> bool:
    """Tell whether a media type is that of a format here."""
    return kind in _BY_MEDIA_TYPE


def converter_of(headers: Headers) -> Convert:
    """Give what reads a request; raises UnsupportedEncoding where nothing does."""
    kind = media_type(headers.get(b"content-type", b""))
    known = _BY_MEDIA_TYPE.get(kind)
    if known is None and not kind.startswith(
        cloudevents.PREFIX
    ):  # an envelope of a kind that is not spoken here
        known = next((one for one in FORMATS if one.mark in headers), None)
    if known is None:
        spoken = ", ".join(sorted(_BY_MEDIA_TYPE))
        raise UnsupportedEncoding(f"Content-Type: expected one of {spoken}, got {kind[:80]!r}")
    return known.convert
