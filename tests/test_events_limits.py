"""The limits of one event: the scan of a whole payload passes over nothing that the closer look would refuse."""

import json
import math
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from soak import examples
from streamgauge.event import FieldMapping, Origin
from streamgauge.events.decode import SHORT_BYTES, EventDecoder
from streamgauge.events.limits import EventLimits, problem_of

NOW_US = 1_770_000_000_000_000
LIMITS = EventLimits()
MAPPING = FieldMapping()
DECODER = EventDecoder(["country"])

GOOD = [
    b'{"type":"page_view","timestamp":"2026-01-31T12:00:00.123Z","value":12.5,"user_id":"u1","path":"/"}',
    '{"type":"búsqueda","value":-3,"note":"she said \\"no\\"","empty":""}'.encode(),
    b'{"type":"b","event_id":"0e123456-1e12-4e99-8e12-123456789012","at":1769860800123456789}',
]


def verdicts(lines: list[bytes], limits: EventLimits = LIMITS) -> list[tuple[int, str]]:
    found = [(index, problem_of(line, MAPPING, limits, NOW_US)) for index, line in enumerate(lines)]
    return [(index, problem) for index, problem in found if problem is not None]


def assert_the_batch_is_judged_line_by_line(lines: list[bytes], decoder: EventDecoder = DECODER) -> None:
    """By itself, and among so many others that it is not a short payload, which is searched in another way."""
    assert_judged_alike(lines, decoder)
    others = [GOOD[0]] * (SHORT_BYTES // len(GOOD[0]) + 1)
    assert_judged_alike([*others, *lines], decoder)


def assert_judged_alike(lines: list[bytes], decoder: EventDecoder) -> None:
    decoded = decoder.decode(b"\n".join([*lines, b""]), Origin("http", NOW_US), now_us=NOW_US)
    refused = verdicts(lines, decoder.limits)
    assert decoded.refused == refused
    assert decoded.total == len(lines)
    bad = {index for index, _ in refused}
    good = [line for index, line in enumerate(lines) if index not in bad]
    assert (len(decoded.batch) if decoded.batch else 0) == len(good)
    if decoded.batch is not None and decoded.batch.lines is not None:
        assert [decoded.batch.lines.line(index) for index in range(len(good))] == good


def problem(line: str | bytes, limits: EventLimits = LIMITS) -> str | None:
    return problem_of(line.encode() if isinstance(line, str) else line, MAPPING, limits, NOW_US)


def event(name: str, value: str) -> str:
    return f'{{"type":"a","{name}":{value}}}'


def nested(levels: int, opening: str = "[", closing: str = "]") -> str:
    return opening * levels + closing * levels


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (event("x", nested(32)), "nested too deeply; at most 32"),
        (event("x", '{"a":' * 32 + "1" + "}" * 32), "nested too deeply; at most 32"),
        (event("x", nested(100_000)), "nested too deeply; at most 32"),
        (event("x", "9223372036854775808"), "x: an integer outside of 64 bits"),
        (event("x", "-9223372036854775809"), "x: an integer outside of 64 bits"),
        (event("x", "[[18446744073709551616]]"), "x[0][0]: an integer outside of 64 bits"),
        (event("x", "9" * 4300), "x: an integer outside of 64 bits"),
        (event("x", "9" * 100_000), "out of range"),
        (event("x", "1e309"), "number out of range"),
        (event("x", "-1E+400"), "number out of range"),
        (event("x", "9" * 309 + ".0"), "number out of range"),
        (event("x" * 129, "1"), "a field name of more than 128 bytes"),
        (event("é" * 65, "1"), "a field name of more than 128 bytes"),
        (event('\\"' * 129, "1"), "a field name of more than 128 bytes"),
        (event("", "1"), "a field name that is empty"),
        ('{"type":"a","x":[{"":1}]}', "x[0]: a field name that is empty"),
        (event("x", '"\\u0000"'), "x: a string with a NUL"),
        (event("a\\u0000", "1"), "has a NUL"),
        (event("_sg", "1"), "_sg: field names that begin with _sg are reserved"),
        (event("\\u005fsg", "1"), "begin with _sg are reserved"),
        (event("_\\u0073gx", "1"), "begin with _sg are reserved"),
        (event("_s\\u0067x", "1"), "begin with _sg are reserved"),
        (event("\\u005Fsg", "1"), "begin with _sg are reserved"),
        (event("x", '{"_sgx":1}'), "_sgx: field names that begin with _sg are reserved"),
        (event("x", json.dumps("é" * 32_769, ensure_ascii=False)), "x: a string of 65538 bytes"),
        ('{"type":"a",' + ",".join(f'"{n}":1' for n in range(256)) + "}", "event: 257 fields; at most 256"),
        (event("x", json.dumps(["y" * 60_000] * 5)), "event: 300037 bytes; at most 262144"),
        (event("x", '"\\ud800"'), "event: not JSON"),
        (event("x", '"\\ude00\\ud83d"'), "event: not JSON"),
        (event("\\ud800", "1"), "event: not JSON"),
        (event("x", "NaN"), "event: not JSON"),
        (event("x", "01"), "event: not JSON"),
        ('{"type":"a"}{"type":"b"}', "event: not JSON"),
        ("[99999999999999999999999]", "event: expected an object, got [99999999999999999999999]"),
        ("42", "event: expected an object, got 42"),
        ("null", "event: expected an object, got null"),
        ("{}", "no `type`"),
        ('{"event":"signup"}', "no `type`; did you mean to map `event`?"),
        ('{"type":""}', 'type: expected a non-empty string, got ""'),
        ('{"type":7}', "type: expected a non-empty string, got 7"),
        ('{"type":"a","value":"abc"}', 'value: expected a number, got "abc"'),
        ('{"type":"a","value":true}', "value: expected a number, got true"),
        ('{"type":"a","user_id":[]}', "user_id: expected a string or a number, got []"),
        ('{"type":"a","event_id":false}', "event_id: expected a string or a number, got false"),
        ('{"type":"a","timestamp":"soon"}', "timestamp: expected an ISO 8601 time"),
        (
            '{"type":"a","timestamp":1770000601}',
            "timestamp: 601 s ahead of this server's clock; at most 600 s",
        ),
        ('{"type":"a","timestamp":1770012600}', "timestamp: 3.5 hours ahead of this server's clock; at most"),
        ('{"type":"a","timestamp":1801536000}', "timestamp: 365 days ahead of this server's clock; at most"),
    ],
)
def test_the_reason_names_the_field_and_what_is_wrong(line: str, reason: str) -> None:
    found = problem(line)
    assert found is not None
    assert reason in found
    assert len(found) < 400
    assert_the_batch_is_judged_line_by_line([b'{"type":"a"}', line.encode(), b'{"type":"b"}'])


