"""What both clients are made of: their choices, their events as JSON, and a courier for each process."""

from __future__ import annotations

import atexit
import os
import sys
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import msgspec

from streamgauge.client.connection import Target
from streamgauge.client.courier import Counts, Courier, Undelivered
from streamgauge.client.settings import Settings, WhenFull
from streamgauge.errors import ClientClosed, NotSeveral, OptionError, UnwritableEvent

DEFAULT_URL: Final = "http://localhost:4000"

Event = Mapping[str, Any]


class ClientBase:
    """The part of a client that waits for nothing."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        *,
        batch_events: int = 1000,
        batch_bytes: int = 2**20,
        linger_s: float = 0.1,
        buffer_events: int = 100_000,
        buffer_bytes: int = 64 * 2**20,
        when_full: WhenFull = "wait",
        wait_s: float = 30.0,
        timeout_s: float = 30.0,
        retry_s: float = 43_200.0,
        exit_s: float = 5.0,
        compress: bool = False,
        on_error: Callable[[Undelivered], None] | None = None,
    ) -> None:
        self._target = Target(url, key)
        self._settings = Settings.read(
            batch_events=batch_events,
            batch_bytes=batch_bytes,
            linger_s=linger_s,
            buffer_events=buffer_events,
            buffer_bytes=buffer_bytes,
            when_full=when_full,
            wait_s=wait_s,
            timeout_s=timeout_s,
            retry_s=retry_s,
            exit_s=exit_s,
            compress=compress,
        )
        if on_error is not None and not callable(on_error):
            raise OptionError(
                "on_error", f"cannot be called: {on_error!r}", "give a function of one argument"
            )
        self._on_error = on_error
        self._encode = msgspec.json.Encoder(decimal_format="number").encode
        self._couriers: dict[
            int, Courier
        ] = {}  # by process: one at most, and while a fork is noticed the parent's
        self._closed = False

    def counts(self) -> Counts:
        """Tell what became of the events that this process has pushed."""
        courier = self._couriers.get(os.getpid())
        return Counts() if courier is None else courier.counts()

    def _courier(self) -> Courier:
        """Give this process's courier, with an empty buffer in one that was forked."""
        return self._couriers.get(os.getpid()) or self._begin()

    def _begin(self) -> Courier:
        if self._closed:
            raise ClientClosed(self._target.url)
        made = Courier(self._target, self._settings, self._on_error)
        courier = self._couriers.setdefault(
            os.getpid(), made
        )  # of several threads one wins; no lock survives a fork
        if courier is made:
            for pid in [pid for pid in self._couriers if pid != os.getpid()]:
                self._couriers.pop(pid).let_go()
            _close_at_exit(courier, self._settings.exit_s)
            weakref.finalize(self, courier.close_soon).atexit = False
        return courier

    def _lines(self, events: Iterable[Event]) -> list[bytes]:
        """Write events as lines of JSON. Raises UnwritableEvent, or NotSeveral, and has taken none then."""
        if isinstance(events, Mapping):
            raise NotSeveral
        return [self._line(event, place) for place, event in enumerate(events)]

    def _line(self, event: Event, place: int = 0) -> bytes:
        if not isinstance(event, Mapping):
            raise UnwritableEvent(place, f"expected an object, got {type(event).__name__}")
        try:
            line = self._encode(event if type(event) is dict else dict(event)) + b"\n"
        except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as exc:
            raise UnwritableEvent(place, f"cannot be written as JSON: {exc}") from exc
        unordered = next((name for name, value in event.items() if isinstance(value, set | frozenset)), None)
        if unordered is not None:  # the encoder would write it as a list, in any order
            raise UnwritableEvent(place, f"{unordered}: a set, which JSON does not have; make a list of it")
        if len(line) > self._settings.buffer_bytes:
            raise UnwritableEvent(place, f"{len(line)} bytes, more than the whole buffer (buffer_bytes)")
        return line

    def _close(self, timeout_s: float | None) -> None:
        self._closed = True
        courier = self._couriers.get(os.getpid())
        if courier is not None:
            courier.close(self._settings.wait_s if timeout_s is None else timeout_s)


def _close_at_exit(courier: Courier, exit_s: float) -> None:
    """Send what is left when the process ends; also one of multiprocessing's, which knows nothing of `atexit`."""

    def close() -> None:
        courier.close(exit_s)

    def forget() -> None:
        atexit.unregister(close)
        if last is not None:
            last.cancel()

    atexit.register(close)
    last: Any = None
    if "multiprocessing.process" in sys.modules:
        from multiprocessing import parent_process, util  # noqa: PLC0415  a program without it need not load it

        if parent_process() is not None:
            last = util.Finalize(None, close, exitpriority=10)
    courier.ended = forget
