"""How much may be under way at once, with a line of those who wait."""

from __future__ import annotations

import asyncio
from collections import deque


class Room:
    """Admits sizes in the order of their asking, as long as their sum stays within `most`.

    One that is larger than `most` is admitted when it has all the room to itself.
    """

    def __init__(self, most: int) -> None:
        self._most, self.used = most, 0
        self._line: deque[tuple[int, asyncio.Future[None]]] = deque()

    async def take(self, size: int) -> None:
        """Wait until there is room, and take it; cancelled while it waits, it has taken nothing."""
        if not self._line and self._fits(size):
            self.used += size
            return
        turn = asyncio.get_running_loop().create_future()
        self._line.append((size, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_back(size)
            else:
                self._admit()  # it may have stood in front of one that fits
            raise

    def give_back(self, size: int) -> None:
        """Make room again."""
        self.used -= size
        self._admit()

    def _admit(self) -> None:
        while self._line:
            size, turn = self._line[0]
            if not turn.done():
                if not self._fits(size):
                    return
                self.used += size
                turn.set_result(None)
            self._line.popleft()

    def _fits(self, size: int) -> bool:
        return self.used == 0 or self.used + size <= self._most
