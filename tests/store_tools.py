"""Epochs of events for a store, and what it answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest

from aggregation_tools import EVENTS, NOW_US, Event, batch, count
from streamgauge.commit import EpochCommit, Frame, MetricPartials, encode_commit
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.partials import ALL_TIME, Partials, merge
from streamgauge.stages.raw import raw_rows
from streamgauge.store import Retention, Store
from streamgauge.stores.duckdb import DuckDBStore

DAY_S: Final = 86_400
FOREVER: Final = Retention(raw_s=DAY_S * 10_000, tiers=[(1, DAY_S * 10_000)])


def open_file(folder: Path) -> Store:
    return DuckDBStore.open(folder / "store.duckdb")


def open_memory(_folder: Path) -> Store:
    return DuckDBStore.open(None)


DURABLE = [pytest.param(open_file, id="duckdb")]
STORES = [*DURABLE, pytest.param(open_memory, id="duckdb in memory")]


@dataclass
class Shard:
    """Commits epochs of one shard, one after the other, an append each."""

    store: Store
    name: str = "a"
    incarnation: str = "first"
    metric: Metric = EVENTS
    epoch: int = 0
    seq: int = 0
    limit: SeriesLimit = field(default_factory=lambda: SeriesLimit(10_000))
    ledger: dict[str, dict[str, int]] = field(default_factory=dict)

    def commit(self, events: Sequence[Event], **changes: Any) -> list[Frame]:
        """Commit one epoch; give its frames, to be committed again."""
        frames = encode_commit(self.next_epoch(events, **changes))
        self.store.commit(frames)
        return frames

    def next_epoch(self, events: Sequence[Event], **changes: Any) -> EpochCommit:
        """Make the next epoch, which holds these events; `changes` replace its fields."""
        previous, self.epoch, self.seq = self.seq, self.epoch + 1, self.seq + 1
        row = self.ledger.setdefault("http", {"stored": 0})
        row["stored"] += len(events)
        values: Mapping[str, Any] = {
            "shard": self.name,
            "epoch": self.epoch,
            "previous_seq": previous,
            "last_seq": self.seq,
            "incarnation": self.incarnation,
            "at_us": NOW_US,
            "ledger": {"http": dict(row)},
            "metrics": [self.partials(events)] if events else [],
            "raw": [raw_rows(batch(events, seq=self.seq), NOW_US + 5)] if events else [],
        }
        return EpochCommit(**{**values, **changes})

    def partials(self, events: Sequence[Event]) -> MetricPartials:
        metric = self.metric
        found = count(metric, events, seq=self.seq, limit=self.limit)
        return MetricPartials(name=metric.name, definition=metric.definition, by=metric.by, partials=found)


def read(store: Store, metric: Metric = EVENTS, start: int | None = None, end: int | None = None) -> Partials:
    """Give a metric's stored partials of a range, merged, at 1 s."""
    found = store.read(metric.name, metric.definition, metric.by, metric.states, start=start, end=end)
    return merge([found.partials], metric.states, 1)


def totals(store: Store, metric: Metric = EVENTS) -> Partials:
    """Give a metric's stored totals by series."""
    return merge([read(store, metric)], metric.states, ALL_TIME)


def rows(store: Store, sql: str, *params: Any) -> list[tuple[Any, ...]]:
    """Ask the store in SQL."""
    return [tuple(row) for row in store.query(sql, params, timeout_s=30.0, max_rows=100_000).rows]
