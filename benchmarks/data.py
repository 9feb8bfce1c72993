"""The events that the benchmarks send: made-up ones, the same every time, and real ones where they are at hand."""

from __future__ import annotations

import gzip
import os
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

TYPES: Final = (
    "page_view", "search", "add_to_cart", "remove_from_cart", "checkout",
    "purchase", "refund", "login", "logout", "signup",
)  # fmt: skip
COUNTRIES: Final = (
    "DE", "BR", "US", "GB", "FR", "JP", "IN", "CN", "IT", "ES",
    "PL", "NL", "SE", "CA", "MX", "AR", "ZA", "NG", "KR", "AU",
)  # fmt: skip
USERS: Final = 10_000
PAGES: Final = 500
MILLISECONDS: Final = 1000
DATA: Final = Path(
    os.environ.get("STREAMGAUGE_DATA", Path(__file__).parent.parent.parent / "shared" / "data")
)
RETAIL: Final = DATA / "retail_orders.ndjson.gz"

Event = dict[str, Any]


def make_events(count: int, *, start_ms: int, span_ms: int, seed: int = 1) -> list[Event]:
    """Make events of some 150 bytes each, in order of time, evenly spread over `span_ms` from `start_ms` on.

    The same arguments give the same events.
    """
    draw = np.random.default_rng(seed)
    times = np.sort(draw.integers(start_ms, start_ms + span_ms, count)).astype("datetime64[ms]")
    users = [f"user_{number}" for number in range(USERS)]
    pages = [f"/products/{number}" for number in range(PAGES)]
    columns = zip(
        draw.integers(0, len(TYPES), count).tolist(),
        np.datetime_as_string(times, unit="ms").tolist(),
        draw.integers(0, USERS, count).tolist(),
        draw.integers(0, PAGES, count).tolist(),
        draw.lognormal(3.5, 0.8, count).round(2).tolist(),
        draw.integers(0, len(COUNTRIES), count).tolist(),
        strict=True,
    )
    return [
        {
            "type": TYPES[kind],
            "timestamp": f"{time}Z",
            "user_id": users[user],
            "page": pages[page],
            "value": value,
            "country": COUNTRIES[country],
        }
        for kind, time, user, page, value, country in columns
    ]


def synthetic_lines(count: int, *, seed: int = 1) -> list[bytes]:
    """Make events as JSON, one a line, whose times lie within one second."""
    encode = msgspec.json.Encoder().encode
    return [encode(event) for event in make_events(count, start_ms=0, span_ms=MILLISECONDS, seed=seed)]


def lines_of(source: str, count: int, *, seed: int = 1) -> list[bytes]:
    """Give up to `count` events as JSON without newlines. source: a gzipped file of them, or "" for made-up ones."""
    if not source:
        return synthetic_lines(count, seed=seed)
    with gzip.open(source) as file:
        return [line.rstrip(b"\n") for line in islice(file, count)]
