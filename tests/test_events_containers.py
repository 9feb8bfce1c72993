"""JSON bodies become lines; a large array is cut between its elements, wherever the pieces happen to end."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from streamgauge.errors import DecodeError
from streamgauge.events.containers import LONGEST_EVENT, PIECE, cut_array, lines_of_json

TEXTS = st.text(st.sampled_from('[]{},:"\\ \n\u2028é😀ab'))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
ARRAYS = st.lists(VALUES, max_size=8)
INDENTS = st.sampled_from([None, 0, 1, "\t"])
SPACE = st.text(" \t\r\n", max_size=3)


def written(value: Any, indent: Any, *, ascii_only: bool = False) -> bytes:
    return json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()


def elements(pieces: list[bytes]) -> list[Any]:
    return [element for piece in pieces for element in json.loads(piece)]


@given(ARRAYS, INDENTS, SPACE, st.data())
async def test_the_lines_of_an_array_are_its_elements(
    array: list[Any], indent: Any, space: str, data: st.DataObject
) -> None:
    text = written(array, indent, ascii_only=data.draw(st.booleans()))
    body = space.encode() + text + space.encode()
    lines = await lines_of_json(body)
    assert [json.loads(line) for line in lines.split(b"\n")[:-1]] == array
    assert lines.count(b"\n") == len(array)


@given(VALUES.filter(lambda value: not isinstance(value, list)), INDENTS, SPACE)
async def test_a_single_value_becomes_one_line(value: Any, indent: Any, space: str) -> None:
    lines = await lines_of_json(space.encode() + written(value, indent) + space.encode())
    assert lines.count(b"\n") == 1
    assert json.loads(lines) == value


@given(ARRAYS, INDENTS, st.integers(1, 40), SPACE)
@example([["\\"], '"', "\\\\", '\\"', "[", "]"], None, 1, "")
@example(["\\" * 9, "," * 9, "],[" * 3], None, 3, "\n")
def test_an_array_is_cut_between_elements_at_any_size_of_pieces(
    array: list[Any], indent: Any, piece_bytes: int, space: str
) -> None:
    body = space.encode() + written(array, indent) + space.encode()
    assert elements(list(cut_array(body, piece_bytes))) == array


@given(ARRAYS, st.integers(1, 40))
def test_a_piece_is_short_or_holds_a_single_element(array: list[Any], piece_bytes: int) -> None:
    for piece in cut_array(written(array, None), piece_bytes):
        assert len(piece) <= 2 * piece_bytes + 2 or len(json.loads(piece)) == 1


@given(ARRAYS.filter(bool), st.integers(1, 40), st.data())
def test_an_array_without_its_end_is_refused(array: list[Any], piece_bytes: int, data: st.DataObject) -> None:
    body = written(array, None)
    cut = data.draw(st.integers(1, len(body) - 1))
    with pytest.raises(DecodeError, match=r"no end|missing"):
        list(cut_array(body[:cut], piece_bytes))


@given(ARRAYS, st.integers(1, 40), st.sampled_from([",", "]", "[1]", "x", ", [2]", "\0"]))
def test_nothing_may_follow_an_array(array: list[Any], piece_bytes: int, rest: str) -> None:
    with pytest.raises(DecodeError, match="more after the end"):
        list(cut_array(written(array, None) + rest.encode(), piece_bytes))


BIG = "x" * 1000


@pytest.mark.parametrize("size", [3, 300])
@pytest.mark.parametrize(
    "body",
    [
        *('[{"a":"B"},]', '[,{"a":"B"}]', '[{"a":"B"},,{"a":"B"}]', "[,]", '[{"a":"B"} {"a":"B"}]'),
        *(
            '[{"a":"B"}',
            '[{"a":"B"},',
            '[{"a":"B"}]]',
            '[{"a":"B"}}',
            '[{"a":"B"}] x',
            '[{"a":"B"],["B"}]',
            '["B\\"]',
        ),
        *(
            '{"a":"B"}{"a":"B"}',
            '{"a":"B"}x',
            "NaN",
            "01",
            "'a'",
            '{"a":"B"',
            '"B',
            "undefined",
            "//",
            "\x00",
            "é",
        ),
        '[{"a":"B"},\\"{"a":"B"}"]',
    ],
)
async def test_what_is_no_json_is_refused_whole(body: str, size: int) -> None:
    """Small bodies are read at once, large ones in pieces; both see the same faults."""
    assert (len(BIG) * size > PIECE) == (size == 300)
    with pytest.raises(DecodeError, match="body: not JSON"):
        await lines_of_json(body.replace("B", BIG * size).encode())


@pytest.mark.parametrize("fault", [",", ",,", "", " ,  "])
async def test_a_missing_element_is_noticed_wherever_a_piece_ends(fault: str) -> None:
    for at in range(PIECE - 30, PIECE + 4):
        head = '["' + "x" * (at - 20) + '"'
        with pytest.raises(DecodeError, match="not JSON"):
            await lines_of_json((head + fault + " " * 20 + ",1" + " " * PIECE + ",]").encode())


@pytest.mark.parametrize("between", ["\n", "\r\n", " \n\n  "])
@pytest.mark.parametrize("events", [2, 40_000])
async def test_one_event_a_line_is_refused_with_how_to_send_it(between: str, events: int) -> None:
    body = between.join([f'{{"type":"{BIG[:30]}"}}'] * events).encode()
    assert (len(body) > LONGEST_EVENT) == (events > 2)
    with pytest.raises(DecodeError, match=r"not JSON: .*; one event a line\? send .* application/x-ndjson$"):
        await lines_of_json(body)


@pytest.mark.parametrize(
    "body", ['{"type":"a"', '{"type":"a"} {"type":"b"}', '{"a":[\n{"b":1},\n{"c":2', '{"a":x\n}']
)
async def test_whoever_sends_something_else_is_not_told_of_lines(body: str) -> None:
    with pytest.raises(DecodeError, match="not JSON") as caught:
        await lines_of_json(body.encode())
    assert "ndjson" not in str(caught.value)


@pytest.mark.parametrize("body", [b"", b"  \n", b"\t" * 100])
async def test_an_empty_body_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError, match="empty") as caught:
        await lines_of_json(body)
    assert caught.value.code == "empty_body"


@pytest.mark.parametrize(
    "body",
    [b'\xef\xbb\xbf{"type":"a"}', '\ufeff{"type":"a"}'.encode("utf-16-le"), '{"type":"a"}'.encode("utf-16")],
)
async def test_a_byte_order_mark_is_refused_by_its_name(body: bytes) -> None:
    with pytest.raises(DecodeError, match="byte order mark") as caught:
        await lines_of_json(body)
    assert caught.value.code == "bom"


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le"])
async def test_other_encodings_are_refused(encoding: str) -> None:
    with pytest.raises(DecodeError, match="not JSON"):
        await lines_of_json('{"type":"a"}'.encode(encoding))


@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000 + b"]" * 100_000,
        b"[" * 1_000_000,
        b'{"a":' * 100_000,
        b"[" + b"[" * 5_000 + b"]" * 5_001,
    ],
)
async def test_bottomless_nesting_is_refused(body: bytes) -> None:
    with pytest.raises(DecodeError):
        await lines_of_json(body)


async def test_numbers_are_carried_over_as_they_are_written() -> None:
    body = b"[ 9007199254740993 , 1.0, 1e400, -0, 0.10, 123456789012345678901234567890 ]"
    assert (
        await lines_of_json(body)
        == b"9007199254740993\n1.0\n1e400\n-0\n0.10\n123456789012345678901234567890\n"
    )


async def test_an_event_that_is_far_too_long_goes_on_alone_and_unread() -> None:
    long = b'{"type":"a",\n"x":"' + b"y" * LONGEST_EVENT + b'"}'
    assert await lines_of_json(long) == long.replace(b"\n", b" ") + b"\n"
    small = [b'{"n":%d}' % number for number in range(40_000)]
    lines = await lines_of_json(b"[" + b",".join([*small, long, *small, long]) + b"]")
    flat = long.replace(b"\n", b" ")
    assert lines.split(b"\n")[:-1] == [*small, flat, *small, flat]
