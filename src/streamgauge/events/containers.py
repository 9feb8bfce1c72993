"""JSON bodies (one object, or an array of objects) as newline-delimited JSON, minified.

A large array is cut between its elements first, by a scan in columns, so that no step of the work is long.
"""

from __future__ import annotations

import asyncio
import codecs
import re
from collections.abc import Iterator
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.errors import DecodeError

PIECE: Final = 256 * 1024
LONGEST_EVENT: Final = (
    4 * PIECE
)  # with its white space; a longer one is handed on unread, and refused for its size
WHITESPACE: Final = b" \t\r\n"
ARRAY_END: Final = ord("]")
BEGINNINGS: Final = b'{["-0123456789tfn'
BYTE_ORDER_MARKS: Final = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
NEXT_LINE: Final = re.compile(rb"\}[ \t\r]*\n[ \t\r\n]*\{")  # in no JSON text: strings have no bare newlines
ONE_A_LINE: Final = "one event a line? send Content-Type: application/x-ndjson"
_elements: Final = msgspec.json.Decoder(list[msgspec.Raw])


async def lines_of_json(body: bytes) -> bytes:
    """Turn a JSON body into lines, one event each; raises DecodeError where it is no JSON."""
    if len(body) <= PIECE or first_of(body) != b"[":
        return lines_now(body)
    lines = []
    for piece in cut_array(body):
        lines.append(_lines(piece) if len(piece) <= LONGEST_EVENT else _element(piece[1:-1]))
        await asyncio.sleep(0)
    return b"".join(lines)


def lines_now(body: bytes) -> bytes:
    """Turn a JSON body of at most `PIECE` bytes into lines as `lines_of_json` does, in one step."""
    start = first_of(body)
    if start not in BEGINNINGS:
        raise DecodeError(f"body: not JSON: it begins with {start!r}")
    if start == b"[":
        return _lines(body)
    return _object(body) if start == b"{" else _element(body)


def first_of(body: bytes) -> bytes:
    """Give the first byte that is no white space; raises DecodeError where there is none, or a byte order mark."""
    if body.startswith(BYTE_ORDER_MARKS):
        raise DecodeError("body: begins with a byte order mark; send UTF-8 without one", code="bom")
    start = body[:64].lstrip(WHITESPACE)[:1] or body.lstrip(WHITESPACE)[:1]
    if not start:
        raise DecodeError("body: empty; expected at least one event", code="empty_body")
    return start


def _object(body: bytes) -> bytes:
    """Write an object as a line; where it is several, one a line, the error says how to send them."""
    if len(body) > LONGEST_EVENT and NEXT_LINE.search(body, 0, LONGEST_EVENT):
        raise DecodeError(f"body: not JSON: more than one object; {ONE_A_LINE}")
    try:
        return _element(body)
    except DecodeError as exc:
        if NEXT_LINE.search(body):
            raise DecodeError(f"{exc}; {ONE_A_LINE}", code=exc.code) from exc
        raise


def _element(text: bytes) -> bytes:
    """Write one value as a line; one that is far too long is only brought onto one line."""
    if len(text) > LONGEST_EVENT:
        return text.strip(WHITESPACE).replace(b"\n", b" ") + b"\n"
    return _minified(text) + b"\n"


def _minified(body: bytes) -> bytes:
    try:
        return msgspec.json.format(body, indent=-1)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DecodeError(f"body: not JSON: {exc}") from exc
    except RecursionError:
        raise DecodeError("body: nested too deeply", code="too_deep") from None


def _lines(array: bytes) -> bytes:
    try:
        elements = _elements.decode(_minified(array) if _has_white_space(array) else array)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise DecodeError(f"body: not JSON: {exc}") from exc
    except RecursionError:
        raise DecodeError("body: nested too deeply", code="too_deep") from None
    return b"\n".join([*elements, b""]) if elements else b""


def _has_white_space(text: bytes) -> bool:
    """Tell whether there is any, be it within strings; where there is none, nothing is to be taken out."""
    return b" " in text or b"\n" in text or b"\r" in text or b"\t" in text


def cut_array(body: bytes, piece_bytes: int = PIECE) -> Iterator[bytes]:
    """Cut a JSON array into arrays of about `piece_bytes` each, between elements.

    An element longer than that comes alone, so a piece of more than twice that is one element. Raises DecodeError
    where the array has no end, or more follows, or an element is missing; the pieces' own JSON is not checked.
    """
    octets = np.frombuffer(body, np.uint8)
    scan = _Scan()
    opening = body.index(b"[")
    begun, end = opening + 1, None
    for at in range(opening, len(body), piece_bytes):
        commas, end = scan.feed(octets[at : at + piece_bytes])
        if len(commas) and at + int(commas[0]) - begun > piece_bytes:
            yield _piece(body, begun, at + int(commas[0]))
            begun, commas = at + int(commas[0]) + 1, commas[1:]
        if end is not None:
            yield from _last_piece(body, opening, begun, at + end)
            return
        if len(commas):
            yield _piece(body, begun, at + int(commas[-1]))
            begun = at + int(commas[-1]) + 1
    raise DecodeError("body: not JSON: the array has no end")


def _piece(body: bytes, begun: int, end: int) -> bytes:
    piece = body[begun:end]
    if not piece.strip(WHITESPACE):
        raise DecodeError(f"body: not JSON: an element of the array is missing, at byte {end}")
    return b"[" + piece + b"]"


def _last_piece(body: bytes, opening: int, begun: int, end: int) -> Iterator[bytes]:
    if body[end] != ARRAY_END:
        raise DecodeError(f"body: not JSON: expected ']' at byte {end}")
    if body[end + 1 :].strip(WHITESPACE):
        raise DecodeError(f"body: not JSON: more after the end of the array, at byte {end + 1}")
    if begun > opening + 1 or body[begun:end].strip(WHITESPACE):
        yield _piece(body, begun, end)


class _Scan:
    """Where an array's elements end: what is open at the end of one piece is carried into the next."""

    def __init__(self) -> None:
        self._backslashes = 0
        self._in_string = 0
        self._depth = 0

    def feed(self, octets: NDArray[np.uint8]) -> tuple[NDArray[np.int64], int | None]:
        """Give the commas between elements of the outermost array, and its end if that is in this piece.

        Commas behind the end do not count.
        """
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
        if not len(ends):
            return commas, None
        return commas[commas < ends[0]], int(ends[0])

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
