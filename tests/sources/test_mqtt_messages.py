"""What a message's payload may be, and which events it makes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import DecodeError
from streamgauge.event import FieldMapping
from streamgauge.sources.messages import lines_of

VALUES = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8)
OBJECTS = st.dictionaries(st.text(min_size=1, max_size=6), VALUES, max_size=5)
FIELDS = st.dictionaries(st.sampled_from(["type", "site", "device"]), st.text(max_size=6))


async def events(
    payload: str | bytes, fields: dict[str, str], mapping: FieldMapping | None = None
) -> list[Any]:
    given_bytes = payload.encode() if isinstance(payload, str) else payload
    lines = await lines_of(given_bytes, fields, mapping or FieldMapping())
    assert not any(b"\n" in line for line in lines)
    return [json.loads(line) for line in lines]


@given(st.lists(OBJECTS, min_size=1, max_size=6), FIELDS, st.sampled_from([None, 2]))
async def test_an_array_lines_and_single_objects_make_the_same_events(
    objects: list[dict[str, Any]], fields: dict[str, str], indent: int | None
) -> None:
    expected = [{**fields, **one} for one in objects]
    assert await events(json.dumps(objects, indent=indent), fields) == expected
    assert await events("\n".join(json.dumps(one) for one in objects), fields) == expected
    assert await events("\r\n\r\n".join(json.dumps(one) for one in objects) + "\n", fields) == expected
    single = [await events(json.dumps(one, indent=indent), fields) for one in objects]
    assert [one for made in single for one in made] == expected


async def test_what_the_event_says_itself_wins_over_its_topic() -> None:
    assert await events('{"site":"bergen"}', {"site": "oslo", "type": "door"}) == [
        {"type": "door", "site": "bergen"}
    ]


@pytest.mark.parametrize("payload", ["21.5", " 21.5\r\n", "-3", "1e3", "0"])
async def test_a_bare_number_is_an_event_with_that_value_where_the_topic_tells_the_type(payload: str) -> None:
    assert await events(payload, {"type": "t", "site": "oslo"}) == [
        {"site": "oslo", "type": "t", "value": json.loads(payload)}
    ]
    renamed = FieldMapping(type="kind", value="reading")
    assert await events(payload, {"kind": "t"}, renamed) == [{"kind": "t", "reading": json.loads(payload)}]


async def test_a_bare_number_without_a_type_is_no_event_and_the_reason_says_what_would_help() -> None:
    with pytest.raises(DecodeError, match=r'bare number .*type_from = "topic"'):
        await events("21.5", {"site": "oslo"})


@pytest.mark.parametrize(
    "payload",
    ["", " \n", "on", "NaN", "Infinity", "05", "+5", "1e999", "true", "null", '"text"', b"\xff\xfe2\x001\x00", b"\0", "[1", "[{}", "x" * 5000],
)  # fmt: skip
async def test_what_is_no_event_at_all_is_refused_in_a_short_sentence(payload: str | bytes) -> None:
    with pytest.raises(DecodeError) as caught:
        await events(payload, {"type": "t"})
    assert len(str(caught.value)) < 200


async def test_a_bad_line_among_lines_is_left_for_the_decoder_to_refuse() -> None:
    assert await lines_of(b'{"a":1}\n{"a":\n{"a":3}', {}, FieldMapping()) == [
        b'{"a":1}',
        b'{"a":',
        b'{"a":3}',
    ]
