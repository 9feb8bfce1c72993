"""The least that a subscriber can do with the same client library: decode each message, acknowledge it, keep nothing."""

from __future__ import annotations

import asyncio
import gc
import time
from typing import Any

import gmqtt
import msgspec

from benchmarks.plans import Received, SubscribePlan
from benchmarks.programs.decode_only import Reserved
from benchmarks.programs.talk import hear, run, say


async def main() -> None:
    plan = hear(SubscribePlan)
    decoder = msgspec.json.Decoder(Reserved)
    finished, count = asyncio.Event(), 0
    subscribed = asyncio.Event()

    def take(payload: bytes) -> None:
        nonlocal count
        decoder.decode(payload)
        count += 1
        if count == plan.messages:
            finished.set()

    async def acknowledged(_client: Any, _topic: str, payload: bytes, _qos: int, _about: Any) -> int:
        take(payload)
        return 0

    def plain(_client: Any, _topic: str, payload: bytes, _qos: int, _about: Any) -> None:
        take(payload)

    gc.freeze()  # as the real server does
    gc.set_threshold(50_000, 20, 50)
    client = gmqtt.Client("decode-only", optimistic_acknowledgement=False, receive_maximum=500)
    client.on_message = acknowledged if plan.qos else plain
    client.on_subscribe = lambda *_: subscribed.set()
    await client.connect("127.0.0.1", plan.port)
    client.subscribe(plan.topic, qos=plan.qos)
    await subscribed.wait()
    say("subscribed")
    try:
        async with asyncio.timeout(plan.seconds):
            await finished.wait()
    except TimeoutError:
        pass
    say(Received(messages=count, ended=time.monotonic()))
    await asyncio.Event().wait()  # until it is terminated


if __name__ == "__main__":
    run(main())
