"""Timestamps: every documented form, and a column that reads as its members do."""

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.events.clock import FEW, parse_column, parse_timestamp

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LENGTHS = (1, 2, FEW + 1)  # short columns are read one by one, longer ones in columns
NOON_US = 1_769_860_800_000_000  # 2026-01-31T12:00:00Z


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-31T12:00:00Z",
        "2026-01-31T12:00:00.000Z",
        "2026-01-31T12:00:00.000000Z",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-01-31T12:00:00+00:00",
        "2026-01-31T13:30:00+01:30",
        "2026-01-31T02:00:00-10:00",
        "20260131T120000Z",
        "2026-01-31T12:00Z",
        "2026-W05-6T12:00:00Z",
    ],
)
def test_each_way_to_write_a_moment_gives_the_same_microsecond(text: str) -> None:
    assert parse_timestamp(text) == NOON_US
    for count in LENGTHS:
        assert parse_column([text] * count, 0).tolist() == [NOON_US] * count


def test_a_date_alone_is_its_midnight_in_utc() -> None:
    assert parse_timestamp("2026-01-31") == NOON_US - 12 * 3600 * 1_000_000


@pytest.mark.parametrize(
    ("number", "micros"),
    [
        (1_769_860_800, NOON_US),
        (1_769_860_800_000, NOON_US),
        (1_769_860_800_000_000, NOON_US),
        (1_769_860_800_000_000_000, NOON_US),
        (1_769_860_800.25, NOON_US + 250_000),
        (1_769_860_800_000.5, NOON_US + 500),
        (0, 0),
        (-1, -1_000_000),
        (10**11 - 1, (10**11 - 1) * 1_000_000),
        (10**11, 10**14),
        (10**14 - 1, (10**14 - 1) * 1_000),
        (10**14, 10**14),
        (10**17 - 1, 10**17 - 1),
        (10**17, 10**14),
        (-(10**11), -(10**14)),
        (-62_135_596_800, -62_135_596_800_000_000),
    ],
)
def test_the_size_of_a_number_tells_its_unit(number: float, micros: int) -> None:
    assert parse_timestamp(number) == micros
    for count in LENGTHS:
        assert parse_column([number] * count, 0).tolist() == [micros] * count


@pytest.mark.parametrize(
    "bad",
    [
        *("", "yesterday", "2026-02-30T00:00:00Z", "2025-02-29T00:00:00Z", "1900-02-29T00:00:00Z"),
        *("2026-00-10T00:00:00Z", "2026-13-10T00:00:00Z", "2026-04-31T00:00:00Z", "2026-01-00T00:00:00Z"),
        *("2026-01-31T24:00:01Z", "2026-01-31T12:60:00Z", "2026-01-31T12:00:60Z", "0000-01-01T00:00:00Z"),
        *("2026-01-31T12:00:00+99:99", "2026-01-3٣T12:00:00Z", "2026-01-31T12:00:0:Z"),
        *("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "10000-01-01T00:00:00Z"),
        *(-62_135_596_801, -99_999_999_999, -99_999_999_999_999, -(10**17) + 1, 1e300, 10**30),
        *(True, [], {}, "1769860800"),
    ],
)
def test_what_is_no_time_is_refused_alone_and_in_a_column(bad: object) -> None:
    with pytest.raises(ValueError, match=r"expected|outside"):
        parse_timestamp(bad)
    for good in (bad, "2026-01-31T12:00:00Z", 1_769_860_800, None):
        for count in LENGTHS:
            with pytest.raises(ValueError, match=r"expected|outside"):
                parse_column([good] * (count - 1) + [bad], 0)


def test_texts_whose_lengths_only_add_up_are_not_read_as_if_they_were_equally_long() -> None:
    with pytest.raises(ValueError, match="expected an ISO 8601"):
        parse_column(["2026-01-31T12:00:00Z2", "026-01-31T12:00:00Z"] * FEW, 0)


def test_missing_times_are_the_time_of_arrival() -> None:
    assert parse_column([None, None], 7).tolist() == [7, 7]
    assert parse_column([None, 1, "1970-01-01T00:00:02Z"], 7).tolist() == [7, 1_000_000, 2_000_000]


def test_an_empty_column_is_empty() -> None:
    assert parse_column([], 7).tolist() == []


ZONES = st.one_of(st.none(), st.timedeltas(timedelta(hours=-23), timedelta(hours=23)).map(timezone))
MOMENTS = st.datetimes(timezones=ZONES)
FRACTIONS = st.sampled_from(["seconds", "milliseconds", "microseconds"])
UTC_TEXTS = st.builds(lambda moment, spec: moment.isoformat(timespec=spec) + "Z", st.datetimes(), FRACTIONS)
# any digits in the places of a date, so that many are no date
LOOSE_TEXTS = st.from_regex(
    r"\A(19|20|00)\d\d-[01]\d-[0-3]\d[Tt ][0-2]\d:[0-6]\d:[0-6]\d(\.\d{3}|\.\d{6})?Z\Z"
).filter(str.isascii)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64),
    st.floats(-1e19, 1e19),
    st.sampled_from([1e11, 1e14, 1e17, -1e11, 10**11, 10**14, 10**17, -(2**63)]),
)
ANY_TIME = st.one_of(UTC_TEXTS, MOMENTS.map(datetime.isoformat), LOOSE_TEXTS, NUMBERS, st.none())
COLUMNS = st.one_of(
    *(st.lists(kind, min_size=1, max_size=6) for kind in (UTC_TEXTS, LOOSE_TEXTS, NUMBERS, ANY_TIME)),
    st.lists(st.integers(-(10**11), 10**11), min_size=1),
    st.lists(st.integers(10**11, 10**14), min_size=1),
)


@given(COLUMNS, st.sampled_from([1, FEW + 1]))
def test_a_column_reads_as_its_members_do(values: list[object], times: int) -> None:
    values = values * times
    try:
        one_by_one = [7 if value is None else parse_timestamp(value) for value in values]
    except ValueError:
        with pytest.raises(ValueError, match=r"expected|outside"):
            parse_column(values, 7)
        return
    found = parse_column(values, 7)
    assert found.dtype == np.int64
    assert found.tolist() == one_by_one


@given(st.lists(MOMENTS, min_size=1, max_size=5), FRACTIONS)
def test_every_moment_that_python_can_write_is_read_back(moments: list[datetime], spec: str) -> None:
    aware = [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in moments]
    texts = [moment.isoformat(timespec=spec) for moment in moments]
    expected = [
        (datetime.fromisoformat(text).replace(tzinfo=moment.tzinfo) - EPOCH) // timedelta(microseconds=1)
        for text, moment in zip(texts, aware, strict=True)
    ]
    earliest, latest = parse_timestamp("0001-01-01T00:00:00Z"), parse_timestamp("9999-12-31T23:59:59.999999Z")
    if all(earliest <= micros <= latest for micros in expected):
        assert parse_column(texts * (FEW + 1), 0).tolist() == expected * (FEW + 1)


@given(st.lists(st.datetimes(), min_size=1), FRACTIONS)
def test_a_column_in_utc_is_exact_to_the_microsecond(moments: list[datetime], spec: str) -> None:
    texts = [moment.isoformat(timespec=spec) + "Z" for moment in moments] * (FEW + 1)
    whole = [datetime.fromisoformat(text) for text in texts]
    assert parse_column(texts, 0).tolist() == [
        (moment - EPOCH) // timedelta(microseconds=1) for moment in whole
    ]
