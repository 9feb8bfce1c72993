"""Bad JSON, bad values and everything at a limit, as `POST /api/events` answers it: a table."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pytest

from wire import Bytes, Input, Target, check_in_the_end, check_input, rows

CONFIGURATION: Final = '[[metric]]\nname = "by_key"\nby = ["key"]\naggregates = ["count"]\n'
MIB: Final = 2**20


def event(fields: str) -> bytes:
    """Write an event with more fields, each as it stands."""
    return b'{"type":"a",' + fields.encode() + b"}"


def value(text: str) -> bytes:
    return event(f'"x":{text}')


def raw(text: bytes) -> bytes:
    """Write an event with a string of bytes that may be no UTF-8."""
    return b'{"type":"a","x":"' + text + b'"}'


def bad(number: str, name: str, *sent: Bytes, says: str = "", status: int = 422, **more: Any) -> Input:
    return Input(number, name, sent, status, says, **more)


def no_json(number: str, name: str, *sent: Bytes, says: str = "not JSON", **more: Any) -> Input:
    return Input(number, name, sent, 400, says, **more)


def good(number: str, name: str, *sent: Bytes, accepted: int = 1) -> Input:
    return Input(number, name, sent, 202, accepted=accepted)


def stamped(stamp: object) -> bytes:
    return json.dumps({"type": "a", "timestamp": stamp}).encode()


def ahead(**span: float) -> Callable[[], bytes]:
    """Write an event of the future, at the time when it is sent."""
    return lambda: stamped((datetime.now(UTC) + timedelta(**span)).isoformat())


def nested(opening: str, closing: str, levels: int) -> bytes:
    return value(opening * levels + "1" + closing * levels)


def of_size(size: int) -> bytes:
    """Write an event of so many bytes, of strings that are each within their limit."""
    text = b'{"type":"a","x":["' + b'","'.join([b"y" * 1000] * (size // 1003 - 2)) + b'"],"y":"'
    return text + b"z" * (size - len(text) - 2) + b'"}'


def fields(count: int) -> bytes:
    return event(",".join(f'"f{number}":1' for number in range(count - 1)))


def padded(size: int) -> Callable[[], bytes]:
    """Write a body of so many bytes, most of which are spaces."""
    return lambda: b'{"type":"a"}'.rjust(size)


def hash_flood() -> bytes:
    """20,000 integers that all fall on the same place of a hash table."""
    numbers = ((2**61 - 1) * place for place in range(8, 20_008))
    return b"[" + b",".join(b'{"type":"a","key":%d}' % number for number in numbers) + b"]"


def long_integers() -> bytes:
    """200 integers that Python takes longer to read than their bytes should cost."""
    return b"[" + b",".join(b'{"type":"a","key":%d}' % (10**4200 + n) for n in range(200)) + b"]"


def collisions() -> bytes:
    """34 doubles with one hash, and the integers that have that of zero."""
    keys: list[float] = [1.5 * 2.0 ** (61 * power) for power in range(-17, 17)]
    keys += [0, 2**61 - 1, 2 * (2**61 - 1), 3 * (2**61 - 1)]
    return json.dumps([{"type": "a", "key": key} for key in keys]).encode()


LONG_EVENT: Final = b'{"type":"signup","user_id":"u1","value":12.5,"tags":["a",{"b":null}],"text":"\\u00e9"}'
HARMLESS_NAMES: Final = (
    *("__proto__", "constructor", "toString", "__class__", "__init__", "$where", "../x", "a.b", "a[0]"),
    *("'; DROP TABLE events;--", "select", "read_text('/etc/passwd')", "n" * 128, "é" * 64, "type ", "\\n"),
)
SYNTAX_ERRORS: Final = (
    *(
        "01",
        "+1",
        ".5",
        "5.",
        "0x10",
        "1_000",
        "1,",
        "'a'",
        "1//c",
        "1/**/",
        r'"\x41"',
        r'"\u12"',
        "True",
        "",
    ),
    *(
        "undefined",
        "-",
        "1e",
        "1e+",
        "tru",
        "nul",
        '"',
        "[1,]",
        "[,1]",
        '{"a"}',
        '{"a":1,}',
        "{1:1}",
        "\\u0031",
    ),
)
NO_TIMES: Final[tuple[object, ...]] = (
    *("soon", "2026-02-30T00:00:00Z", "2026-01-01T24:00:01Z", "2026-01-01T00:00:60Z", "", " "),
    *("2026-01-01T00:00:00+99:99", "10000-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "٢٠٢٦-01-01T00:00:00Z"),
    *({}, [], True, False, [1], 9_000_000_000_000_000_000, 1e300, -1e300),
)

TABLE: Final = [
    no_json("I-001", "nothing", b"", says="empty_body"),
    no_json("I-002", "white space", b"  \n", b" " * 100_000, says="empty_body"),
    no_json("I-003", "an event cut off anywhere", *(LONG_EVENT[:end] for end in range(1, len(LONG_EVENT)))),
    no_json("I-004", "a byte order mark", b"\xef\xbb\xbf" + value("1"), says="bom"),
    no_json("I-005", "UTF-16 without a mark", value("1").decode().encode("utf-16-le"), says="malformed"),
    no_json(
        "I-006",
        "UTF-16 and UTF-32 with a mark",
        *(value("1").decode().encode(coding) for coding in ("utf-16", "utf-32")),
        says="bom",
    ),
    no_json("I-007", "a byte FF", raw(b"\xff")),
    no_json("I-008", "overlong UTF-8", *map(raw, (b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf"))),
    no_json("I-009", "a surrogate as UTF-8", raw(b"\xed\xa0\x80")),
    no_json("I-010", "cut off UTF-8 and beyond Unicode", raw(b"\xe2\x82"), raw(b"\xf4\x90\x80\x80")),
    no_json("I-011", "a high surrogate alone", value(r'"\ud800"'), value(r'"\ud800x"')),
    no_json(
        "I-012",
        "surrogates alone or reversed",
        value(r'"\ude00"'),
        value(r'"\ude00\ud83d"'),
        event(r'"\ud800":1'),
    ),
    bad("I-013", "a NUL in a value", value(r'"\u0000"'), says="NUL"),
    bad("I-014", "a NUL in a name", event(r'"a\u0000b":1'), says="NUL"),
    bad("I-014", "an empty name", event('"":1'), says="empty"),
    bad(
        "I-014",
        "a long name",
        event('"' + "n" * 129 + '":1'),
        event('"' + "é" * 65 + '":1'),
        says="128 bytes",
    ),
    no_json("I-015", "control characters", *(raw(bytes([code])) for code in range(32))),
    no_json("I-016", "no numbers", *map(value, ("NaN", "Infinity", "-Infinity", "nan", "inf", "1e", "--1"))),
    bad(
        "I-017", "beyond a double", *map(value, ("1e400", "-1e400", "1E+309", "[1e999]")), says="out of range"
    ),
    good("I-018", "near zero", value("1e-400")),
    good("I-019", "minus zero", event('"value":-0')),
    good("I-019", "minus zero with a point", event('"value":-0.0,"key":-0.0')),
    good("I-020", "2^53 + 1", event('"value":9007199254740993,"key":9007199254740993')),
    good("I-021", "the ends of 64 bits", event('"x":[9223372036854775807,-9223372036854775808]')),
    bad(
        "I-021",
        "just beyond 64 bits",
        *map(value, ("9223372036854775808", "-9223372036854775809", "[[9223372036854775808]]")),
        says="64 bits",
    ),
    bad("I-022", "2^64", value("18446744073709551616"), value("-18446744073709551616"), says="64 bits"),
    bad("I-023", "4,300 digits", value("9" * 4300), says="an integer outside of 64 bits"),
    bad("I-023", "5,000 digits", value("9" * 5000), says="x"),
    bad("I-023", "1,000,000 digits", lambda: value("9" * 1_000_000), says="bytes"),
    bad("I-024", "a fraction of 400,000 digits", lambda: value("0." + "0" * 400_000 + "1"), says="bytes"),
    good("I-025", "a name twice: the last counts", event('"x":1,"x":2')),
    good("I-025", "a name twice, once escaped", event(r'"a":1,"\u0061":2')),
    good("I-026", "names equal but for case", event('"a":1,"A":2')),
    good(
        "I-027",
        "names that look alike",
        event('"\u00e9":1,"e\u0301":2,"\u0430":3,"a":4,"\u202ea":5,"\u200ba":6'),
    ),
    *(good("I-028", f"the name {name[:24]!r}", event(f'"{name}":1')) for name in HARMLESS_NAMES),
    good("I-029", "32 deep", nested("[", "]", 31), accepted=1),
    bad("I-029", "33 deep", nested("[", "]", 32), nested('{"a":', "}", 32), says="at most 32"),
    Input("I-030", "100,000 deep in an event", (nested("[", "]", 100_000),), 400, "too_deep"),
    Input(
        "I-030",
        "nothing but brackets",
        (b"[" * 100_000 + b"]" * 100_000, lambda: b"[" * 10_000_000, b'{"a":' * 100_000),
        400,
    ),
    bad("I-031", "a number, a text, null, true", b"42", b'"x"', b"null", b"true", says="expected an object"),
    bad("I-031", "an empty list", b"[]"),
    bad("I-031", "an empty object", b"{}", b"[{}]", says="no `type`"),
    bad("I-031", "lists without events", b"[null]", b"[[]]", b"[[{}]]", says="expected an object"),
    no_json(
        "I-032",
        "more behind the event",
        *(
            b'{"type":"a"}' + more
            for more in (b'{"type":"b"}', b"\0", b"garbage", b"\n{}", b",", b"]", b"\n[]")
        ),
    ),
    *(no_json("I-033", f"syntax {text!r}", value(text)) for text in SYNTAX_ERRORS),
    no_json("I-033", "other notations", b"type: a", b"<event/>", b"type=a", b"(1)", b"\x80\x04\x95."),
    bad("I-034", "integers made to collide", hash_flood, says='"rejected":20000'),
    bad("I-034", "integers of thousands of digits", long_integers, says='"rejected":200'),
    good(
        "I-035",
        "doubles and integers that collide",
        collisions,
        accepted=38,
    ),
    good("I-036", "an event of 256 KiB", of_size(256 * 1024)),
    bad("I-036", "a byte more than 256 KiB", of_size(256 * 1024 + 1), says="262145 bytes; at most 262144"),
    good(
        "I-037",
        "10,001 events",
        lambda: b"[" + b",".join([b'{"type":"many"}'] * 10_001) + b"]",
        accepted=10_001,
    ),
    good("I-038", "a body of 32 MiB", padded(32 * MIB)),
    Input("I-038", "a byte more than 32 MiB", (padded(32 * MIB + 1),), 413, "too_large"),
    good("I-039", "256 fields", fields(256)),
    bad("I-039", "257 fields", fields(257), says="at most 256"),
    bad("I-039", "40,000 fields", fields(40_000), says="at most"),
    good("I-039", "a string of 64 KiB", value(f'"{"s" * 65_536}"')),
    bad("I-039", "a byte more than 64 KiB", value(f'"{"s" * 65_537}"'), says="at most 65536"),
    no_json("I-040", "objects without an end", b'{"a":1,' * 140_000, b'{"a":{"type":1},' * 60_000, says=""),
    bad("I-040", "more of them than any event may be long", b'{"a":1,' * 500_000, says="3500000 bytes"),
    *(bad("I-041", f"the time {str(stamp)[:32]!r}", stamped(stamp), says="timestamp") for stamp in NO_TIMES),
    *(
        good("I-041", f"the time {stamp!r}", stamped(stamp))
        for stamp in (
            None,
            10**9,
            10**12,
            10**15,
            10**18,
            -1,
            0,
            1.5,
            "2026-01-31",
            "2026-01-31 12:00",
            "2026-W05-1",
        )
    ),
    good("I-041", "a fraction of 30 digits", stamped("2026-01-01T00:00:00." + "1" * 30 + "Z")),
    good("I-042", "9:50 ahead", ahead(minutes=9, seconds=50)),
    bad("I-042", "10:10 ahead", ahead(minutes=10, seconds=10), says="ahead of this server's clock"),
    bad("I-042", "the year 2098", stamped("2098-01-01T00:00:00Z"), says="ahead of this server's clock"),
    good("I-042", "the year 1", stamped("0001-01-01T00:00:00Z")),
    bad("I-043", "an id of 1 MiB", lambda: event('"event_id":"' + "i" * MIB + '"'), says="bytes"),
    bad(
        "I-043",
        "an id that is none",
        *(event(f'"event_id":{id_}') for id_ in ("{}", "[]", "true")),
        says="event_id",
    ),
    bad("I-043", "an id with a NUL", event(r'"event_id":"\u0000"'), says="NUL"),
    good("I-043", "an id with a newline", event(r'"event_id":"one\ntwo"')),
    bad("I-044", "an empty type", b'{"type":""}', says="non-empty"),
    bad(
        "I-044",
        "a type that is none",
        *(b'{"type":%s}' % t for t in (b"1", b"[]", b"true", b"{}")),
        says="type",
    ),
    bad("I-044", "a type of 1 MiB", lambda: b'{"type":"' + b"t" * MIB + b'"}', says="bytes"),
    *(
        good("I-044", f"the type {kind!r}", json.dumps({"type": kind}).encode())
        for kind in (
            "(other)",
            "__other__",
            "*",
            "/",
            "🎉",
            "\n",
            " a ",
            "../../etc",
            "_sg",
            "null",
            "<script>",
            "\x1b[31m",
        )
    ),
    bad("I-044", "the journal's own name", event('"_sg":1'), event(r'"\u005fsg":1'), says="reserved"),
    bad("I-044", "no type", b'{"event":"signup"}', says="did you mean to map `event`"),
    bad(
        "I-045",
        "a value that is none",
        *(event(f'"value":{v}') for v in ('"1"', "true", "[]", "{}")),
        says="a number",
    ),
    good("I-045", "no value", event('"value":null')),
    bad(
        "I-045",
        "a user that is none",
        *(event(f'"user_id":{u}') for u in ("true", "[]", "{}")),
        says="user_id",
    ),
]


@pytest.mark.parametrize("given", rows(TABLE))
def test_an_input_is_answered_as_documented_and_harms_nobody(target: Target, given: Input) -> None:
    check_input(target, given)


def test_a_flood_of_numbers_made_to_collide_is_refused_in_time(target: Target) -> None:
    begun = time.monotonic()
    assert target.post(hash_flood()).status == 422
    assert time.monotonic() - begun < 10  # in a hash table it would be half a minute


def test_everything_that_was_accepted_and_nothing_else_is_stored_as_it_was_sent(target: Target) -> None:
    check_in_the_end(target)
