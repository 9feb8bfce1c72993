"""The book of epochs: what is not stored yet, in order, and never counted zero or two times around a commit."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from aggregation_tools import NOW_US, batch, count, tick
from streamgauge.epoch import MERGE_AT, Contribution, EpochBook
from streamgauge.errors import InternalError
from streamgauge.metric import Metric
from streamgauge.partials import Partials
from streamgauge.stages.raw import raw_rows

VISITS = Metric(name="visits", by=("type",), aggregates=("count",))


def visits(events: int) -> Partials:
    return count(VISITS, [tick()] * events)


def contribution(epoch: int, events: int, *, fate: str = "stored", source: str = "http") -> Contribution:
    partials = {"visits": visits(events)} if events and fate == "stored" else {}
    return Contribution(epoch=epoch, settled={source: {fate: events}}, partials=partials)


def opened(*, committed_seq: int = 0, next_number: int = 1) -> EpochBook:
    return EpochBook(shard="a", committed_seq=committed_seq, next_number=next_number, now=0.0)


def remembered(book: EpochBook, after: int) -> int:
    return sum(part.count for part in book.memory("visits", after))


@dataclass
class Read:
    """A reader under way; its snapshot of the store, once it has one."""

    started_at: int
    stored: tuple[int, int] | None = None


class BookMachine(RuleBasedStateMachine):
    """Appends, batches, commits and readers in any order, beside a store that only counts."""

    def __init__(self) -> None:
        super().__init__()
        self.book = opened()
        self.seq = self.counted = self.stored_events = self.stored_epoch = 0
        self.unsettled: dict[int, int] = {}
        self.events_of: dict[int, int] = {}
        self.reads: list[Read] = []

    @rule(events=st.integers(0, 5))
    def admit(self, events: int) -> None:
        self.seq += 1
        epoch = self.book.admit(self.seq, events)
        self.unsettled[epoch] = self.unsettled.get(epoch, 0) + events

    @precondition(lambda self: any(self.unsettled.values()))
    @rule(data=st.data(), stored=st.booleans())
    def add(self, data: st.DataObject, stored: bool) -> None:  # noqa: FBT001 - hypothesis draws it by name
        epoch = data.draw(st.sampled_from([number for number, left in self.unsettled.items() if left]))
        events = data.draw(st.integers(1, self.unsettled[epoch]))
        self.book.add(contribution(epoch, events, fate="stored" if stored else "filtered"))
        self.unsettled[epoch] -= events
        if stored:
            self.counted += events
            self.events_of[epoch] = self.events_of.get(epoch, 0) + events

    @rule()
    def close(self) -> None:
        self.book.close(0.0)

    @precondition(lambda self: self.book.ready() is not None and self.stored_epoch == self.book.committed)
    @rule()
    def store(self) -> None:
        """Store the oldest epoch; the book is told later."""
        epoch = self.book.ready()
        assert epoch is not None
        self.stored_epoch = epoch.number
        self.stored_events += sum(part.count for part in epoch.merged().values())

    @precondition(lambda self: self.stored_epoch > self.book.committed)
    @rule()
    def mark(self) -> None:
        self.book.mark_committed(self.stored_epoch)

    @precondition(lambda self: len(self.reads) < 4)
    @rule()
    def begin_read(self) -> None:
        self.reads.append(Read(self.book.begin_read()))

    @precondition(lambda self: any(read.stored is None for read in self.reads))
    @rule()
    def snapshot(self) -> None:
        read = next(read for read in self.reads if read.stored is None)
        read.stored = (self.stored_events, self.stored_epoch)

    @precondition(lambda self: any(read.stored for read in self.reads))
    @rule(data=st.data())
    def end_read(self, data: st.DataObject) -> None:
        read = data.draw(st.sampled_from([read for read in self.reads if read.stored]))
        assert read.stored is not None
        events, epoch = read.stored
        assert events + remembered(self.book, epoch) == self.counted
        self.reads.remove(read)
        self.book.end_read(read.started_at)

    @invariant()
    def without_readers_only_what_is_not_stored_is_remembered(self) -> None:
        if not self.reads:
            done = sum(events for number, events in self.events_of.items() if number <= self.book.committed)
            assert remembered(self.book, 0) == self.counted - done

    @invariant()
    def a_reader_that_begins_now_sees_everything(self) -> None:
        assert self.stored_events + remembered(self.book, self.stored_epoch) == self.counted

    @invariant()
    def epochs_stand_in_order_without_gaps(self) -> None:
        epochs = list(self.book.epochs())
        assert [epoch.number for epoch in epochs] == list(
            range(self.book.committed + 1, epochs[-1].number + 1)
        )
        ends = [self.book.committed_seq, *(epoch.last_seq for epoch in epochs)]
        assert [epoch.previous_seq for epoch in epochs] == ends[:-1]


BookMachine.TestCase.settings = settings(stateful_step_count=40)
TestBook = BookMachine.TestCase


def test_an_epoch_is_ready_when_it_is_closed_and_all_of_it_is_settled() -> None:
    book = opened()
    book.admit(1, 5)
    book.add(contribution(1, 3))
    book.close(0.0)
    assert book.ready() is None
    book.add(contribution(1, 1, fate="dead_lettered"))
    assert book.ready() is None
    book.add(contribution(1, 1, fate="filtered", source="mqtt"))
    assert book.ready() is book.oldest
    assert book.oldest.settled == {"http": {"stored": 3, "dead_lettered": 1}, "mqtt": {"filtered": 1}}


def test_a_later_epoch_waits_for_the_one_before_it() -> None:
    book = opened()
    for seq in (1, 2):
        book.admit(seq, 1)
        book.close(0.0)
    book.add(contribution(2, 1))
    assert book.ready() is None
    book.add(contribution(1, 1))
    first = book.ready()
    assert first is not None
    assert first.number == 1
    book.mark_committed(1)
    assert book.ready() is book.oldest
    assert (book.committed, book.committed_seq, book.oldest.number) == (1, 1, 2)


def test_an_open_epoch_is_not_ready_however_complete() -> None:
    book = opened()
    book.admit(1, 0)
    assert book.ready() is None
    book.close(0.0)
    assert book.ready() is not None


def test_closing_an_epoch_that_nothing_came_into_opens_no_other() -> None:
    book = opened()
    book.close(1.0)
    assert len(book) == 1
    assert not book.open.closed
    assert book.open.number == 1


def test_a_book_goes_on_where_the_store_stands() -> None:
    book = opened(committed_seq=41, next_number=7)
    assert (book.committed, book.committed_seq) == (6, 41)
    assert book.admit(42, 1) == 7
    assert book.open.previous_seq == 41


@pytest.mark.parametrize("seq", [41, 40, 0])
def test_an_append_that_is_not_the_next_one_is_a_bug(seq: int) -> None:
    book = opened(committed_seq=41, next_number=7)
    with pytest.raises(InternalError, match=f"append {seq} follows append 41"):
        book.admit(seq, 1)
    assert book.open.accepted == 0


@pytest.mark.parametrize("epoch", [0, 1, 3])
def test_what_belongs_to_no_epoch_of_the_book_is_a_bug(epoch: int) -> None:
    book = opened(next_number=2)
    book.admit(1, 9)
    with pytest.raises(InternalError, match=f"epoch {epoch} is not open; the oldest is 2"):
        book.add(contribution(epoch, 1))
    assert remembered(book, 0) == 0


def test_settling_more_than_was_accepted_is_a_bug_and_books_nothing() -> None:
    book = opened()
    book.admit(1, 2)
    book.add(contribution(1, 1))
    with pytest.raises(InternalError, match="epoch 1 took in 2 events; 3 were settled"):
        book.add(contribution(1, 2))
    assert remembered(book, 0) == 1
    assert book.open.settled == {"http": {"stored": 1}}


def test_committing_in_the_wrong_order_is_a_bug_and_changes_nothing() -> None:
    book = opened()
    book.admit(1, 1)
    book.close(0.0)
    with pytest.raises(InternalError, match="epoch 2 was committed before epoch 1"):
        book.mark_committed(2)
    with pytest.raises(InternalError, match="epoch 1 was committed before it was closed and settled"):
        book.mark_committed(1)
    book.add(contribution(1, 1))
    assert remembered(book, 0) == 1
    book.mark_committed(1)
    with pytest.raises(InternalError, match="epoch 2 was committed before it was closed"):
        book.mark_committed(2)


def test_a_reader_that_started_before_a_commit_still_finds_what_it_needs() -> None:
    book = opened()
    book.admit(1, 3)
    book.add(contribution(1, 3))
    early = book.begin_read()
    book.close(0.0)
    book.mark_committed(1)
    late = book.begin_read()
    assert remembered(book, 0) == 3
    assert remembered(book, 1) == 0
    book.end_read(early)
    assert remembered(book, 0) == 0
    book.end_read(late)


def test_raw_events_are_let_go_of_with_the_commit_even_if_a_reader_is_slow() -> None:
    book = opened()
    book.admit(1, 1)
    book.add(Contribution(epoch=1, settled={"http": {"stored": 1}}, raw=[raw_rows(batch([tick()]), NOW_US)]))
    book.begin_read()
    book.close(0.0)
    epoch = book.oldest
    assert len(epoch.raw) == 1
    book.mark_committed(1)
    assert not epoch.raw


def test_many_small_batches_do_not_pile_up() -> None:
    book = opened()
    book.admit(1, 1000)
    for _ in range(1000):
        book.add(contribution(1, 1))
        assert len(book.memory("visits", 0)) < MERGE_AT
    assert remembered(book, 0) == book.open.merged()["visits"].count == 1000
    assert book.open.rows < MERGE_AT


def test_a_reader_keeps_what_it_was_given_while_the_epoch_goes_on() -> None:
    book = opened()
    book.admit(1, 100)
    book.add(contribution(1, 1))
    parts = book.memory("visits", 0)
    for _ in range(50):
        book.add(contribution(1, 1))
    assert sum(part.count for part in parts) == 1


def test_a_metric_that_nothing_came_for_has_no_memory() -> None:
    book = opened()
    book.admit(1, 1)
    book.add(contribution(1, 1))
    assert book.memory("nothing", 0) == []
