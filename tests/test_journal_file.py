"""The journal on disk when all goes well: format, groups, segments, reopening."""

import asyncio
import json
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from journal_tools import (
    TestFiles,
    entry,
    expected,
    ignore,
    kept,
    leftovers,
    open_journal,
    segments,
    until,
    write_all,
)
from streamgauge.errors import InternalError
from streamgauge.journal import Entry, Record

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=6,
)
ENTRIES = st.builds(
    lambda lines, **rest: Entry(
        payload=b"".join(json.dumps(line).encode() + b"\n" for line in lines), count=len(lines), **rest
    ),
    st.lists(st.dictionaries(st.text(), JSON, max_size=3), min_size=1, max_size=4),
    at_us=st.integers(0, 2**53),
    source=st.text(),
    context=st.dictionaries(st.text(), JSON, max_size=3),
    ledger=st.dictionaries(st.text(), JSON, max_size=3),
    idempotency=st.none() | st.text(),
)


@settings(max_examples=60, deadline=None)
@given(entries=st.lists(ENTRIES, max_size=5))
def test_what_was_appended_is_read_back_after_reopening(
    entries: list[Entry], tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def run() -> None:
        folder = tmp_path_factory.mktemp("journal")
        journal = open_journal(folder, segment_bytes=300)
        for given_entry in entries:
            await journal.append(given_entry, ignore)
        await journal.close()
        again = open_journal(folder)
        assert list(again.replay(0)) == [Record(seq, each) for seq, each in enumerate(entries, 1)]
        assert again.report.events == sum(each.count for each in entries)
        assert again.report.damaged == []
        await again.close()

    asyncio.run(run())


async def test_every_line_is_json_and_headers_say_where_the_next_one_stands(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await journal.append(entry("a", lines=3), ignore)
    await journal.append_control("configuration", {"hash": "c1"})
    await journal.append(entry("b"), ignore)
    await journal.close()
    (path,) = segments(tmp_path)
    data = path.read_bytes()
    assert all(isinstance(json.loads(line), dict) for line in data.splitlines())
    headers, offset = [], 0
    while offset < len(data):
        end = data.index(b"\n", offset) + 1
        headers.append(json.loads(data[offset:end]))
        offset = end + headers[-1].get("bytes", 0)
    assert [header.get("control", "events") for header in headers] == [
        "segment",
        "events",
        "configuration",
        "events",
        "seal",
    ]
    assert [header["seq"] for header in headers] == [0, 1, 2, 3, 3]
    assert headers[0]["data"] == {
        "format": 1,
        "instance": "here",
        "shard": "0",
        "base": 1,
        "configuration": "c0",
        "after": None,
    }
    assert len({header["seg"] for header in headers}) == 1
    assert list(headers[1])[-1] == "crc"
    assert not {"ctx", "idem", "ledger"} & headers[1].keys()


async def test_a_journal_that_is_being_written_can_be_read_line_by_line(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    await write_all(journal, "ab")
    (path,) = segments(tmp_path)
    events = [line for line in map(json.loads, path.read_text().splitlines()) if "_sg" not in line]
    assert [event["type"] for event in events] == ["a", "b"]
    await journal.close()


async def test_appends_that_come_while_the_disk_is_busy_share_one_write(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="always")
    before, synced_before = files.calls.count("write"), files.calls.count("fsync")
    files.gate.clear()
    files.waiting.clear()
    first = journal.append(entry("first"), ignore)
    assert await asyncio.to_thread(files.waiting.wait, 10)
    rest = [journal.append(entry(str(number)), ignore) for number in range(100)]
    files.gate.set()
    assert await first == 1
    assert await asyncio.gather(*rest) == list(range(2, 102))
    assert files.calls.count("write") - before == 2
    assert files.calls.count("fsync") - synced_before == 2
    await journal.close()


async def test_a_group_too_large_for_one_system_call_is_written_in_several(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files)
    files.gate.clear()
    sent = [journal.append(entry(str(number)), ignore) for number in range(2_000)]
    files.gate.set()
    assert await asyncio.gather(*sent) == list(range(1, 2_001))
    assert kept(journal) == expected(map(str, range(2_000)))
    await journal.close()


async def test_with_fsync_always_the_answer_waits_for_the_disk(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="always")
    files.calls.clear()
    order: list[list[str]] = []
    await journal.append(entry("a"), lambda _: order.append(list(files.calls)))
    assert order == [["write", "fsync"]]
    await journal.close()


async def test_with_fsync_interval_the_disk_follows_soon_after(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="interval", interval_s=0.001)
    (path,) = segments(tmp_path)
    await journal.append(entry("a"), ignore)
    await until(lambda: path.with_name(path.name + ".tmp") in files.synced[1:])
    await journal.close()


async def test_a_closed_journal_is_on_the_disk_even_with_fsync_never(tmp_path: Path) -> None:
    files = TestFiles()
    journal = open_journal(tmp_path, files=files, fsync="never")
    await journal.append(entry("a"), ignore)
    files.calls.clear()
    await journal.close()
    assert files.calls == ["write", "fsync"]


async def test_reopening_goes_on_with_the_next_seq_in_a_new_file(tmp_path: Path) -> None:
    for round_number in range(3):
        journal = open_journal(tmp_path)
        assert journal.last_seq == round_number * 2
        await write_all(journal, "ab")
        await journal.close()
    journal = open_journal(tmp_path)
    assert kept(journal) == expected("ababab")
    assert [path.name for path in segments(tmp_path)] == [f"{base:020d}.ndjson" for base in (1, 3, 5, 7)]
    await journal.close()


async def test_opening_again_and_again_leaves_no_empty_files(tmp_path: Path) -> None:
    for _ in range(5):
        await open_journal(tmp_path).close()
    assert len(segments(tmp_path)) == 1
    assert leftovers(tmp_path) == []


async def test_temporary_files_of_a_crash_are_removed(tmp_path: Path) -> None:
    stale = tmp_path / f"{1:020d}.ndjson.tmp"
    stale.write_bytes(b"half a header")
    journal = open_journal(tmp_path)
    await journal.close()
    assert not stale.exists()


async def test_what_is_not_whole_lines_is_refused_as_a_bug_of_the_caller(tmp_path: Path) -> None:
    journal = open_journal(tmp_path)
    with pytest.raises(InternalError):
        journal.append(Entry(payload=b'{"type":"a"}', count=1, at_us=0, source="http"), ignore)
    with pytest.raises(InternalError):
        journal.append_control("seal", {})
    await write_all(journal, "a")
    assert kept(journal) == expected("a")
    await journal.close()


async def test_many_senders_at_once_are_all_kept_each_under_its_own_seq(tmp_path: Path) -> None:
    journal = open_journal(tmp_path, segment_bytes=20_000)
    answered: dict[int, bytes] = {}

    async def send(name: str) -> None:
        for number in range(50):
            sent = entry(f"{name}-{number}")
            answered[await journal.append(sent, ignore)] = sent.payload

    async with asyncio.timeout(20), asyncio.TaskGroup() as senders:
        for sender in range(20):
            senders.create_task(send(str(sender)))
    assert sorted(answered.items()) == kept(journal)
    assert list(answered) == list(range(1, 1_001))
    await journal.close()


async def test_a_crash_between_any_two_steps_keeps_all_that_was_answered(tmp_path: Path) -> None:
    """The folder is copied after every change that the journal makes, and every copy is opened."""
    answered: list[int] = []
    copies: list[tuple[Path, int]] = []
    released = [0]

    class Copying(TestFiles):
        def _next(self, name: str) -> int:
            target = tmp_path / f"copy{len(copies)}"
            shutil.copytree(tmp_path / "live", target)
            copies.append((target, len(answered)))
            return super()._next(name)

    (tmp_path / "live").mkdir()
    journal = open_journal(tmp_path / "live", files=Copying(), segment_bytes=700, fsync="always")
    for number, text in enumerate("abcdefghij", 1):
        answered.append(await journal.append(entry(text), ignore))
        if number == 6:
            released[0] = 3
            journal.release(3)
    await journal.close()
    assert len(copies) > 30
    for folder, acknowledged in copies:
        journal = open_journal(folder)
        there = kept(journal)
        assert journal.report.damaged == []
        assert acknowledged <= journal.last_seq <= acknowledged + 1
        assert there == expected("abcdefghij")[journal.first_seq - 1 : journal.last_seq]
        assert journal.first_seq <= released[0] + 1
        assert await journal.append(entry("next"), ignore) == len(there) + journal.first_seq
        await journal.close()


async def test_replay_leaves_out_what_was_written_but_not_handed_on_yet(tmp_path: Path) -> None:
    """Else the caller would meet it twice: in the replay and through `written`."""
    journal = open_journal(tmp_path)
    empty, seen = journal.size_bytes, list[int]()
    pending = journal.append(entry("a"), seen.append)
    deadline = time.monotonic() + 10
    while journal.size_bytes == empty and time.monotonic() < deadline:
        pass  # the loop must not run meanwhile: it would hand the entry on
    assert journal.size_bytes > empty
    assert (seen, kept(journal)) == ([], [])
    await pending
    assert (seen, kept(journal)) == ([1], expected("a"))
    await journal.close()
