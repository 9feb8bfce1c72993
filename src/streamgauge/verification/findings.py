"""What a verification found: differences, what was compared, and what could not be."""

from __future__ import annotations

from collections import Counter
from typing import Any, Final

import msgspec

MOST_DIFFERENCES: Final = 1000
MOST_REASONS: Final = 200


class Difference(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is not as it follows from the rest.

    kind: rollup, raw, position, ledger, journal or dead_letter. place: where, in words. what: the column or the fact.
    For rollups: metric, series (JSON), bucket (seconds since 1970) and resolution (seconds) say which row.
    """

    kind: str
    place: str
    what: str
    expected: str
    found: str
    metric: str | None = None
    series: str | None = None
    bucket: int | None = None
    resolution: int | None = None


class Checked(msgspec.Struct):
    """What was compared."""

    events: int = 0
    rollup_rows: int = 0
    epochs: int = 0
    appends: int = 0
    dead_letters: int = 0
    days: list[str] = []
    metrics: list[str] = []


class Report(msgspec.Struct, kw_only=True):
    """The outcome. differences: the first thousand of `total`. pending_events: in the journal, not committed yet.

    not_checked: what could not be compared, and why; unknown_rows: of them the rollup rows of which nothing says how they
    were computed. complete: whether the time was enough for all of it.
    """

    ok: bool
    total: int
    differences: list[Difference]
    checked: Checked
    not_checked: list[str]
    pending_events: int
    complete: bool
    seconds: float
    unknown_rows: int = 0


class Findings:
    """Collects what a verification finds; bounded, whatever it finds."""

    def __init__(self) -> None:
        self.differences: list[Difference] = []
        self.total = 0
        self.checked = Checked()
        self.pending_events = 0
        self.unknown_rows = 0
        self.complete = True
        self._days: set[str] = set()
        self._metrics: set[str] = set()
        self._not_checked: Counter[str] = Counter()

    def differ(self, kind: str, place: str, what: str, expected: object, found: object, **row: Any) -> None:
        """Note a difference."""
        self.total += 1
        if len(self.differences) < MOST_DIFFERENCES:
            self.differences.append(Difference(kind, place, what, str(expected), str(found), **row))

    def more(self, number: int) -> None:
        """Count differences that are not told one by one."""
        self.total += number

    def leave_out(self, reason: str, number: int = 0) -> None:
        """Note what was not checked, and why; `number`: how many rows, events or epochs, as the reason goes on to say."""
        if reason in self._not_checked or len(self._not_checked) < MOST_REASONS:
            self._not_checked[reason] += number
        else:
            self._not_checked["rows, for more reasons"] += number

    def on_day(self, day: str) -> None:
        """Note that a day was looked at."""
        self._days.add(day)

    def with_metric(self, name: str) -> None:
        """Note that a metric was compared."""
        self._metrics.add(name)

    def report(self, seconds: float) -> Report:
        """Give the outcome."""
        self.checked.days, self.checked.metrics = sorted(self._days), sorted(self._metrics)
        return Report(
            ok=self.total == 0,
            total=self.total,
            differences=self.differences,
            checked=self.checked,
            not_checked=[
                f"{number:,} {reason}" if number else reason
                for reason, number in sorted(self._not_checked.items())
            ],
            pending_events=self.pending_events,
            complete=self.complete,
            seconds=round(seconds, 3),
            unknown_rows=self.unknown_rows,
        )
