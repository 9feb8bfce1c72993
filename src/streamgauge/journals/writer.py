"""The threads between an event loop and a log: one writes what is pending in groups, one syncs at intervals.

To wake a thread and to be woken by it costs several times as much as a small write into the system's memory. While the
writer has nothing to do and writes are quick, the loop therefore writes small records itself.
"""

import asyncio
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Final

from streamgauge.errors import JournalError, StorageFull
from streamgauge.journals.log import SegmentLog
from streamgauge.journals.record import Draft

_GROUP_APPENDS: Final = 256  # two buffers each stay within the system's limit of 1024 for one write
_GROUP_BYTES: Final = 8 << 20
_SMALL_BYTES: Final = 64 << 10  # some 20 us to write
_SLOW_S: Final = 0.002  # a write that took so long may be followed by worse
_AFTER_SLOW_S: Final = 1.0


@dataclass(slots=True, eq=False)
class Pending:
    """A draft that somebody waits for."""

    draft: Draft
    written: Callable[[int], None] | None
    future: asyncio.Future[int]

    def hand_over(self, seq: int) -> None:
        """Say that it was written. Runs on the loop."""
        if self.written is not None:
            try:
                self.written(seq)
            except Exception as error:  # noqa: BLE001  # the others of its group were written too and must hear of it
                message = f"`written` of journal record {seq} raised; its events are in the journal"
                self.future.get_loop().call_exception_handler({"message": message, "exception": error})
        if not self.future.done():
            self.future.set_result(seq)

    def refuse(self, error: Exception) -> None:
        """Say that it was not written. Runs on the loop."""
        if not self.future.done():
            self.future.set_exception(error)


class Writer:
    """Writes in its own thread: what came while it was writing becomes one group, in the order of coming.

    What is small is written at once, on the loop, where nothing is before it and the disk is not in the way: no sync is
    under way, no new segment due, and no write has been slow of late.

    handed_over: the greatest seq that was handed over on the loop. refused: why the last group was not written, or some
    of it; None where all of it was.
    """

    def __init__(self, log: SegmentLog, name: str) -> None:
        self.handed_over = log.last_seq
        self.failed: JournalError | None = None
        self.refused: StorageFull | JournalError | None = None
        self._log = log
        self._queue: SimpleQueue[Pending | None] = SimpleQueue()
        self._stopping = False
        self._under_way = 0  # in the queue, or in the thread's hands; known on the loop
        self._by_thread_until = 0.0
        self._thread = threading.Thread(target=self._run, name=f"journal-{name}-writer", daemon=True)
        self._thread.start()

    def submit(self, pending: Pending) -> None:
        """Queue a draft, or write it. Runs on the loop, never after `stop`."""
        if self._is_quick(pending.draft):
            started = time.monotonic()
            self._write_or_fail([pending])
            if time.monotonic() - started > _SLOW_S:
                self._by_thread_until = started + _AFTER_SLOW_S
            return
        self._under_way += 1
        self._queue.put(pending)

    def _is_quick(self, draft: Draft) -> bool:
        """Whether to write a draft on the loop; not where several come at once, which share one write."""
        return (
            not self._under_way
            and len(draft.payload) <= _SMALL_BYTES
            and self.handed_over == self._log.last_seq
            and time.monotonic() >= self._by_thread_until
            and self._log.is_ready(draft.size_bound)
        )

    def stop(self) -> None:
        """Write what is queued, close the log, and wait for the thread. A failure to close stands in `failed`."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping:
            self._turn()
        try:
            self._log.close()
        except JournalError as error:
            self.failed = error

    def _turn(self) -> None:
        group = self._take()
        self._write_or_fail(group)
        _on_loop(group, self._done, len(group))

    def _done(self, number: int) -> None:
        self._under_way -= number

    def _write_or_fail(self, group: list[Pending]) -> None:
        try:
            self._write(group)
        except Exception as error:  # noqa: BLE001  # nobody may wait for ever, whatever went wrong here
            self._log.failed = JournalError(
                f"the journal's writer failed: {error!r}; nothing more is accepted; restart, and report this"
            )
            self._log.failed.__cause__ = error
            _on_loop(group, _refuse, group, self._log.failed)

    def _take(self) -> list[Pending]:
        group: list[Pending] = []
        size = 0
        item = self._queue.get()
        while item is not None:
            group.append(item)
            size += len(item.draft.payload)
            if len(group) == _GROUP_APPENDS or size >= _GROUP_BYTES:
                return group
            try:
                item = self._queue.get_nowait()
            except Empty:
                return group
        self._stopping = True
        return group

    def _write(self, group: list[Pending]) -> None:
        try:
            if self._log.failed is not None:
                raise self._log.failed
            self._log.prepare()
        except (StorageFull, JournalError) as error:
            self.refused = error
            _on_loop(group, _refuse, group, error)
            return
        group = self._refuse_what_does_not_fit(group)
        if not group:
            return
        try:
            first = self._log.append([pending.draft for pending in group])
        except (StorageFull, JournalError) as error:
            self.refused = error
            _on_loop(group, _refuse, group, error)
            return
        _on_loop(group, self._hand_over, first, group)

    def _refuse_what_does_not_fit(self, group: list[Pending]) -> list[Pending]:
        room = self._log.room_bytes
        taken: list[Pending] = []
        refused: list[Pending] = []
        for pending in group:
            fits = pending.draft.size_bound <= room
            room -= pending.draft.size_bound if fits else 0
            (taken if fits else refused).append(pending)
        self.refused = self._log.full() if refused else None
        if refused:
            _on_loop(refused, _refuse, refused, self.refused)
        return taken

    def _hand_over(self, first_seq: int, group: list[Pending]) -> None:
        for seq, pending in enumerate(group, first_seq):
            self.handed_over = seq
            pending.hand_over(seq)


class Syncer:
    """Syncs a log every `interval_s` seconds while there is something to sync, in its own thread."""

    def __init__(self, log: SegmentLog, name: str, interval_s: float) -> None:
        self._log, self._interval_s = log, interval_s
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"journal-{name}-syncer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            self._log.sync()


def _refuse(group: list[Pending], error: Exception) -> None:
    for pending in group:
        pending.refuse(error)


def _on_loop(group: list[Pending], callback: Callable[..., None], *arguments: object) -> None:
    """Call back on the loop that the group came from."""
    if not group:
        return
    with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
        group[0].future.get_loop().call_soon_threadsafe(callback, *arguments)
