"""A journal that keeps nothing: for a gauge without a data folder, where nothing has to outlive the process."""

import asyncio
from collections.abc import Callable, Iterator, Mapping

from streamgauge.errors import JournalError
from streamgauge.journal import Control, Entry, Record
from streamgauge.journals.record import Draft, draft_control, draft_entry
from streamgauge.journals.writer import Pending


class MemoryJournal:
    """Numbers what it is given and hands it on at once, within the call of `append`; replay gives nothing."""

    def __init__(self, shard: str = "0") -> None:
        self.shard = shard
        self.last_seq = 0
        self.size_bytes = 0
        self._closed = False

    def append(self, entry: Entry, written: Callable[[int], None]) -> asyncio.Future[int]:
        """See `Journal.append`."""
        return self._take(draft_entry(entry), written)

    def append_control(self, kind: str, data: Mapping[str, object]) -> asyncio.Future[int]:
        """See `Journal.append_control`."""
        return self._take(draft_control(kind, data, 0), None)

    def replay(self, after_seq: int) -> Iterator[Record | Control]:  # noqa: ARG002  # the contract's argument
        """Give nothing: nothing was kept."""
        return iter(())

    def release(self, upto_seq: int) -> None:
        """Do nothing: nothing is held."""

    async def close(self) -> None:
        """Refuse later appends."""
        self._closed = True

    def _take(self, draft: Draft, written: Callable[[int], None] | None) -> asyncio.Future[int]:
        pending = Pending(draft, written, asyncio.get_running_loop().create_future())
        if self._closed:
            pending.refuse(JournalError("the journal is closed; nothing is accepted any more"))
        else:
            self.last_seq += 1
            pending.hand_over(self.last_seq)
        return pending.future
