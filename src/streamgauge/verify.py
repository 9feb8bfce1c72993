"""`verify`: derive everything again from the raw events, and say what is stored otherwise. It changes nothing.

For the received days whose raw events exist every rollup row is held against what the raw events give, by the code that
counted them when they came in; positions, ledger, raw events, dead letters and journal are held against each other.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.audit import Audit, RollupGroup
from streamgauge.event import LINE_BITS, FieldMapping
from streamgauge.metric import Metric
from streamgauge.verification.day import DayCheck, Subject, TimeIsUp, day_text
from streamgauge.verification.findings import Difference, Findings, Report
from streamgauge.verification.journal import JournalCheck, JournalReading
from streamgauge.verification.positions import DAY_US, UNKNOWN, Epochs, load
from streamgauge.verification.raw import RawReader

UNLIMITED_S: Final = float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What is computed now, and how. raw_retention_s: after that raw events may be gone; now_us: since when to count.

    latency: the name of the metric of the pipeline's own latency.
    """

    metrics: Mapping[str, Metric]
    latency: str
    mapping: FieldMapping
    raw_retention_s: float
    now_us: int


def verify(
    audit: Audit,
    rules: Rules,
    *,
    journals: Mapping[str, JournalReading] | None = None,
    within_s: float = UNLIMITED_S,
    pause: Callable[[], None] = lambda: None,
    imbalance: int = 0,
) -> Report:
    """Verify what an audit sees; blocks. The newest days come first, for the case that `within_s` is not enough.

    journals: by shard, read after the audit began. pause: called between portions of some milliseconds to a second.
    imbalance: what the running server's own ledger is off by.
    """
    started, findings = time.monotonic(), Findings()
    if imbalance:
        findings.differ(
            "ledger", "the running server", "pending", "what its open epochs hold", f"{imbalance} off"
        )
    fields = {name for metric in rules.metrics.values() for name in metric.fields}
    reader = RawReader(fields, rules.mapping, findings)
    shards = {*audit.shards(), *(journals or {})}
    try:
        for shard in sorted(shards):
            subject = Subject(
                audit=audit, shard=shard, metrics=rules.metrics, latency=rules.latency,
                reader=reader, findings=findings, due=started + within_s, pause=pause,
            )  # fmt: skip
            _Shard(subject, rules, (journals or {}).get(shard)).run()
    except TimeIsUp:
        findings.complete = False
    return findings.report(time.monotonic() - started)


class _Shard:
    def __init__(self, subject: Subject, rules: Rules, journal: JournalReading | None) -> None:
        self._subject, self._rules, self._journal = subject, rules, journal
        self._findings = subject.findings

    def run(self) -> None:
        subject, audit = self._subject, self._subject.audit
        epochs = load(audit.positions(subject.shard), self._findings)
        expired = self._expired(epochs)
        for stray in audit.strays(subject.shard, int(epochs.number[0]) if expired else 0):
            self._findings.differ(
                "position", stray.example, stray.table, "rows of known epochs", f"{stray.rows} of none"
            )
        letters = self._check_letters(epochs)
        if self._journal is None:
            self._findings.leave_out("the journal: there is none")
        else:
            subject.go_on()
            JournalCheck(
                epochs=epochs,
                read=lambda after, upto: audit.raw(subject.shard, after, upto),
                findings=self._findings,
                go_on=subject.go_on,
            ).run(self._journal)
        self._check_days(epochs, letters, expired)

    def _check_days(self, epochs: Epochs, letters: NDArray[np.int64], expired: int) -> None:
        groups: dict[int, list[RollupGroup]] = {}
        for group in self._subject.audit.rollup_groups(self._subject.shard):
            groups.setdefault(group.day, []).append(group)
        runs: dict[int, list[tuple[int, int]]] = {}
        for day, start, end in epochs.runs():
            if end > expired:
                runs.setdefault(day, []).append((max(start, expired), end))
        for day in sorted(groups.keys() - runs.keys(), reverse=True):
            for group in groups[day]:
                self._findings.leave_out(
                    f"rows of metric {group.metric}: the raw events of their days are gone", group.rows
                )
        for day in sorted(runs, reverse=True):
            self._subject.go_on()
            DayCheck(
                self._subject, day, epochs, runs=runs[day], groups=groups.get(day, []), letters=letters
            ).run()

    def _expired(self, epochs: Epochs) -> int:
        """Give how many epochs have a position without raw events: the last one of all keeps its own, however old."""
        if not len(epochs) or epochs.number[0] == 1:
            return 0
        oldest = int((self._rules.now_us - self._rules.raw_retention_s * 1e6) // DAY_US)
        subject = self._subject
        after, upto = int(epochs.previous_seq[0]), int(epochs.last_seq[0])
        return int(int(epochs.day[0]) < oldest and not len(subject.audit.raw(subject.shard, after, upto)))

    def _check_letters(self, epochs: Epochs) -> NDArray[np.int64]:
        """Hold the dead letters against the ledger; the oldest ones may have expired. Gives their names."""
        seq, index = self._subject.audit.dead_letters(self._subject.shard)
        self._findings.checked.dead_letters += len(seq)
        names = (seq << LINE_BITS) + index
        for place in np.flatnonzero(names[1:] == names[:-1]).tolist():
            self._findings.differ(
                "dead_letter", f"append {seq[place]}, line {index[place]}", "row", "once", "more than once"
            )
        known = (seq > (epochs.previous_seq[0] if len(epochs) else 0)) & (
            seq <= (epochs.last_seq[-1] if len(epochs) else 0)
        )
        there = np.bincount(epochs.of(seq[known]), minlength=len(epochs))
        added = epochs.added["dead_lettered"]
        first = int(epochs.of(seq[:1])[0]) if len(seq) else len(epochs)
        later = np.arange(len(epochs)) > first
        wrong = (added != UNKNOWN) & ((there > added) | (later & (there != added)))
        for place in np.flatnonzero(wrong).tolist():
            self._findings.differ(
                "dead_letter", f"epoch {epochs.number[place]}", "dead_lettered",
                f"{there[place]}, as there are letters", int(added[place]),
            )  # fmt: skip
        gone = int((np.maximum(added, 0) - there)[~later].clip(0).sum())
        if gone:
            self._findings.leave_out("events set aside: their letters are not kept any more", gone)
        return names


__all__ = ["Difference", "Report", "Rules", "day_text", "verify"]
