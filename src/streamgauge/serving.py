"""A server as a process of its own: how it starts, says where it is, and ends."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from streamgauge import demo, logs
from streamgauge.app import App, Running
from streamgauge.errors import JournalError, ServerFailed, StoreError
from streamgauge.event import FieldMapping
from streamgauge.holder import usable_folder
from streamgauge.options import Options
from streamgauge.reloading import ConfigurationFile
from streamgauge.version import __version__

FAILED: Final = 70  # EX_SOFTWARE: a supervisor should start it again
FAILED_WITHIN_S: Final = 4.5
START_S: Final = 5.0  # that a start which is to end gets to come to its end
M_ARENA_MAX: Final = -8  # of glibc's malloc.h
SWITCH_S: Final = 0.0001  # after which the store's thread hands the interpreter to the loop: requests wait for it several times each


def _allow_open_files() -> None:
    """Raise the limit on open files as far as the system lets us: every viewer and every sender has one."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  not there on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # macOS says "infinite" and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a server in this process, which is set up for it."""
    logs.configure()
    _allow_open_files()
    gc.freeze()  # what is loaded now stays; collections look at less
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(SWITCH_S)
    _share_arenas()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main)
    finally:
        gc.unfreeze()  # or extension modules report leaks when the process ends


def _share_arenas() -> None:
    """Have all threads use two arenas of glibc's: with one for each thread, what one frees the others cannot use."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415  not there on Windows

    return uvloop.new_event_loop


async def serve(
    options: Options,
    *,
    demo_name: str | None,
    rebuild: bool = False,
    file: ConfigurationFile | None = None,
) -> None:
    """Serve until a signal or a failure ends it. Raises what stood in the way of the start, or ServerFailed.

    demo_name: of the events that it makes up. rebuild: go on though the store is lost. file: what `reload` reads again.
    """
    server = App(options, demo=demo_name, rebuild=rebuild, file=file)
    stopping = _stopped_by_signals()
    if file is not None and hasattr(signal, "SIGHUP"):  # there is none on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reloader.ask)
    with usable_folder(options.data):
        running = await _start(server, stopping)
    if running is None:
        return
    if not stopping.is_set():
        _greet(options, running, demo_name)
    if server.failure is not None:
        server.failure.add_done_callback(lambda _: _end_soon(stopping))
    made_up = asyncio.create_task(_make_up_events(server)) if demo_name else None
    if made_up is not None:
        made_up.add_done_callback(lambda _: stopping.set())
    await stopping.wait()
    if made_up is not None:
        made_up.cancel()
    try:
        try:
            await server.stop()
            _say_what_is_stored(server.engine.ledger.total().pending)
        except (JournalError, StoreError) as exc:
            raise ServerFailed(f"the server could not end in good order: {exc}") from exc
        finally:
            server.raise_failure()
    finally:
        if made_up is not None:
            await _ended(made_up)


def _say_what_is_stored(pending: int) -> None:
    rest = f"{pending:,} accepted events are in the journal, and are stored at the next start"
    print(f"stopped; {rest if pending else 'every accepted event is stored'}", flush=True)


async def _start(server: App, stopping: asyncio.Event) -> Running | None:
    """Start the server; None where it was told to stop meanwhile and would not come to the end of it."""
    starting, told = asyncio.create_task(server.start()), asyncio.create_task(stopping.wait())
    await asyncio.wait([starting, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not starting.done():
        server.begin_stop()
        await asyncio.wait([starting], timeout=START_S)
        if not starting.done():
            starting.cancel()
            await asyncio.wait([starting])
            return None
    return await starting


def _end_soon(stopping: asyncio.Event) -> None:
    """End after a failure, in good order if that is possible and without it otherwise: the journal has everything."""
    stopping.set()
    last = threading.Timer(FAILED_WITHIN_S, os._exit, (FAILED,))
    last.daemon = True
    last.start()


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait for a task that was cancelled; raises what it failed with before."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _stopped_by_signals() -> asyncio.Event:
    """Give an event that Ctrl-C and SIGTERM set; a second one ends the process there and then."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        stopping.set()
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sign)
            signal.signal(sign, signal.SIG_DFL)

    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop)
    return stopping


async def _make_up_events(server: App) -> None:
    intake = server.engine.intake
    await demo.run(
        lambda payload: intake.accept(payload, "demo", FieldMapping()),
        time.time,
        history=server.engine.ledger.total().received == 0,
    )


def _greet(options: Options, running: Running, demo_name: str | None) -> None:
    """Say in six lines where everything is and what to do next."""
    page, data = running.url, Path(options.data).resolve()
    what = f"demo {demo_name!r}, made-up events" if demo_name else "ready"
    example = '{"type": "page_view", "user_id": "user_123", "page": "/products", "value": 1}'
    print(f"Streamgauge {__version__}: {what}")
    print(f"  dashboard  {page}")
    print(f"  data       {data}")
    print(f"  API        {page}/docs")
    print(f"  try        curl -X POST {page}/api/events -H 'Content-Type: application/json' -d '{example}'")
    print(f"  or         streamgauge replay events.ndjson --url {page}", flush=True)
