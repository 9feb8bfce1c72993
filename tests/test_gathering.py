"""Small payloads of one turn are taken together, and each gets its own answer."""

from __future__ import annotations

import asyncio

import pytest

from streamgauge.event import FieldMapping
from streamgauge.gathering import MOST_BYTES, Gathering, Kind, Waiting
from web_tools import serving

HTTP = Kind("http", FieldMapping())
OTHER = Kind("http", FieldMapping(type="event"))


async def test_payloads_of_one_turn_are_taken_in_one_call_for_each_kind_in_their_order() -> None:
    calls: list[tuple[Kind, list[bytes]]] = []

    def take(kind: Kind, waiting: list[Waiting[int]]) -> None:
        calls.append((kind, [one.payload for one in waiting]))
        for place, one in enumerate(waiting):
            one.answer.set_result(place)

    gathering = Gathering(take)
    answers = await asyncio.gather(
        *(gathering.add(p, k) for p, k in [(b"a", HTTP), (b"b", OTHER), (b"c", HTTP)])
    )
    assert calls == [(HTTP, [b"a", b"c"]), (OTHER, [b"b"])]
    assert answers == [0, 0, 1]


async def test_what_goes_wrong_is_told_to_everybody_who_waits_and_the_next_turn_is_taken_again() -> None:
    problems = [ValueError("no room")]

    def take(kind: Kind, waiting: list[Waiting[str]]) -> None:
        if problems:
            raise problems.pop()
        for one in waiting:
            one.answer.set_result("taken")

    gathering = Gathering(take)
    failed = await asyncio.gather(
        gathering.add(b"a", HTTP), gathering.add(b"b", HTTP), return_exceptions=True
    )
    assert [str(error) for error in failed] == ["no room", "no room"]
    assert await gathering.add(b"c", HTTP) == "taken"


@pytest.mark.parametrize("size", [MOST_BYTES, MOST_BYTES + 1])
async def test_a_full_turn_goes_on_at_once(size: int) -> None:
    taken: list[int] = []
    gathering: Gathering[None] = Gathering(lambda kind, waiting: taken.append(len(waiting)))
    answer = gathering.add(b"x" * size, HTTP)
    assert taken == [1]
    answer.cancel()


async def test_a_bad_event_beside_good_ones_of_the_same_turn_costs_only_its_own_sender() -> None:
    async with serving() as served:
        intake = served.app.engine.intake
        good, bad = b'{"type":"a"}\n', b'{"typ":"a"}\n'
        receipts = await asyncio.gather(
            *(intake.accept(p, "http", FieldMapping()) for p in (good, bad, good + bad))
        )
        assert [(one.accepted, one.rejected) for one in receipts] == [(1, 0), (0, 1), (1, 1)]
        assert [place for place, _ in receipts[2].errors] == [1]
        counts = served.app.engine.ledger.of("http")
        assert (counts.received, counts.rejected, counts.pending + counts.stored) == (4, 2, 2)
