"""The least that a server of the topic `events` can do, on the same server classes: decode each push, answer it.

It validates no limits, keeps nothing and counts nothing, so it bounds what any application on this server can reach.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec

from benchmarks.programs.decode_only import Message, Reserved
from benchmarks.programs.talk import hear, run, say
from streamgauge.web.server import Server, uvicorn_config


class Many(msgspec.Struct):
    """The payload of `new_events`."""

    events: list[Reserved]


_FRAMES: Final = msgspec.json.Decoder(tuple[str | None, str | None, str, str, msgspec.Raw])
_ONE: Final = msgspec.json.Decoder(Reserved)
_MANY: Final = msgspec.json.Decoder(Many)


async def application(
    _scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer any push with how many events it holds."""
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None})
    while (message := await receive())["type"] != "websocket.disconnect":
        join_ref, ref, topic, event, payload = _FRAMES.decode(message["text"])
        accepted = 0
        if event == "new_event":
            _ONE.decode(payload)
            accepted = 1
        elif event == "new_events":
            accepted = len(_MANY.decode(payload).events)
        response = {"status": "ok", "response": {"accepted": accepted}}
        reply = msgspec.json.encode((join_ref, ref, topic, "phx_reply", response))
        await send({"type": "websocket.send", "text": reply.decode()})


async def main() -> None:
    hear(dict[str, Any])
    gc.freeze()  # as the real server does
    gc.set_threshold(50_000, 20, 50)
    say(await Server(uvicorn_config(application, host="127.0.0.1", port=0)).start())
    await asyncio.Event().wait()  # until it is terminated


if __name__ == "__main__":
    run(main())
