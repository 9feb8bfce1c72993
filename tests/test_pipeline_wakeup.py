import asyncio

from pipeline_tools import settle
from streamgauge.pipeline.wakeup import Signal


async def test_a_sleeper_is_woken_on_the_next_turn_of_the_loop() -> None:
    signal = Signal()
    sleeper = asyncio.create_task(signal.wait())
    await settle()
    assert not sleeper.done()
    signal.wake()
    signal.wake()
    await asyncio.sleep(0)
    assert sleeper.done()


async def test_a_wake_between_looking_and_sleeping_is_not_lost() -> None:
    signal = Signal()
    signal.clear()
    signal.wake()
    async with asyncio.timeout(0):
        await signal.wait()


async def test_a_wake_before_looking_does_not_keep_anybody_awake() -> None:
    signal = Signal()
    signal.wake()
    signal.clear()
    sleeper = asyncio.create_task(signal.wait())
    await settle()
    assert not sleeper.done()
    signal.wake()
    await sleeper


async def test_a_sleeper_that_was_cancelled_does_not_trouble_the_next_wake() -> None:
    signal = Signal()
    sleeper = asyncio.create_task(signal.wait())
    await settle()
    sleeper.cancel()
    signal.wake()
    await asyncio.wait([sleeper])
    assert sleeper.cancelled()
