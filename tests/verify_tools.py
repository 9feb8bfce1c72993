"""A data folder that was filled as a server fills it, to be verified, and to be damaged one value at a time."""

from __future__ import annotations

import random
import shutil
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import duckdb

from streamgauge import config
from streamgauge.journals.reading import FolderReading
from streamgauge.options import Options
from streamgauge.settings import SHARD, rules_of
from streamgauge.store import Retention
from streamgauge.stores.audit import DuckDBAudit
from streamgauge.stores.duckdb import DuckDBStore
from streamgauge.verification.journal import JournalReading
from streamgauge.verify import Report, Rules, verify
from web_tools import Served, serving, settings

MEMORY: Final = 2**28
DAY_S: Final = 86_400
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
    source = random.Random(seed)  # noqa: S311  the same events each time
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
        """The store's file."""
        return self.data / "streamgauge.duckdb"

    def rules(self, now_us: int = 0) -> Rules:
        """By what rules it is verified."""
        return rules_of(self.options, now_us)

    def verify(self, *, with_journal: bool = True, now_us: int = 0) -> Report:
        """Verify it."""
        with closing(DuckDBAudit.open(self.store, memory_limit_bytes=MEMORY)) as audit:
            return verify(audit, self.rules(now_us), journals=self.journals() if with_journal else {})

    def journals(self) -> dict[str, JournalReading]:
        """Give its journal as it stands."""
        instance = (self.data / "instance").read_text().strip()
        return {SHARD: FolderReading(self.options.journal_folder(), instance=instance, shard=SHARD)}

    def damage(self, place: Path) -> Damage:
        """Give a copy of the store, to be damaged and mended any number of times."""
        copy = place / "damaged.duckdb"
        shutil.copyfile(self.store, copy)
        return Damage(self, duckdb.connect(str(copy)), self.journals())


class _Inside(DuckDBAudit):
    """Sees what a connection's own transaction has changed, and leaves the connection open."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._cursor = connection

    def close(self) -> None:
        """Do nothing: the connection is somebody else's."""


@dataclass
class Damage:
    """A copy of a folder's store; what is changed in it is taken back at once."""

    folder: Folder
    connection: duckdb.DuckDBPyConnection
    journals: Mapping[str, JournalReading]

    def verify(self, change: str, *params: Any, with_journal: bool = True) -> Report:
        """Run a statement, verify, and take the change back; the statement must change something."""
        self.connection.execute("BEGIN TRANSACTION")
        try:
            [[rows]] = self.connection.execute(change, list(params)).fetchall()
            assert rows > 0, "nothing was changed"
            journals = self.journals if with_journal else {}
            return verify(_Inside(self.connection), self.folder.rules(), journals=journals)
        finally:
            self.connection.execute("ROLLBACK")


def compacted(folder: Folder, place: Path, *ages_s: float) -> Folder:
    """Give a copy of the folder whose rows have been compacted as if days had gone by."""
    copy = place / "data"
    copy.mkdir()
    for path in folder.data.rglob("*"):
        if path.is_file() and path.name != "lock":
            target = copy / path.relative_to(folder.data)
            target.parent.mkdir(exist_ok=True, parents=True)
            target.write_bytes(path.read_bytes())
    made = Folder(copy, folder.options)
    store = DuckDBStore.open(made.store)
    with duckdb.connect(":memory:") as connection:
        [[now_us]] = connection.execute("SELECT epoch_us(now())").fetchall()
    for age_s in ages_s:
        retention = Retention(
            raw_s=DAY_S * 1000, tiers=[(1, DAY_S), (60, DAY_S * 10), (3600, DAY_S * 10_000)]
        )
        store.maintain(now_us + int(age_s * 1e6), retention)
    store.checkpoint()
    store.close()
    return made


def any_row(table: str, seed: int = 0, where: str = "true") -> str:
    """Give SQL for the id of some row."""
    return f"(SELECT rowid FROM {table} WHERE {where} ORDER BY hash(rowid + {seed}) LIMIT 1)"


async def filled(folder: Path, *seeds: int, **sections: Any) -> Folder:
    """Fill a folder in as many lives as there are seeds."""
    chosen = sections or PLAIN
    for seed in seeds:
        async with serving(folder, **chosen) as served:
            await fill(served, seed)
    return Folder(folder, options_of(folder, **chosen))


__all__ = [
    "DAY_S",
    "METRICS",
    "PLAIN",
    "Damage",
    "Folder",
    "any_row",
    "compacted",
    "fill",
    "filled",
    "options_of",
    "some_events",
]
