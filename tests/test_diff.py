"""A viewer that applies every diff has the state that the server has."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.live.diff import apply, diff, same

VECTORS = json.loads((Path(__file__).parent / "js" / "patch_vectors.json").read_text())

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=2)
)
keys = st.sampled_from(["a", "b", "c", "", "time", "__proto__"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
states = st.dictionaries(keys, values, max_size=5)
columns = st.dictionaries(keys, st.lists(scalars, min_size=4, max_size=12), min_size=1, max_size=3)
shifts = st.integers(-3, 15)


def over_the_wire(operations: Any) -> Any:
    return json.loads(json.dumps(operations))


@given(states | columns, states | columns, shifts)
def test_applying_the_diff_gives_the_new_state(
    before: dict[str, Any], after: dict[str, Any], shift: int
) -> None:
    was = copy.deepcopy(before)
    found = apply(before, over_the_wire(diff(before, after, shift)))
    assert same(found, after)
    assert found.keys() == after.keys()
    assert same(before, was)


@given(columns, st.integers(0, 6), st.data())
def test_a_window_that_moved_is_sent_as_what_it_dropped_and_what_is_new(
    before: dict[str, Any], shift: int, data: st.DataObject
) -> None:
    shift = min(shift, *map(len, before.values()))
    after = {
        name: [*column[shift:], *data.draw(st.lists(scalars, min_size=shift, max_size=shift))]
        for name, column in before.items()
    }
    operations = diff(before, after, shift)
    assert same(apply(before, over_the_wire(operations)), after)
    for operation, path, *rest in operations:
        if operation == "slide":
            assert rest[0]["append"] == after[path[0]][-shift:]
            assert "set" not in rest[0]


@given(states)
def test_nothing_changed_needs_no_operation(state: dict[str, Any]) -> None:
    assert diff(state, copy.deepcopy(state)) == []


@given(states, states, states)
def test_diffs_one_after_the_other_lead_to_the_last_state(first: Any, second: Any, third: Any) -> None:
    operations = [*diff(first, second), *diff(second, third)]
    assert same(apply(first, over_the_wire(operations)), third)


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["about"] for vector in VECTORS])
def test_the_vectors_that_the_browser_is_tested_with_hold_here_too(vector: dict[str, Any]) -> None:
    before = copy.deepcopy(vector["before"])
    assert same(apply(vector["before"], vector["patch"]), vector["after"])
    assert vector["before"] == before


def test_a_long_window_with_one_new_point_is_a_short_message() -> None:
    before = {"time": list(range(300)), "count": [7] * 300}
    after = {"time": list(range(1, 301)), "count": [*[7] * 299, 1]}
    assert diff(before, after, shift=1) == [
        ["slide", ["time"], {"drop": 1, "append": [300]}],
        ["slide", ["count"], {"drop": 1, "append": [1]}],
    ]


def test_a_changed_point_is_sent_alone() -> None:
    assert diff({"s": [1, 2, 3, 4]}, {"s": [1, 2, 5, 4]}) == [["slide", ["s"], {"set": [[2, 5]]}]]


def test_a_window_that_changed_mostly_is_sent_whole() -> None:
    assert diff({"s": [1, 2, 3, 4]}, {"s": [5, 6, 7, 4]}) == [["set", ["s"], [5, 6, 7, 4]]]


def test_nested_objects_are_changed_in_place() -> None:
    before = {"types": {"a": {"count": 1, "avg": 2}, "b": {"count": 1}}, "rate": 1}
    after = {"types": {"a": {"count": 2, "avg": 2}, "c": {"count": 1}}, "rate": 1}
    assert diff(before, after) == [
        ["drop", ["types", "b"]],
        ["set", ["types", "a", "count"], 2],
        ["set", ["types", "c"], {"count": 1}],
    ]


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, True), (0, False), (None, 0), (None, False), ("1", 1), ([1], [True]), ({"a": None}, {}), ([], {})],
)
def test_values_that_json_tells_apart_are_not_the_same(one: Any, other: Any) -> None:
    assert not same(one, other)
    assert diff({"x": one}, {"x": other}) != []


def test_the_same_number_written_differently_is_the_same() -> None:
    assert same({"a": [1, 2.0]}, {"a": [1.0, 2]})
