"""What every journal does, whatever it writes to."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from streamgauge.errors import JournalError
from streamgauge.journal import Control, Entry, Journal, Record
from streamgauge.journals.file import FileJournal
from streamgauge.journals.memory import MemoryJournal


def open_file(folder: Path) -> Journal:
    return FileJournal.open(folder, instance="here", configuration_hash="c0", fsync="never")


def open_memory(_folder: Path) -> Journal:
    return MemoryJournal()


JOURNALS = [pytest.param(open_file, id="file"), pytest.param(open_memory, id="memory")]
DURABLE = [pytest.param(open_file, id="file")]  # the memory journal keeps nothing, on purpose


@pytest.fixture(params=JOURNALS)
async def journal(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    opened: Journal = request.param(tmp_path / "journal")
    yield opened
    await opened.close()


@pytest.fixture(params=DURABLE)
async def durable(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Journal]:
    opened: Journal = request.param(tmp_path / "journal")
    yield opened
    await opened.close()


def entry(text: str = "a") -> Entry:
    return Entry(
        payload=b'{"type":"%b"}\n' % text.encode(), count=1, at_us=1_700_000_000_000_000, source="http"
    )


async def test_seqs_begin_at_one_and_have_no_gaps(journal: Journal) -> None:
    assert journal.last_seq == 0
    seqs = [await journal.append(entry(), lambda _: None) for _ in range(5)]
    assert seqs == [1, 2, 3, 4, 5]
    assert journal.last_seq == 5


async def test_written_is_called_once_for_each_entry_in_order_and_before_the_future_resolves(
    journal: Journal,
) -> None:
    order: list[str] = []

    async def send(name: str) -> None:
        seq = await journal.append(entry(name), lambda seq: order.append(f"written {seq}"))
        order.append(f"answered {seq}")

    async with asyncio.timeout(10), asyncio.TaskGroup() as senders:
        for number in range(100):
            senders.create_task(send(str(number)))
    assert [line for line in order if line.startswith("written")] == [
        f"written {seq}" for seq in range(1, 101)
    ]
    assert all(order.index(f"written {seq}") < order.index(f"answered {seq}") for seq in range(1, 101))


async def test_events_of_a_client_that_left_still_flow_on(journal: Journal) -> None:
    seen: list[int] = []
    waiter = journal.append(entry(), seen.append)
    waiter.cancel()
    async with asyncio.timeout(10):
        assert await journal.append(entry(), seen.append) == 2
    assert seen == [1, 2]


async def test_a_callback_that_raises_does_not_cost_the_others_their_answer(journal: Journal) -> None:
    reported: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))

    def fail(_seq: int) -> None:
        raise ValueError("a bug in the pipeline")

    first, second = journal.append(entry(), fail), journal.append(entry(), lambda _: None)
    assert [await first, await second] == [1, 2]
    assert [str(context["exception"]) for context in reported] == ["a bug in the pipeline"]


async def test_a_control_record_takes_its_place_among_the_appends(journal: Journal) -> None:
    first = journal.append(entry(), lambda _: None)
    control = journal.append_control("configuration", {"hash": "c1"})
    last = journal.append(entry(), lambda _: None)
    assert [await first, await control, await last] == [1, 2, 3]


async def test_after_close_nothing_is_accepted(journal: Journal) -> None:
    seen: list[int] = []
    await journal.close()
    with pytest.raises(JournalError, match="closed"):
        await journal.append(entry(), seen.append)
    assert seen == []
    await journal.close()


async def test_close_writes_what_is_pending(journal: Journal) -> None:
    seen: list[int] = []
    pending = [journal.append(entry(), seen.append) for _ in range(20)]
    await journal.close()
    assert [await future for future in pending] == seen == list(range(1, 21))


async def test_replay_gives_back_what_was_handed_over(durable: Journal) -> None:
    given = Entry(
        payload=b'{"type":"a"}\n{"type":"b"}\n',
        count=2,
        at_us=1_700_000_000_123_456,
        source="mqtt",
        context={"topic": "a/b", "fields": {"type": "event"}},
        ledger={"mqtt": {"rejected": 3, "duplicate": 1}},
        idempotency="5f2b",
    )
    await durable.append(given, lambda _: None)
    await durable.append_control("configuration", {"hash": "c1"})
    assert list(durable.replay(0)) == [Record(1, given), Control(2, "configuration", {"hash": "c1"})]


async def test_replay_begins_after_the_seq_that_it_is_given(durable: Journal) -> None:
    for text in "abc":
        await durable.append(entry(text), lambda _: None)
    assert [item.seq for item in durable.replay(2)] == [3]
    assert list(durable.replay(3)) == []


async def test_replay_leaves_out_what_comes_after_it_was_called(durable: Journal) -> None:
    await durable.append(entry("a"), lambda _: None)
    replay = durable.replay(0)
    await durable.append(entry("b"), lambda _: None)
    assert [item.seq for item in replay] == [1]


async def test_a_journal_without_memory_replays_nothing() -> None:
    journal = MemoryJournal()
    await journal.append(entry(), lambda _: None)
    journal.release(1)
    assert list(journal.replay(0)) == []
    assert journal.size_bytes == 0
