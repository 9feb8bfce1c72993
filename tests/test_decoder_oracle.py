"""Our reading of events against that of the standard library's `json`: the same values, or a refusal with a reason.

What `json` reads more generously than a standard allows (NaN, lone surrogates) is refused, and so is what breaks a
limit; nothing else may be, and nothing may be read as another value.
"""

from __future__ import annotations

import json
import math
from typing import Any, Final

from hypothesis import example, given
from hypothesis import strategies as st

from soak import examples
from streamgauge.columns import MISSING
from streamgauge.event import FieldMapping, Origin
from streamgauge.events.clock import parse_timestamp
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import RESERVED_PREFIX, EventLimits

NOW_US: Final = 1_770_000_000_000_000
LIMITS: Final = EventLimits()
DECODER: Final = EventDecoder(["plan", "x"])
LATEST_US: Final = NOW_US + LIMITS.max_ahead_us
ORIGIN: Final = Origin("http", NOW_US, FieldMapping())
SHORT, SOAK_TRIALS = 500, 100_000
NEIGHBOUR: Final = b'{"type":"neighbour","x":"fine"}'

INTEGERS: Final = st.one_of(
    st.integers(),
    st.integers(-(2**63) - 2, -(2**63) + 2),
    st.integers(2**63 - 2, 2**63 + 2),
    st.integers(0, 400).map(lambda digits: 10**digits),
)
TEXTS: Final = st.one_of(
    st.text(max_size=8),
    st.text(st.characters(codec=None), max_size=4),
    st.sampled_from(["_sg", "", "\0", "é" * 65]),
)
SCALARS: Final = st.one_of(st.none(), st.booleans(), INTEGERS, st.floats(), TEXTS)
VALUES: Final = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
NUMBER_TEXTS: Final = st.from_regex(r"-?[0-9]{1,25}(\.[0-9]{1,25})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)
ODD_TEXTS: Final = st.sampled_from(
    ["NaN", "Infinity", "-Infinity", "nul", "01", "1.", ".5", "'a'", "[1,]", r'"\ud800"', r'"\udc00\ud800"', r'"\u0000"',
     r'"\x41"', '"\t"', "-0", "-0.0", "1e-400", "1e400", "9" * 400, r'"\ud83d\ude00"', "\u00a01", "1\u2028", "[]", "{}"]
)  # fmt: skip


def nested(levels: int, brackets: str, inner: str) -> str:
    opening = "[" if brackets == "[]" else '{"k":'
    return opening * levels + (inner or "[]") + brackets[1] * levels


DEEP: Final = st.builds(
    nested,
    st.integers(28, 34) | st.just(200),
    st.sampled_from(["[]", "{}"]),
    st.sampled_from(["1", '"a"', "null", ""]),
)


@st.composite
def json_texts(draw: st.DrawFn) -> str:
    """Write a value as JSON, or as something that is nearly JSON."""
    kind = draw(st.integers(0, 5))
    if kind == 0:
        return draw(NUMBER_TEXTS)
    if kind == 1:
        return draw(ODD_TEXTS)
    if kind == 2:
        return draw(DEEP)
    return json.dumps(
        draw(VALUES),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 1])) if kind == 3 else None,
        separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])),
    ).replace("\n", " ")


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    """Write an event with one or two more fields, some of which come twice."""
    names = draw(
        st.lists(
            st.sampled_from(["plan", "x", "x", "y", r"\u0078", "value", "user_id", "event_id", "timestamp"])
            | TEXTS.map(quoted),
            min_size=1,
            max_size=3,
        )
    )
    fields = [f'"{name}":{draw(json_texts())}' for name in names]
    fields.insert(
        draw(st.integers(0, len(fields))),
        draw(st.sampled_from(['"type":"a"'] * 6 + ['"type":1', '"kind":"a"'])),
    )
    return ("{" + ",".join(fields) + "}").encode("utf-8", "surrogatepass")


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)[1:-1]


class Refused(Exception):
    """The oracle's own reason to refuse a line that `json` reads."""


def refuse_constant(name: str) -> Any:
    raise Refused(name)


