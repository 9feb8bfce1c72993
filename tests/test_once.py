"""The index of ids that have counted, beside a plain dict that remembers everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from streamgauge import once
from streamgauge.identity import DEAD_LETTERS, body_hash_of, hash_of, hashes_of
from streamgauge.once import Answer, Answers, IdTable, IdWindow, OnceIndex, Words, first_of_each, words_of

START_S = 1_700_000_000

# few low words, so that many ids want the same slot
ids = st.tuples(st.sampled_from([1, 2, 17, 33, 2**40 + 1, 2**64 - 1]), st.integers(0, 30))
batches = st.lists(ids, max_size=60)


def words(some: Sequence[tuple[int, int]]) -> Words:
    return np.array(some, np.uint64).reshape(-1, 2)


def window_of(most: int, horizon_s: int, few: int, slots: int, monkeypatch: pytest.MonkeyPatch) -> IdWindow:
    monkeypatch.setattr(once, "FEW", few)
    monkeypatch.setattr(once, "SMALL_SLOTS", slots)
    return IdWindow(most, horizon_s)


class Window(RuleBasedStateMachine):
    """Ids arrive, some again and some too late; the window is held against a dict."""

    @initialize(
        most=st.integers(1, 80),
        horizon_s=st.integers(1, 50),
        few=st.sampled_from([0, 3, 100]),
        slots=st.sampled_from([16, 64]),
    )
    def begin(self, most: int, horizon_s: int, few: int, slots: int) -> None:
        self.patch = pytest.MonkeyPatch()
        self.window = window_of(most, horizon_s, few, slots, self.patch)
        self.most, self.horizon_s, self.now_s = most, horizon_s, START_S
        self.model: dict[tuple[int, int], int] = {}
        self.last: list[tuple[int, int]] = []

    def teardown(self) -> None:
        if hasattr(self, "patch"):
            self.patch.undo()

    @rule(seconds=st.integers(0, 30))
    def time_passes(self, seconds: int) -> None:
        self.now_s += seconds

    @rule(batch=batches, behind_s=st.integers(0, 5))
    def arrive(self, batch: list[tuple[int, int]], behind_s: int) -> None:
        distinct = list(dict.fromkeys(batch))
        known = self.window.known(words(distinct), self.now_s).tolist()
        self.last = [one for one, was in zip(distinct, known, strict=True) if not was]
        second = self.now_s - behind_s
        self.window.add(words(self.last), np.full(len(self.last), second), self.now_s)
        self.model |= dict.fromkeys(self.last, second)

    @rule()
    def the_last_are_taken_back(self) -> None:
        self.window.remove(words(self.last))
        for one in self.last:
            self.model.pop(one, None)
        self.last = []

    @invariant()
    def nothing_is_known_that_did_not_count_within_the_horizon(self) -> None:
        if not hasattr(self, "window"):
            return
        everything = [(low, high) for low in (1, 2, 17, 33, 2**40 + 1, 2**64 - 1) for high in range(31)]
        found = dict(zip(everything, self.window.known(words(everything), self.now_s).tolist(), strict=True))
        shown_s = self.window.horizon_s(self.now_s)
        assert 0 <= shown_s <= self.horizon_s
        for one, known in found.items():
            age_s = self.now_s - self.model.get(one, -(10**9))
            assert not (known and age_s > self.horizon_s), one
            assert known or age_s >= shown_s, one
        assert self.window.count <= max(2, self.most)


TestWindow = Window.TestCase


@pytest.mark.parametrize("few", [0, 48])
def test_the_newest_half_of_what_fits_is_always_known(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    window = window_of(1000, 100, few, 16, monkeypatch)
    names = hashes_of("", [str(number) for number in range(5000)])
    for start in range(0, 5000, 7):
        some = words_of(b"".join(names[start : start + 7]))
        assert not window.known(some, START_S).any()
        window.add(some, np.full(len(some), START_S), START_S)
        newest = words_of(b"".join(names[max(0, start - 493) : start + 7]))
        assert window.known(newest, START_S).all()
    assert window.count <= 1000
    assert window.horizon_s(START_S + 10) == 10


def test_a_table_grows_once_and_keeps_what_it_has() -> None:
    table = IdTable(100_000)
    names = words_of(b"".join(hashes_of("", [str(number) for number in range(100_000)])))
    for start in range(0, 100_000, 9_000):
        some = names[start : start + 9_000]
        table.add(some, np.arange(start + 1, start + 1 + len(some)))
    assert table.count == 100_000
    assert table.seconds_of(names).tolist() == list(range(1, 100_001))
    assert table.seconds_of(names[17:20]).tolist() == [18, 19, 20]
    other = words_of(b"".join(hashes_of("other", [str(number) for number in range(1000)])))
    assert not table.seconds_of(other).any()


def test_a_million_ids_take_less_than_fifty_megabytes() -> None:
    table = IdTable(500_000)
    generator = np.random.default_rng(1)
    for _ in range(50):
        table.add(generator.integers(1, 2**63, (10_000, 2)).astype(np.uint64), np.full(10_000, 1))
    assert table.count == 500_000
    assert sum(part.nbytes for part in (table._low, table._high, table._second)) < 25_000_000


@given(st.lists(st.sampled_from([bytes([letter]) * 16 for letter in range(6)]), max_size=12))
def test_the_first_of_each_is_found_as_one_reads(hashes: list[bytes]) -> None:
    assert first_of_each(hashes) == [one not in hashes[:place] for place, one in enumerate(hashes)]


def test_a_hash_that_begins_with_zeros_is_remembered_like_any_other() -> None:
    index = OnceIndex(most_ids=10)
    zeros, other = words_of(bytes(16)), words_of(bytes(15) + b"\x01")
    assert not index.known("", zeros, START_S).any()
    index.add("", zeros, np.array([START_S]), START_S)
    assert index.known("", zeros, START_S).all()
    assert not index.known("", other, START_S).any()


def test_ids_of_replayed_letters_are_known_whatever_their_age() -> None:
    index = OnceIndex(most_ids=10, horizon_s=60)
    for scope in ("", DEAD_LETTERS):
        name = words_of(hash_of(scope, "x"))
        index.add(scope, name, np.array([START_S]), START_S)
        assert index.known(scope, name, START_S).all()
        assert bool(index.known(scope, name, START_S + 10**8).all()) is (scope == DEAD_LETTERS)
    assert index.horizon_s(START_S) == 60


def test_the_horizon_shrinks_when_there_are_too_many_ids_and_grows_again() -> None:
    index = OnceIndex(most_ids=10, horizon_s=1000)
    assert index.horizon_s(START_S) == 1000
    for second in range(30):
        name = words_of(hash_of("", str(second)))
        index.add("", name, np.array([START_S + second]), START_S + second)
    assert 5 <= index.horizon_s(START_S + 29) <= 11
    assert index.horizon_s(START_S + 5000) == 1000


# Answers.


def answer_at(second: int) -> Answer:
    return Answer(
        body=body_hash_of(str(second).encode()), second=second, accepted=1, rejected=0, duplicates=0
    )


def test_an_answer_is_given_until_it_is_too_old() -> None:
    answers = Answers(10, 60)
    answers.add(b"key", answer_at(START_S), START_S)
    assert answers.find(b"key", START_S + 60) == answer_at(START_S)
    assert answers.find(b"key", START_S + 61) is None
    assert answers.find(b"other", START_S) is None


def test_the_oldest_answers_go_first_and_the_horizon_says_so() -> None:
    answers = Answers(3, 60)
    for second in range(5):
        answers.add(bytes([second]), answer_at(START_S + second), START_S + second)
    assert len(answers) == 3
    kept = [answers.find(bytes([second]), START_S + 4) is not None for second in range(5)]
    assert kept == [False, False, True, True, True]
    assert answers.horizon_s(START_S + 4) == 3


# Names.


@given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_names_are_the_same_only_in_the_same_scope(scope: str, name: str, other: str, another: str) -> None:
    same = (scope, name) == (other, another)
    assert (hash_of(scope, name) == hash_of(other, another)) is same
    assert len(hash_of(scope, name)) == 16


def test_a_lone_surrogate_is_a_name_like_any_other() -> None:
    assert hash_of("", "\ud800") != hash_of("", "\udfff")
