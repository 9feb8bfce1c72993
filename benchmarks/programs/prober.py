"""Asks for `/healthz` every few milliseconds: how long an answer takes is how long the event loop was not free for it."""

from __future__ import annotations

import asyncio
import time
from array import array
from typing import Final

from benchmarks.percentiles import percentiles
from benchmarks.plans import Probed, ProbePlan
from benchmarks.programs.talk import hear, run, say

QUESTION: Final = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
END_OF_HEAD: Final = b"\r\n\r\n"
LENGTH: Final = b"content-length:"
PATIENCE_S: Final = 60.0


async def ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Ask once, and read the answer to its end."""
    writer.write(QUESTION)
    head = await reader.readuntil(END_OF_HEAD)
    lines = head.lower().split(b"\r\n")
    size = next(int(line[len(LENGTH) :]) for line in lines if line.startswith(LENGTH))
    await reader.readexactly(size)


def with_unasked(took_s: float, every_s: float) -> list[float]:
    """Give how long an answer took, and how long those would have that were due while it was waited for.

    So a stall weighs as much as it lasts (HdrHistogram's correction of Gil Tene's "coordinated omission").
    """
    unasked = int(took_s / every_s)
    return [took_s - number * every_s for number in range(unasked + 1)]


async def probe(plan: ProbePlan) -> Probed:
    """Ask for as long as the plan says, one question at a time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", plan.port)
    await ask(reader, writer)
    say("probing")
    times_s = array("d")
    answers = 0
    end = time.monotonic() + plan.seconds
    while (asked := time.monotonic()) < end:
        await ask(reader, writer)
        took_s = time.monotonic() - asked
        answers += 1
        times_s.extend(with_unasked(took_s, plan.every_s))
        await asyncio.sleep(max(0.0, plan.every_s - took_s))
    writer.close()
    p50, p999 = percentiles(times_s, [50, 99.9])
    return Probed(answers=answers, p50_ms=p50 * 1000, p999_ms=p999 * 1000, max_ms=max(times_s) * 1000)


async def main() -> None:
    plan = hear(ProbePlan)
    async with asyncio.timeout(plan.seconds + PATIENCE_S):
        say(await probe(plan))


if __name__ == "__main__":
    run(main())
