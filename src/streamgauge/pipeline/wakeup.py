"""How one stage wakes another: one waiter, no timer, one turn of the loop."""

import asyncio


class Signal:
    """Lets the one task of a stage sleep until something has changed for it.

    The task calls `clear()`, looks at everything that may have changed, and calls `wait()` when there is
    nothing to do; a `wake()` in between is not lost.
    """

    __slots__ = ("_waiter", "_woken")

    def __init__(self) -> None:
        self._waiter: asyncio.Future[None] | None = None
        self._woken = False

    def clear(self) -> None:
        """Forget earlier calls of `wake`."""
        self._woken = False

    def wake(self) -> None:
        """Let the waiting task run, or keep it from falling asleep."""
        self._woken = True
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    async def wait(self) -> None:
        """Sleep until `wake`; returns at once when it was called since `clear`."""
        if self._woken:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
