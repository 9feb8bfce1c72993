"""A journal that keeps nothing: for a gauge without a data folder, where nothing has to outlive the process."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import Final

from streamgauge.errors import JournalError
from streamgauge.journal import Control, Entry, Record
from streamgauge.journals.record import Draft
from streamgauge.journals.writer import Pending

NOTHING: Final = Draft(b"", b"", 0)  # drafted is nothing, and written is nothing


class MemoryJournal:
    """Numbers what it is given and hands it on at once, within the call of `append`; replay gives nothing.

    last_seq: behind which it begins to number.
    """

    def __init__(self, shard: str = "0", *, last_seq: int = 0) -> None:
        self.shard = shard
        self.keeps_text = False
        self.last_seq = last_seq
        self.size_bytes = 0
        self.unsynced_s = 0.0
        self.failed: JournalError | None = None
        self.trouble: str | None = None
        self._closed = False

    def check_files(self) -> None:
        """Do nothing: there are none."""

    def append(self, entry: Entry, written: Callable[[int], None]) -> asyncio.Future[int]:  # noqa: ARG002  # nothing of it is kept
        """See `Journal.append`."""
        return self._take(written)

    def append_control(
        self,
        kind: str,  # noqa: ARG002  # as above
        data: Mapping[str, object],  # noqa: ARG002  # as above
        written: Callable[[int], None] = lambda seq: None,
    ) -> asyncio.Future[int]:
        """See `Journal.append_control`."""
        return self._take(written)

    def replay(self, after_seq: int) -> Iterator[Record | Control]:  # noqa: ARG002  # the contract's argument
        """Give nothing: nothing was kept."""
        return iter(())

    def release(self, upto_seq: int) -> None:
        """Do nothing: nothing is held."""

    async def close(self) -> None:
        """Refuse later appends."""
        self._closed = True

    def _take(self, written: Callable[[int], None]) -> asyncio.Future[int]:
        pending = Pending(NOTHING, written, asyncio.get_running_loop().create_future())
        if self._closed:
            pending.refuse(JournalError("the journal is closed; nothing is accepted any more"))
        else:
            self.last_seq += 1
            pending.hand_over(self.last_seq)
        return pending.future
