"""What the fields of a file's first events say about a replay, before any of them is sent."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from streamgauge.events.clock import parse_timestamp
from streamgauge.replay_bodies import Body

LIKELY_SINCE_US: Final = 946_684_800_000_000  # the year 2000; what is before is more likely another number
LIKELY_TIME_FIELDS: Final = (
    "ts", "time", "@timestamp", "datetime", "date", "created_at", "createdAt", "event_time", "eventTime", "occurred_at", "at",
)  # fmt: skip
TIME_WORDS: Final = frozenset({"timestamp", "datetime", "time", "date", "ts", "at", "when"})
WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
MONTHS: Final = "jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"
DATE: Final = re.compile(
    rf"\d{{1,4}}[-/.]\d{{1,2}}[-/.]\d{{1,4}}|\b(?:{MONTHS})[a-z]*\b.*\d|\d.*\b(?:{MONTHS})", re.IGNORECASE
)
OF_EVERY_FILE: Final = ("type", "timestamp")
MOST_SHOWN: Final = 20
NEAR: Final = 0.6


def missing_field(
    body: Body, fields: Sequence[str], named: Mapping[str, str], *, is_first: bool
) -> str | None:
    """Say which field that was named is in none of a file's first events, and which fields there are; None if all are.

    fields: what those events have. named: field by part. is_first: of all that is sent; an optional part has to be in the first file only, and where
    events come slowly it may be still to come.
    """
    if not fields:  # not even JSON: whoever reads it says so
        return None
    for part, name in named.items():
        if name not in fields and (part in OF_EVERY_FILE or (is_first and not body.is_early)):
            return _missing(body, part, name, fields)
    return None


def _missing(body: Body, part: str, name: str, fields: Sequence[str]) -> str:
    option = f"--{part.replace('_', '-')}"
    near = nearest(name, fields)
    shown = [*near, *(field for field in fields if field not in near)][:MOST_SHOWN]
    count = len(body.rows)
    among = f"the first {count:,} events have" if count > 1 else "the first event has"
    hint = f"did you mean {option} {shlex.quote(near[0])}? " if near else ""
    there = ", ".join(f"`{field}`" for field in shown)
    rest = f" and {len(fields) - len(shown):,} more" if len(fields) > len(shown) else ""
    return (
        f"{body.place(0)}: {option}: {among} no field `{name}`; {hint}There are {there}{rest}."
        " Where it comes only later, say --trust-fields"
    )


def fields_of(lines: Iterable[bytes]) -> dict[str, None]:
    """Give the names of the fields that events have, in the order in which they come."""
    names: dict[str, None] = {}
    for line in lines:
        try:
            names |= dict.fromkeys(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return names


def nearest(name: str, fields: Iterable[str]) -> list[str]:
    """Give the fields that a name was most likely meant for, the likeliest first."""
    by_letters: dict[str, list[str]] = {}
    for field in fields:
        by_letters.setdefault(_letters(field), []).append(field)
    near = difflib.get_close_matches(_letters(name), by_letters, n=3, cutoff=NEAR)
    return [field for letters in near for field in by_letters[letters]]


def _letters(name: str) -> str:
    """Give a name as it is compared: neither capitals nor what stands between words tell names apart."""
    return re.sub(r"[^\w]|_", "", name.casefold()) or name


def time_field(event: Mapping[str, Any]) -> str | None:
    """Give the field of an event that looks like its time: by its usual name, or by the words of its name."""
    usual = (name for name in LIKELY_TIME_FIELDS if is_time(event.get(name)))
    spoken = (name for name, value in event.items() if _speaks_of_time(name) and _looks_dated(value))
    return next(usual, None) or next(spoken, None)


def _speaks_of_time(name: str) -> bool:
    return not TIME_WORDS.isdisjoint(word.lower() for word in WORD.findall(name))


def _looks_dated(value: object) -> bool:
    return is_time(value) or (isinstance(value, str) and DATE.search(value) is not None)


def is_time(value: object) -> bool:
    """Tell whether a value is a time that is read, of this millennium."""
    try:
        return value is not None and parse_timestamp(value) >= LIKELY_SINCE_US
    except (ValueError, OverflowError):
        return False


def unread_time(event: Mapping[str, Any], mapped: str) -> str | None:
    """Say that an event seems to know its time by another field than `mapped`, and what to do; None if it does not."""
    likely = time_field(event)
    if likely is None:
        return None
    unread = "" if is_time(event[likely]) else f" (once `{str(event[likely])[:40]}` is written as ISO 8601)"
    return (
        f"no `{mapped}`, so the events would be counted as of now; `{likely}` looks like their time: say"
        f" --timestamp {shlex.quote(likely)}{unread}, or --timestamp {shlex.quote(mapped)} to send them as of now"
    )
