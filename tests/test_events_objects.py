"""Events that are Python mappings mean what they would mean as JSON, or are looked at as JSON."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.event import EventBatch, FieldMapping, Origin
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import EventLimits
from streamgauge.events.objects import ObjectDecoder, write_lines

NOW_US = 1_800_000_000_000_000
FIELDS = ("country", "user_id", "type", "value")
YEARS = (dt.datetime(1990, 1, 1), dt.datetime(2026, 1, 1))  # noqa: DTZ001  hypothesis wants them without a zone
ORIGIN = Origin("python", NOW_US)


def decode(events: list[Any], *, mapping: FieldMapping | None = None) -> EventBatch | None:
    mapping = mapping or FieldMapping()
    decoder = ObjectDecoder(FIELDS, EventLimits(), mapping)
    return decoder.decode(events, Origin("python", NOW_US, mapping), now_us=NOW_US, first_index=0)


def as_json(events: list[Any]) -> EventBatch | None:
    payload, _ = write_lines(events)
    return EventDecoder(FIELDS).decode(payload, ORIGIN, now_us=NOW_US).batch


def rows_of(batch: EventBatch) -> list[list[Any]]:
    def column(name: str) -> list[Any]:
        coded = batch.coded(name)
        return [(type(coded.values[code]), coded.values[code]) for code in coded.codes.tolist()]

    values = np.where(batch.value.valid, batch.value.values, math.nan).tolist()
    numbers = [None if math.isnan(value) else value for value in values]
    columns = [column("type"), batch.time_us.tolist(), numbers, column("country"), column("user_id")]
    return [list(row) for row in zip(*columns, strict=True)]


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=2),
)
times = st.one_of(
    scalars,
    st.datetimes(*YEARS).map(lambda at: f"{at.isoformat()}Z"),
    st.integers(1_600_000_000_000, 1_700_000_000_000),
)
anything = st.one_of(
    scalars, st.lists(scalars, max_size=2), st.dictionaries(st.text(max_size=2), scalars, max_size=2)
)
event = st.fixed_dictionaries(
    {"type": st.one_of(st.sampled_from(["a", "b", "buy"]), anything)},
    optional={
        "timestamp": times,
        "value": anything,
        "country": anything,
        "user_id": anything,
        "event_id": scalars,
    },
)
plain = st.fixed_dictionaries(
    {"type": st.sampled_from(["a", "b", "buy"])},
    optional={
        "timestamp": st.integers(1_600_000_000_000, 1_700_000_000_000),
        "value": st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(-1e18, 1e18)),
        "country": st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.text("xyz", max_size=2)),
        "user_id": st.one_of(st.none(), st.integers(0, 2), st.text("xyz", max_size=2)),
    },
)


@given(st.lists(st.one_of(event, plain), min_size=1, max_size=30))
def test_mappings_mean_what_they_would_mean_as_json(events: list[dict[str, Any]]) -> None:
    batch = decode(events)
    if batch is not None:
        expected = as_json(events)
        assert expected is not None
        assert rows_of(batch) == rows_of(expected)


@given(st.lists(plain, min_size=1, max_size=30))
def test_plain_events_need_no_json(events: list[dict[str, Any]]) -> None:
    assert decode(events) is not None


@pytest.mark.parametrize(
    "doubtful",
    [
        {"value": 1}, {"type": ""}, {"type": 7}, {"type": None}, {"type": "\ud800"}, {"type": ["a"]},
        {"type": "a", "value": "1"}, {"type": "a", "value": True}, {"type": "a", "value": math.nan},
        {"type": "a", "value": 2**63}, {"type": "a", "value": Decimal(1)}, {"type": "a", "timestamp": math.inf},
        {"type": "a", "timestamp": "yesterday"}, {"type": "a", "timestamp": (NOW_US + 10**10) // 1000},
        {"type": "a", "timestamp": True}, {"type": "a", "event_id": "x"}, {"type": "a", "country": ["x"]},
        {"type": "a", "country": math.nan}, {"type": "a", "country": "\ud800"}, {"type": "a", "user_id": True},
        {"type": "x" * 70_000}, None, 7, "type", ["type"],
    ],
)  # fmt: skip
def test_whatever_is_not_plainly_right_is_looked_at_as_json(doubtful: Any) -> None:
    assert decode([{"type": "a"}, doubtful]) is None


def test_a_field_may_play_another_part() -> None:
    mapping = FieldMapping(type="event", timestamp="ts", value="amount")
    batch = decode([{"event": "a", "ts": 1_700_000_000, "amount": 2, "type": 9}] * 20, mapping=mapping)
    assert batch is not None
    assert batch.time_us.tolist() == [1_700_000_000_000_000] * 20
    assert batch.value.values.tolist() == [2.0] * 20
    assert batch.coded("type").values == ["a"]


def test_more_types_than_are_remembered_are_told_apart() -> None:
    decoder = ObjectDecoder(FIELDS, EventLimits(), FieldMapping())
    for first in (0, 200, 400):
        events: list[Mapping[str, Any]] = [{"type": f"type {number}"} for number in range(first, first + 700)]
        batch = decoder.decode(events, ORIGIN, now_us=NOW_US, first_index=0)
        assert batch is not None
        kinds = [batch.type.values[code] for code in batch.type.codes.tolist()]
        assert kinds == [one["type"] for one in events]


def test_a_batch_keeps_its_types_when_the_decoder_learns_others() -> None:
    decoder = ObjectDecoder(FIELDS, EventLimits(), FieldMapping())
    first = decoder.decode([{"type": "a"}, {"type": "b"}], ORIGIN, now_us=NOW_US, first_index=0)
    decoder.decode([{"type": "c"}], ORIGIN, now_us=NOW_US, first_index=0)
    assert first is not None
    assert [first.type.values[code] for code in first.type.codes.tolist()] == ["a", "b"]
