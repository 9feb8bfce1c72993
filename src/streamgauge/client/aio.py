"""`AsyncClient`: the same for programs with an event loop, which it never holds up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress
from types import TracebackType
from typing import Self

from streamgauge.client.base import ClientBase, Event
from streamgauge.client.courier import Courier
from streamgauge.errors import BufferFull


class AsyncClient(ClientBase):
    """A `Client`, with the same choices, whose waiting is awaited. It sends in a thread of its own.

    async with AsyncClient("http://localhost:4000") as client:
        await client.push_event({"type": "conversion", "value": 150.0})
    """

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def push_event(self, event: Event) -> None:
        """Take one event, as `Client.push_event` does."""
        await self._push([self._line(event)])

    async def push_events(self, events: Iterable[Event]) -> None:
        """Take many events, as `Client.push_events` does."""
        await self._push(self._lines(events))

    async def flush(self, timeout_s: float | None = None) -> bool:
        """Send all that was pushed until now; True when it was delivered or reported, False when time ran out."""
        courier = self._courier()
        mark = courier.flush_mark()
        return await _until(courier, lambda: courier.is_settled(mark), timeout_s)

    async def close(self, timeout_s: float | None = None) -> None:
        """Send what is left, for `timeout_s` at most (by default `wait_s`), and end; what is left then is reported."""
        await asyncio.to_thread(self._close, timeout_s)

    async def _push(self, lines: list[bytes]) -> None:
        courier = self._courier()
        taken = courier.offer(lines)
        if taken < len(lines):
            if self._settings.when_full == "drop":
                courier.drop(len(lines) - taken)
            else:
                await self._push_rest(courier, lines, taken)

    async def _push_rest(self, courier: Courier, lines: list[bytes], taken: int) -> None:
        patience_s = self._settings.wait_s
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience_s
        while taken < len(lines):
            courier.flush_mark()  # what fills the buffer need not linger for more
            line = lines[taken]
            if not await _until(courier, lambda line=line: courier.has_room(line), deadline - loop.time()):  # type: ignore[misc]  # mypy has no types for such defaults
                raise BufferFull(self._target.url, patience_s, taken, len(lines) - taken)
            taken += courier.offer(lines[taken:])


async def _until(courier: Courier, ready: Callable[[], bool], timeout_s: float | None) -> bool:
    """Wait until something is so, which may become so when a batch is settled; False when time ran out."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def told() -> None:
        with suppress(RuntimeError):  # the loop was closed, and nobody waits any more
            loop.call_soon_threadsafe(changed.set)

    try:
        async with asyncio.timeout(timeout_s):
            while not courier.listen(ready, told):
                await changed.wait()
                changed.clear()
    except TimeoutError:
        return False
    finally:
        courier.unlisten(told)
    return True
