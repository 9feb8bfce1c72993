"""JSON bodies (one object, or an array of objects) as newline-delimited JSON, minified.

A large array is cut between its elements first, by a scan in columns, so that no step of the work is long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.errors import DecodeError

PIECE: Final = 256 * 1024
WHITESPACE: Final = b" \t\r\n"
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw])


async def lines_of_json(body: bytes) -> bytes:
    """Turn a JSON body into lines, one event each; raises DecodeError where it is no JSON."""
    start = body[:64].lstrip(WHITESPACE)[:1] or body.lstrip(WHITESPACE)[:1]
    if not start:
        raise DecodeError("body: empty; expected a JSON object or an array of objects", code="empty_body")
    if start != b"[":
        return _minified(body) + b"\n"
    if len(body) <= PIECE:
        return _lines(body)
    lines = []
    for piece in cut_array(body):
        lines.append(_lines(piece))
        await asyncio.sleep(0)
    return b"".join(lines)


def _minified(body: bytes) -> bytes:
    try:
        return msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DecodeError(f"body: not JSON: {exc}") from exc
    except RecursionError:
        raise DecodeError("body: nested too deeply", code="too_deep") from None


def _lines(array: bytes) -> bytes:
    try:
        elements = _elements.decode(_minified(array))
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DecodeError(f"body: not JSON: {exc}") from exc
    except RecursionError:
        raise DecodeError("body: nested too deeply", code="too_deep") from None
    return b"\n".join([*map(bytes, elements), b""]) if elements else b""


def cut_array(body: bytes) -> Iterator[bytes]:
    """Cut a JSON array into arrays of about 256 KiB each, between elements; raises DecodeError where it has no end."""
    octets = np.frombuffer(body, np.uint8)
    scan = _Scan()
    begun = body.index(b"[") + 1
    at, ended = begun - 1, False
    while at < len(body):
        piece = octets[at : at + PIECE]
        commas, end = scan.feed(piece)
        if end is not None:
            if body[at + end + 1 :].strip(WHITESPACE):
                raise DecodeError(f"body: not JSON: more after the end of the array, at byte {at + end + 1}")
            yield b"[" + body[begun : at + end] + b"]"
            ended = True
            break
        if len(commas):
            cut = at + int(commas[-1])
            yield b"[" + body[begun:cut] + b"]"
            begun = cut + 1
        at += len(piece)
    if not ended:
        raise DecodeError("body: not JSON: the array has no end")


class _Scan:
    """Where an array's elements end: what is open at the end of one piece is carried into the next."""

    def __init__(self) -> None:
        self._backslashes = 0
        self._in_string = 0
        self._depth = 0

    def feed(self, octets: NDArray[np.uint8]) -> tuple[NDArray[np.int64], int | None]:
        """Give the commas between elements of the outermost array, and its end if that is in this piece."""
        quotes = (octets == 34) & ~self._escaped(octets)
        inside = (np.cumsum(quotes) + self._in_string) & 1
        self._in_string = int(inside[-1])
        outside = inside == 0
        folded = octets & 0xDF
        steps = ((folded == 0x5B) & outside).astype(np.int64) - ((folded == 0x5D) & outside)
        depth = np.cumsum(steps) + self._depth
        self._depth = int(depth[-1])
        ends = np.flatnonzero((depth == 0) & (steps < 0))
        commas = np.flatnonzero((octets == 44) & outside & (depth == 1))
        return commas, int(ends[0]) if len(ends) else None

    def _escaped(self, octets: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Tell which bytes follow an odd number of backslashes."""
        backslash = octets == 92
        if not self._backslashes and not backslash.any():
            return np.zeros(len(octets), bool)
        places = np.arange(len(octets))
        last_other = np.maximum.accumulate(np.where(backslash, -1 - self._backslashes, places))
        runs = places - last_other  # length of the run of backslashes that ends here
        before = np.concatenate([[self._backslashes], runs[:-1]])
        self._backslashes = int(runs[-1])
        return (before & 1).astype(bool)
