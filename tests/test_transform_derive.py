"""Fields that SQL derives of others: what they are, and that they are in the event as if the sender had sent them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_tools import NOW_US, batch
from streamgauge.errors import OptionError
from streamgauge.event import FieldMapping, Origin
from streamgauge.events.decode import EventDecoder
from streamgauge.transform.derive import Derivation, read_derive

FIELDS = ("amount", "quantity", "page", "flag")


def derived(expressions: dict[str, str], *events: dict[str, Any]) -> list[Any]:
    derivation = Derivation(read_derive(expressions))
    decoder = EventDecoder({*FIELDS, *derivation.fields})
    found = derivation.lines(batch(list(events), decoder=decoder))
    return [msgspec.json.decode(line) for line in found]


def test_a_number_is_added_where_it_can_be_calculated_and_null_elsewhere() -> None:
    assert derived(
        {"unit_price": "amount / quantity"},
        {"type": "a", "amount": 10, "quantity": 4},
        {"type": "b", "amount": 10, "quantity": 0},
        {"type": "c", "amount": "10", "quantity": 1},
        {"type": "d"},
    ) == [
        {"type": "a", "amount": 10, "quantity": 4, "unit_price": 2.5},
        {"type": "b", "amount": 10, "quantity": 0, "unit_price": None},
        {"type": "c", "amount": "10", "quantity": 1, "unit_price": None},
        {"type": "d", "unit_price": None},
    ]


def test_a_condition_is_true_false_or_null() -> None:
    events = [{"type": "a", "amount": amount} for amount in (1, 9, None)]
    assert [event["large"] for event in derived({"large": "amount > 5"}, *events)] == [False, True, None]


def test_a_bare_name_copies_a_field_whatever_it_is() -> None:
    values = ['text \u2028 "', 1, 2**60, 1.5, True, None, [1, {"a": 2}], {"b": "c"}]
    events = [{"type": "a", "page": value} for value in values]
    assert [event["copy"] for event in derived({"copy": "page"}, *events)] == values
    assert derived({"copy": "page"}, {"type": "a"}) == [{"type": "a"}], "nothing to copy, nothing added"


def test_an_expression_may_refer_to_fields_derived_before_it() -> None:
    [event] = derived({"net": "amount - 1", "gross": "net * 2"}, {"type": "a", "amount": 4})
    assert (event["net"], event["gross"]) == (3, 6)


def test_a_field_of_that_name_is_replaced_however_it_is_spelled() -> None:
    found = derived({"page": "amount"}, {"type": "a", "page": "/", "amount": 2})
    assert found == [{"type": "a", "page": 2, "amount": 2}]
    line = rb'{"type":"a","\u0070age":"/","amount":2,"text":"\"page\":"}'
    derivation = Derivation(read_derive({"page": "amount"}))
    decoded = EventDecoder(FIELDS).decode(line + b"\n", Origin("http", NOW_US), now_us=NOW_US)
    assert decoded.batch is not None
    [changed] = derivation.lines(decoded.batch)
    assert changed.count(b"age") == 2, "once as a name, once in a text"
    assert msgspec.json.decode(changed)["page"] == 2


def test_the_value_can_be_derived_under_whatever_name_the_sender_gives_it() -> None:
    line = b'{"type":"a","price":3,"quantity":2}\n'
    origin = Origin("http", NOW_US, FieldMapping(value="price"))
    decoded = EventDecoder(FIELDS).decode(line, origin, now_us=NOW_US)
    assert decoded.batch is not None
    [changed] = Derivation(read_derive({"value": "value * quantity"})).lines(decoded.batch)
    assert msgspec.json.decode(changed) == {"type": "a", "price": 6, "quantity": 2}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("type", "amount", "`type` cannot be derived"),
        ("user_id", "amount", "`user_id` cannot be derived"),
        ("_sg_x", "amount", "reserved"),
        ("", "amount", "field name"),
        ('a"b', "amount", "field name"),
        ("total", "sum(amount)", "sum"),
        ("total", "amount +", "amount +"),
    ],
)
def test_what_cannot_be_derived_is_refused_at_the_start(name: str, text: str, problem: str) -> None:
    with pytest.raises(OptionError) as caught:
        read_derive({name: text})
    assert caught.value.path == f"transform.derive.{name}"
    assert problem in str(caught.value)


NUMBERS = st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["a", "b"])},
        optional={
            "amount": NUMBERS,
            "quantity": NUMBERS,
            "ratio": NUMBERS,
            "page": st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20),
        },
    ),
    min_size=1,
    max_size=30,
)


@given(EVENTS)
def test_events_keep_all_they_had_and_get_what_plain_arithmetic_gives(events: list[dict[str, Any]]) -> None:
    def ratio(event: dict[str, Any]) -> float | None:
        amount, quantity = event.get("amount"), event.get("quantity")
        if amount is None or quantity is None or quantity == 0:
            return None
        found = float(amount) / float(quantity)
        return found if math.isfinite(found) else None

    assert derived({"ratio": "amount / quantity"}, *events) == [
        {**event, "ratio": ratio(event)} for event in events
    ]
