"""`journal.path = ":memory:"`: nothing is written down before the store has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from streamgauge import config
from streamgauge.config import to_mapping
from streamgauge.errors import OptionError
from streamgauge.event import FieldMapping
from streamgauge.opening import OpenEngine, verify_folder
from streamgauge.options import Options


def options_of(data: Path, **journal: str) -> Options:
    return config.from_mapping({"data": str(data), "journal": journal, "store": {"commit_interval": "1m"}})


def without(data: Path) -> Options:
    return options_of(data, path=":memory:")


async def started(options: Options) -> OpenEngine:
    whole = OpenEngine(options)
    await whole.start()
    return whole


async def accept(whole: OpenEngine, events: int) -> None:
    payload = b'{"type":"a","value":1}\n' * events
    assert (await whole.engine.intake.accept(payload, "test", FieldMapping())).accepted == events


def stored(whole: OpenEngine) -> int:
    return int(
        whole.engine.store.query("SELECT count(*) FROM events", [], timeout_s=10, max_rows=1).rows[0][0]
    )


async def test_events_are_counted_and_there_are_no_files_of_a_journal(tmp_path: Path) -> None:
    whole = await started(without(tmp_path / "data"))
    await accept(whole, 10)
    await whole.stop()
    assert {path.suffix for path in (tmp_path / "data").rglob("*")} <= {"", ".duckdb"}
    assert verify_folder(without(tmp_path / "data")).differences == []


async def test_the_next_start_goes_on_behind_what_the_store_has(tmp_path: Path) -> None:
    for _ in range(3):
        whole = await started(without(tmp_path / "data"))
        await accept(whole, 10)
        await accept(whole, 7)
        await whole.stop()
    whole = await started(without(tmp_path / "data"))
    assert stored(whole) == 51
    assert whole.engine.ledger.total().stored == 51
    await whole.stop()
    assert verify_folder(without(tmp_path / "data")).differences == []


async def test_a_journal_may_be_kept_again_from_some_start_on(tmp_path: Path) -> None:
    whole = await started(without(tmp_path / "data"))
    await accept(whole, 10)
    await whole.stop()
    for _ in range(2):
        whole = await started(options_of(tmp_path / "data"))
        await accept(whole, 10)
        await whole.stop()
    whole = await started(options_of(tmp_path / "data"))
    assert stored(whole) == 30
    await whole.stop()
    assert verify_folder(options_of(tmp_path / "data")).differences == []


async def test_a_journal_that_is_there_is_not_passed_over(tmp_path: Path) -> None:
    whole = await started(options_of(tmp_path / "data"))
    await accept(whole, 10)
    await whole.stop()
    with pytest.raises(OptionError, match=r"journal\.path: .* holds a journal, which would not be read"):
        await started(without(tmp_path / "data"))
    whole = await started(options_of(tmp_path / "data"))
    await whole.stop()


def test_the_option_survives_being_written(tmp_path: Path) -> None:
    options = without(tmp_path)
    assert not options.has_journal
    assert config.from_mapping(to_mapping(options)) == options
    assert options_of(tmp_path).has_journal