@pytest.mark.parametrize("field", ["type", "user_id", "city"])
def test_a_byte_that_is_no_utf8_is_named_with_its_place_in_the_line(field: str) -> None:
    start = b'{"type":"a","%s":"M' % field.encode()
    found = problem_of(start + b'\xfcnchen"}', MAPPING, EventLimits(), NOW_US)
    assert found is not None
    assert f"not UTF-8: byte {len(start) + 1} (0xfc) does not belong there; convert it" in found


@pytest.mark.parametrize(
    "line",
    [
        event("x", nested(31)),
        event("x", "9223372036854775807"),
        event("x", "-9223372036854775808"),
        event("x", "9223372036854775808.0"),
        event("x", '"99999999999999999999999999"'),
        event("x", "1e308"),
        event("x", "1e-400"),
        event("x", '"1e400"'),
        event("x", '" :1e400"'),
        event("x" * 128, "1"),
        event("\\u00e9" * 64, "1"),
        event('\\"' * 128, "1"),
        event("x", '""'),
        event("x", '"_sg"'),
        event("x", '"\\ud83d\\ude00"'),
        event("x", json.dumps("x" * 65_536)),
        event("x", '"' + "[" * 1000 + ":" * 1000 + '"'),
        event("x", json.dumps(["x" * 1000] * 200)),
        '{"type":"a",' + ",".join(f'"{n}":1' for n in range(255)) + "}",
        event("__proto__", "1"),
        event("x", "null"),
        '{"type":"a","value":null,"user_id":null,"event_id":null,"timestamp":null}',
        '{"type":"a","timestamp":1770000599}',
        '{"type":"a","timestamp":"0001-01-01T00:00:00Z"}',
    ],
)
def test_what_is_just_within_a_limit_is_accepted(line: str) -> None:
    assert problem(line) is None
    assert_the_batch_is_judged_line_by_line([b'{"type":"a"}', line.encode(), b'{"type":"b"}'])


