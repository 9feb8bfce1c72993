"""The thread that sends: takes batches out of the buffer, repeats what was not answered, and tells what was not taken."""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from streamgauge.client.answers import TOO_LARGE, Again, Never, Receipt, judge, wait_s
from streamgauge.client.buffer import Batch, Buffer
from streamgauge.client.connection import BROKEN, Connection, Target
from streamgauge.client.settings import Settings
from streamgauge.errors import ClientClosed

log = logging.getLogger("streamgauge.client")

SAY_AGAIN_S: Final = 60.0  # between two warnings about the same trouble
LAST_MOMENT_S: Final = 1.0  # for a request that was broken off to notice it


@dataclass(frozen=True, slots=True, kw_only=True)
class Undelivered:
    """Events that the server has not taken, and that are not sent again.

    events: how many. status: of the answer; None where there was none. reason: what the server said, or what kept it
    from saying anything. rejected: the first hundred of those that the server rejected, as JSON, each with its reason.
    """

    events: int
    reason: str
    status: int | None = None
    rejected: tuple[tuple[bytes, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What became of events: pushed = accepted + duplicates + rejected + undelivered + waiting.

    dropped: what was never taken, because the buffer was full. duplicates: events whose ids had counted before.
    rejected: not valid, says the server. undelivered: refused with their whole batch, given up, or still there at the end.
    retries: how often a batch was sent again.
    """

    pushed: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0
    undelivered: int = 0
    waiting: int = 0
    dropped: int = 0
    retries: int = 0


class _TooLarge(Never):
    """The batch will never be taken, and nothing of it was; smaller ones may be."""


class Courier:
    """Sends in a thread of its own, which begins with the first event. Belongs to the process that made it."""

    def __init__(
        self, target: Target, settings: Settings, report: Callable[[Undelivered], None] | None
    ) -> None:
        self._target, self._settings, self._report = target, settings, report
        self._buffer = Buffer(
            batch_events=settings.batch_events,
            batch_bytes=settings.batch_bytes,
            linger_s=settings.linger_s,
            most_events=settings.buffer_events,
            most_bytes=settings.buffer_bytes,
        )
        self._connection = Connection(target, timeout_s=settings.timeout_s, compress=settings.compress)
        self._pid = os.getpid()
        lock = threading.RLock()
        self._work = threading.Condition(lock)  # for the thread: something to send, or time to end
        self._progress = threading.Condition(lock)  # for everybody else: something was settled
        self._listeners: set[Callable[[], None]] = set()
        self._thread: threading.Thread | None = None
        self._closing = self._abandoned = False
        self._flush_to = 0
        self._accepted = self._duplicates = self._rejected = self._undelivered = 0
        self._dropped = self._retries = 0
        self._in_trouble_since: float | None = None
        self._said_at = 0.0
        self.ended: Callable[[], None] = lambda: (
            None
        )  # called when nothing is left to be done at the program's end

    # what clients call

    @property
    def is_inherited(self) -> bool:
        """Whether this is a forked process's copy: its thread is not here, and its events are the parent's."""
        return os.getpid() != self._pid

    def offer(self, lines: Sequence[bytes]) -> int:
        """Take as many events as there is room for, from the first on. Raises ClientClosed."""
        with self._work:
            if self._closing:
                raise ClientClosed(self._target.url)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="streamgauge client", daemon=True)
                thread.start()
                self._thread = thread
            was_idle = self._buffer.due_in(0.0) is None
            count = self._buffer.put(lines, now := time.monotonic())
            if was_idle or self._buffer.due_in(now) == 0.0:
                self._work.notify()
        return count

    def drop(self, events: int) -> None:
        """Count events that nobody waits to see taken."""
        with self._work:
            self._dropped += events

    def flush_mark(self) -> int:
        """Ask for everything to be sent that was taken until now; give what `is_settled` is to be asked."""
        with self._work:
            self._flush_to = self._buffer.pushed
            self._work.notify()
            return self._flush_to

    def is_settled(self, mark: int) -> bool:
        """Whether everything up to a mark was delivered or reported."""
        return self._buffer.settled >= mark

    def has_room(self, line: bytes) -> bool:
        """Whether an event would be taken now, or refused because of the end."""
        buffer = self._buffer
        room = buffer.events < buffer.most_events and buffer.bytes + len(line) <= buffer.most_bytes
        return room or self._closing

    def wait(self, ready: Callable[[], bool], timeout_s: float | None) -> bool:
        """Wait until something is so, which may become so when a batch is settled."""
        with self._progress:
            return self._progress.wait_for(ready, timeout_s)

    def listen(self, ready: Callable[[], bool], told: Callable[[], None]) -> bool:
        """Tell whether something is so; where it is not, `told` is called at every batch that is settled."""
        with self._progress:
            if ready():
                return True
            self._listeners.add(told)
            return False

    def unlisten(self, told: Callable[[], None]) -> None:
        """Tell no more."""
        with self._progress:
            self._listeners.discard(told)

    def counts(self) -> Counts:
        """Count what became of events."""
        with self._work:
            return Counts(
                pushed=self._buffer.pushed,
                accepted=self._accepted,
                duplicates=self._duplicates,
                rejected=self._rejected,
                undelivered=self._undelivered,
                waiting=self._buffer.events,
                dropped=self._dropped,
                retries=self._retries,
            )

    def close_soon(self) -> None:
        """Take no more, and end once what is there is sent; waits for nothing."""
        if self.is_inherited:
            return
        with self._work:
            self._closing = True
            self._work.notify()
            self._progress.notify_all()
            if self._thread is None:
                self.ended()

    def close(self, timeout_s: float) -> None:
        """Take no more, send what is there within that time, and end. What is left then is reported."""
        if self.is_inherited:
            return
        self.close_soon()
        if self._thread is None or self._thread is threading.current_thread():
            return
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            with self._work:
                self._abandoned = True
                self._work.notify()
            self._connection.abort()
            self._thread.join(LAST_MOMENT_S)

    def let_go(self) -> None:
        """Close this process's copy of the parent's socket; the parent's own stays open."""
        self._connection.close()

    # what the thread does

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._send(batch)
        except Exception:  # a bug of ours must not leave those who push waiting for a thread that is gone
            log.exception("the client's thread failed; nothing more is sent")
        finally:
            self._end()

    def _next(self) -> Batch | None:
        with self._work:
            while not self._abandoned:
                now = time.monotonic()
                hurry = self._closing or self._flush_to > self._buffer.taken
                batch = self._buffer.take(now, hurry=hurry)
                if batch is not None:
                    return batch
                if self._closing:
                    break
                self._work.wait(self._buffer.due_in(now))
        return None

    def _send(self, batch: Batch) -> None:
        """Deliver a batch; in halves where the server, or a proxy before it, does not take so many bytes at once."""
        found = self._deliver(batch)
        if isinstance(found, _TooLarge):
            with self._work:
                self._buffer.shrink(batch)
            log.info("%s: %d events are sent in halves", found.reason, len(batch.lines))
            for half in batch.halves():
                self._send(half)
        else:
            self._settle(batch, found)

    def _deliver(self, batch: Batch) -> Receipt | Never:
        began, attempt, is_certain = time.monotonic(), 0, True
        while True:
            found = self._try(batch)
            attempt += 1
            if isinstance(found, Never) and found.status == TOO_LARGE and is_certain and len(batch.lines) > 1:
                return _TooLarge(found.reason, found.status)
            if not isinstance(found, Again):
                self._be_out_of_trouble()
                return found
            is_certain = is_certain and found.status is not None
            self._say_trouble(found.reason)
            if time.monotonic() - began >= self._settings.retry_s:
                return Never(f"given up after {attempt} attempts; the last: {found.reason}", found.status)
            pause_s = wait_s(attempt, found.wait_s, random.random)
            with self._work:
                if self._work.wait_for(lambda: self._abandoned, pause_s):
                    return Never(
                        f"closed before it was taken; the last attempt: {found.reason}", found.status
                    )
                self._retries += 1

    def _try(self, batch: Batch) -> Receipt | Again | Never:
        try:
            status, retry_after, text = self._connection.post(batch)
        except BROKEN as exc:
            why = (exc.strerror if isinstance(exc, OSError) else None) or str(exc) or type(exc).__name__
            return Again(f"{self._target.url} cannot be reached: {why}")
        return judge(status, retry_after, text, time.time())

    def _settle(self, batch: Batch, found: Receipt | Never) -> None:
        count = len(batch.lines)
        with self._work:
            if isinstance(found, Never):
                self._undelivered += count
            else:
                self._accepted += found.accepted
                self._duplicates += found.duplicates
                self._rejected += count - found.accepted - found.duplicates
            self._buffer.settle(batch)
        if isinstance(found, Never):
            self._tell(Undelivered(events=count, reason=found.reason, status=found.status))
        elif found.rejected:
            self._tell(_rejected(batch, found))
        self._announce()

    def _announce(self) -> None:
        with self._progress:
            self._progress.notify_all()
            listeners = list(self._listeners)
        for told in listeners:
            told()

    def _end(self) -> None:
        with self._work:
            self._closing = True
            left = self._buffer.drop_waiting()
            self._undelivered += left
        if left:
            self._tell(Undelivered(events=left, reason="closed before they were sent"))
        self._connection.close()
        self.ended()
        self._announce()

    def _tell(self, problem: Undelivered) -> None:
        log.error("%d events were not accepted: %s", problem.events, problem.reason)
        if self._report is None:
            return
        try:
            self._report(problem)
        except Exception:  # it is not ours, and what it raises has nowhere to go
            log.exception("on_error failed")

    def _say_trouble(self, reason: str) -> None:
        now = time.monotonic()
        if self._in_trouble_since is None or now - self._said_at >= SAY_AGAIN_S:
            self._said_at = now
            log.warning("events wait to be sent again: %s", reason)
        self._in_trouble_since = self._in_trouble_since or now

    def _be_out_of_trouble(self) -> None:
        if self._in_trouble_since is not None:
            log.info("events are taken again, after %.1f s", time.monotonic() - self._in_trouble_since)
            self._in_trouble_since = None


def _rejected(batch: Batch, receipt: Receipt) -> Undelivered:
    lines = batch.lines
    pairs = tuple(
        (lines[one.index].rstrip(), one.error) for one in receipt.errors if 0 <= one.index < len(lines)
    )
    first = f"; the first: {receipt.errors[0].error}" if receipt.errors else ""
    return Undelivered(
        events=receipt.rejected,
        reason=f"{receipt.rejected} of {len(lines)} events rejected{first}",
        rejected=pairs,
    )
