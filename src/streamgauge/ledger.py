"""The ledger: what became of every event that was decoded, by source.

    received = stored + filtered + duplicate + dead_lettered + rejected + pending

`pending` is what is accepted and not committed yet. Requests refused unread are requests, not events, and are counted
beside. All counts are cumulative and survive restarts: they travel with each epoch's commit, and what is settled at the
door, before any epoch, with the headers of the journal too. A crash may forget the last second of what was rejected, or
found to be a duplicate, at the door; never anything accepted.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

SETTLED = ("stored", "filtered", "duplicate", "dead_lettered")
AT_THE_DOOR = ("rejected", "duplicate")  # settled without being accepted
SAVED = (*SETTLED, "rejected", "requests_refused")


class Counts(msgspec.Struct):
    """What became of the events of one source."""

    received: int = 0
    stored: int = 0
    filtered: int = 0
    duplicate: int = 0
    dead_lettered: int = 0
    rejected: int = 0
    requests_refused: int = 0

    @property
    def pending(self) -> int:
        """Accepted and not committed yet."""
        return (
            self.received - self.stored - self.filtered - self.duplicate - self.dead_lettered - self.rejected
        )

    def add(self, other: Counts) -> None:
        """Add another's counts to these."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def as_dict(self) -> dict[str, int]:
        """Give every count, with `pending`, in the order in which the equation reads."""
        counts = {name: getattr(self, name) for name in self.__struct_fields__}
        refused = counts.pop("requests_refused")
        return {**counts, "pending": self.pending, "requests_refused": refused}


class Ledger:
    """Counts by source. imbalance: how many events the last look at the equation found too many or too few."""

    def __init__(self) -> None:
        self.sources: dict[str, Counts] = {}
        self.imbalance = 0

    @property
    def changes(self) -> int:
        """A number that rises with every change, so that others can tell whether to look again."""
        return sum(sum(msgspec.structs.astuple(row)) for row in self.sources.values())

    def of(self, source: str) -> Counts:
        """Give a source's counts, to be changed in place; counts only ever rise."""
        return self.sources.setdefault(source, Counts())

    def settle(self, settled: Mapping[str, Mapping[str, int]]) -> None:
        """Book what an epoch's commit settled: for each source how many were stored, filtered ..."""
        for source, counts in settled.items():
            row = self.of(source)
            for name, number in counts.items():
                setattr(row, name, getattr(row, name) + number)

    def restore(self, saved: Mapping[str, Mapping[str, int]]) -> None:
        """Start from what a commit recorded; what was pending then is received again by replay."""
        for source, counts in saved.items():
            row = self.of(source)
            for name in SAVED:
                setattr(row, name, counts.get(name, 0))
            row.received = sum(getattr(row, name) for name in (*SETTLED, "rejected"))

    def at_the_door(self) -> dict[str, int | dict[str, int]]:
        """Give what never became an append, as a journal header carries it: rejected events, and duplicates."""
        return {
            source: {"rejected": row.rejected, "duplicate": row.duplicate} if row.duplicate else row.rejected
            for source, row in self.sources.items()
            if row.rejected or row.duplicate
        }

    def raise_at_the_door(self, seen: Mapping[str, object]) -> None:
        """Take over later counts of what never became an append."""
        for source, counts in seen.items():
            later = counts if isinstance(counts, Mapping) else {"rejected": counts}
            row = self.of(source)
            for name in AT_THE_DOOR:
                number = later.get(name)
                more = max(0, number - getattr(row, name)) if isinstance(number, int) else 0
                setattr(row, name, getattr(row, name) + more)
                row.received += more

    @property
    def unsettled_changes(self) -> int:
        """A number that rises with what changes the ledger without any epoch: it has to be committed on its own."""
        return sum(row.rejected + row.duplicate + row.requests_refused for row in self.sources.values())

    def check(self, accepted: int) -> bool:
        """Hold `pending` against what the open epochs took in; tell whether the equation has just ceased to hold."""
        before = self.imbalance
        below = sum(max(0, -row.pending) for row in self.sources.values())
        self.imbalance = max(abs(self.total().pending - accepted), below)
        return bool(self.imbalance) and not before

    def total(self) -> Counts:
        """Add up all sources."""
        return _sum(self.sources.values())

    def as_dict(self) -> dict[str, object]:
        """Give the ledger as `/api/ledger` answers it."""
        by_source = {source: row.as_dict() for source, row in sorted(self.sources.items())}
        return {**self.total().as_dict(), "imbalance": self.imbalance, "sources": by_source}

    def after(self, settled: Mapping[str, Mapping[str, int]]) -> dict[str, dict[str, int]]:
        """Give what the ledger will be once an epoch that settles these has been committed."""
        saved = {source: {name: getattr(row, name) for name in SAVED} for source, row in self.sources.items()}
        for source, counts in settled.items():
            row = saved.setdefault(source, dict.fromkeys(SAVED, 0))
            for name, number in counts.items():
                row[name] += number
        return saved


def _sum(rows: Iterable[Counts]) -> Counts:
    total = Counts()
    for row in rows:
        total.add(row)
    return total