def test_an_event_may_be_exactly_as_long_as_the_limit() -> None:
    at_limit = event("x", json.dumps(["y" * 1000] * 261))
    at_limit = at_limit.replace('"a"', '"' + "a" * (262_145 - len(at_limit)) + '"')
    assert len(at_limit) == 262_144
    assert problem(at_limit) is None
    assert_the_batch_is_judged_line_by_line([at_limit.encode(), at_limit.replace("aa", "aaa").encode()])


SPACE = st.sampled_from(["", "", "", " ", "\t", "  "])
DIGITS = st.integers(17, 22).flatmap(lambda size: st.text("0123456789", min_size=size, max_size=size))
EDGES = st.one_of(
    st.integers(-(2**63) - 3, -(2**63) + 3),
    st.integers(2**63 - 3, 2**63 + 3),
    st.integers(2**64 - 2, 2**64 + 2),
)
EXPONENTS = st.builds(
    lambda mantissa, letter, sign, zeros, power: f"{mantissa}{letter}{sign}{'0' * zeros}{power}",
    st.sampled_from(
        ["1", "-1", "9.99", "0", "0.0001", "17976931348623157", "1" * 18 + "." + "1" * 18, "1" * 60]
    ),
    st.sampled_from("eE"),
    st.sampled_from(["", "+", "-"]),
    st.integers(0, 4),
    st.sampled_from([1, 99, 290, 291, 292, 307, 308, 309, 310, 400, 99999]),
)
NUMBERS = st.one_of(
    EDGES.map(str),
    DIGITS.map(lambda digits: digits.lstrip("0") or "0"),
    st.builds(lambda whole, part: f"-{whole.lstrip('0') or '0'}.{part}", DIGITS, DIGITS),
    EXPONENTS,
)
HEX = st.text("0123456789abcdefe", min_size=4, max_size=60)
TEXTS = st.one_of(
    HEX,
    st.builds(lambda left, digits, right: left + digits + right, HEX, DIGITS, HEX),
    EXPONENTS,
    st.integers(126, 131).map(lambda size: "t" * size),
    st.integers(65_534, 65_538).map(lambda size: "t" * size),
    st.integers(0, 8).map(lambda runs: '\\"\\\\' * runs * 20),
    st.integers(0, 8).map(lambda runs: "\\\\" * runs + "u0000"),
    st.sampled_from(
        ["", "_sg", "\\u0000", "\\u00E9", "\\u005Fsg", "\\ud800", "\\uDBFF\\uDFFF", "\\udc00x", "\x01"]
    ),
)
NAMES = st.one_of(
    *(
        st.builds(lambda unit, count: unit * count, st.just(unit), st.integers(below, below + 3))
        for unit, below in [
            ("n", 126),
            ("é", 62),
            ("\\u00e9", 62),
            ('\\"', 126),
            ("\\\\", 126),
            ("😀", 31),
            ("n:", 62),
        ]
    ),
    st.integers(120, 130).map(lambda size: "n" * size + "\\\\"),
    st.integers(120, 130).map(lambda size: '\\"' + "n" * size + '\\"x'),
    st.sampled_from(
        ["", " ", "_", "_s", "_sg", "_sgx", "\\u005fsg", "_\\u0073g", "_s\\u0067", "x_sg", "\\u005Fs\\u0067"]
    ),
    st.sampled_from(
        ["\\u0000", "a\\u0000", "\\\\u0000", "\\ud800", "\\ud83d\\ude00", "country", "type", "value"]
    ),
)
SCALARS = st.one_of(
    NUMBERS,
    TEXTS.map(lambda text: f'"{text}"'),
    st.sampled_from(["null", "true", "NaN", "01", "1.", "tru", "[1,]"]),
)


@st.composite
def odd_values(draw: st.DrawFn) -> str:
    scalar = draw(SCALARS)
    shape = draw(st.sampled_from(["plain", "plain", "deep", "list", "object"]))
    if shape == "deep":
        levels = draw(st.integers(30, 33))
        opening, closing = draw(st.sampled_from([("[", "]"), ('{"k":', "}")]))
        return opening * levels + scalar + closing * levels
    if shape == "list":
        return f"[1,{scalar},[]]"
    if shape == "object":
        return f'{{"k"{draw(SPACE)}:{draw(SPACE)}{scalar}{draw(SPACE)},"{draw(NAMES)}"{draw(SPACE)}:1}}'
    return scalar


