"""Accepted means written: whoever is told so, however small or large the payload, has its events in the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from journal_tools import TestFiles, open_journal, segments
from streamgauge import config
from streamgauge.engine import Engine
from streamgauge.event import FieldMapping
from streamgauge.intake import SMALL_BYTES
from streamgauge.opening import OpenEngine
from streamgauge.stores.duckdb import DuckDBStore
from web_tools import WAIT_S, settings

TURNS = 50  # of the event loop: ample for an answer that waits for nothing


@asynccontextmanager
async def engine_on(folder: Path, files: TestFiles) -> AsyncIterator[Engine]:
    """An engine with a real journal, on a disk that can be made to stand still."""
    engine = Engine(
        OpenEngine(config.from_mapping(settings())).settings,
        journal=open_journal(folder, files=files),
        store=DuckDBStore.open(None),
        positions={},
    )
    await engine.start()
    try:
        yield engine
    finally:
        files.gate.set()
        await engine.stop()


@pytest.mark.parametrize("door", ["a small payload", "a large payload", "objects"])
async def test_nobody_is_told_accepted_before_the_journal_has_it(tmp_path: Path, door: str) -> None:
    files = TestFiles()
    async with engine_on(tmp_path, files) as engine:
        events: list[dict[str, Any]] = [{"type": "seen", "padding": "x" * 100} for _ in range(3)]
        if door == "a large payload":
            events *= SMALL_BYTES // 100
        files.gate.clear()
        files.waiting.clear()
        if door == "objects":
            accepting = engine.intake.accept_objects(events, "test", FieldMapping())
        else:
            payload = msgspec.json.Encoder().encode_lines(events)
            accepting = engine.intake.accept(payload, "test", FieldMapping())
        sending = asyncio.create_task(accepting)
        assert await asyncio.to_thread(files.waiting.wait, WAIT_S)
        for _ in range(TURNS):
            await asyncio.sleep(0)
        assert not sending.done()
        assert b"seen" not in b"".join(path.read_bytes() for path in segments(tmp_path))
        files.gate.set()
        async with asyncio.timeout(WAIT_S):
            assert (await sending).accepted == len(events)
        there = b"".join(path.read_bytes() for path in segments(tmp_path))
        assert there.count(b'"type":"seen"') == len(events)
