"""Room: what is under way stays within its bound, and those who wait are admitted in their order."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from streamgauge.sources.room import Room


async def turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@given(st.integers(1, 20), st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=30), st.randoms())
async def test_everybody_is_admitted_in_order_and_the_sum_stays_within_the_bound(
    most: int, asked: list[tuple[int, bool]], random: object
) -> None:
    room = Room(most)
    admitted: list[int] = []
    inside: list[int] = []
    wanted = [number for number, (_, gives_up) in enumerate(asked) if not gives_up]

    async def ask(number: int, size: int) -> None:
        await room.take(size)
        admitted.append(number)
        inside.append(size)

    tasks = [asyncio.create_task(ask(number, size)) for number, (size, _) in enumerate(asked)]
    await turn()
    for task, (_, gives_up) in zip(tasks, asked, strict=True):
        if gives_up:
            task.cancel()
    while True:
        await turn()
        assert room.used == sum(inside)
        assert sum(inside) <= most or len([size for size in inside if size]) == 1
        if not inside:
            break
        room.give_back(inside.pop(random.randrange(len(inside))))  # type: ignore[attr-defined]
    assert admitted == sorted(admitted)
    assert set(wanted) <= set(admitted)
    assert room.used == 0


async def test_one_that_is_larger_than_the_bound_has_all_the_room_to_itself() -> None:
    room = Room(10)
    await room.take(1)
    large = asyncio.create_task(room.take(50))
    small = asyncio.create_task(room.take(1))
    await turn()
    assert (large.done(), small.done()) == (False, False)
    room.give_back(1)
    await turn()
    assert (large.done(), small.done(), room.used) == (True, False, 50)
    room.give_back(50)
    await small


async def test_one_that_is_cancelled_as_it_is_admitted_gives_its_room_back() -> None:
    room = Room(1)
    await room.take(1)
    waiting = asyncio.create_task(room.take(1))
    await turn()
    room.give_back(1)
    waiting.cancel()
    await asyncio.wait([waiting])
    assert room.used == 0
