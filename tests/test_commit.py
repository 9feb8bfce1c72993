"""An epoch's commit comes out of its frames as it went in, and nothing that is shared is copied."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregation_tools import EVERYTHING, NOW_US, Event, batch, count, tick
from streamgauge.columns import MISSING
from streamgauge.commit import (
    DeadLetter,
    EpochCommit,
    Frame,
    MetricPartials,
    SeenIds,
    decode_commit,
    encode_commit,
)
from streamgauge.errors import InternalError
from streamgauge.event import JsonText
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.partials import OTHER
from streamgauge.stages.raw import raw_rows

METRIC = Metric(name="sales", by=("type", "shop"), aggregates=EVERYTHING)

values = st.none() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))
int64 = st.integers(-(2**63), 2**63 - 1)
shops = st.none() | st.booleans() | int64 | texts | st.lists(int64, max_size=3) | st.just({"a": None})
named = {"user_id": texts | st.integers(-9, 9), "event_id": texts, "shop": shops, "value": values}


@st.composite
def events(draw: st.DrawFn) -> Event:
    kind = draw(st.sampled_from(["a", "b", "größe", "(other)"]))
    return tick(
        kind, second=draw(st.integers(-5, 5)), **{n: draw(s) for n, s in named.items() if draw(st.booleans())}
    )


def commit_of(lists: list[list[Event]], most: int = 5) -> EpochCommit:
    batches = [batch(several, seq=seq) for seq, several in enumerate(lists, 1)]
    limit = SeriesLimit(most)
    return EpochCommit(
        shard="a",
        epoch=3,
        previous_seq=10,
        last_seq=10 + len(lists),
        incarnation="first",
        at_us=NOW_US,
        ledger={"http": {"stored": sum(map(len, lists))}, "größe": {}},
        metrics=[
            MetricPartials(
                name="sales", definition="0123", by=METRIC.by, partials=count(METRIC, several, limit=limit)
            )
            for several in lists
        ],
        raw=[raw_rows(one, NOW_US) for one in batches],
        seen=[
            SeenIds(
                scope="größe", hashes=bytes(range(32)), at_us=np.array([1, NOW_US]), seq=np.array([1, 2])
            ),
            SeenIds(
                scope="",
                hashes=bytes(16),
                bodies=bytes(16),
                at_us=np.array([2]),
                seq=np.array([2]),
                answers=("{}",),
            ),
        ],
        dead_letters=[
            DeadLetter(
                seq=11,
                index=number,
                at_us=NOW_US,
                received_us=NOW_US - 1,
                source="http",
                stage="aggregate",
                reason="größe",
                traceback="Traceback",
                payload=b'{"type":"a"}',
            )
            for number, _ in enumerate(lists)
        ],
    )


def assert_equal(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    if isinstance(one, np.ndarray):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
    elif one is OTHER or one is MISSING:
        assert one is other
    elif is_dataclass(one):
        for part in fields(one):
            assert_equal(getattr(one, part.name), getattr(other, part.name))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name, value in one.items():
            assert_equal(value, other[name])
    elif isinstance(one, (list, tuple)):
        assert len(one) == len(other)
        for left, right in zip(one, other, strict=True):
            assert_equal(left, right)
    else:
        assert one == other


def sent(frames: list[Frame]) -> list[Frame]:
    return [bytes(frame) for frame in frames]


@given(st.lists(st.lists(events(), min_size=1, max_size=8), max_size=3))
def test_a_commit_comes_back_as_it_was(lists: list[list[Event]]) -> None:
    commit = commit_of(lists)
    assert_equal(decode_commit(encode_commit(commit)), commit)
    assert_equal(decode_commit(sent(encode_commit(commit))), commit)


def test_other_comes_back_as_itself_and_a_series_that_looks_like_it_does_not() -> None:
    commit = commit_of([[tick("a"), tick("b"), tick("c")]], most=1)
    series = commit.metrics[0].partials.series
    assert sum(one is OTHER for one in series) == 1
    back = decode_commit(sent(encode_commit(commit))).metrics[0].partials.series
    assert [one is OTHER for one in back] == [one is OTHER for one in series]
    alike = (*OTHER,)  # equal, but an event's own values
    partials = commit.metrics[0].partials.regroup([alike] * len(series))
    whole = MetricPartials(name="x", definition="", by=("a", "b", "c"), partials=partials)
    again = decode_commit(encode_commit(_with(commit, whole)))
    assert not any(one is OTHER for one in again.metrics[0].partials.series)


def _with(commit: EpochCommit, metric: MetricPartials) -> EpochCommit:
    values = {part.name: getattr(commit, part.name) for part in fields(commit)}
    return EpochCommit(**{**values, "metrics": [metric]})


@pytest.mark.parametrize(
    "value", [True, 1, 1.0, "1", None, MISSING, JsonText("[1]"), "[1]", "", 2**62, -(2**63), "\x00"], ids=repr
)
def test_a_group_value_keeps_its_type(value: object) -> None:
    partials = count(METRIC, [tick()]).regroup([(value, value)])
    commit = _with(commit_of([]), MetricPartials(name="x", definition="", by=("a", "b"), partials=partials))
    ((back, _),) = decode_commit(sent(encode_commit(commit))).metrics[0].partials.series
    assert type(back) is type(value)
    assert back == value


def test_arrays_and_texts_are_handed_over_without_a_copy() -> None:
    commit = commit_of([[tick(value=number, user_id="someone") for number in range(1000)]])
    back = decode_commit(encode_commit(commit))
    before, after = commit.metrics[0].partials, back.metrics[0].partials
    for name, column in before.columns.items():
        assert np.shares_memory(column, after.columns[name]), name
    assert np.shares_memory(before.cells.counts, after.cells.counts)
    assert np.shares_memory(commit.raw[0].time_us, back.raw[0].time_us)
    assert back.raw[0].event.data is commit.raw[0].event.data


def test_an_array_that_is_not_in_one_piece_still_comes_back() -> None:
    partials = count(METRIC, [tick(str(number), value=number) for number in range(10)])
    partials.columns["sum"] = np.arange(20.0)[::2]
    commit = _with(commit_of([]), MetricPartials(name="x", definition="", by=METRIC.by, partials=partials))
    assert decode_commit(encode_commit(commit)).metrics[0].partials.columns["sum"].tolist() == list(
        np.arange(0.0, 20.0, 2)
    )


def test_a_commit_of_another_version_is_refused() -> None:
    header, *rest = encode_commit(commit_of([]))
    changed = msgspec.msgpack.decode(header)
    changed["version"] = 99
    with pytest.raises(InternalError, match="version 99; this program speaks 2"):
        decode_commit([msgspec.msgpack.encode(changed), *rest])


def test_frames_that_hold_something_else_are_refused() -> None:
    with pytest.raises(InternalError, match="expected an epoch's commit, got NoneType"):
        decode_commit([msgspec.msgpack.encode({"version": 2, "commit": None})])
