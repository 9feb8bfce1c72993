"""Batches: whatever is taken of them, their columns stay together; and which values are the same value."""

import json

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.columns import MISSING
from streamgauge.event import LINE_BITS, EventBatch, JsonText, Origin, as_numbers, concatenate, encode
from streamgauge.events.decode import EventDecoder

NOW_US = 1_770_000_000_000_000
DECODER = EventDecoder(["n"])

Row = tuple[object, int, float | None, object, object]

EVENTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["a", "b", "c"]), "timestamp": st.integers(0, 1_700_000_000)},
        optional={
            "value": st.integers(0, 9),
            "n": st.sampled_from([1, "1", True, None]),
            "user_id": st.integers(0, 3),
        },
    ),
    min_size=1,
    max_size=12,
)


def make(events: list[dict[str, object]], seq: int = 1) -> EventBatch:
    payload = b"".join(json.dumps(event).encode() + b"\n" for event in events)
    batch = DECODER.decode(payload, Origin("http", NOW_US), now_us=NOW_US).batch
    assert batch is not None
    batch.seq, batch.epoch = seq, 5
    return batch


def rows(batch: EventBatch) -> list[Row]:
    """Everything that a batch says of each of its events."""
    types, users, numbers = batch.coded("type"), batch.coded("user_id"), batch.coded("n")
    return [
        (
            types.values[types.codes[place]],
            int(batch.time_us[place]),
            float(batch.value.values[place]) if batch.value.valid[place] else None,
            users.values[users.codes[place]],
            (type(numbers.values[numbers.codes[place]]), numbers.values[numbers.codes[place]]),
        )
        for place in range(len(batch))
    ]


def lines(batch: EventBatch) -> list[bytes]:
    assert batch.lines is not None
    return [batch.lines.line(place) for place in range(len(batch))]


@given(EVENTS, st.slices(12))
def test_a_slice_keeps_every_column_together(events: list[dict[str, object]], wanted: slice) -> None:
    batch = make(events)
    part = batch[wanted]
    assert rows(part) == rows(batch)[wanted]
    assert lines(part) == lines(batch)[wanted]
    assert part.order.tolist() == batch.order.tolist()[wanted]
    assert (part.seq, part.epoch, part.origin) == (batch.seq, batch.epoch, batch.origin)


@given(EVENTS, st.data())
def test_a_mask_and_positions_keep_every_column_together(
    events: list[dict[str, object]], data: st.DataObject
) -> None:
    batch = make(events)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(events), max_size=len(events))), bool)
    positions = np.array(data.draw(st.lists(st.integers(0, len(events) - 1))), np.int64)
    for wanted, places in ((mask, np.flatnonzero(mask)), (positions, positions)):
        part = batch.select(wanted)
        assert rows(part) == [rows(batch)[place] for place in places]
        assert lines(part) == [lines(batch)[place] for place in places]
        assert part.index.tolist() == [batch.index[place] for place in places]


@given(st.lists(EVENTS, min_size=1, max_size=4), st.data())
def test_joined_batches_are_their_events_one_after_the_other(
    groups: list[list[dict[str, object]]], data: st.DataObject
) -> None:
    batches = [make(events, seq) for seq, events in enumerate(groups, 3)]
    batches = [batch[data.draw(st.integers(0, len(batch))) :] for batch in batches]
    joined = concatenate(batches)
    assert rows(joined) == [row for batch in batches for row in rows(batch)]
    assert joined.order.tolist() == [order for batch in batches for order in batch.order.tolist()]
    assert joined.epoch == 5
    part = joined.select(joined.value.valid)
    assert rows(part) == [row for row in rows(joined) if row[2] is not None]


def test_the_order_of_arrival_is_append_then_line() -> None:
    first, second = make([{"type": "a"}] * 3, seq=1), make([{"type": "a"}] * 3, seq=2)
    assert first.order.tolist() == [(1 << LINE_BITS) + line for line in range(3)]
    assert max(first.order) < min(second.order)


def test_numbers_of_the_time_are_milliseconds() -> None:
    assert make([{"type": "a", "timestamp": 1.5}]).numbers("timestamp").values.tolist() == [1500.0]


def test_true_one_and_the_text_one_null_and_missing_are_five_values_and_one_is_one() -> None:
    objects = [True, 1, 1.0, "1", None, MISSING, False, 0, 0.0, "", -0.0]
    coded = encode(objects)
    codes = coded.codes.tolist()
    assert codes[1] == codes[2]
    assert codes[7] == codes[8] == codes[10]
    assert len({codes[place] for place in (0, 1, 3, 4, 5, 6, 7, 9)}) == 8


def test_arrays_and_objects_are_values_of_their_own_and_equal_no_text() -> None:
    coded = encode([[1, 2], "[1,2]", [1, 2], {"a": 1}, '{"a":1}', [1], {}, []])
    codes = coded.codes.tolist()
    assert codes[0] == codes[2]
    assert len(set(codes)) == 7
    assert JsonText("[1]") != "[1]"
    assert JsonText("[1]") == JsonText("[1]")
    assert len({JsonText("[1]"), JsonText("[1]"), "[1]"}) == 2


JSON_VALUES = st.lists(
    st.sampled_from(
        [True, False, 0, 1, 1.0, 0.0, -1, "1", "", None, MISSING, 2**53, 2**53 + 1, float(2**53), "[]"]
    )
    | st.lists(st.integers(0, 1), max_size=1)
    | st.text(max_size=2)
    | st.integers(-(2**63), 2**63 - 1)
)


def identity(value: object) -> object:
    kind = "number" if type(value) in {int, float} else type(value).__name__
    return kind, json.dumps(value) if isinstance(value, (list, dict)) else value


@given(JSON_VALUES)
def test_two_values_share_a_code_exactly_when_they_are_the_same_value(objects: list[object]) -> None:
    coded = encode(objects)
    codes = coded.codes.tolist()
    assert coded.codes.dtype == np.int32
    for place, value in enumerate(objects):
        for other, another in enumerate(objects[:place]):
            assert (codes[place] == codes[other]) == (identity(value) == identity(another))
        found = coded.values[codes[place]]
        assert isinstance(found, JsonText) if isinstance(value, list) else identity(found) == identity(value)


def test_only_numbers_are_numbers_and_large_ones_have_the_precision_of_a_double() -> None:
    numbers = as_numbers([1, 2.5, True, "3", None, MISSING, [4], {}, 2**53 + 1, -(2**63)])
    assert numbers.valid.tolist() == [True, True, False, False, False, False, False, False, True, True]
    assert numbers.values[numbers.valid].tolist() == [1.0, 2.5, 2.0**53, -(2.0**63)]
    assert as_numbers([]).valid.tolist() == []
