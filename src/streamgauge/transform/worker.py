"""The program of a worker process: runs the `transform` of a user's module over slices of events.

It is started by its path and imports nothing of ours, so that it starts soon and leaves its memory to the module. What
the module raises is caught here, event by event; what ends, blocks or bloats the process is for the other side to notice,
which finds in `place` how far the slice had come. Frames: the length of four bytes, then msgpack.
"""

from __future__ import annotations

import faulthandler
import linecache
import mmap
import os
import socket
import struct
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import msgspec

FRAME: Final = struct.Struct("<I")
PLACE_BYTES: Final = 8
OURS: Final = __file__
MOST_REASON: Final = 1024  # characters
MOST_TRACEBACK: Final = 8192
FILTERED, KEPT, FAILED = 0, 1, 2

MODULE: Final = "transform_module"  # what the user's module is called inside of the process
NO_FUNCTION: Final = 0x2A0  # the code flags of generators, coroutines and asynchronous generators

Transform = Callable[[dict[str, Any]], Any]


class Load(msgspec.Struct, array_like=True):
    """What to run. memory_bytes: of address space. event_bytes, reply_bytes: of one event, of one answer's events."""

    path: str
    source: bytes
    memory_bytes: int
    event_bytes: int
    reply_bytes: int


class Loaded(msgspec.Struct, array_like=True):
    """Whether the module can be used; `problem` says why not, `line` where (0: nowhere in it)."""

    problem: str = ""
    line: int = 0
    traceback: str = ""


class Slice(msgspec.Struct, array_like=True):
    """Events to transform, one JSON object a line. lease: what the answer has to carry."""

    lease: int
    lines: bytes


class Failure(msgspec.Struct, array_like=True):
    """Why an event of a slice failed. position: in the slice. memory: for want of memory, perhaps another's fault."""

    position: int
    reason: str
    traceback: str = ""
    memory: bool = False


class Result(msgspec.Struct, array_like=True):
    """What became of a slice's first events. fates: one byte each; lines: the kept ones, in order."""

    lease: int
    fates: bytes
    lines: bytes
    failures: list[Failure]


class Channel:
    """Frames over a socket."""

    def __init__(self, connection: socket.socket) -> None:
        self._stream = connection.makefile("rwb")

    def receive(self, kind: Any) -> Any:
        """Give the next frame; None when there are no more."""
        head = self._stream.read(FRAME.size)
        if len(head) < FRAME.size:
            return None
        return msgspec.msgpack.decode(self._stream.read(*FRAME.unpack(head)), type=kind)

    def send(self, message: msgspec.Struct) -> None:
        """Send a frame."""
        body = msgspec.msgpack.encode(message)
        self._stream.write(FRAME.pack(len(body)) + body)
        self._stream.flush()


def load(wanted: Load) -> tuple[Transform | None, Loaded]:
    """Run the module, as it was read when the server started, and find its `transform`."""
    module = ModuleType(MODULE)
    module.__file__ = wanted.path
    sys.modules[module.__name__] = module
    sys.path.insert(0, str(Path(wanted.path).parent))
    text = wanted.source.decode(errors="replace")
    linecache.cache[wanted.path] = (len(text), None, text.splitlines(keepends=True), wanted.path)
    try:
        exec(compile(wanted.source, wanted.path, "exec", dont_inherit=True), module.__dict__)  # noqa: S102  the module that the user named
    except BaseException as error:  # noqa: BLE001  also sys.exit() is a reason not to start
        return None, Loaded(reason_of(error), _line_in(error, wanted.path), traceback_of(error))
    return _transform_of(module)


def _transform_of(module: ModuleType) -> tuple[Transform | None, Loaded]:
    transform = getattr(module, "transform", None)
    if not callable(transform):
        return None, Loaded("it has no function `transform`")
    if getattr(getattr(transform, "__code__", None), "co_flags", 0) & NO_FUNCTION:
        return None, Loaded("`transform` is async or a generator", transform.__code__.co_firstlineno)
    return transform, Loaded()


def _line_in(error: BaseException, path: str) -> int:
    if isinstance(error, SyntaxError) and error.filename == path:
        return error.lineno or 0
    lines = [
        line for frame, line in traceback.walk_tb(error.__traceback__) if frame.f_code.co_filename == path
    ]
    return lines[-1] if lines else 0


