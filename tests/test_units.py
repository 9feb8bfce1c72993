"""Durations and sizes: what is read, what is refused, and that writing and reading undo each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.units import format_duration, format_size, parse_duration, parse_size

HUNDRED_YEARS_NS = 100 * 365 * 86_400 * 10**9


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("5ms", 0.005),
        ("200ms", 0.2),
        ("1s", 1.0),
        ("1.5s", 1.5),
        ("60s", 60.0),
        ("1h30m", 5400.0),
        ("7d", 604_800.0),
        ("2w", 1_209_600.0),
        ("5y", 157_680_000.0),
        ("3us", 0.000003),
        ("3\u00b5s", 0.000003),
        ("3\u03bcs", 0.000003),
        ("7ns", 0.000000007),
        ("1d2h3m4s5ms", 93_784.005),
    ],
)
def test_a_duration_is_read_as_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("5", "no unit"),
        ("0", "no unit"),
        (5, "no unit"),
        (0.5, "no unit"),
        (None, "no unit"),
        ("", "cannot be read"),
        ("-5s", "cannot be read"),
        ("+5s", "cannot be read"),
        ("5 s", "cannot be read"),
        (" 5s", "cannot be read"),
        ("5s\n", "cannot be read"),
        ("1e9d", 'no unit "e"'),
        ("1.s", "cannot be read"),
        (".5s", "cannot be read"),
        ("inf", "cannot be read"),
        ("\u0665s", "cannot be read"),
        ("5S", 'no unit "S"'),
        ("5min", 'no unit "min"'),
        ("30m1h", "larger units come first"),
        ("1h1h", "larger units come first"),
        ("0.1ns", "finer than a nanosecond"),
        ("101y", "longer than 100y"),
        ("9" * 100_000 + "s", "longer than 64 characters"),
    ],
)
def test_what_is_no_duration_is_refused_with_the_reason(found: object, reason: str) -> None:
    with pytest.raises(ValueError, match=r"a duration is a number with a unit") as refusal:
        parse_duration(found)
    assert reason in str(refusal.value)
    assert str(found)[:20] in str(refusal.value)
    assert len(str(refusal.value)) < 300


@given(st.integers(0, HUNDRED_YEARS_NS))
def test_a_written_duration_is_read_back_as_the_same_number(nanoseconds: int) -> None:
    seconds = nanoseconds / 10**9
    assert parse_duration(format_duration(seconds)) == seconds


@pytest.mark.parametrize("text", ["0s", "5ms", "1m", "1h30m", "7d", "30d", "1y", "5y", "1d1ns", "100y"])
def test_a_duration_is_written_in_its_largest_units(text: str) -> None:
    assert format_duration(parse_duration(text)) == text


@pytest.mark.parametrize("seconds", [-1.0, float("nan"), float("inf"), 1e12])
def test_a_number_that_is_no_duration_cannot_be_written(seconds: float) -> None:
    with pytest.raises(ValueError, match="not between 0s and 100y"):
        format_duration(seconds)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        (1024, 1024),
        (0, 0),
        ("0B", 0),
        ("17B", 17),
        ("64KiB", 65_536),
        ("1.5KiB", 1536),
        ("10kB", 10_000),
        ("10KB", 10_000),
        ("10MB", 10_000_000),
        ("4GiB", 4 * 2**30),
        ("1TiB", 2**40),
        ("1024PiB", 2**60),
    ],
)
def test_a_size_is_read_as_bytes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("1024", "no unit"),
        ("", "cannot be read"),
        ("-1B", "cannot be read"),
        (-1, "not between 0B and 1024PiB"),
        (2**61, "not between 0B and 1024PiB"),
        ("1025PiB", "not between 0B and 1024PiB"),
        (1.5, "not a whole number"),
        (True, "not a whole number"),
        ("0.5B", "not a whole number of bytes"),
        ("4gib", 'no unit "gib"'),
        ("4G", 'no unit "G"'),
        ("1GiB1MiB", "more than one unit"),
    ],
)
def test_what_is_no_size_is_refused_with_the_reason(found: object, reason: str) -> None:
    with pytest.raises(ValueError, match="a size is a whole number of bytes") as refusal:
        parse_size(found)
    assert reason in str(refusal.value)
    assert str(found) in str(refusal.value)


@given(st.integers(0, 2**60))
def test_a_written_size_is_read_back_as_the_same_number(size: int) -> None:
    assert parse_size(format_size(size)) == size


@pytest.mark.parametrize(
    "text", ["0B", "1B", "1KiB", "64KiB", "1MiB", "4GiB", "3TiB", "1kB", "10MB", "1537B"]
)
def test_a_size_is_written_in_the_unit_that_takes_the_fewest_digits(text: str) -> None:
    assert format_size(parse_size(text)) == text


@pytest.mark.parametrize("size", [-1, 2**60 + 1])
def test_a_number_that_is_no_size_cannot_be_written(size: int) -> None:
    with pytest.raises(ValueError, match="not between 0B and 1024PiB"):
        format_size(size)
