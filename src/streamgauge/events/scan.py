"""A cheap scan of a whole payload that finds the few lines worth a closer look.

`suspicious_lines` is a handful of column operations over the bytes. It may point at a good line, which costs that line
a closer look (`limits.problem_of`), but never passes over one that breaks a limit which decoding does not see. What
msgspec checks even in the values that it skips (syntax, control characters, surrogate pairs) is not repeated here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.events.limits import RESERVED_PREFIX, EventLimits

Octets = NDArray[np.uint8]
Places = NDArray[np.int64]

QUOTE, COLON, SPACE, BACKSLASH, POINT, MINUS, NINE, LETTER_E = (np.uint8(ord(char)) for char in '": \\.-9e')
BEFORE_A_NUMBER: Final = np.frombuffer(b" \t\r:,[", np.uint8)
LONGEST_MANTISSA: Final = 40  # a longer one has a run of 19 digits
BETWEEN_FOUR_PLACES: Final = (2, 6, 10, 1, 3, 5, 7, 9, 11)
SHORTEST_FIELD: Final = 5  # `"":1,`
SHORTEST_LONG_NAME: Final = 15  # the scan for long names cannot tell shorter ones

# `\u0000`, and what spells the letters of the reserved prefix
TELLING_ESCAPES: Final = tuple(np.frombuffer(code, np.uint8) for code in (b"00", b"5f", b"5F", b"73", b"67"))


def doubtful_text(limits: EventLimits) -> re.Pattern[bytes]:
    """Give a pattern that finds whatever `suspicious_lines` may point at in the text of a short payload."""
    name = min(limits.field_name_bytes, 4096)
    return re.compile(
        rb'\\|"' + RESERVED_PREFIX.encode() + rb'|""\s*:|\d{19}|\d\.?[eE]\+?\d{3}|"[^"]{%d,}"' % (name + 1)
    )


# digits, what stands between them and an exponent, and everything else
_NUMBERS: Final = bytes(
    ord("0")
    if char in b"0123456789"
    else ord("e")
    if char in b"eE"
    else char
    if char == ord(".")
    else ord(" ")
    for char in range(256)
)
_MANY_DIGITS: Final = b"0" * 19
_TELLING: Final = (b"\\", b'""', b'"' + RESERVED_PREFIX.encode())


def is_plain_text(payload: bytes, limits: EventLimits) -> bool:
    """Tell whether a short text certainly holds nothing that `doubtful_text` would find, which takes longer."""
    if any(mark in payload for mark in _TELLING):
        return False
    numbers = payload.translate(_NUMBERS)
    if b"0e" in numbers or b".e" in numbers or _MANY_DIGITS in numbers:
        return False
    return max(map(len, payload.split(b'"'))) <= limits.field_name_bytes


def suspicious_lines(
    payload: bytes, octets: Octets, starts: Places, ends: Places, limits: EventLimits
) -> Places:
    """Give the positions of the lines that may break a limit which decoding alone does not see."""
    if limits.field_name_bytes < SHORTEST_LONG_NAME:
        return np.arange(len(starts))
    quotes = octets == QUOTE
    escapes = b"\\" in payload
    places = [
        _nested(octets, starts, limits.depth),
        _empty_names(octets, quotes),
        _long_names(octets, quotes, _closing(octets, quotes) if escapes else quotes, limits.field_name_bytes),
        _long_numbers(octets),
        _exponents(octets),
        _reserved_names(octets, quotes),
    ]
    if escapes:
        places.append(_escapes(octets))
    found = [_long_lines(payload, starts, ends, limits)]
    found += [np.searchsorted(starts, place, side="right") - 1 for place in places if len(place)]
    return np.unique(np.concatenate(found))


def _long_lines(payload: bytes, starts: Places, ends: Places, limits: EventLimits) -> Places:
    """Lines that are too long, have room for a string that is, or as many colons as too many fields would have."""
    lengths = ends - starts
    if int(lengths.max()) <= min(limits.event_bytes, limits.string_bytes, limits.fields * SHORTEST_FIELD):
        return starts[:0]
    roomy = np.flatnonzero(lengths > limits.fields * SHORTEST_FIELD).tolist()
    crowded = [line for line in roomy if payload.count(b":", starts[line], ends[line]) > limits.fields]
    long = np.flatnonzero(lengths > min(limits.event_bytes, limits.string_bytes))
    return np.concatenate([long, np.array(crowded, np.int64)])


def _nested(octets: Octets, starts: Places, depth: int) -> Places:
    """Lines with more opening brackets than may be open at once."""
    opening = (octets & 0xDF) == 0x5B  # `[` and `{` differ in one bit
    if int(np.count_nonzero(opening)) <= len(starts):
        return np.empty(0, np.int64)
    places = np.flatnonzero(opening)
    lines = np.searchsorted(starts, places, side="right") - 1
    return starts[np.flatnonzero(np.bincount(lines, minlength=len(starts)) > depth)]


def _empty_names(octets: Octets, quotes: NDArray[np.bool_]) -> Places:
    """Empty texts where a name could stand."""
    places = _places(quotes[1:] & quotes[:-1])
    return places[_before_colon(octets, places + 1)] if len(places) else places


def _before_colon(octets: Octets, places: Places) -> NDArray[np.bool_]:
    """Tell which quotation marks are followed by a colon, or by the white space that may stand before it."""
    following = octets[np.minimum(places + 1, len(octets) - 1)]
    before: NDArray[np.bool_] = (following == COLON) | (following <= SPACE)
    return before


def _closing(octets: Octets, quotes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Leave out the quotation marks that may be escaped, which end no name."""
    kept = quotes.copy()
    kept[1:] &= octets[:-1] != BACKSLASH
    return kept


