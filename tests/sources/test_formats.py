"""The seam for further formats: one that nobody else knows comes in as a line in the registry, and behaves as all do."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from streamgauge import app
from streamgauge.errors import DecodeError, Saturated, StreamgaugeError
from streamgauge.source import Receipt
from streamgauge.sources.converted import UNREADABLE, Converted, Sent
from streamgauge.sources.formats import Answer, Format, Formats
from web_tools import Served, problem, serving

PATH = "/pairs/write"
KIND = "text/x-pairs"


async def pairs(sent: Sent) -> Converted:
    """Read lines such as `temperature 21.5`; `?scale=10` multiplies."""
    if b"\0" in sent.body:
        raise DecodeError("body: expected text")
    scale = float(sent.query.removeprefix(b"scale=") or 1)
    lines, problems = [], {}
    for place, line in enumerate(sent.body.splitlines()):
        name, _, value = line.decode().partition(" ")
        try:
            event = {sent.mapping.type: name, sent.mapping.value: float(value) * scale}
            lines.append(msgspec.json.encode(event))
        except ValueError:
            problems[place] = f"{value!r} is no number"
            lines.append(UNREADABLE)
    return Converted(b"".join(line + b"\n" for line in lines), problems)


def in_its_words(outcome: Receipt | StreamgaugeError, usual: Answer) -> Answer:
    """204 where all is stored; a line of text where not."""
    if isinstance(outcome, Exception):
        return Answer(usual.status, usual.headers, f"pairs: {outcome}".encode())
    if outcome.rejected:
        return Answer(400, usual.headers, f"dropped={outcome.rejected}: {outcome.errors[0][1]}".encode())
    return Answer(204, (), b"")


WRITTEN = Format(
    "pairs", pairs, frozenset({KIND}), paths=frozenset({PATH}), answer=in_its_words
)  # as it would stand in the registry


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    monkeypatch.setattr(app, "FORMATS", Formats(WRITTEN))
    async with serving(events={"value": "reading"}, limits={"saturated_wait": "0s"}) as served:
        yield served


async def write(server: Served, body: bytes, **options: Any) -> httpx.Response:
    return await server.http.post(PATH, content=body, **options)


async def stored(server: Served) -> list[list[Any]]:
    await server.commit()
    return await server.ask("SELECT type, value FROM events ORDER BY value")


async def test_at_its_own_address_every_body_is_of_that_format_and_is_answered_in_its_words(
    server: Served,
) -> None:
    answer = await write(server, b"a 1\nb 2.5\n", params={"scale": "10"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert await stored(server) == [["a", 10.0], ["b", 25.0]]


async def test_by_its_media_type_it_is_taken_where_all_others_are(server: Served) -> None:
    headers = {"Content-Type": f"{KIND}; charset=utf-8", "Content-Encoding": "gzip"}
    answer = await server.http.post("/api/events", content=gzip.compress(b"a 1\n"), headers=headers)
    assert answer.status_code == 204
    assert await stored(server) == [["a", 1.0]]


async def test_bad_events_cost_only_themselves_and_have_the_formats_own_reasons(server: Served) -> None:
    answer = await write(server, b"a 1\nb much\n")
    assert (answer.status_code, answer.text) == (400, "dropped=1: 'much' is no number")
    assert await stored(server) == [["a", 1.0]]


async def test_what_cannot_be_read_or_has_no_room_is_refused_in_its_words_with_the_usual_status(
    server: Served,
) -> None:
    answer = await write(server, b"\0")
    assert (answer.status_code, answer.text) == (400, "pairs: body: expected text")
    server.app.engine.intake.accept = _full  # type: ignore[method-assign,assignment]  # it is called with more
    answer = await write(server, b"a 1\n")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "3")
    assert answer.text.startswith("pairs: ")


async def _full(*_: Any) -> Any:
    raise Saturated("no room", 3.0)


async def test_a_repeated_request_counts_once(server: Served) -> None:
    for _ in range(2):
        assert (await write(server, b"a 1\n", headers={"Idempotency-Key": "1"})).status_code == 204
    assert await stored(server) == [["a", 1.0]]


async def test_it_has_a_door_of_its_own_on_the_page_and_stands_under_http_in_the_ledger(
    server: Served,
) -> None:
    await write(server, b"a 1\nb much\n")
    listed = {door["name"]: door for door in (await server.get("/api/sources"))["doors"]}
    door = listed["pairs"]
    assert (door["received"], door["rejected"], door["last_problem"]) == (2, 1, "'much' is no number")
    assert (listed["http"]["received"], listed["http"]["rejected"]) == (2, 1)
    assert "cloudevents" not in listed


async def test_a_format_that_is_not_registered_is_refused_by_its_media_type(server: Served) -> None:
    answer = await server.http.post(
        "/api/events", content=b"{}", headers={"Content-Type": "application/cloudevents+json"}
    )
    problem(answer, 415, "unsupported_media_type")


async def test_another_method_at_its_address_is_told_which_one(server: Served) -> None:
    assert (await server.http.get(PATH)).headers["allow"] == "POST"
