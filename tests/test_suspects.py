"""The search for events that end the process that counts them: it finds those and no others."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.journal import Control, Entry, Record
from streamgauge.suspects import AT_ONCE, killers_among


@dataclass
class Deadly:
    """A trial that dies of some values. together: it also dies of these two where they come together."""

    values: set[int]
    together: tuple[int, int] = (-1, -1)
    deaths: int = 0
    given: list[Entry] = field(default_factory=list)

    def ends_by(self, entries: Sequence[Entry]) -> str | None:
        self.given.extend(entries)
        found = {json.loads(line)["value"] for entry in entries for line in entry.payload.split(b"\n")[:-1]}
        if found & self.values or set(self.together) <= found:
            self.deaths += 1
            return "by a signal"
        return None


def record(seq: int, values: Sequence[int], **context: object) -> Record:
    payload = b"".join(b'{"type":"a",\r"value":%d}\n' % value for value in values)
    return Record(seq, Entry(payload=payload, count=len(values), at_us=seq, source="http", context=context))


def search(
    records: Sequence[Record | Control], trial: Deadly, known: set[tuple[int, int]]
) -> list[tuple[int, int]]:
    return [(one.seq, one.index) for one in killers_among(records, trial, known, lambda: False)]


@settings(max_examples=50, deadline=None)
@given(sizes=st.lists(st.integers(1, 400), max_size=8), chosen=st.sets(st.integers(0, 3200), max_size=5))
def test_exactly_those_that_kill_alone_are_found(sizes: list[int], chosen: set[int]) -> None:
    records: list[Record] = []
    names: dict[int, tuple[int, int]] = {}
    first = 0
    for seq, size in enumerate(sizes, 1):
        values = range(first, first + size)
        records.append(record(seq, values))
        names |= {value: (seq, place) for place, value in enumerate(values)}
        first += size
    expected = [names[value] for value in sorted(chosen) if value in names]
    assert search(records, Deadly(chosen), set()) == expected


def test_of_one_among_very_many_few_processes_die() -> None:
    trial = Deadly({AT_ONCE + 5})
    assert search([record(1, range(2 * AT_ONCE))], trial, set()) == [(1, AT_ONCE + 5)]
    assert trial.deaths == 4


def test_what_kills_only_together_is_not_set_aside() -> None:
    assert search([record(1, range(10))], Deadly(set(), together=(2, 7)), set()) == []


def test_what_a_process_survives_the_second_time_is_not_set_aside() -> None:
    class Once(Deadly):
        def ends_by(self, entries: Sequence[Entry]) -> str | None:
            is_alone = entries[0].count == 1
            how = super().ends_by(entries)
            if is_alone and how is not None:
                self.values.clear()
            return how

    trial = Once({5})
    assert search([record(1, range(10))], trial, set()) == []
    assert trial.deaths == 2


def test_what_is_known_is_not_tried_again() -> None:
    trial = Deadly({3})
    assert search([record(1, range(10))], trial, {(1, 3)}) == []
    assert trial.deaths == 0


def test_events_are_tried_with_what_decides_their_meaning_and_nothing_else() -> None:
    trial = Deadly(set())
    records: list[Record | Control] = [
        Control(1, "configuration", {}),
        record(2, [1], mapping={"type": "t"}, ids=["x"]),
        record(3, [2]),
    ]
    search(records, trial, set())
    assert [entry.context for entry in trial.given] == [{"mapping": {"type": "t"}}, {}]
    assert [entry.at_us for entry in trial.given] == [2, 3]


def test_a_search_that_is_stopped_tries_nothing_more() -> None:
    trial = Deadly({1})
    assert list(killers_among([record(1, range(10))], trial, set(), lambda: True)) == []
    assert trial.given == []
