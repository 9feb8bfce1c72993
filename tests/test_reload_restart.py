"""A configuration that changed while events were on their way into the store, or while the server was stopped."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from reload_tools import T0, write_module
from soak import examples
from streamgauge import config
from streamgauge.configurations import FOLDER, MOST_KEPT, SECTIONS, Configurations, Kept
from streamgauge.engine import Engine
from streamgauge.errors import OptionError, StorageFull
from streamgauge.event import FieldMapping
from streamgauge.journals.file import FileJournal
from streamgauge.journals.recovery import oldest_seq
from streamgauge.metrics.query import ask
from streamgauge.opening import OpenEngine, verify_folder
from streamgauge.options import Options
from web_tools import LONG, WAIT_S, settings, until

LARGE: Final = {"name": "large", "where": "value > 2", "aggregates": ["count"]}


def options_of(data: Path, **sections: Any) -> Options:
    return config.from_mapping(settings(data, store={"commit_interval": LONG}, **sections))


def stamped(version: int) -> dict[str, Any]:
    return {"transform": {"derive": {"by": f"value * 0 + {version}"}}}


@asynccontextmanager
async def opened(data: Path, **sections: Any) -> AsyncIterator[Engine]:
    """An engine on a data folder; what is accepted is committed when it stops."""
    whole = OpenEngine(options_of(data, **sections))
    engine = await whole.start()
    try:
        yield engine
    finally:
        await whole.stop()


async def accept(engine: Engine, *values: int) -> None:
    events = [{"type": "a", "timestamp": T0 + value, "value": value} for value in values]
    lines = msgspec.json.Encoder().encode_lines(events)
    assert (await engine.intake.accept(lines, "test", FieldMapping())).accepted == len(values)


async def settled(engine: Engine) -> None:
    assert await engine.flush(WAIT_S)
    engine.book.close(0.0)
    engine.committer._changed.set()
    assert await engine.caught_up(engine.journal.last_seq, WAIT_S)


async def stamps(engine: Engine) -> list[str | None]:
    """Give by which version each stored event was changed, in the order of their values."""
    await settled(engine)
    found = engine.store.query(
        "SELECT event->>'$.by' FROM events ORDER BY value", [], timeout_s=10.0, max_rows=10_000
    )
    return [row[0] for row in found.rows]


async def count(engine: Engine, metric: str) -> int:
    found = engine.reader.metric(metric)
    question = ask(found, start=T0, end=T0 + 60, by=[], aggregates=["count"], step=60)
    series = await engine.reader.answer(found, question)
    return sum(int(one.totals["count"] or 0) for one in series)


def copy_store(data: Path, copy: Path) -> None:
    """Copy what the store of a folder in use holds now; first, since the journal is never behind it."""
    copy.mkdir()
    for file in (*data.glob("streamgauge.duckdb*"), data / "instance"):
        shutil.copy(file, copy)


def copy_journal(data: Path, copy: Path) -> None:
    for folder in ("journal", FOLDER):
        shutil.copytree(data / folder, copy / folder)


def as_a_crash_leaves_it(data: Path, copy: Path) -> Path:
    """Copy a data folder in use."""
    copy_store(data, copy)
    copy_journal(data, copy)
    return copy


async def changed(engine: Engine, data: Path, **sections: Any) -> None:
    """Change the configuration while it runs, as a reload does."""
    options = options_of(data, **sections)
    whole = OpenEngine(options)
    whole.engine = engine
    await whole.change(options, whole.settings)


def expect_clean(data: Path, **sections: Any) -> None:
    report = verify_folder(options_of(data, **sections))
    assert report.ok, report.differences[:5]


# replays


async def test_events_accepted_before_a_change_that_came_while_stopped_are_counted_by_the_old_rules(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "data", **stamped(1), metric=[LARGE]) as engine:
        await accept(engine, 1, 2, 3, 4)
        data = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "copy")
    smaller = {**LARGE, "where": "value > 0"}
    async with opened(data, **stamped(2), metric=[smaller]) as engine:
        await accept(engine, 5, 6)
        assert await stamps(engine) == ["1.0"] * 4 + ["2.0"] * 2
        assert await count(engine, "large") == 2  # under the new definition: the new ones alone
    expect_clean(data, **stamped(2), metric=[smaller])
    async with opened(data, **stamped(1), metric=[LARGE]) as engine:
        assert await count(engine, "large") == 2  # under the old one: what it had counted
    expect_clean(data, **stamped(1), metric=[LARGE])


async def test_a_crash_after_changes_replays_each_event_by_the_rules_it_was_accepted_under(
    tmp_path: Path,
) -> None:
    data = tmp_path / "copy"
    async with opened(tmp_path / "data", **stamped(0)) as engine:
        copy_store(tmp_path / "data", data)
        for version in range(1, 6):
            await accept(engine, 10 * version, 10 * version + 1)
            await changed(engine, tmp_path / "data", **stamped(version))
        await accept(engine, 100)
        copy_journal(tmp_path / "data", data)
        expected = await stamps(engine)
    assert expected == [f"{version}.0" for version in (0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5)]
    async with opened(data, **stamped(5)) as engine:
        assert await stamps(engine) == expected
    expect_clean(data, **stamped(5))


async def test_a_module_that_was_changed_while_stopped_is_kept_as_it_was_for_what_it_has_to_do(
    tmp_path: Path,
) -> None:
    write_module(tmp_path, "old")
    module = {"transform": {"module": str(tmp_path / "module.py")}}
    async with opened(tmp_path / "data", **module) as engine:
        await accept(engine, 1, 2)
        data = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "copy")
    write_module(tmp_path, "new")
    async with opened(data, **module) as engine:
        await accept(engine, 3)
        assert await stamps(engine) == ["old", "old", "new"]


async def test_a_restart_after_a_crash_in_the_replay_of_a_change_counts_nothing_twice(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", **stamped(1)) as engine:
        await accept(engine, 1, 2)
        first = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "first")
    async with opened(first, **stamped(2)) as engine:
        await accept(engine, 3)
        second = as_a_crash_leaves_it(first, tmp_path / "second")
    async with opened(second, **stamped(3)) as engine:
        await accept(engine, 4)
        assert await stamps(engine) == ["1.0", "1.0", "2.0", "3.0"]
    expect_clean(second, **stamped(3))


async def test_what_is_rebuilt_from_the_journal_alone_is_what_it_was(tmp_path: Path) -> None:
    """The store is lost, and the first part of the journal, which the store held, has been let go of."""
    data, small = tmp_path / "data", {"journal": {"segment_bytes": "1KiB"}}
    async with opened(data, **stamped(1), **small) as engine:
        for value in range(100):
            await accept(engine, value)
        await settled(engine)
        await engine.committer.checkpoint()
        await accept(engine, 100)
        await changed(engine, data, **stamped(2), **small)
        await accept(engine, 101, 102)
        before = await stamps(engine)
    first_seq = oldest_seq(data / "journal")
    assert first_seq is not None
    assert 50 < first_seq < 102, "there is nothing left of the first version, or all of it"
    for file in data.glob("streamgauge.duckdb*"):
        file.unlink()
    whole = OpenEngine(options_of(data, **stamped(3), **small), rebuild=True)
    engine = await whole.start()
    await accept(engine, 103)
    assert await stamps(engine) == [*before[first_seq - 1 :], "3.0"]
    await whole.stop()
    expect_clean(data, **stamped(3), **small)


@examples(6, 60)
@given(
    steps=st.lists(st.sampled_from(["accept", "change", "commit"]), min_size=1, max_size=12),
    copied_at=st.integers(0, 12),
)
def test_whatever_came_before_a_crash_each_event_keeps_the_version_it_was_accepted_under(
    steps: list[str], copied_at: int
) -> None:
    with TemporaryDirectory() as folder:
        asyncio.run(_crash(Path(folder), steps, copied_at))


async def _crash(folder: Path, steps: list[str], copied_at: int) -> None:
    version, expected, copy = 0, list[str | None](), folder / "copy"
    async with opened(folder / "data", **stamped(version)) as engine:
        for place, step in enumerate(steps):
            if place == min(copied_at, len(steps) - 1):
                copy_store(folder / "data", copy)
            if step == "accept":
                await accept(engine, len(expected))
                expected.append(f"{version}.0")
            elif step == "change":
                version += 1
                await changed(engine, folder / "data", **stamped(version))
            else:
                await settled(engine)
        copy_journal(folder / "data", copy)
    version += 1
    async with opened(copy, **stamped(version)) as engine:
        await accept(engine, len(expected))
        assert await stamps(engine) == [*expected, f"{version}.0"]
    expect_clean(copy, **stamped(version))


async def test_where_the_old_text_is_lost_it_says_so_and_uses_the_rules_of_today(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", **stamped(1)) as engine:
        await accept(engine, 1)
        data = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "copy")
    shutil.rmtree(data / FOLDER)
    with capture_logs() as logs:
        async with opened(data, **stamped(2)) as engine:
            assert await stamps(engine) == ["2.0"]
    assert any("lost" in entry["event"] and entry["log_level"] == "warning" for entry in logs)


async def test_a_change_while_stopped_with_nothing_to_replay_needs_no_old_text_and_no_word(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path / "data", **stamped(1)) as engine:
        await accept(engine, 1)
    shutil.rmtree(tmp_path / "data" / FOLDER)
    with capture_logs() as logs:
        async with opened(tmp_path / "data", **stamped(2)) as engine:
            await accept(engine, 2)
            assert await stamps(engine) == ["1.0", "2.0"]
    assert [entry for entry in logs if entry["log_level"] != "info"] == []


async def test_a_start_with_a_bad_module_notes_nothing_so_that_the_next_one_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path / "data", **stamped(1)) as engine:
        await accept(engine, 1)
        data = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "copy")
    (tmp_path / "module.py").write_text("1 / 0\ndef transform(event): return event\n")
    module = {"transform": {"module": str(tmp_path / "module.py")}}
    with pytest.raises(OptionError, match="line 1"):
        async with opened(data, **module):
            pass
    write_module(tmp_path, "new")
    async with opened(data, **module) as engine:
        assert engine.journal.last_seq == 2
        await accept(engine, 2)
        assert await stamps(engine) == ["1.0", "new"]


async def test_a_change_for_which_the_journal_has_no_room_comes_into_force_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.changeover.LATE_S", 0.01)
    async with opened(tmp_path / "data", **stamped(1)) as engine:
        await accept(engine, 1)
        data = as_a_crash_leaves_it(tmp_path / "data", tmp_path / "copy")
    append_control, is_full = FileJournal.append_control, True

    def perhaps(journal: FileJournal, *arguments: Any) -> asyncio.Future[int]:
        if not is_full:
            return append_control(journal, *arguments)
        refused: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        refused.set_exception(StorageFull("the disk is full", 5.0))
        return refused

    monkeypatch.setattr(FileJournal, "append_control", perhaps)
    async with opened(data, **stamped(2)) as engine:
        await accept(engine, 2)
        is_full = False
        await until(lambda: engine.terms.changes == 1)
        await accept(engine, 3)
        assert await stamps(engine) == ["1.0", "1.0", "2.0"]
    expect_clean(data, **stamped(2))


# what is kept


def kept(text: dict[str, Any], module: bytes | None = None) -> Kept:
    mapping = config.to_mapping(config.from_mapping(text))
    return Kept({name: mapping[name] for name in SECTIONS if name in mapping}, module)


TEXTS: Final[list[dict[str, Any]]] = [
    {},
    {"metric": [LARGE]},
    {"metric": [{**LARGE, "max_series": 7}]},
    {"transform": {"derive": {"a": "value + 1", "b": "a + 1"}}},
    {"transform": {"derive": {"b": "a + 1", "a": "value + 1"}}},
    {"transform": {"deadline": "1500ms", "memory": "100MiB"}},
    {"events": {"type": "kind", "max_ahead": "1h"}},
]


def test_what_is_kept_is_found_again_under_a_name_of_its_own(tmp_path: Path) -> None:
    configurations = Configurations(tmp_path)
    texts = [kept(text, module) for text in TEXTS for module in (None, b"", b"def transform(event): ...\n")]
    for text in texts:
        configurations.keep(text)
        configurations.keep(text)
    assert len({text.hash for text in texts}) == len(texts)
    assert [configurations.find(text.hash) for text in texts] == texts
    for text in texts:  # and means the same
        found = configurations.find(text.hash)
        assert found is not None
        assert kept(dict(found.sections), found.module) == text


@pytest.mark.parametrize("damage", [b"", b"{", b'{"metric":[]}', b"\xff", b"[]"])
def test_what_is_damaged_is_not_taken_for_what_it_was_and_is_written_again(
    tmp_path: Path, damage: bytes
) -> None:
    configurations, text = Configurations(tmp_path), kept({"metric": [LARGE]}, b"x = 1\n")
    configurations.keep(text)
    (tmp_path / f"{text.hash}.json").write_bytes(damage)
    assert configurations.find(text.hash) is None
    configurations.keep(text)
    assert configurations.find(text.hash) == text
    (tmp_path / f"{text.hash}.py").write_bytes(b"x = 2\n")
    assert configurations.find(text.hash) is None


def test_only_so_many_are_kept_and_the_last_ones_are(tmp_path: Path) -> None:
    configurations = Configurations(tmp_path)
    texts = [
        kept({"metric": [{**LARGE, "max_series": 1 + number}]}, b"m") for number in range(MOST_KEPT + 20)
    ]
    for text in texts:
        configurations.keep(text)
    assert configurations.find(texts[0].hash) is None
    assert all(configurations.find(text.hash) == text for text in texts[-50:])
    assert len(list(tmp_path.iterdir())) <= 2 * MOST_KEPT
