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
SECONDS_BELOW: Final = 10**11
MILLISECONDS_BELOW: Final = 10**14
UNITS: Final = ((SECONDS_BELOW, 1_000_000), (MILLISECONDS_BELOW, 1_000), (10**17, 1))
NANOSECONDS: Final = 0.001
EARLIEST_US: Final = -62_135_596_800_000_000  # 0001-01-01, the first day a datetime can name
LATEST_US: Final = 253_402_300_799_999_999  # 9999-12-31


FEW: Final = 48  # so few are read sooner one by one than in columns


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
        micros = round(value * scale)
    return _in_range(micros)


def _parse_text(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("expected an ISO 8601 time such as 2026-01-31T12:00:00Z") from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return _in_range((moment - EPOCH) // MICROSECOND)


def _in_range(micros: int) -> int:
    if not EARLIEST_US <= micros <= LATEST_US:
        raise ValueError("a time outside of the years 1 to 9999")
    return micros


def parse_column(values: Sequence[Any], default_us: int) -> NDArray[np.int64]:
    """Turn a column of timestamps into int64 microseconds; None stands for `default_us`.

    Gives what `parse_timestamp` gives for each, but all at once where all are written alike. Raises ValueError when
    any of them cannot be read; the caller then looks at them one by one.
    """
    found = _texts(values) if len(values) > FEW and isinstance(values[0], str) else None
    if found is not None:
        return found
    kinds = set(map(type, values))
    if kinds == {type(None)}:
        return np.full(len(values), default_us, np.int64)
    if kinds == {int} and len(values) > FEW:
        found = _integers(values)
    if found is not None:
        return found
    return np.array([default_us if value is None else parse_timestamp(value) for value in values], np.int64)


def _integers(values: Sequence[int]) -> NDArray[np.int64] | None:
    """Read a column of seconds or of milliseconds; None where there are others."""
    low, high = min(values), max(values)
    if low >= 0 and high < SECONDS_BELOW:
        return np.array(values, np.int64) * 1_000_000
    if low >= SECONDS_BELOW and high < MILLISECONDS_BELOW:
        return np.array(values, np.int64) * 1_000
    return None


def _texts(values: Sequence[Any]) -> NDArray[np.int64] | None:
    """Read a column of texts of one known form by their digits' places; None where any of them differs from it."""
    length = len(values[0])
    if length not in _FRACTIONS:
        return None
    try:
        joined = "\n".join(values) + "\n"  # a row of one length each, unless the newlines stand elsewhere
    except TypeError:
        return None
    if len(joined) != (length + 1) * len(values) or not joined.isascii():
        return None
    text = np.frombuffer(joined.encode(), np.uint8).reshape(len(values), length + 1)
    return _seconds_of_one_minute(text, values[0]) if _is_one_minute(text) else _whole_times(text)


def _is_one_minute(text: NDArray[np.uint8]) -> bool:
    """Tell whether all rows begin with the same minute, as nearly all do in a live stream."""
    words = [
        np.ndarray(len(text), "<u8", text, start, text.strides[:1]) for start in (0, 8, MINUTE_CHARACTERS - 8)
    ]
    return all(bool((word == word[0]).all()) for word in words)


def _seconds_of_one_minute(text: NDArray[np.uint8], first: str) -> NDArray[np.int64] | None:
    length = text.shape[1] - 1
    places = [place for place in _DIGITS_AT[length] if place >= MINUTE_CHARACTERS]
    others = [place for place in _PUNCTUATION_AT[length] if place >= MINUTE_CHARACTERS]
    if not (text[:, others] == _PUNCTUATION[length][-len(others) :]).all():
        return None
    digits = text[:, places] - np.uint8(48)
    if digits.max() > 9 or digits[:, 0].max() > 5:
        return None
    try:
        minute = _parse_text(f"{first[:MINUTE_CHARACTERS]}00Z")
    except ValueError:
        return None
    weights = _TIME_WEIGHTS[4 : 4 + len(places)]
    micros: NDArray[np.int64] = (digits.astype(np.float64) @ weights).astype(np.int64)
    return minute + micros


def _whole_times(text: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    length = text.shape[1] - 1
    if not (text[:, _PUNCTUATION_AT[length]] == _PUNCTUATION[length]).all():
        return None
    digits = text[:, _DIGITS_AT[length]] - np.uint8(48)
    if digits.max() > 9:
        return None
    days, time_us = _days(digits), _time_of_day(digits)
    return None if days is None or time_us is None else days * 86_400_000_000 + time_us


MINUTE_CHARACTERS: Final = 17  # 2026-01-31T12:00:
# a text's length -> the digits of its fraction: 2026-01-31T12:00:00[.ffffff]Z
_FRACTIONS: Final = {20: 0, 24: 3, 27: 6}
_PUNCTUATION_AT: Final = {
    length: [4, 7, 10, 13, 16, *([19] if length > 20 else []), length - 1, length] for length in _FRACTIONS
}
_PUNCTUATION: Final = {
    length: np.frombuffer(b"--T::.Z\n" if length > 20 else b"--T::Z\n", np.uint8) for length in _FRACTIONS
}
_DIGITS_AT: Final = {
    length: [place for place in range(length) if place not in places]
    for length, places in _PUNCTUATION_AT.items()
}
_TIME_WEIGHTS: Final = np.array([36e9, 36e8, 6e8, 6e7, 1e7, 1e6, 1e5, 1e4, 1e3, 1e2, 1e1, 1e0])


def _days(digits: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """Days since 1970 from year, month and day; a single one where all are the same, as in a live stream."""
    if (digits[:, :8] == digits[0, :8]).all():
        return _days_of(digits[:1, :8].astype(np.int64))
    return _days_of(digits[:, :8].astype(np.int64))


def _days_of(digits: NDArray[np.int64]) -> NDArray[np.int64] | None:
    year = digits[:, 0] * 1000 + digits[:, 1] * 100 + digits[:, 2] * 10 + digits[:, 3]
    month, day = digits[:, 4] * 10 + digits[:, 5], digits[:, 6] * 10 + digits[:, 7]
    if year.min() < 1 or month.min() < 1 or month.max() > 12 or day.min() < 1:
        return None
    months = (year - 1970) * 12 + month
    first = (months - 1).astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    following = months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)
    if (first + day > following).any():
        return None
    return first + day - 1


def _time_of_day(digits: NDArray[np.uint8]) -> NDArray[np.int64] | None:
    """Microseconds since midnight."""
    if (digits[:, 8] * np.uint8(10) + digits[:, 9]).max() > 23 or digits[:, [10, 12]].max() > 5:
        return None
    time = digits[:, 8:].astype(np.float64)  # sums stay far below 2^53
    micros: NDArray[np.int64] = (time @ _TIME_WEIGHTS[: time.shape[1]]).astype(np.int64)
    return micros
