"""Lines of logs as events: JSON behind a prefix, and the access logs of Apache and nginx. Pure: lines in, events out."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import msgspec

from streamgauge.event import FieldMapping

MOST_BRACES: Final = 16  # where an object may begin that are tried in one line
MOST_SHOWN: Final = 80
MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
REQUEST: Final = "request"  # the type of such events
QUOTED: Final = r'"((?:[^"\\]|\\.)*)"'
# https://httpd.apache.org/docs/2.4/logs.html#combined; nginx writes the same. More may stand behind it, and the virtual
# host before it, as in Debian's other_vhosts_access.log.
COMBINED: Final = re.compile(
    r"(?:(\S+) )?(\S+) \S+ (\S+) \[(\d\d)/(" + "|".join(MONTHS) + r")/(\d{4}):(\d\d:\d\d:\d\d) ([+-]\d\d)(\d\d)\] "
    + QUOTED + r" (\d{3}) (\d+|-)(?: " + QUOTED + " " + QUOTED + r")?(?: .*)?"
)  # fmt: skip
ESCAPED: Final = re.compile(r"\\(?:x([0-9a-fA-F]{2})|(.))")


def json_part(line: bytes) -> bytes | None:
    """Give the JSON object with which a line ends; None where it ends with none."""
    text, start = line.strip(), -1
    for _ in range(MOST_BRACES):
        start = text.find(b"{", start + 1)
        if start < 0:
            return None
        try:
            msgspec.json.decode(text[start:], type=dict[str, msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        return text[start:]
    return None


def shown(line: bytes) -> str:
    """Give the beginning of a line, for a message about it."""
    text = line.strip().decode(errors="backslashreplace")
    return repr(text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…")


def is_combined(line: bytes) -> bool:
    """Tell whether a line is one of an access log."""
    return COMBINED.fullmatch(line.strip().decode(errors="backslashreplace")) is not None


def combined_reader(fields: FieldMapping) -> Callable[[bytes], bytes | None]:
    """Give a function that makes an event of a line of an access log; None of what is none.

    Its type is `request`, its value the bytes of the answer; `-` is left out. fields: how the reserved ones are named.
    """
    encode = msgspec.json.Encoder().encode

    def read(line: bytes) -> bytes | None:
        match = COMBINED.fullmatch(line.strip().decode(errors="backslashreplace"))
        if match is None:
            return None
        host, ip, user, day, month, year, time, hours, minutes, request, status, size, referrer, agent = (
            match.groups()
        )
        event: dict[str, Any] = {
            fields.type: REQUEST,
            fields.timestamp: f"{_date(day, month, year)}T{time}{hours}:{minutes}",
            "ip": ip,
            **_parts_of(_unescaped(request)),
            "status": int(status),
        }
        if size != "-":
            event[fields.value] = int(size)
        more = ((fields.user_id, user), ("referrer", referrer), ("user_agent", agent), ("host", host))
        event |= {name: _unescaped(text) for name, text in more if text not in {None, "", "-"}}
        return encode(event)

    return read


@lru_cache(maxsize=64)
def _date(day: str, month: str, year: str) -> str:
    return f"{year}-{MONTHS.index(month) + 1:02d}-{day}"


def _parts_of(request: str) -> dict[str, str]:
    """Take a request line apart; what is none stays whole, as `request`."""
    words = request.split(" ")
    if len(words) != 3 or not words[0].isalpha():
        return {"request": request} if request not in {"", "-"} else {}
    path, mark, query = words[1].partition("?")
    parts = {"method": words[0], "path": path, "protocol": words[2]}
    return {**parts, "query": query} if mark and query else parts


def _unescaped(text: str) -> str:
    """Undo how servers write quotes and control characters; other bytes stay as they wrote them."""
    if "\\" not in text:
        return text
    return ESCAPED.sub(lambda found: _plain(found[0], found[1], found[2]), text)


def _plain(whole: str, code: str | None, character: str | None) -> str:
    if code is not None:
        return chr(int(code, 16)) if int(code, 16) < 0x80 else whole
    return character if character in {'"', "\\"} else whole
