"""Timestamps as people send them, in microseconds since 1970 UTC.

An ISO 8601 string (with `Z`, an offset, or neither: UTC), or a number whose unit is told by its size:
below 1e11 seconds, below 1e14 milliseconds, below 1e17 microseconds, else nanoseconds (so seconds reach
the year 5138, and milliseconds start in 1973).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND: Final = timedelta(microseconds=1)
UNITS: Final = ((1e11, 1_000_000.0), (1e14, 1_000.0), (1e17, 1.0))
NANOSECONDS: Final = 0.001
EARLIEST_US: Final = -62_135_596_800_000_000  # 0001-01-01, the first day a datetime can name
LATEST_US: Final = 253_402_300_799_999_999  # 9999-12-31

_DIGIT_PLACES: Final = {
    19: (0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18),
}
_PUNCTUATION: Final = ((4, b"-"), (7, b"-"), (10, b"T"), (13, b":"), (16, b":"))


def parse_timestamp(value: Any) -> int:
    """Turn one timestamp into microseconds since 1970 UTC; raises ValueError with what was expected."""
    if isinstance(value, str):
        return _parse_text(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError("expected an ISO 8601 string or a number")  # noqa: TRY004  one kind of answer for the sender
    size = abs(value)
    scale = next((unit for limit, unit in UNITS if size < limit), None)
    if scale is None:
        micros = value // 1000 if isinstance(value, int) else round(value * NANOSECONDS)
    else:
        micros = value * int(scale) if isinstance(value, int) else round(value * scale)
    if not EARLIEST_US <= micros <= LATEST_US:
        raise ValueError("a time outside of the years 1 to 9999")
    return int(micros)


def _parse_text(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected an ISO 8601 time such as 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    try:
        return (moment - EPOCH) // MICROSECOND
    except OverflowError:
        raise ValueError("a time outside of the years 1 to 9999") from None


def parse_column(values: Sequence[Any], default_us: int) -> NDArray[np.int64]:
    """Turn a column of timestamps into int64 microseconds; None stands for `default_us`.

    Raises ValueError when any of them cannot be read; the caller then looks at them one by one.
    """
    kinds = set(map(type, values))
    if kinds == {str}:
        return _texts(values)
    if kinds == {int}:
        return _integers(np.array(values, np.int64))
    if kinds == {type(None)}:
        return np.full(len(values), default_us, np.int64)
    return np.array([default_us if v is None else parse_timestamp(v) for v in values], np.int64)


def _integers(values: NDArray[np.int64]) -> NDArray[np.int64]:
    size = np.abs(values)
    if size.max(initial=0) < 1e11:
        return values * 1_000_000
    if size.min(initial=0) >= 1e11 and size.max(initial=0) < 1e14:
        return values * 1_000
    return np.array([parse_timestamp(v) for v in values.tolist()], np.int64)


def _texts(values: Sequence[str]) -> NDArray[np.int64]:
    """Read a column of equally long texts by their digits' places, all at once; else one at a time."""
    length = len(values[0])
    joined = "".join(values)
    if length not in _FRACTIONS or len(joined) != length * len(values) or not joined.isascii():
        return np.array([parse_timestamp(v) for v in values], np.int64)
    text = np.frombuffer(joined.encode(), np.uint8).reshape(len(values), length)
    if not _plain(text, length) or len(set(map(len, values))) != 1:
        return np.array([parse_timestamp(v) for v in values], np.int64)
    digits = text.astype(np.int64) - 48
    year = digits[:, 0] * 1000 + digits[:, 1] * 100 + digits[:, 2] * 10 + digits[:, 3]
    month, day = _two(digits, 5), _two(digits, 8)
    hour, minute, second = _two(digits, 11), _two(digits, 14), _two(digits, 17)
    days = ((year - 1970) * 12 + (month - 1)).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    _check_ranges(year, month, day, days, hour, minute, second)
    seconds = (days + day - 1) * 86_400 + hour * 3_600 + minute * 60 + second
    micros = np.zeros(len(values), np.int64)
    for place in range(_FRACTIONS[length]):
        micros += digits[:, 20 + place] * 10 ** (5 - place)
    return seconds * 1_000_000 + micros


# length of the text -> digits of its fraction: 2026-01-31T12:00:00[.ffffff]Z
_FRACTIONS: Final = {20: 0, 24: 3, 27: 6}


def _plain(text: NDArray[np.uint8], length: int) -> bool:
    punctuation = [*_PUNCTUATION, (length - 1, b"Z"), *([(19, b".")] if length > 20 else [])]
    if not all(bool((text[:, place] == ord(char)).all()) for place, char in punctuation):
        return False
    places = [*_DIGIT_PLACES[19], *range(20, length - 1)]
    return bool(((text[:, places] - np.uint8(48)) < 10).all())


def _two(digits: NDArray[np.int64], place: int) -> NDArray[np.int64]:
    return digits[:, place] * 10 + digits[:, place + 1]


def _check_ranges(
    year: NDArray[np.int64],
    month: NDArray[np.int64],
    day: NDArray[np.int64],
    days: NDArray[np.int64],
    hour: NDArray[np.int64],
    minute: NDArray[np.int64],
    second: NDArray[np.int64],
) -> None:
    if year.min() < 1 or month.min() < 1 or month.max() > 12 or day.min() < 1:
        raise ValueError("not a date")
    following = ((year - 1970) * 12 + month).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    if (days + day > following).any() or hour.max() > 23 or minute.max() > 59 or second.max() > 59:
        raise ValueError("not a date or time")