def read_float(text: str) -> float:
    """Refuse what no double holds, also in a field that another of the same name replaces."""
    number = float(text)
    if not math.isfinite(number):
        raise Refused("range")
    return number


def read_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse lone surrogates, also in a field that another of the same name replaces."""
    json.dumps(pairs, ensure_ascii=False).encode()
    return dict(pairs)


def oracle(line: bytes) -> dict[str, Any]:
    """Read an event as the standard library does; raises ValueError, RecursionError or Refused where it is none."""
    if len(line) > LIMITS.event_bytes:
        raise Refused("bytes")
    event = json.loads(
        line.decode(), parse_constant=refuse_constant, parse_float=read_float, object_pairs_hook=read_pairs
    )
    check(event, 1)
    if not isinstance(event.get("type"), str) or not event["type"]:
        raise Refused("type")
    if isinstance(event.get("value"), (bool, str, list, dict)):
        raise Refused("value")
    if any(isinstance(event.get(name), (bool, list, dict)) for name in ("user_id", "event_id", "timestamp")):
        raise Refused("reserved")
    if event.get("timestamp") is not None and parse_timestamp(event["timestamp"]) > LATEST_US:
        raise Refused("ahead")
    found: dict[str, Any] = event
    return found


def check(value: Any, depth: int) -> None:
    """Hold a value against the limits, as they are documented."""
    if isinstance(value, (dict, list)) and depth > LIMITS.depth:
        raise Refused("depth")
    if isinstance(value, dict):
        for name, inner in value.items():
            if (
                not name
                or "\0" in name
                or name.startswith(RESERVED_PREFIX)
                or len(name.encode()) > LIMITS.field_name_bytes
            ):
                raise Refused("name")
            check(inner, depth + 1)
    elif isinstance(value, list):
        for inner in value:
            check(inner, depth + 1)
    elif isinstance(value, str) and "\0" in value:
        raise Refused("NUL")
    elif type(value) is int and not -(2**63) <= value < 2**63:
        raise Refused("64 bits")


def wanted(line: bytes) -> dict[str, Any] | None:
    try:
        return oracle(line)
    except (ValueError, RecursionError, Refused):
        return None


def same(one: Any, other: Any) -> bool:
    """Tell whether two values are the same, type and sign included."""
    return type(one) is type(other) and repr(one) == repr(other)


@examples(SHORT, SOAK_TRIALS)
@given(st.lists(lines(), min_size=1, max_size=2))
@example([b'{"type":"a","x":1,"x":NaN}'])
@example([b'{"type":"a","x":"\xed\xa0\x80","x":1}'])
@example([b'{"type":"a","x":9223372036854775808,"x":1}'])
@example([b'{"type":"a","type":1}', b'{"type":1,"type":"a"}'])
@example([b'{"type":"a","value":"1","value":1}', b'{"type":"a","value":1,"value":"1"}'])
def test_an_event_is_read_as_json_reads_it_or_refused_with_a_reason(events: list[bytes]) -> None:
    events = [*events, NEIGHBOUR]
    expected = [wanted(line) for line in events]
    decoded = DECODER.decode(b"\n".join([*events, b""]), ORIGIN, now_us=NOW_US)
    refused = dict(decoded.refused)
    assert [place in refused for place in range(len(events))] == [event is None for event in expected]
    assert all(len(reason) > 5 and len(reason.splitlines()) == 1 for reason in refused.values()), refused
    good = [event for event in expected if event is not None]
    batch = decoded.batch
    assert batch is not None
    assert len(batch) == len(good)
    for place, event in enumerate(good):
        assert same(batch.type.values[batch.type.codes[place]], event["type"])
        assert bool(batch.value.valid[place]) == (event.get("value") is not None)
        if event.get("value") is not None:
            assert batch.value.values[place] == float(event["value"])
        for name in ("plan", "x"):
            assert same_object(batch.objects(name)[place], event.get(name, MISSING)), name


def same_object(found: Any, event_value: Any) -> bool:
    """Compare a property: lists and objects are kept as the JSON that stands for them."""
    if isinstance(event_value, (list, dict)):
        return same(json.loads(found) if isinstance(found, str) else found, event_value)
    return found is event_value or same(found, event_value)
