"""The least that an ingest server can do, on the same server classes: read the body, decode it, answer.

It validates no limits, keeps nothing and counts nothing, so it bounds what any application on this server can reach.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

import msgspec

from benchmarks.programs.talk import hear, run, say
from streamgauge.web.server import Server, uvicorn_config

Message = MutableMapping[str, Any]


class Reserved(msgspec.Struct, gc=False):
    """The reserved fields of an event."""

    type: str
    timestamp: str | int | float | None = None
    value: int | float | None = None
    user_id: str | int | float | None = None
    event_id: str | int | float | None = None


_EVENTS: Final = msgspec.json.Decoder(Reserved)


async def application(
    _scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Answer any request with how many events its body holds."""
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        parts = [body]
        while message.get("more_body", False):
            message = await receive()
            parts.append(message.get("body", b""))
        body = b"".join(parts)
    answer = b'{"accepted":%d}' % len(_EVENTS.decode_lines(body))
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 202, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


async def main() -> None:
    hear(dict[str, Any])
    gc.freeze()  # as the real server does
    gc.set_threshold(50_000, 20, 50)
    say(await Server(uvicorn_config(application, host="127.0.0.1", port=0)).start())
    await asyncio.Event().wait()  # until it is terminated


if __name__ == "__main__":
    run(main())
