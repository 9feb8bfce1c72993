"""What a server's answer means for a batch: taken, to be sent again after a while, or never to be taken. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

OK, MULTIPLE_CHOICES, BAD_REQUEST, TOO_LARGE, UNPROCESSABLE, SERVER_ERROR = 200, 300, 400, 413, 422, 500
PASSING: Final = frozenset(
    {408, 409, 425, 429}
)  # refusals that another attempt may not meet (RFC 9110, 6585, 8470)
LASTING: Final = frozenset({501, 505})
FIRST_WAIT_S: Final = 0.2
LONGEST_WAIT_S: Final = 30.0
LONGEST_RETRY_AFTER_S: Final = 300.0  # a proxy that asks for hours must not silence a client for hours
JITTER: Final = 0.2  # of what the server asked for, on top
MOST_SHOWN: Final = 300


class Refused(msgspec.Struct, frozen=True):
    """An event that the server rejected. index: its place in the batch."""

    index: int
    error: str


class Receipt(msgspec.Struct, frozen=True):
    """What became of a batch that the server has decided on. errors: the first hundred."""

    accepted: int
    rejected: int = 0
    errors: list[Refused] = []
    duplicates: int = 0


@dataclass(frozen=True, slots=True)
class Again:
    """The batch is to be sent again. wait_s: what the server asked for; None where it said nothing."""

    reason: str
    status: int | None = None
    wait_s: float | None = None


@dataclass(frozen=True, slots=True)
class Never:
    """The batch will never be taken."""

    reason: str
    status: int | None = None


def judge(status: int, retry_after: str, text: bytes, now_s: float) -> Receipt | Again | Never:
    """Tell what an answer means. retry_after: that header, or ""; now_s: since 1970."""
    if OK <= status < MULTIPLE_CHOICES or status == UNPROCESSABLE:
        receipt = _receipt(text)
        if receipt is not None:
            return receipt
        if status != UNPROCESSABLE:  # whoever answered in its place may be gone the next time
            return Again(f"answered {status}, but not as a Streamgauge server: {detail_of(text)}", status)
    if status in PASSING or (status >= SERVER_ERROR and status not in LASTING):
        return Again(f"answered {status}: {detail_of(text)}", status, seconds_of(retry_after, now_s))
    return Never(f"answered {status}: {detail_of(text)}", status)


def _receipt(text: bytes) -> Receipt | None:
    try:
        return msgspec.json.decode(text, type=Receipt)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def seconds_of(retry_after: str, now_s: float) -> float | None:
    """Read `Retry-After`: seconds, or a date (RFC 9110, 10.2.3); None where it is neither."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        wait_s = parsedate_to_datetime(text).timestamp() - now_s
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(0.0, wait_s), LONGEST_RETRY_AFTER_S)


def wait_s(attempt: int, asked_s: float | None, draw: Callable[[], float]) -> float:
    """Give how long to wait after the attempt of that number, from 1 on. draw: gives numbers from 0 to 1.

    Never less than the server asked for. Otherwise doubling from 0.2 s up to 30 s, each wait drawn from its upper half,
    so that clients spread out.
    """
    if asked_s is not None:
        return asked_s * (1.0 + JITTER * draw())
    whole = min(LONGEST_WAIT_S, FIRST_WAIT_S * math.ldexp(1.0, min(attempt, 32) - 1))
    return whole * (0.5 + draw() / 2)


def detail_of(text: bytes) -> str:
    """Give what an answer says, in one line, whoever sent it."""
    try:
        answer = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return " ".join(str(detail or text[:MOST_SHOWN].decode(errors="replace")).split()) or "nothing"
