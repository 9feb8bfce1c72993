"""Whoever reads the store while it is written to sees raw events, rollups, position and ledger that agree."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import duckdb
import msgspec

from soak import trials
from streamgauge.store import Retention
from streamgauge.stores.duckdb import DuckDBStore
from web_tools import serving

T0: Final = 1_700_000_000
READS: Final = trials(100, 10_000)
DAY_US: Final = 86_400_000_000
LONG_S: Final = 1e9
SNAPSHOT: Final = """
WITH position AS (SELECT last_seq, ledger FROM positions ORDER BY epoch DESC LIMIT 1)
SELECT count(*), coalesce(sum(value), 0), coalesce(max(seq), 0),
       (SELECT coalesce(sum(count), 0) FROM rollup_rows WHERE metric = 'events'),
       (SELECT coalesce(sum(sum), 0) FROM rollup_rows WHERE metric = 'events'),
       (SELECT last_seq FROM position), (SELECT ledger FROM position)
FROM raw_events
"""
SOON_OLD: Final = Retention(
    raw_s=LONG_S, tiers=((1, 0.0), (60, LONG_S)), seen_s=LONG_S, dead_letters_s=LONG_S
)


@dataclass
class Look:
    """What one statement saw, which reads in one snapshot."""

    events: int
    total: float
    last_seq: int
    counted: int
    counted_total: float
    position: int | None
    ledger: str | None

    @property
    def stored(self) -> int:
        """How many events the ledger says are stored."""
        return sum(row["stored"] for row in msgspec.json.decode(self.ledger).values()) if self.ledger else 0

    def agrees(self) -> bool:
        return (
            self.counted == self.events == self.stored
            and self.counted_total == self.total
            and self.last_seq == (self.position or 0)
        )


class Onlooker(threading.Thread):
    """Looks again and again."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        super().__init__(daemon=True)
        self._cursor = connection.cursor()
        self.looks: list[Look] = []

    def run(self) -> None:
        while len(self.looks) < READS:
            self.looks.append(Look(*self._cursor.execute(SNAPSHOT).fetchall()[0]))


async def test_everything_agrees_in_every_snapshot_while_events_are_stored_merged_and_checkpointed(
    tmp_path: Path,
) -> None:
    async with serving(tmp_path, store={"commit_interval": "10ms", "checkpoint_interval": "100ms"}) as server:
        store = server.app.engine.store
        assert isinstance(store, DuckDBStore)
        onlooker = Onlooker(store._connection)
        onlooker.start()
        sent = 0
        while onlooker.is_alive():
            answer = await server.send(
                *({"type": str(n % 3), "timestamp": T0 + n, "value": n} for n in range(50))
            )
            assert answer.status_code == 202
            sent += 1
            if sent % 20 == 0:
                tomorrow_us = time.time_ns() // 1000 + 2 * DAY_US
                await asyncio.to_thread(store.maintain, tomorrow_us, SOON_OLD)
        await server.commit()
    looks = onlooker.looks
    assert len(looks) == READS
    assert [look for look in looks if not look.agrees()] == []
    assert [look.events for look in looks] == sorted(look.events for look in looks)
    assert len({look.position for look in looks}) > 5, "it was hardly written to"
