"""Bytes to a batch: what is kept of good lines, and what bad ones cost."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.columns import MISSING
from streamgauge.errors import OptionError
from streamgauge.event import EventBatch, FieldMapping, JsonText, Origin
from streamgauge.events.decode import Decoded, EventDecoder

NOW_US = 1_770_000_000_000_000


def decode(
    payload: bytes,
    *,
    properties: tuple[str, ...] = (),
    mapping: FieldMapping | None = None,
    first_index: int = 0,
) -> Decoded:
    origin = Origin("http", NOW_US, mapping or FieldMapping())
    return EventDecoder(properties).decode(payload, origin, now_us=NOW_US, first_index=first_index)


def batch_of(decoded: Decoded) -> EventBatch:
    assert decoded.batch is not None
    return decoded.batch


def lines_of(decoded: Decoded) -> list[bytes]:
    lines = batch_of(decoded).lines
    assert lines is not None
    return [lines.line(index) for index in range(len(batch_of(decoded)))]


def values(batch: EventBatch, name: str) -> list[object]:
    coded = batch.coded(name)
    return [coded.values[code] for code in coded.codes.tolist()]


def test_good_events_keep_their_order_values_and_bytes() -> None:
    lines = [
        b'{"type":"view","timestamp":"2026-01-31T12:00:00Z","value":1.5,"user_id":"u1","country":"DE"}',
        b'{ "type" : "click", "timestamp" : 1769860800000, "value": -2, "user_id": 7 }',
        b'{"type":"view","country":null,"nested":{"a":[1,2]}}',
    ]
    decoded = decode(b"\n".join([*lines, b""]), properties=("country", "nested"))
    batch = batch_of(decoded)
    assert (decoded.total, decoded.refused) == (3, [])
    assert values(batch, "type") == ["view", "click", "view"]
    assert batch.time_us.tolist() == [1_769_860_800_000_000, 1_769_860_800_000_000, NOW_US]
    assert batch.value.values[batch.value.valid].tolist() == [1.5, -2.0]
    assert batch.value.valid.tolist() == [True, True, False]
    assert values(batch, "user_id") == ["u1", 7, MISSING]
    assert values(batch, "country") == ["DE", MISSING, None]
    assert values(batch, "nested") == [MISSING, MISSING, JsonText('{"a":[1,2]}')]
    assert lines_of(decoded) == lines
    assert batch.index.tolist() == [0, 1, 2]


def test_a_bad_line_costs_only_itself_and_is_named_by_its_place() -> None:
    good = [b'{"type":"a","n":%d}' % number for number in range(100)]
    for bad in (b"{", b'{"type":"a","x":"\xff"}', b'{"type":1}', b'{"type":"a","":1}'):
        for place in (0, 50, 100):
            lines = [*good[:place], bad, *good[place:]]
            decoded = decode(b"\n".join([*lines, b""]), properties=("n",), first_index=7)
            assert [position for position, _ in decoded.refused] == [place]
            assert decoded.total == 101
            assert values(batch_of(decoded), "n") == list(range(100))
            assert batch_of(decoded).index.tolist() == list(range(7, 107))
            assert lines_of(decoded) == good


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"a"}\n{"type":"b"}',
        b'{"type":"a"}\r\n{"type":"b"}\r\n',
        b'{"type":"a"}\r\n{"type":"b"}',
        b'{"type":"a"}\n\n \t\r\n{"type":"b"}\n\n\n',
        b'\n\n{"type":"a"}\n{"type":"b"}\n',
        b'  {"type":"a"}\n\t{"type":"b"} \n',
    ],
)
def test_line_ends_blank_lines_and_spaces_around_are_no_matter(payload: bytes) -> None:
    decoded = decode(payload)
    assert (decoded.total, decoded.refused) == (2, [])
    assert values(batch_of(decoded), "type") == ["a", "b"]
    assert lines_of(decoded) == [b'{"type":"a"}', b'{"type":"b"}']


def test_blank_lines_do_not_count_in_the_place_of_a_bad_event() -> None:
    decoded = decode(b'\n\n{"type":"a"}\n\n{"type":}\n')
    assert [position for position, _ in decoded.refused] == [1]


@pytest.mark.parametrize("payload", [b"", b"\n", b"\r\n\r\n", b" \n\t\n"])
def test_a_payload_of_nothing_has_no_events(payload: bytes) -> None:
    assert decode(payload) == Decoded(None, [], 0)


@pytest.mark.parametrize("space", [b"\x0b", b"\x0c", b"\xc2\xa0", b"\x00"])
def test_what_is_no_white_space_in_json_is_not_stripped(space: bytes) -> None:
    decoded = decode(space + b'{"type":"a"}\n{"type":"b"}\n')
    assert [position for position, _ in decoded.refused] == [0]
    assert lines_of(decoded) == [b'{"type":"b"}']


def test_an_event_over_two_lines_is_refused_without_harm_to_its_neighbours() -> None:
    decoded = decode(b'{"type":"a"}\n{"type":"b",\n"value":1}\n{"type":"c"}\n')
    assert [position for position, _ in decoded.refused] == [1, 2]
    assert values(batch_of(decoded), "type") == ["a", "c"]


@pytest.mark.parametrize(
    "payload",
    [
        b'{"type":"a"}{"type":"b"}\n{"type":"c"}\n',
        b'{"type":"c"}\n{"type":"a"} {"type":"b"}\n',
        b'{"type":"a"}\r{"type":"b"}\n{"type":"c"}\n',
        b'{"type":"a"}{"type":"b"}\n{"type":"c"}\n{"type":"x","y":"}\n{"}\n',
    ],
)
def test_two_events_on_a_line_are_refused_and_never_shift_the_others(payload: bytes) -> None:
    decoded = decode(payload)
    assert values(batch_of(decoded), "type") == ["c"]
    assert lines_of(decoded) == [b'{"type":"c"}']


def test_of_a_name_that_comes_twice_the_last_value_counts() -> None:
    lines = [
        b'{"type":"x","type":"a","value":1,"value":2,"country":"DE","country":"FR"}',
        b'{"type":5,"type":"a","value":"no","value":2,"user_id":true,"user_id":"u","country":"FR"}',
        b'{"\\u0074ype":[],"timestamp":{},"type":"a","timestamp":null,"value":2,"country":"FR"}',
    ]
    for payload in ([lines[0]], lines, lines[::-1], [*lines, b'{"type":"a","type":5}']):
        decoded = decode(b"\n".join([*payload, b""]), properties=("country",))
        batch = batch_of(decoded)
        assert len(batch) + len(decoded.refused) == len(payload)
        assert set(values(batch, "type")) == {"a"}
        assert set(values(batch, "country")) == {"FR"}
        assert batch.value.values.tolist() == [2.0] * len(batch)
        assert lines_of(decoded) == payload[: len(batch)]


def test_fields_play_the_parts_that_the_mapping_gives_them() -> None:
    mapping = FieldMapping(type="event", timestamp="ts", value="amount", user_id="uid", event_id="messageId")
    line = (
        b'{"event":"buy","ts":1769860800,"amount":9,"uid":"u","messageId":"m","type":"other","value":"x"}\n'
    )
    batch = batch_of(decode(line, properties=("uid", "amount", "event", "ts"), mapping=mapping))
    assert values(batch, "type") == ["buy"]
    assert batch.time_us.tolist() == [1_769_860_800_000_000]
    assert batch.numbers("value").values.tolist() == [9.0]
    assert (values(batch, "user_id"), values(batch, "event_id")) == (["u"], ["m"])
    assert (values(batch, "uid"), values(batch, "event"), values(batch, "ts")) == (
        ["u"],
        ["buy"],
        [1_769_860_800],
    )
    assert batch.numbers("amount").values.tolist() == [9.0]


def test_the_reasons_name_the_senders_fields() -> None:
    mapping = FieldMapping(type="event", value="amount")
    decoded = decode(b'{"type":"a"}\n{"event":"a","amount":"x"}\n', mapping=mapping)
    assert [problem for _, problem in decoded.refused] == ["no `event`", 'amount: expected a number, got "x"']


def test_a_reserved_field_that_is_null_is_missing_by_either_name() -> None:
    mapping = FieldMapping(user_id="uid")
    payload = b'{"type":"a","uid":null}\n{"type":"a"}\n{"type":"a","uid":0}\n'
    batch = batch_of(decode(payload, properties=("uid",), mapping=mapping))
    assert values(batch, "uid") == values(batch, "user_id") == [MISSING, MISSING, 0]


@pytest.mark.parametrize(
    "name", ["é", "a b", "a.b", "a[0]", "__proto__", "self", "class", "1", "property_0", "'; --"]
)
def test_a_property_may_have_any_ordinary_name(name: str) -> None:
    payload = json.dumps({"type": "a", name: 3}).encode() + b"\n" + json.dumps({"type": "a"}).encode() + b"\n"
    batch = batch_of(decode(payload, properties=(name, "other")))
    assert values(batch, name) == [3, MISSING]
    assert values(batch, "other") == [MISSING, MISSING]


@pytest.mark.parametrize("name", ["", 'say "no"', "a\\b", "a\nb", "a\0b", "x" * 129, "\ud800"])
def test_a_name_that_no_column_can_have_is_refused_before_any_event_comes(name: str) -> None:
    with pytest.raises(OptionError, match="field name"):
        EventDecoder([name])
    with pytest.raises(OptionError, match=r"events\.value: expected a field name"):
        FieldMapping(value=name)


def test_no_field_can_play_two_parts() -> None:
    with pytest.raises(OptionError, match="must differ"):
        FieldMapping(type="value")


def test_an_id_of_any_size_within_64_bits_is_kept_exactly() -> None:
    payload = b"".join(
        b'{"type":"a","user_id":%d}\n' % number for number in (2**53, 2**53 + 1, 2**63 - 1, -(2**63))
    )
    assert values(batch_of(decode(payload)), "user_id") == [2**53, 2**53 + 1, 2**63 - 1, -(2**63)]


PROPERTY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(min_size=1, max_size=32), inner, max_size=3)
    ),
    max_leaves=5,
)
EVENTS = st.fixed_dictionaries(
    {"type": st.text(min_size=1)},
    optional={
        "value": st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.none(),
        "user_id": st.text() | st.integers(-(2**63), 2**63 - 1) | st.none(),
        "plan": PROPERTY,
    },
)


def acceptable(value: Any) -> bool:
    text = json.dumps(value)
    return "\\u0000" not in text and '"_sg' not in text


@given(st.lists(EVENTS.filter(acceptable), min_size=1), st.data())
def test_any_event_that_keeps_the_limits_is_read_as_json_says(
    events: list[dict[str, Any]], data: st.DataObject
) -> None:
    ascii_only = data.draw(st.booleans())
    lines = [json.dumps(event, ensure_ascii=ascii_only).encode() for event in events]
    decoded = decode(b"\n".join([*lines, b""]), properties=("plan",))
    batch = batch_of(decoded)
    assert decoded.refused == []
    assert lines_of(decoded) == lines
    assert values(batch, "type") == [event["type"] for event in events]
    assert batch.objects("plan") == [event.get("plan", MISSING) for event in events]
    assert batch.objects("user_id") == [
        MISSING if event.get("user_id") is None else event["user_id"] for event in events
    ]
    for position, event in enumerate(events):
        assert batch.value.valid[position] == (event.get("value") is not None)
        if event.get("value") is not None:
            assert batch.value.values[position] == float(event["value"])
