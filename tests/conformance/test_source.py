"""What every source does, whatever it speaks: accepted, refused in part or in whole, and what stays over a restart.

A further source is a line in `DOORS` of `doors.py`, with something that opens it and sends. A gap is a mark with a
reason on one test.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

from doors import DOORS, Door, Outcome
from mqtt_broker import Broker


def through_every_door(**gaps: str) -> pytest.MarkDecorator:
    """Run a test at every door. gaps: by name, why a door has no such case."""
    assert gaps.keys() <= {kind.name for kind in DOORS}
    marks = {name: pytest.mark.skip(reason=reason) for name, reason in gaps.items()}
    params = [
        pytest.param(kind, id=kind.name, marks=[marks[kind.name]] if kind.name in marks else [])
        for kind in DOORS
    ]
    return pytest.mark.parametrize("door", params, indirect=True)


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def door(request: pytest.FixtureRequest) -> Door:
    return Door(request.param, lru_cache(lambda: request.getfixturevalue("broker")))


@through_every_door()
async def test_what_is_accepted_is_stored_and_counted_under_the_source(door: Door) -> None:
    async with door.open() as at:
        assert await at.sender.send({"type": "a", "value": 1}) == Outcome(accepted=1)
        several = ({"type": "b", "value": n, "event_id": str(n)} for n in range(3))
        assert await at.sender.send(*several) == Outcome(accepted=3)
        assert await at.made() == [["a", 1.0], ["b", 0.0], ["b", 1.0], ["b", 2.0]]
        assert (await at.counts())["stored"] == 4


@through_every_door()
async def test_bad_events_are_told_by_their_place_and_the_good_ones_beside_them_are_stored(
    door: Door,
) -> None:
    async with door.open() as at:
        bad = [{"type": "b", "value": "abc", "n": number} for number in range(2)]
        outcome = await at.sender.send({"type": "a"}, bad[0], {"type": "c"}, bad[1])
        assert outcome == Outcome(accepted=2, rejected=2)
        assert outcome.bad in (None, [1, 3])
        outcome = await at.sender.send(bad[0])
        assert outcome == Outcome(rejected=1)
        assert outcome.bad in (None, [0])
        assert [row[0] for row in await at.made()] == ["a", "c"]
        assert (await at.counts())["rejected"] == 3


@through_every_door(Client="what cannot be written raises where it is pushed, and is never sent")
async def test_what_cannot_be_read_is_refused_and_counted_and_the_next_is_taken(door: Door) -> None:
    async with door.open() as at:
        outcome = await at.sender.send_malformed()
        assert (outcome.refused, outcome.again, outcome.accepted) == (True, False, 0)
        counts = await at.counts()
        assert counts["rejected"] + counts["requests_refused"] == 1
        assert await at.sender.send({"type": "a"}) == Outcome(accepted=1)
        assert len(await at.made()) == 1


@through_every_door()
async def test_an_event_over_the_limit_costs_only_itself(door: Door) -> None:
    async with door.open(limits={"event_bytes": "1KiB"}) as at:
        long = {"type": "long", "text": "x" * 2000}
        outcome = await at.sender.send({"type": "a"}, long, {"type": "b"})
        assert outcome == Outcome(accepted=2, rejected=1)
        assert outcome.bad in (None, [1])
        assert [row[0] for row in await at.made()] == ["a", "b"]


@through_every_door(
    MQTT="what is too large stays with a broker of MQTT 5, and 3.1.1 knows no such limit",
    Client="it sends smaller parts, which are taken",
    Python="it has no message",
)
async def test_more_than_may_come_at_once_is_refused_whole_and_the_next_is_taken(door: Door) -> None:
    async with door.open(limits={"body_bytes": "64KiB", "websocket_message_bytes": "64KiB"}) as at:
        many = [{"type": "much", "text": "x" * 1000} for _ in range(100)]
        outcome = await at.sender.send(*many)
        assert (outcome.refused, outcome.again, outcome.accepted) == (True, False, 0)
        counts = await at.counts()
        assert (counts["received"], counts["requests_refused"]) == (0, 1)
        assert await at.sender.send({"type": "a"}) == Outcome(accepted=1)
        assert [row[0] for row in await at.made()] == ["a"]


@through_every_door()
async def test_a_full_server_has_taken_nothing_and_takes_the_same_once_it_has_room(door: Door) -> None:
    async with door.open(limits={"saturated_wait": "0s"}) as at:
        producer = at.engine.producer
        capacity, producer.capacity = producer.capacity, 0
        producer._room.clear()
        outcome = await at.sender.send({"type": "a"}, {"type": "b"})
        assert (outcome.refused, outcome.again, outcome.accepted) == (True, True, 0)
        counts = await at.counts()
        assert counts["received"] == 0
        assert (counts["requests_refused"] > 0) == door.kind.refuses
        producer.capacity = capacity
        assert await at.sender.send_again({"type": "a"}, {"type": "b"}) == Outcome(accepted=2)
        assert [row[0] for row in await at.made()] == ["a", "b"]


@through_every_door()
async def test_an_id_that_came_before_is_told_as_duplicate_and_counted_once(door: Door) -> None:
    async with door.open() as at:
        first = {"type": "a", "event_id": "1"}
        assert await at.sender.send(first, first) == Outcome(accepted=1, duplicates=1)
        assert await at.sender.send(first) == Outcome(duplicates=1)
        second = {"type": "b", "event_id": "2"}
        assert await at.sender.send(first, second) == Outcome(accepted=1, duplicates=1)
        assert [row[0] for row in await at.made()] == ["a", "b"]
        assert (await at.counts())["duplicate"] == 3


@through_every_door()
async def test_what_was_accepted_is_there_after_a_restart_and_once(door: Door, tmp_path: Path) -> None:
    events = [{"type": "a", "value": number, "event_id": str(number)} for number in range(50)]
    data = tmp_path / "data"
    async with door.open(data) as at:
        assert await at.sender.send(*events[:30]) == Outcome(accepted=30)
    async with door.open(data) as at:
        assert await at.sender.send(*events[30:]) == Outcome(accepted=20)
        assert await at.made() == [["a", float(number)] for number in range(50)]
        assert (await at.counts())["stored"] == 50
