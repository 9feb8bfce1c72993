"""`Client`: sends events to a server from any program."""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from streamgauge.client.base import ClientBase, Event
from streamgauge.client.courier import Courier
from streamgauge.errors import BufferFull


class Client(ClientBase):
    """Sends events to a server, in batches and in the background; each is counted once, however often it is sent.

        with Client("http://localhost:4000") as client:
            client.push_event({"type": "conversion", "campaign_id": "campaign_001", "value": 150.0})

    url: the server's address, with the path before `/api` where it has one. key: sent as `Authorization: Bearer`.
    A batch is sent when it has `batch_events` or `batch_bytes`, or its first event is `linger_s` old; `compress` sends it
    with gzip. What cannot be delivered now (no connection, no answer within `timeout_s`, 408, 425, 429, 5xx) is sent again,
    with the same `Idempotency-Key`, after waits that grow to 30 s or as `Retry-After` says, for `retry_s` at most: less
    than the day for which a server remembers keys. Other refusals are final. Both are logged and told to `on_error`, which
    is called in the client's own thread.
    At most `buffer_events` and `buffer_bytes` are held. `when_full="wait"`: pushing waits for `wait_s` and then raises
    BufferFull; "drop": what finds no room is dropped, and counted. When the program ends, what is left is sent for at
    most `exit_s`, and reported where that is not enough. Safe to use from several threads; a forked process begins with an
    empty buffer and a thread of its own.
    Raises OptionError for bad choices.
    """

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def push_event(self, event: Event) -> None:
        """Take one event; it may be changed afterwards. Waits while the buffer is full.

        Raises UnwritableEvent, BufferFull (and then has not taken it) and ClientClosed.
        """
        self._push([self._line(event)])

    def push_events(self, events: Iterable[Event]) -> None:
        """Take many events, in their order. Waits while the buffer is full.

        Raises UnwritableEvent, and then has taken none; BufferFull, which says how many it has taken; ClientClosed.
        """
        self._push(self._lines(events))

    def flush(self, timeout_s: float | None = None) -> bool:
        """Send all that was pushed until now; True when it was delivered or reported, False when time ran out.

        timeout_s: None waits for as long as it takes.
        """
        courier = self._courier()
        mark = courier.flush_mark()
        return courier.wait(lambda: courier.is_settled(mark), timeout_s)

    def close(self, timeout_s: float | None = None) -> None:
        """Send what is left, for `timeout_s` at most (by default `wait_s`), and end; what is left then is reported.

        Doing so twice is harmless.
        """
        self._close(timeout_s)

    def _push(self, lines: list[bytes]) -> None:
        courier = self._courier()
        taken = courier.offer(lines)
        if taken < len(lines):
            if self._settings.when_full == "drop":
                courier.drop(len(lines) - taken)
            else:
                self._push_rest(courier, lines, taken)

    def _push_rest(self, courier: Courier, lines: list[bytes], taken: int) -> None:
        patience_s = self._settings.wait_s
        deadline = time.monotonic() + patience_s
        while taken < len(lines):
            courier.flush_mark()  # what fills the buffer need not linger for more
            line = lines[taken]
            if not courier.wait(lambda line=line: courier.has_room(line), deadline - time.monotonic()):  # type: ignore[misc]  # mypy has no types for such defaults
                raise BufferFull(self._target.url, patience_s, taken, len(lines) - taken)
            taken += courier.offer(lines[taken:])
