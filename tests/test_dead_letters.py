"""`/api/dead-letters`: a user finds what failed and why, mends the cause, sends it again, and nothing counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from aggregation_tools import batch
from streamgauge.commit import DeadLetterName
from streamgauge.dead_letters import letters_of, name_text, read_name
from streamgauge.errors import QueryError
from streamgauge.transform.module import Failure
from transform_tools import write_module
from web_tools import Served, problem, serving

T0 = 1_700_000_000
PICKY = "def transform(event):\n    if event['type'] == 'bad': raise ValueError('no such thing')\n    return event\n"
MENDED = "def transform(event):\n    return event\n"
PATH = "/api/dead-letters"


@asynccontextmanager
async def picky(folder: Path, text: str = PICKY, data: Path | None = None) -> AsyncIterator[Served]:
    """A server with a module that may not bear bad events."""
    async with serving(data, transform={"module": str(write_module(folder, text))}) as served:
        yield served


async def send_bad(served: Served, count: int = 3) -> None:
    """Send some bad events among good ones, in one append: they are named 0:1:1, 0:1:3, 0:1:5, ..."""
    events = [{"type": kind, "timestamp": T0, "n": n} for n in range(count) for kind in ("good", "bad")]
    await served.send(*events)
    await served.commit()


async def post(served: Served, action: str, **body: Any) -> Any:
    answer = await served.http.post(f"{PATH}/{action}", json=body)
    assert answer.status_code == (202 if action == "replay" else 200), answer.text
    return answer.json()


async def names(served: Served, **options: Any) -> list[str]:
    return [one["name"] for one in (await served.get(PATH, **options))["dead_letters"]]


async def counts(served: Served) -> tuple[int, int, int, int]:
    ledger = await served.get("/api/ledger")
    assert ledger["received"] == sum(
        ledger[name] for name in ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending")
    )
    return ledger["stored"], ledger["dead_lettered"], ledger["duplicate"], ledger["pending"]


async def test_letters_are_listed_in_pages_the_last_ones_first(tmp_path: Path) -> None:
    async with picky(tmp_path) as served:
        await send_bad(served, 5)
        first = await served.get(PATH, limit=3)
        second = await served.get(PATH, limit=3, after=first["next"])
    assert [one["name"] for one in first["dead_letters"]] == ["0:1:9", "0:1:7", "0:1:5"]
    assert [one["name"] for one in second["dead_letters"]] == ["0:1:3", "0:1:1"]
    assert (first["open"], second["next"]) == (5, None)
    letter = first["dead_letters"][0]
    assert (letter["stage"], letter["source"], letter["state"]) == ("transform", "http", "open")
    assert letter["reason"] == "ValueError: no such thing"
    assert letter["received_at"] <= letter["at"]


async def test_one_letter_has_its_event_its_traceback_and_its_mapping(tmp_path: Path) -> None:
    module = write_module(tmp_path, "def transform(event): raise KeyError('price')")
    async with serving(transform={"module": str(module)}) as served:
        await served.send({"event": "buy", "timestamp": T0}, query="?type=event")
        await served.commit()
        letter = await served.get(f"{PATH}/0:1:0")
    assert letter["event"] == {"event": "buy", "timestamp": T0}
    assert letter["mapping"]["type"] == "event"
    assert "shop.py" in letter["traceback"]


async def test_a_mended_module_gets_them_again_and_each_counts_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with picky(tmp_path, data=data) as served:
        await send_bad(served)
    async with picky(tmp_path, MENDED, data) as served:
        assert await post(served, "replay", all=True) == {
            "replayed": 3, "duplicates": 0, "rejected": 0, "missing": [], "errors": [],
        }  # fmt: skip
        assert await names(served) == []
        assert await names(served, state="all") == ["0:1:5", "0:1:3", "0:1:1"]
        again = await post(served, "replay", names=["0:1:1", "0:1:3", "0:1:3", "0:9:9"])
        assert (again["replayed"], again["duplicates"], again["missing"]) == (0, 2, ["0:9:9"])
        assert await served.ask("SELECT type, count(*) FROM events GROUP BY 1 ORDER BY 1") == [
            ["bad", 3],
            ["good", 3],
        ]
        assert await counts(served) == (6, 3, 2, 0)
    async with picky(tmp_path, MENDED, data) as served:
        assert (await post(served, "replay", names=["0:1:1"]))["duplicates"] == 1, "also after a restart"
        assert await served.ask("SELECT count(*) FROM events") == [[6]]


async def test_replayed_twice_at_the_same_time_they_count_once(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with picky(tmp_path, data=data) as served:
        await send_bad(served)
    async with picky(tmp_path, MENDED, data) as served:
        answers = await asyncio.gather(*(post(served, "replay", all=True) for _ in range(4)))
        assert sum(answer["replayed"] for answer in answers) == 3
        assert await served.ask("SELECT count(*) FROM events") == [[6]]


async def test_what_fails_again_is_a_new_letter(tmp_path: Path) -> None:
    async with picky(tmp_path) as served:
        await send_bad(served, 1)
        assert (await post(served, "replay", all=True))["replayed"] == 1
        [name] = await names(served)
        assert name != "0:1:1"
        assert (await served.get(f"{PATH}/{name}"))["source"] == "dead_letters"
        assert (await served.get(f"{PATH}/0:1:1"))["state"] == "replayed"


async def test_one_letter_can_be_sent_again_with_another_event(tmp_path: Path) -> None:
    async with picky(tmp_path) as served:
        await send_bad(served, 1)
        event = {"type": "mended", "timestamp": T0, "n": 7}
        assert (await post(served, "replay", names=["0:1:1"], event=event))["replayed"] == 1
        assert await served.ask("SELECT event->>'n', epoch(time) FROM events WHERE type = 'mended'") == [
            ["7", T0]
        ]
        assert await names(served) == []


async def test_another_event_that_is_none_is_rejected_and_the_letter_stays(tmp_path: Path) -> None:
    async with picky(tmp_path) as served:
        await send_bad(served, 1)
        answer = await post(served, "replay", names=["0:1:1"], event={"no": "type"})
        assert answer["rejected"] == 1
        assert [error["name"] for error in answer["errors"]] == ["0:1:1"]
        assert "no `type`" in answer["errors"][0]["error"]
        assert await names(served) == ["0:1:1"]


async def test_an_event_without_a_time_of_its_own_happened_when_it_first_arrived(tmp_path: Path) -> None:
    data = tmp_path / "data"
    async with picky(tmp_path, data=data) as served:
        await served.send({"type": "bad"})
        await served.commit()
        arrived = (await served.get(f"{PATH}/0:1:0"))["received_at"]
    async with picky(tmp_path, MENDED, data) as served:
        await post(served, "replay", all=True)
        assert await served.ask("SELECT epoch_us(time) // 1000 FROM events") == [[arrived]]


async def test_discarded_letters_are_out_of_the_list_and_still_there(tmp_path: Path) -> None:
    async with picky(tmp_path) as served:
        await send_bad(served, 4)
        assert await post(served, "discard", names=["0:1:1", "0:1:2"]) == {"discarded": 1}
        answer = await served.http.delete(f"{PATH}/0:1:3")
        assert answer.json() == {"discarded": 1}
        assert await names(served) == ["0:1:7", "0:1:5"]
        assert await post(served, "discard", all=True) == {"discarded": 2}
        assert await names(served) == []
        assert len(await names(served, state="all")) == 4
        assert (await served.get(f"{PATH}/0:1:1"))["state"] == "discarded"
        assert await counts(served) == (4, 4, 0, 0)


@pytest.mark.parametrize(
    ("method", "path", "body", "said"),
    [
        ("GET", "?limit=0", None, "limit: expected a whole number from 1 to 200"),
        ("GET", "?limit=many", None, "limit"),
        ("GET", "?state=half", None, "state"),
        ("GET", "?after=x", None, "name: expected shard:append:line"),
        ("GET", "?page=2", None, "page: unknown; there are limit, after, state"),
        ("GET", "/first", None, "name: expected shard:append:line"),
        ("DELETE", "/first", None, "name: expected shard:append:line"),
        ("POST", "/replay", b"{}", "expected either"),
        ("POST", "/replay", b'{"names":["0:1:1"],"all":true}', "expected either"),
        ("POST", "/replay", b"[", "body:"),
        ("POST", "/replay", b'{"nams":[]}', "body:"),
        ("POST", "/replay", b'{"names":["1"]}', "name: expected"),
        ("POST", "/replay", b'{"names":["0:1:1","0:1:2"],"event":{"type":"a"}}', "got 2 names"),
        ("POST", "/discard", b'{"names":["0:1:1"],"event":{"type":"a"}}', "only a letter that is replayed"),
    ],
)
async def test_a_question_that_makes_no_sense_is_told_what_does(
    method: str, path: str, body: bytes | None, said: str
) -> None:
    async with serving() as served:
        answer = await served.http.request(method, PATH + path, content=body)
    assert said in problem(answer, 400, "bad_query")


async def test_a_letter_that_is_not_there_is_404(tmp_path: Path) -> None:
    async with serving() as served:
        for method in ("GET", "DELETE"):
            answer = await served.http.request(method, f"{PATH}/0:1:1")
            assert "no dead letter 0:1:1" in problem(answer, 404, "not_found")


async def test_a_body_without_an_end_is_refused() -> None:
    async with serving() as served:
        answer = await served.http.post(f"{PATH}/replay", content=b" " * (2**20 + 1))
    assert "more than 1048576 bytes" in problem(answer, 413, "too_large")


def test_names_are_read_as_they_are_written() -> None:
    name = DeadLetterName("0", 12, 3)
    assert read_name(name_text(name)) == name
    for wrong in ("", "0", "0:1", "0:1:2:3", "0:1:x", "0:-1:2", "0:1:2\n", "0:1:" + "9" * 30):
        with pytest.raises(QueryError):
            read_name(wrong)


def test_long_reasons_and_tracebacks_are_cut_in_their_middle() -> None:
    events = batch([{"type": "a"}])
    [letter] = letters_of(
        events, [Failure(0, "é" * 5000, "b" + "x" * 50_000 + "e")], stage="transform", at_us=1
    )
    assert len(letter.reason.encode()) <= 1024
    assert len(letter.traceback) <= 8192
    assert letter.traceback.startswith("bx")
    assert letter.traceback.endswith("xe")