def _long_names(octets: Octets, quotes: NDArray[np.bool_], closing: NDArray[np.bool_], most: int) -> Places:
    """Aligned blocks without a closing quotation mark, the next of which is followed by a colon.

    Any text longer than twice the block contains one.
    """
    block = 1 << ((most + 1) // 2).bit_length() - 1
    whole = len(octets) // block * block
    if whole == 0:
        return np.empty(0, np.int64)
    words = closing[:whole].view(np.uint64)
    while len(words) > whole // block:
        words = words[0::2] | words[1::2]
    places = _places(words == 0) * block
    if not len(places):
        return places
    marks = np.flatnonzero(quotes)
    following = np.searchsorted(marks, places)
    places, following = places[following < len(marks)], following[following < len(marks)]
    end = marks[following]
    return places[_before_colon(octets, end) | ~closing[end]]


def _reserved_names(octets: Octets, quotes: NDArray[np.bool_]) -> Places:
    """Texts that begin like the journal's own fields."""
    found = quotes[: -len(RESERVED_PREFIX)] & (
        octets[1 : 1 - len(RESERVED_PREFIX)] == ord(RESERVED_PREFIX[0])
    )
    places = _places(found)
    if not len(places):
        return places
    for ahead, letter in enumerate(RESERVED_PREFIX[1:], 2):
        places = places[octets[places + ahead] == ord(letter)]
    return places


def _escapes(octets: Octets) -> Places:
    r"""Escapes `\u00..` that spell a NUL or a letter of the reserved prefix."""
    places = np.flatnonzero(octets[:-5] == BACKSLASH)
    for ahead, letter in enumerate(b"u00", 1):
        places = places[octets[places + ahead] == letter]
    first, second = octets[places + 4], octets[places + 5]
    telling = [(first == code[0]) & (second == code[1]) for code in TELLING_ESCAPES]
    return places[np.logical_or.reduce(telling)]


def _long_numbers(octets: Octets) -> Places:
    """Runs of 20 digits or more, or of 19 that begin with a 9: no other integer is outside of 64 bits.

    A run of 19 covers at least four neighbouring places of a grid of every fourth byte; the first of them stands for
    the run.
    """
    grid = _is_digit(octets[::4])
    pairs = grid[1:] & grid[:-1]
    places = _places(pairs[2:] & pairs[:-2]) * 4
    for ahead in BETWEEN_FOUR_PLACES if len(places) else ():
        places = places[_is_digit(octets[places + ahead])]
    if not len(places):
        return places
    places = places[np.diff(places, prepend=-8) > 4]
    before = _run_of_digits(octets, [places - back for back in (1, 2, 3)])
    after = _run_of_digits(octets, [places + ahead for ahead in range(13, 20)])
    run = before + 13 + after
    outside: NDArray[np.bool_] = (run > 19) | ((run == 19) & (octets[places - before] == NINE))
    return places[outside]


def _run_of_digits(octets: Octets, steps: Sequence[Places]) -> Places:
    """Count how many steps lead over digits only; a step out of the payload stands on its first or last byte."""
    digits = [_is_digit(octets[np.clip(step, 0, len(octets) - 1)]) for step in steps]
    run: Places = np.cumprod(digits, axis=0).sum(axis=0)
    return run


def _exponents(octets: Octets) -> Places:
    """An `e` in a number with three digits of exponent near it, the only way past the range of a double."""
    last = len(octets) - 1
    letters = _places(((octets[1:] | 0x20) == LETTER_E) & _is_digit(octets[:-1])) + 1
    for ahead in (2, 3) if len(letters) else ():
        letters = letters[_is_digit(octets[np.minimum(letters + ahead, last)])]
    return letters[_end_numbers(octets, letters - 1)] if len(letters) else letters


def _end_numbers(octets: Octets, places: Places) -> NDArray[np.bool_]:
    """Tell which digits may end a mantissa, unlike those in the middle of an id such as `c01e123f`."""
    starts = places.copy()
    looking = np.arange(len(places))
    for _ in range(LONGEST_MANTISSA):
        starts[looking] -= 1
        before = octets[starts[looking]]
        looking = looking[_is_digit(before) | (before == POINT)]
        if not len(looking):
            break
    starts -= octets[starts] == MINUS
    found: NDArray[np.bool_] = np.isin(octets[starts], BEFORE_A_NUMBER)
    found[looking] = True
    return found


def _places(mask: NDArray[np.bool_]) -> Places:
    return np.flatnonzero(mask) if mask.any() else np.empty(0, np.int64)  # nearly always there is nothing


def _is_digit(octets: Octets) -> NDArray[np.bool_]:
    digits: NDArray[np.bool_] = (octets - np.uint8(48)) < 10
    return digits
