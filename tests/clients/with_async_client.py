"""Sends the events that it reads, one a line, with `AsyncClient`. Usage: with_async_client.py <url>."""

import asyncio
import json
import sys

from streamgauge import AsyncClient


async def main() -> bool:
    async with AsyncClient(sys.argv[1], batch_events=20, wait_s=60.0) as client:
        while line := await asyncio.to_thread(sys.stdin.readline):
            await client.push_event(json.loads(line))
        await client.flush()
    counts = client.counts()
    return counts.accepted + counts.duplicates == counts.pushed


sys.exit(not asyncio.run(main()))
