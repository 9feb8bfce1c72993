"""A stream of made-up shop events, for the demo: the same every time, with the ups and downs of a real one."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final

import msgspec

from streamgauge.errors import Saturated

Event = dict[str, Any]

NAME: Final = "shop"
EVENTS_A_SECOND: Final = 60.0
HISTORY_S: Final = 1860  # a quarter of an hour, and the one before it to compare with
TICK_S: Final = 0.1
PAGES: Final = ("/", "/products", "/products/lamp", "/products/chair", "/cart", "/checkout", "/about")
COUNTRIES: Final = ("DE", "BR", "US", "GB", "FR", "JP")
TYPES: Final = ("page_view", "search", "add_to_cart", "purchase", "login")
WEIGHTS: Final = (62, 14, 12, 5, 7)


class Shop:
    """Makes events. random_seed: the same seed gives the same events."""

    def __init__(self, random_seed: int = 7) -> None:
        self._random = random.Random(random_seed)  # noqa: S311  made-up data, not secrets

    def rate(self, at_s: float) -> float:
        """Events a second at a moment: two waves, and every four minutes a burst of visitors."""
        wave = 1.0 + 0.35 * math.sin(at_s / 47.0) + 0.2 * math.sin(at_s / 11.0)
        burst = 2.2 if at_s % 240.0 < 20.0 else 1.0
        return EVENTS_A_SECOND * wave * burst

    def between(self, start_s: float, end_s: float) -> Iterator[Event]:
        """Give the events of a stretch of time, in order."""
        expected = self.rate(start_s) * (end_s - start_s)
        count = int(expected) + (self._random.random() < expected % 1.0)
        for moment in sorted(self._random.uniform(start_s, end_s) for _ in range(count)):
            yield self._event(moment)

    def _event(self, moment: float) -> Event:
        draw = self._random
        kind = draw.choices(TYPES, WEIGHTS)[0]
        event: Event = {
            "type": kind,
            "timestamp": round(moment * 1000),
            "user_id": f"user_{int(draw.paretovariate(0.7)) % 4000}",
            "country": draw.choices(COUNTRIES, (30, 25, 20, 10, 10, 5))[0],
        }
        if kind == "page_view":
            event |= {"page": draw.choice(PAGES), "value": round(draw.lognormvariate(4.2, 0.5), 1)}
        elif kind in {"add_to_cart", "purchase"}:
            event |= {"value": round(draw.lognormvariate(3.4, 0.8), 2), "currency": "EUR"}
        elif kind == "search":
            event |= {"value": round(draw.lognormvariate(3.0, 0.6), 1), "results": draw.randrange(40)}
        return event


async def run(
    accept: Callable[[bytes], Awaitable[object]],
    now_s: Callable[[], float],
    *,
    history: bool,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> None:
    """Send events for ever; with `history`, first those of the last half hour.

    Where `accept` raises Saturated the same events are sent again later. After a longer pause of the machine at most
    the last half hour is made up for.
    """
    shop, encoder = Shop(), msgspec.json.Encoder()
    at = now_s() - (HISTORY_S if history else 0)
    while True:
        now = now_s()
        at = max(at, now - HISTORY_S)
        while at < now:
            until = min(at + 10.0, now)
            events = list(shop.between(at, until))
            if events:
                await _insist(accept, encoder.encode_lines(events), sleep)
            at = until
        await sleep(TICK_S)


async def _insist(
    accept: Callable[[bytes], Awaitable[object]], payload: bytes, sleep: Callable[[float], Awaitable[object]]
) -> None:
    while True:
        try:
            await accept(payload)
        except Saturated as exc:
            await sleep(exc.retry_after_s)
        else:
            return
