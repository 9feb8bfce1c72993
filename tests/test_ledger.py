"""received = stored + filtered + duplicate + dead_lettered + rejected + pending, whatever happens."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from streamgauge.ledger import SETTLED, Counts, Ledger

SOURCES = st.sampled_from(["http", "mqtt", "python"])
NUMBERS = st.integers(0, 1000)
settlements = st.dictionaries(SOURCES, st.dictionaries(st.sampled_from(SETTLED), NUMBERS))


def equation_holds(row: Mapping[str, Any]) -> bool:
    return bool(row["received"] == sum(row[name] for name in (*SETTLED, "rejected", "pending")))


class LedgerMachine(RuleBasedStateMachine):
    """Events are received; some settle later, by source; now and then the process is started anew."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger()
        self.pending: dict[str, int] = {}
        self.saved = self.ledger.after({})

    @rule(source=SOURCES, accepted=NUMBERS, rejected=NUMBERS)
    def receive(self, source: str, accepted: int, rejected: int) -> None:
        row = self.ledger.of(source)
        row.received += accepted + rejected
        row.rejected += rejected
        self.pending[source] = self.pending.get(source, 0) + accepted

    @rule(source=SOURCES)
    def refuse(self, source: str) -> None:
        self.ledger.of(source).requests_refused += 1

    @rule(source=SOURCES, fate=st.sampled_from(SETTLED), share=st.floats(0, 1))
    def commit(self, source: str, fate: str, share: float) -> None:
        number = int(self.pending.get(source, 0) * share)
        settled = {source: {fate: number}}
        self.saved = self.ledger.after(settled)
        self.ledger.settle(settled)
        self.pending[source] = self.pending.get(source, 0) - number
        assert self.ledger.after({}) == self.saved

    @rule()
    def restart(self) -> None:
        """Restart: what was pending comes back out of the journal."""
        requests_refused = self.ledger.total().requests_refused
        before = self.ledger.as_dict()
        header = self.ledger.at_the_door()
        self.ledger = Ledger()
        self.ledger.restore(self.saved)
        assert self.ledger.total().pending == 0
        self.ledger.raise_at_the_door(header)
        for source, number in self.pending.items():
            self.ledger.of(source).received += number
        after = self.ledger.as_dict()
        assert {name: after[name] for name in ("received", "pending", "rejected", *SETTLED)} == {
            name: before[name] for name in ("received", "pending", "rejected", *SETTLED)
        }
        assert self.ledger.total().requests_refused <= requests_refused

    @invariant()
    def what_is_pending_is_what_was_not_settled(self) -> None:
        found: Any = self.ledger.as_dict()
        assert equation_holds(found)
        assert all(equation_holds(row) for row in found["sources"].values())
        for source, row in found["sources"].items():
            assert row["pending"] == self.pending.get(source, 0)
        assert found["pending"] == sum(self.pending.values())


TestLedger = LedgerMachine.TestCase


@given(settlements, settlements)
def test_after_tells_the_future_without_changing_the_present(before: Any, settled: Any) -> None:
    ledger = Ledger()
    ledger.settle(before)
    shown = ledger.as_dict()
    promised = ledger.after(settled)
    assert ledger.as_dict() == shown
    ledger.settle(settled)
    assert ledger.after({}) == promised


@given(settlements)
def test_what_was_saved_is_restored(settled: Any) -> None:
    ledger = Ledger()
    ledger.settle(settled)
    again = Ledger()
    again.restore(ledger.after({}))
    assert again.after({}) == ledger.after({})
    assert again.total().pending == 0


def test_an_older_count_of_rejected_events_changes_nothing_and_a_later_one_is_taken_over() -> None:
    ledger = Ledger()
    ledger.restore({"http": {"stored": 5, "rejected": 3}})
    ledger.raise_at_the_door({"http": 2, "mqtt": 1})
    assert (ledger.of("http").rejected, ledger.of("http").received) == (3, 8)
    ledger.raise_at_the_door({"http": {"rejected": 7}})
    assert (ledger.of("http").rejected, ledger.of("http").received, ledger.total().pending) == (7, 12, 0)
    ledger.raise_at_the_door({"mqtt": {"duplicate": 4}})
    assert ledger.of("mqtt").received == 5
    assert ledger.at_the_door() == {"http": 7, "mqtt": {"rejected": 1, "duplicate": 4}}
    ledger.raise_at_the_door({"http": {"rejected": "many"}, "other": None})
    assert ledger.of("http").rejected == 7


def test_requests_refused_unread_are_no_events() -> None:
    ledger = Ledger()
    ledger.of("http").requests_refused += 4
    assert ledger.total() == Counts(requests_refused=4)
    assert ledger.as_dict()["received"] == 0


def test_every_change_can_be_noticed() -> None:
    ledger = Ledger()
    row = ledger.of("http")
    seen = [ledger.changes]
    row.received += 3
    seen.append(ledger.changes)
    row.requests_refused += 1
    seen.append(ledger.changes)
    ledger.settle({"http": {"stored": 3}})
    seen.append(ledger.changes)
    assert seen == sorted(set(seen))
    assert ledger.changes == seen[-1]


def test_an_event_that_went_missing_is_noticed_once_and_until_it_is_back() -> None:
    ledger = Ledger()
    ledger.of("http").received += 5
    assert not ledger.check(5)
    assert ledger.imbalance == 0
    assert ledger.check(4)
    assert not ledger.check(3)
    assert ledger.imbalance == 2
    assert not ledger.check(5)
    assert ledger.imbalance == 0


def test_a_source_that_has_settled_more_than_it_received_does_not_hide_behind_another() -> None:
    ledger = Ledger()
    ledger.of("http").received += 5
    ledger.settle({"mqtt": {"stored": 3}})
    assert ledger.check(2)
    assert ledger.imbalance == 3


def test_what_is_settled_at_the_door_is_told_apart_from_what_an_epoch_settles() -> None:
    ledger = Ledger()
    before = ledger.unsettled_changes
    ledger.settle({"http": {"stored": 3}})
    assert ledger.unsettled_changes == before
    ledger.of("http").rejected += 1
    assert ledger.unsettled_changes > before


def test_the_answer_reads_like_the_equation() -> None:
    ledger = Ledger()
    ledger.of("mqtt").received += 1
    ledger.of("http").received += 2
    found: Any = ledger.as_dict()
    assert list(found) == [
        "received", "stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending", "requests_refused",
        "imbalance", "sources",
    ]  # fmt: skip
    assert list(found["sources"]) == ["http", "mqtt"]
