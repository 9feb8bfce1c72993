"""The program of a process in which events are counted for trial; see `trial`, which starts it.

What of an event raises has its place in the pipeline already. What ends this process would have ended the server.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from streamgauge import config, logs
from streamgauge.engine import Engine
from streamgauge.journal import Entry, Record
from streamgauge.opening import OpenEngine
from streamgauge.options import Options
from streamgauge.settings import IN_MEMORY
from streamgauge.transform.worker import FRAME
from streamgauge.trial import DEADLINE_S, READY

FIRST_TO_BE_KILLED: Final = "1000"  # where memory runs out; see proc(5), oom_score_adj
COMMIT: Final = "10ms"


def in_memory(mapping: Mapping[str, Any]) -> Options:
    """Give the options of a server as those of an engine that counts the same and keeps nothing."""
    store = {**mapping.get("store", {}), "url": IN_MEMORY, "commit_interval": COMMIT}
    return config.from_mapping({**mapping, "store": store, "source": []})


async def _serve(options: Options, source: IO[bytes], answers: IO[bytes]) -> None:
    opened = OpenEngine(options)
    engine = await opened.start()
    answers.write(READY)
    seq = 0
    loop = asyncio.get_running_loop()
    while frame := await loop.run_in_executor(None, _frame, source):
        for entry in msgspec.msgpack.decode(frame, type=list[Entry]):
            seq += 1
            await engine.intake.replay(Record(seq, entry))
        await _counted(engine, seq)
        answers.write(READY)


async def _counted(engine: Engine, seq: int) -> None:
    """Wait until the store has it, so that whatever can die of an event has had its turn."""
    while not await engine.caught_up(seq, DEADLINE_S):
        pass


def _frame(source: IO[bytes]) -> bytes:
    head = source.read(FRAME.size)
    return source.read(*FRAME.unpack(head)) if len(head) == FRAME.size else b""


def main() -> None:
    """Count what comes on the standard input, until that ends."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(FIRST_TO_BE_KILLED)
    logs.configure()
    answers = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)  # whatever is printed is no answer
    source = sys.stdin.buffer
    options = in_memory(msgspec.msgpack.decode(_frame(source)))
    asyncio.run(_serve(options, source, answers))
    os._exit(0)  # nothing here is worth an orderly end


if __name__ == "__main__":
    main()
