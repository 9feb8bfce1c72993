"""Fields that the sender's context adds to an event: parts of a topic, headers of a message."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

_RAW_OBJECT = msgspec.json.Decoder(dict[str, msgspec.Raw])


def enriched(line: bytes, fields: Mapping[str, object]) -> bytes:
    """Give a JSON object with more fields, on one line; what it has itself stays as it was written, byte for byte.

    A line that is not one JSON object is given back unchanged: whoever decodes it says what is wrong with it.
    """
    if not fields:
        return line
    try:
        own = _RAW_OBJECT.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return line
    return msgspec.json.encode({**fields, **own})
