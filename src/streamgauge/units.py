"""Durations and sizes as people write them: `5ms`, `1h30m`, `64KiB`.

Both are exact: what a `format_` function writes, its `parse_` function reads back as the same value.
A duration always has a unit, so that nobody has to guess whether 5 means seconds. No clock and no
calendar lives here: a day is 24 hours and a year 365 days, always.
"""

import re
from fractions import Fraction

_NANOSECONDS = {
    "y": 365 * 86_400_000_000_000,
    "w": 7 * 86_400_000_000_000,
    "d": 86_400_000_000_000,
    "h": 3_600_000_000_000,
    "m": 60_000_000_000,
    "s": 1_000_000_000,
    "ms": 1_000_000,
    "us": 1_000,
    "ns": 1,
}
_BYTES = {
    "PiB": 2**50,
    "PB": 10**15,
    "TiB": 2**40,
    "TB": 10**12,
    "GiB": 2**30,
    "GB": 10**9,
    "MiB": 2**20,
    "MB": 10**6,
    "KiB": 2**10,
    "kB": 10**3,
    "B": 1,
}
_SIZE_ALIASES = {"KB": "kB"}
_MICROSECOND_SIGNS = str.maketrans({"\u00b5": "u", "\u03bc": "u"})  # micro sign and Greek mu look the same
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)([A-Za-z]+)")
_MOST_CHARACTERS = 64
_MOST_NANOSECONDS = 100 * _NANOSECONDS["y"]
_MOST_BYTES = 2**60

_DURATION_RULE = (
    'a duration is a number with a unit, such as "200ms", "5s", "1h30m" or "7d" (ns us ms s m h d w y)'
)
_SIZE_RULE = 'a size is a whole number of bytes or a number with a unit, such as "64KiB", "10MB" or "4GiB"'


def parse_duration(value: object) -> float:
    """Read a duration such as `5ms`, `1h30m` or `0s`.

    value: a string; each part is a number and one of ns, us, ms, s, m, h, d, w (7 d), y (365 d), with
    the larger units first and each at most once.
    Returns seconds, >= 0, at most 100 years.
    Raises ValueError, which says what was found and what is allowed, for anything else: a bare number,
    a sign, an exponent, or a fraction of a nanosecond.
    """
    if not isinstance(value, str):
        raise _refused(value, "it has no unit", _DURATION_RULE)
    parts = _parts(value.translate(_MICROSECOND_SIGNS), value, _DURATION_RULE)
    nanoseconds = _total(parts, _NANOSECONDS, value, _DURATION_RULE)
    if nanoseconds.denominator != 1:
        raise _refused(value, "it is finer than a nanosecond", _DURATION_RULE)
    if nanoseconds > _MOST_NANOSECONDS:
        raise _refused(value, "it is longer than 100y", _DURATION_RULE)
    return nanoseconds.numerator / 1_000_000_000


def format_duration(seconds: float) -> str:
    """Write a duration in its largest exact units: 5400.0 as `1h30m`, 0.005 as `5ms`, 0 as `0s`.

    seconds: >= 0 and at most 100 years; taken to the nearest nanosecond.
    Raises ValueError outside that range.
    """
    if not 0 <= seconds <= _MOST_NANOSECONDS / 1_000_000_000:
        raise _refused(seconds, "it is not between 0s and 100y", _DURATION_RULE)
    rest = round(Fraction(seconds) * 1_000_000_000)
    text = ""
    for unit, size in _NANOSECONDS.items():
        if unit == "w":  # days alone, so that a duration is written in one way
            continue
        count, rest = divmod(rest, size)
        text += f"{count}{unit}" if count else ""
    return text or "0s"


def parse_size(value: object) -> int:
    """Read a size such as `64KiB`, `10MB`, or 1024 (bytes).

    value: a whole number, or a string of a number and one of B, KiB, MiB, GiB, TiB, PiB (powers of
    1024), kB, MB, GB, TB, PB (powers of 1000).
    Returns bytes, 0 to 2^60.
    Raises ValueError, which says what was found and what is allowed, for anything else.
    """
    if isinstance(value, str):
        parts = _parts(value, value, _SIZE_RULE)
        if len(parts) > 1:
            raise _refused(value, "it has more than one unit", _SIZE_RULE)
        number, unit = parts[0]
        size = _total([(number, _SIZE_ALIASES.get(unit, unit))], _BYTES, value, _SIZE_RULE)
    elif isinstance(value, int) and not isinstance(value, bool):
        size = Fraction(value)
    else:
        raise _refused(value, "it is not a whole number", _SIZE_RULE)
    if size.denominator != 1:
        raise _refused(value, "it is not a whole number of bytes", _SIZE_RULE)
    if not 0 <= size <= _MOST_BYTES:
        raise _refused(value, "it is not between 0B and 1024PiB", _SIZE_RULE)
    return size.numerator


def format_size(size_bytes: int) -> str:
    """Write a size in the unit that takes the fewest digits and is exact: 65536 as `64KiB`, 1000 as `1kB`.

    Raises ValueError if `size_bytes` is negative or more than 2^60.
    """
    if not 0 <= size_bytes <= _MOST_BYTES:
        raise _refused(size_bytes, "it is not between 0B and 1024PiB", _SIZE_RULE)
    if size_bytes == 0:
        return "0B"
    exact = [(size_bytes // size, unit) for unit, size in _BYTES.items() if size_bytes % size == 0]
    count, unit = min(exact, key=lambda counted: counted[0])
    return f"{count}{unit}"


def _parts(text: str, found: str, rule: str) -> list[tuple[str, str]]:
    """Take `1h30m` apart into (number, unit) pairs, of which there is at least one."""
    if len(text) > _MOST_CHARACTERS:
        raise _refused(found, f"it is longer than {_MOST_CHARACTERS} characters", rule)
    if re.fullmatch(r"[0-9]+(?:\.[0-9]+)?", text):
        raise _refused(found, "it has no unit", rule)
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise _refused(found, "it cannot be read", rule)
    return parts


def _total(parts: list[tuple[str, str]], units: dict[str, int], found: str, rule: str) -> Fraction:
    """Add up the parts, in the smallest unit; the parts must go from large units to small ones."""
    for _, unit in parts:
        if unit not in units:
            raise _refused(found, f'there is no unit "{unit}"', rule)
    sizes = [units[unit] for _, unit in parts]
    if sizes != sorted(set(sizes), reverse=True):
        raise _refused(found, "larger units come first, each once", rule)
    return sum((Fraction(number) * units[unit] for number, unit in parts), Fraction(0))


def _refused(found: object, problem: str, rule: str) -> ValueError:
    shown = f'"{found}"' if isinstance(found, str) else str(found)
    if len(shown) > _MOST_CHARACTERS + 2:
        shown = shown[:_MOST_CHARACTERS] + "..."
    return ValueError(f"{shown}: {problem}; {rule}")