def reason_of(error: BaseException) -> str:
    """Say what was raised, whatever its own words do."""
    try:
        text = str(error)
    except BaseException:  # noqa: BLE001  an error may fail to say what it is
        text = "(it cannot be shown)"
    return _writable(f"{type(error).__name__}: {text}"[:MOST_REASON] if text else type(error).__name__)


def traceback_of(error: BaseException) -> str:
    """Give the traceback from the module on, its end where it is long."""
    place = error.__traceback__
    while place is not None and place.tb_frame.f_code.co_filename == OURS:
        place = place.tb_next
    try:
        return _writable("".join(traceback.format_exception(type(error), error, place))[-MOST_TRACEBACK:])
    except BaseException:  # noqa: BLE001  for want of memory, or because the error fails to say what it is
        return ""


def _writable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


class Work:
    """Transforms slices. place: shows the other side which event is in hand, counted from one."""

    def __init__(self, transform: Transform, wanted: Load, place: memoryview) -> None:
        self._transform, self._place = transform, place
        self._event_bytes, self._reply_bytes = wanted.event_bytes, wanted.reply_bytes
        self._decode = msgspec.json.Decoder().decode
        self._encode = msgspec.json.Encoder().encode

    def run(self, wanted: Slice) -> Result:
        """Transform events until the slice is done, or the answer is large."""
        fates, kept, failures = bytearray(), [], []
        size = 0
        for position, line in enumerate(wanted.lines.split(b"\n")):
            self._place[0] = position + 1
            try:
                changed = self._one(line)
            except BaseException as error:  # noqa: BLE001  whatever it raises belongs to this event
                fates.append(FAILED)
                memory = isinstance(error, MemoryError)
                failures.append(Failure(position, reason_of(error), traceback_of(error), memory))
                continue
            fates.append(FILTERED if changed is None else KEPT)
            if changed is not None:
                kept.append(changed)
                size += len(changed)
                if size > self._reply_bytes:
                    break
        return Result(wanted.lease, bytes(fates), b"\n".join(kept), failures)

    def _one(self, line: bytes) -> bytes | None:
        changed = self._transform(self._decode(line))
        if changed is None:
            return None
        if not isinstance(changed, dict):
            allowed = "return a dict (the event), or None to leave it out"
            raise TypeError(f"transform returned {type(changed).__name__}; {allowed}")
        text = self._encode(changed)
        if len(text) > self._event_bytes:
            allowed = f"at most {self._event_bytes} are allowed"
            raise ValueError(f"transform returned an event of {len(text)} bytes; {allowed}")
        return text


def confine(memory_bytes: int) -> None:
    """Bound the process: its memory, no core dumps, the first to go when the machine has no memory left."""
    try:
        import resource  # noqa: PLC0415  not there on Windows

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
        Path("/proc/self/oom_score_adj").write_text("1000")
    except (ImportError, OSError, ValueError) as error:
        sys.stderr.write(f"this process cannot be confined: {error}\n")


def die_with(parent: int) -> None:
    """Have the kernel end this process with the one that started it, where it can; the channel's end does it, too."""
    if sys.platform != "linux":
        return
    import ctypes  # noqa: PLC0415  only here

    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
    if os.getppid() != parent:
        os._exit(0)


def main() -> None:
    """Serve slices until the channel ends. Arguments: the process that started this one, the file for `place`."""
    die_with(int(sys.argv[1]))
    channel = Channel(socket.socket(fileno=os.dup(0)))
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    faulthandler.enable()
    place = memoryview(mmap.mmap(int(sys.argv[2]), PLACE_BYTES)).cast("Q")
    wanted = channel.receive(Load)
    if wanted is None:
        return
    confine(wanted.memory_bytes)
    transform, loaded = load(wanted)
    channel.send(loaded)
    if transform is None:
        return
    work, process = Work(transform, wanted, place), os.getpid()
    while (piece := channel.receive(Slice)) is not None:
        result = work.run(piece)
        if os.getpid() != process:  # a fork of the module's has no business here
            os._exit(0)
        channel.send(result)


if __name__ == "__main__":
    main()
