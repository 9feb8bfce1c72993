"""A data folder that was filled as a server fills it, to be verified, and to be damaged one value at a time."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from streamgauge import config
from streamgauge.app import SHARD, rules_of
from streamgauge.journals.reading import FolderReading
from streamgauge.options import Options
from streamgauge.stores.audit import DuckDBAudit
from streamgauge.verify import Report, Rules, verify
from web_tools import Served, serving, settings

MEMORY: Final = 2**28
METRICS: Final = [
    {
        "name": "revenue",
        "where": "type = 'b' AND amount > 2",
        "value": "amount * 1.1",
        "by": ["shop", "type"],
        "aggregates": ["count", "sum", "last", "p95"],
    },
    {"name": "visitors", "by": ["user_id"], "max_series": 3, "aggregates": ["count", "sum", "max"]},
]
PLAIN: Final[Mapping[str, Any]] = {"metric": METRICS, "store": {"commit_interval": "100ms"}}
SHOPS: Final = (1, True, "1", None, "x", 2.5, ["a", 1], "é")


def some_events(random_source: random.Random, now_us: int, number: int) -> list[dict[str, Any]]:
    """Make events of a day, in no order: with and without values, properties of every kind, ids of both kinds."""
    found = []
    for _ in range(number):
        event: dict[str, Any] = {
            "type": random_source.choice("abc"),
            "timestamp": now_us
            - random_source.randrange(86_400) * 1_000_000
            - random_source.randrange(10**6),
            "value": random_source.choice([1, 2.5, 0, -3, 0.1, None, 1e15, 7]),
            "amount": random_source.randrange(10) / 3,
            "user_id": random_source.choice(["u1", "u2", 3, "u4", "u5", None]),
        }
        if random_source.random() < 0.8:
            event["shop"] = random_source.choice(SHOPS)
        if random_source.random() < 0.1:
            del event["timestamp"]
        found.append(event)
    return found


async def fill(served: Served, seed: int, requests: int = 12) -> None:
    """Send events in requests of all sizes, some of them refused, some with fields of other names; commit in between."""
    source = random.Random(seed)
    now_us = served.app.engine.now_us()
    for turn in range(requests):
        await served.send(*some_events(source, now_us, source.randrange(1, 40)))
        if turn % 5 == 0:
            await served.send({"no": "type"})
            other = {"event": "click", "ts": now_us, "n": 4, "who": 7}
            await served.send(other, query="?type=event&timestamp=ts&value=n&user_id=who")
        if turn % 4 == 3:
            await served.commit()
    await served.commit()


def options_of(folder: Path, **sections: Any) -> Options:
    """Give the options that a server on this folder had."""
    return config.from_mapping(settings(folder, **(sections or PLAIN)))


@dataclass
class Folder:
    """A data folder that no server has open."""

    data: Path
    options: Options

    @property
    def store(self) -> Path:
        return self.data / "streamgauge.duckdb"

    def rules(self, now_us: int = 0) -> Rules:
        return rules_of(self.options, now_us)

    def verify(self, store: Path | None = None, *, with_journal: bool = True, now_us: int = 0) -> Report:
        """Verify it, or a copy of its store."""
        instance = (self.data / "instance").read_text().strip()
        journal = self.options.journal_folder()
        readings = {SHARD: FolderReading(journal, instance=instance, shard=SHARD)} if with_journal else {}
        with closing(DuckDBAudit.open(store or self.store, memory_limit_bytes=MEMORY)) as audit:
            return verify(audit, self.rules(now_us), journals=readings)

    @contextmanager
    def damaged(self, place: Path, *statements: str, params: Sequence[Any] = ()) -> Iterator[Path]:
        """Give a copy of the store in which these statements were run."""
        copy = place / "damaged.duckdb"
        copy.unlink(missing_ok=True)
        shutil.copyfile(self.store, copy)
        with duckdb.connect(str(copy)) as connection:
            for statement in statements:
                connection.execute(statement, list(params))
            connection.execute("CHECKPOINT")
        yield copy
        copy.unlink()


async def filled(folder: Path, *seeds: int, **sections: Any) -> Folder:
    """Fill a folder in as many lives as there are seeds."""
    chosen = sections or PLAIN
    for seed in seeds:
        async with serving(folder, **chosen) as served:
            await fill(served, seed)
    return Folder(folder, options_of(folder, **chosen))


__all__ = ["METRICS", "PLAIN", "Folder", "fill", "filled", "options_of", "some_events"]