@st.composite
def odd_lines(draw: st.DrawFn) -> bytes:
    fields = [
        f'"{draw(NAMES)}"{draw(SPACE)}:{draw(SPACE)}{draw(odd_values())}'
        for _ in range(draw(st.integers(1, 2)))
    ]
    fields += [f'"f{number}":1' for number in range(draw(st.sampled_from([0, 0, 0, 0, 253, 254, 255, 256])))]
    fields.insert(draw(st.integers(0, len(fields))), draw(st.sampled_from(['"type":"a"'] * 8 + ['"kind":1'])))
    line = ("{" + ",".join(fields) + "}").encode()
    if draw(st.integers(0, 15)) == 0:
        at = draw(st.integers(1, len(line) - 1))
        line = (
            line[:at]
            + draw(st.sampled_from([b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xe2\x82", b"\r"]))
            + line[at:]
        )
    return line


@examples(300, 20_000)
@given(st.lists(st.one_of(odd_lines(), st.sampled_from(GOOD)), min_size=1, max_size=6))
@example([GOOD[0], b'{"type":"a","h":"1a2a3412345678901234","x":9999999999999999999}'])
@example([b'{"type":"a","' + b"n" * 129 + b'\\\\":"x"}', b'{"type":"a","":1}'])
@example([b'{"type":"a","' + b"n" * 129 + b'\\"x":1}', GOOD[0]])
@example(
    [
        b'{"type":"a","x":%s}' % text
        for text in (b"[1e400]", b"[1,1e400]", b" 1e400", b"\t-1e400", b"[1,-1e400]")
    ]
)
def test_a_batch_is_judged_exactly_as_its_lines_are_one_by_one(lines: list[bytes]) -> None:
    assert_the_batch_is_judged_line_by_line([line.strip() for line in lines])


@examples(100, 20_000)
@given(
    st.lists(odd_lines(), min_size=1, max_size=4),
    st.builds(
        EventLimits,
        event_bytes=st.integers(1, 400),
        depth=st.integers(1, 40),
        fields=st.integers(1, 300),
        field_name_bytes=st.integers(1, 140),
        string_bytes=st.integers(1, 200),
    ),
)
def test_a_batch_is_judged_as_its_lines_are_under_any_limits(lines: list[bytes], limits: EventLimits) -> None:
    assert_the_batch_is_judged_line_by_line([line.strip() for line in lines], EventDecoder(limits=limits))


def refuse_constant(name: str) -> Any:
    raise ValueError(name)


def without_surrogates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse lone surrogates, which the standard library lets pass, also where a name comes twice."""
    json.dumps(pairs, ensure_ascii=False).encode()
    return dict(pairs)


def finite(value: Any) -> bool:
    if isinstance(value, dict):
        return all(map(finite, value.values()))
    if isinstance(value, list):
        return all(map(finite, value))
    return not isinstance(value, float) or math.isfinite(value)


@examples(300, 20_000)
@given(odd_lines())
def test_a_line_counts_as_json_exactly_when_the_standard_library_reads_it(line: bytes) -> None:
    found = problem(line)
    try:
        value = json.loads(
            line.decode(), parse_constant=refuse_constant, object_pairs_hook=without_surrogates
        )
    except ValueError:
        assert found is not None
        too_much = len(line) > LIMITS.event_bytes or "out of range" in found  # noticed before what is no JSON
        assert found.startswith("event: not JSON") or too_much
        return
    assert found is None or not found.startswith("event: not JSON")
    if not finite(value):
        assert found is not None
        assert "out of range" in found


def test_a_long_line_of_digits_is_refused_without_using_memory_in_proportion() -> None:
    line = b'{"type":"a","x":' + b"7" * 8_000_000 + b"}"
    decoded = DECODER.decode(line + b"\n" + GOOD[0] + b"\n", Origin("http", NOW_US), now_us=NOW_US)
    assert decoded.refused == [(0, "event: 8000017 bytes; at most 262144 are allowed")]
    assert decoded.batch is not None
    assert len(decoded.batch) == 1
