"""One received day of one shard: its raw events and rollups, epoch by epoch, in portions that fit into memory.

Rows that were compacted have no epoch any more: they are compared with all of their day together, in ranges of whole
hours of event time.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.audit import Audit, RawEvents, RollupGroup, RollupRows
from streamgauge.columns import MISSING
from streamgauge.event import JsonText
from streamgauge.metric import Metric
from streamgauge.partials import OTHER, Partials, Series, empty, merge
from streamgauge.verification.compare import compare
from streamgauge.verification.derive import (
    Accumulator,
    Windows,
    count,
    counted,
    latency,
    under_epochs,
    without_epochs,
)
from streamgauge.verification.events import check_events
from streamgauge.verification.findings import Findings
from streamgauge.verification.positions import UNKNOWN, Epochs
from streamgauge.verification.raw import RawReader

PORTION: Final = 50_000  # events of epochs that are taken together
PORTION_EPOCHS: Final = 2_000
RANGE_ROWS: Final = 200_000  # compacted rows of one metric that are compared at once
DAY_S: Final = 86_400
Range = tuple[int | None, int | None]


class TimeIsUp(Exception):
    """The verification took as long as it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is verified, and by what rules. latency: the name of the metric of the pipeline's own latency.

    due: when the time is up, as `time.monotonic` counts. pause: called between portions.
    """

    audit: Audit
    shard: str
    metrics: Mapping[str, Metric]
    latency: str
    reader: RawReader
    findings: Findings
    due: float
    pause: Callable[[], None]

    def go_on(self) -> None:
        """Let others have a turn; raises TimeIsUp."""
        self.pause()
        if time.monotonic() > self.due:
            raise TimeIsUp


@dataclass(slots=True, kw_only=True)
class _Compacted:
    """A metric some of whose rows were compacted: what follows for it, in one range of event time."""

    metric: Metric
    group: RollupGroup
    rows: RollupRows
    windows: Windows
    range: Range
    derived: Accumulator = field(init=False)

    def __post_init__(self) -> None:
        self.derived = Accumulator(counted(self.metric).states)

    def add(self, derived: Partials | None) -> None:
        start, end = self.range
        if derived is None:
            return
        inside = np.ones(len(derived), bool)
        if start is not None:
            inside &= derived.bucket >= start
        if end is not None:
            inside &= derived.bucket < end
        self.derived.add(self.windows.bring(without_epochs(derived.select(inside))))


class DayCheck:
    """Checks one day. runs: (first place, place after the last) of epochs of one life each; letters: names set aside."""

    def __init__(
        self,
        subject: Subject,
        day: int,
        epochs: Epochs,
        *,
        runs: Sequence[tuple[int, int]],
        groups: Sequence[RollupGroup],
        letters: NDArray[np.int64],
    ) -> None:
        self._subject, self._findings = subject, subject.findings
        self._day, self._epochs, self._letters = day, epochs, letters
        self._runs = [run for run in runs if self._can_be_checked(run)]
        self._whole = len(self._runs) == sum(not epochs.skipped[first] for first, _ in runs)
        self._groups = {(group.metric, group.definition): group for group in groups}

    def run(self) -> None:
        """Check it."""
        self._note_unknown()
        if not self._runs:
            return
        self._findings.on_day(day_text(self._day))
        compacted = {
            name: self._ranges(group)
            for name, group in ((m.name, self._group(m)) for m in self._subject.metrics.values())
            if group is not None and group.compacted and self._can_be_compared(group)
        }
        for turn in range(max([1, *map(len, compacted.values())])):
            ranges = {name: ranges[turn] for name, ranges in compacted.items() if turn < len(ranges)}
            self._turn({name: self._begin(name, one) for name, one in ranges.items()}, first=turn == 0)

    def _group(self, metric: Metric) -> RollupGroup | None:
        return self._groups.get((metric.name, metric.definition))

    def _can_be_checked(self, run: tuple[int, int]) -> bool:
        first, end = run
        epochs = self._epochs
        life = epochs.lives[int(epochs.life[first])]
        if epochs.skipped[first]:
            given_up = int(epochs.last_seq[end - 1] - epochs.previous_seq[first])
            self._findings.leave_out("appends that were given up with --rebuild", given_up)
        elif life is None:
            self._findings.leave_out(
                "epochs: committed by a version that did not say what it computed", end - first
            )
        elif not life.raw_events:
            self._findings.leave_out("epochs: their raw events were not kept", end - first)
        else:
            return True
        return False

    def _can_be_compared(self, group: RollupGroup) -> bool:
        if self._whole:
            return True
        reason = (
            f"rows of metric {group.metric} on {day_text(self._day)}: compacted with what cannot be checked"
        )
        self._findings.leave_out(reason, group.rows)
        return False

    def _note_unknown(self) -> None:
        metrics = self._subject.metrics
        for group in self._groups.values():
            metric = metrics.get(group.metric)
            if metric is None or metric.definition != group.definition:
                reason = f"rows of metric {group.metric}: definition {group.definition} unknown"
                self._findings.leave_out(reason, group.rows)
                self._findings.unknown_rows += group.rows

    def _ranges(self, group: RollupGroup) -> list[Range]:
        """Cut a day's rows into ranges of whole hours of event time, each small enough; together they are all time."""
        cuts: list[int | None] = [None]
        if group.rows > RANGE_ROWS:
            rows = 0
            for hour, more in self._subject.audit.hours(self._subject.shard, self._key(group)):
                if rows and rows + more > RANGE_ROWS:
                    cuts.append(hour)
                    rows = 0
                rows += more
        return list(zip(cuts, [*cuts[1:], None], strict=True))

    def _key(self, group: RollupGroup) -> tuple[str, str, int]:
        return group.metric, group.definition, self._day

    def _begin(self, name: str, one: Range) -> _Compacted:
        metric = self._subject.metrics[name]
        group = self._groups[name, metric.definition]
        rows = self._stored(metric, buckets=one)
        windows = Windows(rows.partials.bucket, rows.resolution)
        return _Compacted(metric=metric, group=group, rows=rows, windows=windows, range=one)

    def _turn(self, compacted: Mapping[str, _Compacted], *, first: bool) -> None:
        for start, end in self._runs:
            for span in self._portions(start, end):
                self._subject.go_on()
                self._portion(span, compacted, first=first)
        for one in compacted.values():
            stored = one.windows.bring(under_epochs(one.rows.partials, np.zeros_like(one.rows.epoch)))
            self._compare(one.metric, stored, one.derived.merged(), one.windows)

    def _portions(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        events = np.maximum(self._epochs.added["stored"], 0)
        first, total = start, 0
        for place in range(start, end):
            total += int(events[place])
            full = total >= PORTION or place + 1 - first >= PORTION_EPOCHS
            if full or place + 1 == end or self._epochs.added["stored"][place] == UNKNOWN:
                yield first, place + 1
                first, total = place + 1, 0

    def _portion(self, span: tuple[int, int], compacted: Mapping[str, _Compacted], *, first: bool) -> None:
        epochs, subject, (start, end) = self._epochs, self._subject, span
        raw = subject.audit.raw(subject.shard, int(epochs.previous_seq[start]), int(epochs.last_seq[end - 1]))
        places = np.clip(epochs.of(raw.seq), start, end - 1)
        if first:
            self._findings.checked.events += len(raw)
            self._findings.checked.epochs += end - start
            check_events(raw, places, epochs, span, letters=self._letters, findings=self._findings)
        metrics = self._due(compacted, first=first)
        life = epochs.lives[int(epochs.life[start])]
        computed = [
            metric for metric in metrics if life and life.metrics.get(metric.name) == metric.definition
        ]
        derived = dict(self._derived(raw, places, computed, note=first))
        for metric in metrics:
            one = derived.get(metric.name, empty(counted(metric).states))
            if metric.name in compacted:
                compacted[metric.name].add(one)
            elif metric in computed or self._group(metric) is not None:
                self._compare_epochs(metric, span, one)

    def _due(self, compacted: Mapping[str, _Compacted], *, first: bool) -> list[Metric]:
        """Give the metrics that are looked at in this turn."""
        found = []
        for metric in self._subject.metrics.values():
            group = self._group(metric)
            if metric.name in compacted or (first and not (group and group.compacted)):
                found.append(metric)
        return found

    def _derived(
        self, raw: RawEvents, places: NDArray[np.int64], metrics: Sequence[Metric], *, note: bool
    ) -> Iterator[tuple[str, Partials]]:
        numbers = self._epochs.number[places]
        kinds = {metric.name: counted(metric) for metric in metrics if metric.name != self._subject.latency}
        parts = {name: Accumulator(kind.states) for name, kind in kinds.items()}
        for batch in self._subject.reader.batches(raw, numbers, note=note):
            for name, kind in kinds.items():
                parts[name].add(count(kind, batch))
            self._subject.pause()
        for metric in metrics:
            if metric.name in parts:
                yield metric.name, parts[metric.name].merged()
            else:
                yield metric.name, self._latency(metric, raw, places)

    def _latency(self, metric: Metric, raw: RawEvents, places: NDArray[np.int64]) -> Partials:
        lives = self._epochs.lives
        replayed = np.array([life.replayed_to if life else 0 for life in lives], np.int64)
        live = raw.seq > replayed[self._epochs.life[places]]
        found = Accumulator(counted(metric).states)
        found.add(latency(metric, raw, self._epochs.number[places], live))
        return found.merged()

    def _compare_epochs(self, metric: Metric, span: tuple[int, int], derived: Partials) -> None:
        numbers = self._epochs.number
        rows = self._stored(metric, epochs=(int(numbers[span[0]]), int(numbers[span[1] - 1])))
        self._compare(metric, under_epochs(rows.partials, rows.epoch), derived, None)

    def _stored(
        self, metric: Metric, *, epochs: tuple[int, int] | None = None, buckets: Range = (None, None)
    ) -> RollupRows:
        key = metric.name, metric.definition, self._day
        rows = self._subject.audit.rollups(
            self._subject.shard, key, metric.by, metric.states, epochs=epochs, buckets=buckets
        )
        for flaw in rows.flaws:
            self._findings.differ(
                "rollup", f"day {day_text(self._day)}", flaw.column, flaw.expected, flaw.found,
                metric=metric.name, series=flaw.series, bucket=flaw.bucket, resolution=flaw.resolution,
            )  # fmt: skip
        self._findings.checked.rollup_rows += len(rows.partials)
        self._findings.with_metric(metric.name)
        return rows

    def _compare(self, metric: Metric, stored: Partials, derived: Partials, windows: Windows | None) -> None:
        merged = merge([stored], metric.states, 1)
        for found in compare(
            merged, derived if windows is None else merge([derived], derived.states, 1), metric.states
        ):
            size = 1 if windows is None else int(windows.place(np.array([found.bucket]))[1][0])
            epoch = found.series[0]
            self._findings.differ(
                "rollup",
                f"epoch {epoch}" if epoch else f"day {day_text(self._day)}",
                found.what,
                found.expected,
                found.found,
                metric=metric.name,
                series=series_text(found.series[1:], metric.by),
                bucket=found.bucket,
                resolution=size,
            )


def series_text(series: Series, by: Sequence[str]) -> str:
    """Write a series as a JSON object."""
    if series == (OTHER,):
        return "(other)"
    parts = {
        name: json.loads(value) if isinstance(value, JsonText) else value
        for name, value in zip(by, series, strict=False)
        if value is not MISSING
    }
    return msgspec.json.encode(parts).decode()


def day_text(day: int) -> str:
    """Write a day counted from 1970."""
    try:
        return datetime.fromtimestamp(day * DAY_S, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return f"day {day}"
