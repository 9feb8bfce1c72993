"""A server that cannot keep what it promises ends by itself, so that it can be started again."""

from __future__ import annotations

import asyncio
import json
from errno import EIO
from pathlib import Path

import pytest

from streamgauge.app import App
from streamgauge.config import from_mapping
from streamgauge.errors import JournalError, ServerFailed, StoreInvalid
from streamgauge.event import FieldMapping
from streamgauge.journals.files import Files
from streamgauge.web.problem import response_to

PATIENCE_S = 20.0


def test_a_question_that_the_store_cannot_answer_any_more_is_a_matter_of_time_not_of_the_asker() -> None:
    answer = response_to(StoreInvalid("reading failed: database has been invalidated"))
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1
    assert json.loads(bytes(answer.body))["code"] == "store_error"


async def test_after_a_failed_fsync_the_server_commits_what_it_has_and_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = from_mapping(
        {"data": str(tmp_path / "data"), "server": {"port": 0}, "journal": {"interval": "10ms"}}
    )
    server = App(options)
    await server.start()
    assert server.failure is not None

    def fail(_files: Files, _descriptor: int) -> None:
        raise OSError(EIO, "Input/output error")

    monkeypatch.setattr(Files, "fsync", fail)
    receipt = await server.engine.intake.accept(b'{"type":"a"}\n', "http", FieldMapping())
    assert receipt.accepted == 1
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.shield(server.failure)
    monkeypatch.undo()
    with pytest.raises(JournalError, match="fsync failed"):
        await server.stop()
    with pytest.raises(ServerFailed, match=r"fsync failed.*in the journal"):
        server.raise_failure()
    again = App(options)
    await again.start()
    assert again.engine.ledger.total().received == 1
    await again.stop()
