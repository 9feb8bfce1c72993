"""A worker process, seen from the server: started, asked with a lease and a deadline, and ended without mercy.

It inherits nothing but its ends of two sockets, one of them for what it prints, and the page in which it notes how far it is. Its process
group is its own, so that Ctrl-C does not reach it and whatever it starts ends with it.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable
from contextlib import suppress
from typing import Final, Self, TypeVar

import msgspec

from streamgauge.transform.output import OutputLog
from streamgauge.transform.program import Program
from streamgauge.transform.worker import FRAME, OURS, PLACE_BYTES, Load, Loaded, Result, Slice

T = TypeVar("T")

START_S: Final = 30.0  # for the module's own imports
LAST_WORDS_S: Final = 0.5  # for a process that is told to say where it hangs
QUIET_END_S: Final = 1.0
MOST_FRAME: Final = 64 * 2**20
REPLY_BYTES: Final = 2**20  # a slice's answer is cut off here, and the rest asked for again
ENVIRONMENT: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "PYTHONPATH", "LD_LIBRARY_PATH")


class WorkerLost(Exception):
    """A worker died, or was ended. position: the event of the slice that it had in hand; None where that is unknown.

    output: the last of what it printed, with where it stood if it could still say so.
    """

    def __init__(self, reason: str, position: int | None, output: str) -> None:
        self.reason, self.position, self.output = reason, position, output
        super().__init__(reason)


class WorkerProcess:
    """One worker. Made with `start`; of no use any more once `ask` has raised WorkerLost."""

    def __init__(
        self, program: Program, process: subprocess.Popen[bytes], place: mmap.mmap, output: OutputLog
    ) -> None:
        self._program, self._process, self._output = program, process, output
        self._map = place
        self._place = memoryview(place).cast("Q")
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter
        self._lease = 0
        self.started_at = time.perf_counter()
        self.asked = 0

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._process.pid

    @classmethod
    async def start(cls, program: Program) -> tuple[Self, Loaded]:
        """Start a worker and have it load the module; it has ended again where `Loaded` has a problem.

        Raises WorkerLost where it does not come to an answer.
        """
        ours, theirs = socket.socketpair()
        out, into = (
            socket.socketpair()
        )  # no pipe: uvloop closes a pipe's descriptor twice, the second time somebody else's
        output = OutputLog(time.monotonic)
        try:
            with tempfile.TemporaryFile() as page:
                page.truncate(PLACE_BYTES)
                process = _spawn(theirs, into, page.fileno())
                found = cls(program, process, mmap.mmap(page.fileno(), PLACE_BYTES), output)
        except BaseException:
            ours.close()
            out.close()
            raise
        finally:
            theirs.close()
            into.close()
        await asyncio.get_running_loop().create_unix_connection(lambda: output, sock=out)
        found._reader, found._writer = await asyncio.open_unix_connection(sock=ours)
        loaded = await found._load()
        return found, loaded

    async def _load(self) -> Loaded:
        program = self._program
        wanted = Load(program.path, program.source, program.memory_bytes, program.event_bytes, REPLY_BYTES)
        loaded = await self._within(START_S, self._exchange(wanted, Loaded))
        if loaded.problem:
            await self.end()
        self._output.forget()
        return loaded

    async def ask(self, lines: bytes) -> Result:
        """Have events transformed, one JSON object a line without a newline at the end; perhaps only the first of them.

        Raises WorkerLost when the deadline passes, the process dies, or what it answers is no answer.
        """
        self._lease += 1
        self.asked += 1
        self._place[0] = 0
        return await self._within(self._program.deadline_s, self._exchange(Slice(self._lease, lines), Result))

    async def _exchange(self, message: msgspec.Struct, kind: type[T]) -> T:
        body = msgspec.msgpack.encode(message)
        self._writer.write(FRAME.pack(len(body)) + body)
        await self._writer.drain()
        while True:
            answer = await self._receive(kind)
            if not isinstance(answer, Result) or answer.lease == self._lease:
                return answer

    async def _receive(self, kind: type[T]) -> T:
        (size,) = FRAME.unpack(await self._reader.readexactly(FRAME.size))
        if size > MOST_FRAME:
            raise msgspec.DecodeError(f"a frame of {size} bytes")
        return msgspec.msgpack.decode(await self._reader.readexactly(size), type=kind)

    async def _within(self, seconds: float, exchange: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(seconds):
                return await exchange
        except TimeoutError:
            position = self._in_hand()
            await self._end_speaking()
            raise WorkerLost(
                f"it took longer than the deadline of {seconds:g} s", position, self._output.tail
            ) from None
        except (asyncio.IncompleteReadError, ConnectionError):
            position = self._in_hand()
            await self._end()
            raise WorkerLost(how_it_ended(self._process.returncode), position, self._output.tail) from None
        except msgspec.DecodeError as exc:
            await self._end()
            raise WorkerLost(
                f"it wrote into the channel of its results: {exc}", None, self._output.tail
            ) from exc
        except asyncio.CancelledError:
            await self._end()  # what it would answer now nobody has asked for
            raise

    def _in_hand(self) -> int | None:
        place = int(self._place[0])
        return place - 1 if place else None

    async def _end_speaking(self) -> None:
        """End it so that it says where it stands."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGABRT)
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(LAST_WORDS_S):
                while await self._reader.read(65536):
                    pass
        await self._end()

    async def end(self) -> None:
        """Let it end by itself, soon. Doing so twice is harmless."""
        with suppress(OSError):
            self._writer.write_eof()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(QUIET_END_S):
                while await self._reader.read(65536):
                    pass
        await self._end()

    async def _end(self) -> None:
        self._kill()
        await asyncio.get_running_loop().run_in_executor(None, self._process.wait)
        with suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._output.ended.wait()
        self._writer.close()
        with suppress(OSError):
            await self._writer.wait_closed()
        self._place.release()
        self._map.close()

    def _kill(self) -> None:
        if self._process.returncode is None:  # once it has been waited for, the number may be another's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _spawn(channel: socket.socket, printed: socket.socket, page: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-P", "-u", OURS, str(os.getpid()), str(page)]
    return subprocess.Popen(  # noqa: S603  our own program
        command,
        stdin=channel.fileno(),
        stdout=printed.fileno(),
        stderr=printed.fileno(),
        pass_fds=(page,),
        env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
        start_new_session=True,
    )


def how_it_ended(code: int) -> str:
    """Say how a process ended, from its exit code; a negative one is a signal."""
    if code >= 0:
        return f"it ended its process with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    return f"its process was killed by {name}"
