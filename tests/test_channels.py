"""Phoenix Channels: what a client sends, what it gets, and what the application is told."""

import base64
import json
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.channels import (
    LARGE,
    Close,
    Connection,
    Join,
    Leave,
    Message,
    Outgoing,
    ProtocolError,
    Push,
    auth_token,
    decode_binary,
    decode_text,
    encode_broadcast,
    encode_close,
    encode_error,
    encode_push,
    encode_reply,
    serializer_for,
)
from streamgauge.errors import InternalError

MIB = 1024 * 1024


def text(join_ref: Any, ref: Any, topic: Any, event: Any, payload: Any = None) -> str:
    """Write a frame as the JavaScript client does."""
    return json.dumps([join_ref, ref, topic, event, {} if payload is None else payload])


def binary(join_ref: str, ref: str, topic: str, event: str, payload: bytes) -> bytes:
    """Write a binary push as the JavaScript client does."""
    fields = [field.encode() for field in (join_ref, ref, topic, event)]
    return bytes([0, *map(len, fields)]) + b"".join(fields) + payload


def only_frame(actions: list[Any]) -> list[Any]:
    """Give the one frame that is sent, decoded; there is nothing else to do."""
    [outgoing] = actions
    assert isinstance(outgoing, Outgoing)
    return sent(outgoing.data)


def sent(data: bytes) -> list[Any]:
    frame = json.loads(data)
    assert len(frame) == 5
    return list(frame)


def only_join(actions: list[Any]) -> Join:
    [join] = actions
    assert isinstance(join, Join)
    return join


def joined_to(topic: str = "events", join_ref: str = "4") -> Connection:
    connection = Connection()
    connection.accept(only_join(connection.receive(text(join_ref, join_ref, topic, "phx_join"))))
    return connection


def ok_reply(join_ref: str | None, ref: str, topic: str, response: dict[str, Any]) -> list[Any]:
    return [join_ref, ref, topic, "phx_reply", {"status": "ok", "response": response}]


def is_error(frame: list[Any], reason: str) -> bool:
    return (
        frame[3] == "phx_reply" and frame[4]["status"] == "error" and reason in frame[4]["response"]["reason"]
    )


# frames


def test_a_text_frame_keeps_its_payload_as_the_bytes_that_came() -> None:
    message = decode_text('["4","5","events","new_event", {"type" : "sale", "n": 1e3}]')
    assert (message.join_ref, message.ref, message.topic, message.event) == ("4", "5", "events", "new_event")
    assert isinstance(message.payload, msgspec.Raw)
    assert bytes(message.payload) == b'{"type" : "sale", "n": 1e3}'


def test_a_text_frame_reads_the_same_as_str_and_as_bytes() -> None:
    frame = '["4","5","pièces","new_event",{"type":"☂"}]'
    assert decode_text(frame) == decode_text(frame.encode())


def test_a_binary_push_of_the_client_is_read_field_by_field() -> None:
    frame = b"\x00\x02\x01\x06\x0a" + b"12" + b"3" + b"events" + b"new_events" + b"\x1f\x8b\xff\x00"
    assert decode_binary(frame) == Message("12", "3", "events", "new_events", b"\x1f\x8b\xff\x00")


def test_a_binary_push_without_refs_and_payload_is_read() -> None:
    assert decode_binary(b"\x00\x00\x00\x01\x01te") == Message(None, None, "t", "e", b"")


field = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=16)
json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(field, inner, max_size=3),
    max_leaves=8,
)


@given(st.none() | field, st.none() | field, field, field, json_values)
def test_every_text_frame_of_a_client_is_read_back(
    join_ref: str | None, ref: str | None, topic: str, event: str, payload: object
) -> None:
    frame = json.dumps([join_ref, ref, topic, event, payload], ensure_ascii=False)
    message = decode_text(frame)
    assert (message.join_ref, message.ref, message.topic, message.event) == (join_ref, ref, topic, event)
    assert json.loads(bytes(message.payload)) == payload


@given(field, field, field, field, st.binary(max_size=64))
def test_every_binary_push_of_a_client_is_read_back(
    join_ref: str, ref: str, topic: str, event: str, payload: bytes
) -> None:
    frame = binary(join_ref, ref, topic, event, payload)
    assert decode_binary(frame) == Message(join_ref, ref, topic, event, payload)


@given(st.none() | field, field, field, json_values)
def test_what_the_server_pushes_says_what_was_given(
    join_ref: str | None, topic: str, event: str, payload: object
) -> None:
    encoded = json.dumps(payload).encode()
    assert sent(encode_push(topic, event, encoded, join_ref)) == [join_ref, None, topic, event, payload]
    assert encode_push(topic, event, encoded).endswith(b"," + encoded + b"]")


def test_a_broadcast_has_no_refs_so_that_it_fits_every_viewer() -> None:
    assert (
        encode_broadcast("dashboard:shop", "diff", b'{"v":2}')
        == b'[null,null,"dashboard:shop","diff",{"v":2}]'
    )


def test_a_reply_echoes_join_ref_and_ref() -> None:
    message = decode_text(text("4", "5", "events", "new_event"))
    assert sent(encode_reply(message, "ok", {"accepted": 1})) == ok_reply("4", "5", "events", {"accepted": 1})
    assert sent(encode_reply(message, "error", msgspec.Raw(b'{"reason":"full"}')))[4] == {
        "status": "error",
        "response": {"reason": "full"},
    }


def test_the_ends_of_a_join_carry_its_join_ref_twice() -> None:
    assert sent(encode_close("t", "4")) == ["4", "4", "t", "phx_close", {}]
    assert sent(encode_error("t", "4", "crashed")) == ["4", "4", "t", "phx_error", {"reason": "crashed"}]


# handshake


@pytest.mark.parametrize("vsn", ["2.0.0", "2.1.3", "2.10.0"])
def test_version_2_is_spoken(vsn: str) -> None:
    assert serializer_for(vsn) == "2.0.0"


@pytest.mark.parametrize(
    "vsn", [None, "", "1.0.0", "3.0.0", "2", "2.0", "2.0.0.0", "2.0.0\n", "2.٣.0", "12.0.0"]
)
def test_any_other_version_is_told_which_one_is_spoken(vsn: str | None) -> None:
    with pytest.raises(ProtocolError, match=r"speaks 2\.0\.0"):
        serializer_for(vsn)


def test_a_missing_version_is_named_as_1_0_0() -> None:
    with pytest.raises(ProtocolError) as caught:
        serializer_for(None)
    assert "1.0.0" in caught.value.reason


@given(field, st.sampled_from([base64.b64encode, base64.urlsafe_b64encode]))
def test_an_auth_token_in_either_base64_alphabet_is_found(
    token: str, encode: Callable[[bytes], bytes]
) -> None:
    encoded = encode(token.encode()).decode().rstrip("=")
    assert auth_token(["phoenix", f"base64url.bearer.phx.{encoded}"]) == token


@pytest.mark.parametrize(
    "subprotocols",
    [
        [],
        ["phoenix"],
        ["phoenix", "base64url.bearer.phx."],
        ["base64url.bearer.phx.a2V5 ", "phoenix"],
        ["base64url.bearer.phx.a"],
        ["base64url.bearer.phx.é"],
        ["base64url.bearer.phx._w"],
        ["base64url.bearer.phx.a2V5", "base64url.bearer.phx.a2V6"],
    ],
    ids=["none", "no token", "empty", "space", "cut", "not ascii", "not utf-8", "two tokens"],
)
def test_without_one_readable_token_there_is_none(subprotocols: list[str]) -> None:
    assert auth_token(subprotocols) is None


# the life of a topic


def test_a_join_is_accepted_with_a_response_that_is_already_json() -> None:
    connection = Connection()
    join = only_join(connection.receive(text("4", "4", "dashboard:shop", "phx_join", {"from": 7})))
    assert (join.topic, join.join_ref, bytes(join.params)) == ("dashboard:shop", "4", b'{"from": 7}')
    assert dict(connection.joined) == {}
    assert sent(connection.accept(join, b'{"version":3}')) == ok_reply(
        "4", "4", "dashboard:shop", {"version": 3}
    )
    assert dict(connection.joined) == {"dashboard:shop": "4"}


def test_a_refused_join_is_not_joined_and_leaving_it_is_ok() -> None:
    connection = Connection()
    join = only_join(connection.receive(text("4", "4", "t", "phx_join")))
    assert is_error(sent(connection.refuse(join, {"reason": "unauthorized"})), "unauthorized")
    assert dict(connection.joined) == {}
    frame = only_frame(connection.receive(text("4", "5", "t", "phx_leave")))
    assert frame == ok_reply("4", "5", "t", {})


def test_refs_need_not_start_at_one_nor_be_consecutive() -> None:
    connection = joined_to("t", join_ref="31")
    [push] = connection.receive(text("31", "907", "t", "new_event"))
    assert isinstance(push, Push)
    assert sent(connection.reply(push, "ok", {}))[:2] == ["31", "907"]


def test_a_join_without_join_ref_is_known_by_its_ref() -> None:
    connection = Connection()
    join = only_join(connection.receive(text(None, "4", "t", "phx_join")))
    assert sent(connection.accept(join))[:2] == [None, "4"]
    assert dict(connection.joined) == {"t": "4"}


def test_a_push_reaches_the_application_and_its_reply_the_client() -> None:
    connection = joined_to("events")
    [push] = connection.receive(text("4", "5", "events", "new_event", {"type": "sale"}))
    assert isinstance(push, Push)
    assert bytes(push.message.payload) == b'{"type": "sale"}'
    assert sent(connection.reply(push, "error", {"code": "saturated", "retry_after_ms": 1000})) == [
        *("4", "5", "events", "phx_reply"),
        {"status": "error", "response": {"code": "saturated", "retry_after_ms": 1000}},
    ]


def test_a_binary_push_reaches_the_application_as_bytes() -> None:
    [push] = joined_to("events").receive(binary("4", "5", "events", "new_events", b"\x00\xff"))
    assert push == Push(Message("4", "5", "events", "new_events", b"\x00\xff"))


def test_a_push_without_join_ref_is_meant_for_the_present_join() -> None:
    [push] = joined_to("events").receive(text(None, "5", "events", "new_event"))
    assert isinstance(push, Push)


def test_the_same_ref_twice_is_two_pushes_and_two_replies() -> None:
    connection = joined_to("events")
    for number in (1, 2):
        [push] = connection.receive(text("4", "5", "events", "new_event", {"n": number}))
        assert isinstance(push, Push)
        assert json.loads(bytes(push.message.payload)) == {"n": number}


def test_leaving_tells_the_application_first_then_replies_then_closes() -> None:
    connection = joined_to("t")
    leave, reply, closed = connection.receive(text("4", "6", "t", "phx_leave"))
    assert leave == Leave("t", "4")
    assert isinstance(reply, Outgoing)
    assert sent(reply.data) == ok_reply("4", "6", "t", {})
    assert isinstance(closed, Outgoing)
    assert sent(closed.data) == ["4", "4", "t", "phx_close", {}]
    assert dict(connection.joined) == {}


@pytest.mark.parametrize("joined_before", [True, False])
def test_leaving_what_is_not_joined_is_ok(*, joined_before: bool) -> None:
    connection = joined_to("t") if joined_before else Connection()
    if joined_before:
        connection.receive(text("4", "5", "t", "phx_leave"))
    assert only_frame(connection.receive(text("4", "6", "t", "phx_leave"))) == ok_reply("4", "6", "t", {})


def test_a_late_leave_of_an_old_join_does_not_end_the_new_one() -> None:
    connection = joined_to("t", join_ref="9")
    assert only_frame(connection.receive(text("4", "10", "t", "phx_leave")))[4]["status"] == "ok"
    assert dict(connection.joined) == {"t": "9"}


def test_a_second_join_closes_the_first_with_the_old_join_ref_before_it_begins() -> None:
    connection = joined_to("t", join_ref="4")
    closed, leave, join = connection.receive(text("8", "8", "t", "phx_join"))
    assert isinstance(closed, Outgoing)
    assert sent(closed.data) == ["4", "4", "t", "phx_close", {}]
    assert leave == Leave("t", "4")
    assert isinstance(join, Join)
    assert dict(connection.joined) == {}
    assert sent(connection.accept(join))[0] == "8"
    assert dict(connection.joined) == {"t": "8"}


def test_a_join_given_up_while_it_waited_is_not_joined_by_its_late_answer() -> None:
    connection = Connection()
    old = only_join(connection.receive(text("4", "4", "t", "phx_join")))
    _closed, leave, new = connection.receive(text("8", "8", "t", "phx_join"))
    assert leave == Leave("t", "4")
    assert isinstance(new, Join)
    assert sent(connection.accept(old))[4]["status"] == "error"
    assert dict(connection.joined) == {}
    connection.refuse(old, {"reason": "too late to matter"})
    connection.accept(new)
    assert dict(connection.joined) == {"t": "8"}


def test_a_join_left_while_it_waited_is_not_joined_by_its_late_answer() -> None:
    connection = Connection()
    join = only_join(connection.receive(text("4", "4", "t", "phx_join")))
    assert connection.receive(text("4", "5", "t", "phx_leave"))[0] == Leave("t", "4")
    assert sent(connection.accept(join))[4]["status"] == "error"
    assert dict(connection.joined) == {}


def test_the_server_can_end_a_join_for_good_or_so_that_the_client_joins_anew() -> None:
    connection = joined_to("t")
    assert sent(connection.close_topic("t")) == ["4", "4", "t", "phx_close", {}]
    connection.accept(only_join(connection.receive(text("6", "6", "t", "phx_join"))))
    assert sent(connection.fail_topic("t", "hub restarts")) == [
        *("6", "6", "t", "phx_error"),
        {"reason": "hub restarts"},
    ]
    assert dict(connection.joined) == {}
    with pytest.raises(InternalError, match="'t' is not joined"):
        connection.close_topic("t")


def test_a_lost_socket_leaves_everything_and_a_late_answer_joins_nothing() -> None:
    connection = joined_to("a", join_ref="1")
    waiting = only_join(connection.receive(text("2", "2", "b", "phx_join")))
    assert sorted(leave.topic for leave in connection.disconnect()) == ["a", "b"]
    connection.accept(waiting)
    assert dict(connection.joined) == {}
    assert connection.disconnect() == []
    assert connection.receive(text("3", "3", "c", "phx_join")) == []


def test_nobody_but_the_connection_changes_what_is_joined() -> None:
    joined: Any = joined_to("t").joined
    with pytest.raises(TypeError):
        joined["other"] = "1"


# heartbeats


def test_a_heartbeat_is_answered_at_once() -> None:
    assert only_frame(Connection().receive(text(None, "16", "phoenix", "heartbeat"))) == ok_reply(
        None, "16", "phoenix", {}
    )


def test_a_heartbeat_on_another_topic_is_not_one() -> None:
    frame = only_frame(Connection().receive(text(None, "16", "events", "heartbeat")))
    assert is_error(frame, "unmatched topic")


@pytest.mark.parametrize("event", ["phx_join", "phx_leave", "new_event"])
def test_the_system_topic_knows_heartbeats_alone(event: str) -> None:
    connection = Connection()
    frame = only_frame(connection.receive(text("1", "1", "phoenix", event)))
    assert frame[:3] == [None, "1", "phoenix"]
    assert is_error(frame, "unmatched topic")
    assert dict(connection.joined) == {}


# what is answered with an error


def after_leave() -> Connection:
    connection = joined_to("t")
    connection.receive(text("4", "5", "t", "phx_leave"))
    return connection


def before_the_answer() -> Connection:
    connection = Connection()
    connection.receive(text("4", "4", "t", "phx_join"))
    return connection


@pytest.mark.parametrize("connect", [Connection, after_leave, before_the_answer])
def test_a_push_to_a_topic_that_is_not_joined_is_answered_so_that_the_client_hears_it(connect: Any) -> None:
    frame = only_frame(connect().receive(text("4", "6", "t", "new_event")))
    assert frame[:4] == [None, "6", "t", "phx_reply"]
    assert is_error(frame, "unmatched topic")


def test_a_push_of_an_old_join_is_answered_so_that_the_client_hears_it() -> None:
    frame = only_frame(joined_to("t", join_ref="9").receive(text("4", "10", "t", "new_event")))
    assert frame[:3] == [None, "10", "t"]
    assert frame[4]["response"]["code"] == "stale_join"


def test_unmatched_and_stale_pushes_never_close_the_socket() -> None:
    connection = joined_to("t", join_ref="9")
    for ref in range(20):
        assert only_frame(connection.receive(text("4", str(ref), "t", "e")))[4]["status"] == "error"
        assert only_frame(connection.receive(text("4", str(ref), "u", "e")))[4]["status"] == "error"
    [push] = connection.receive(text("9", "99", "t", "e"))
    assert isinstance(push, Push)


def test_a_socket_joins_a_hundred_topics_and_no_more() -> None:
    connection = Connection()
    for number in range(10_000):
        actions = connection.receive(text(str(number), str(number), f"t{number}", "phx_join"))
        if number >= 100:
            frame = only_frame(actions)
            assert frame[:2] == [str(number), str(number)]
            assert is_error(frame, "100 topics")
        elif number % 2:
            connection.accept(only_join(actions))
    assert len(connection.joined) == 50
    connection.receive(text("0", "x", "t0", "phx_leave"))
    only_join(connection.receive(text("y", "y", "t100", "phx_join")))


def test_a_full_socket_can_still_replace_a_join() -> None:
    connection = Connection(max_topics=1)
    connection.accept(only_join(connection.receive(text("1", "1", "t", "phx_join"))))
    assert isinstance(connection.receive(text("2", "2", "t", "phx_join"))[-1], Join)


BAD_TEXT = {
    "not json": "hello",
    "nothing": "",
    "cut off": '["1","1","t","phx_join",{}',
    "object": '{"topic":"t","event":"phx_join","payload":{},"ref":"1"}',
    "no fields": "[]",
    "4 fields": '["1","1","t","e"]',
    "6 fields": '["1","1","t","e",{},1]',
    "ref is an object": '["1",{},"t","e",{}]',
    "ref is a huge number": f'["1",{2**70},"t","e",{{}}]',
    "ref of 1 MiB": text("1", "r" * MIB, "t", "e"),
    "join_ref of 65 bytes": text("j" * 65, "1", "t", "e"),
    "topic of 1 MiB": text("1", "1", "t" * MIB, "e"),
    "topic of 256 bytes in 128 characters": text("1", "1", "é" * 128, "e"),
    "empty topic": text("1", "1", "", "e"),
    "topic is null": text("1", "1", None, "e"),
    "event of 256 bytes": text("1", "1", "t", "e" * 256),
    "empty event": text("1", "1", "t", ""),
    "bad payload": '["1","1","t","e",{nope}]',
    "lone surrogate": '["1","1","t\ud800","e",{}]',
    "escaped lone surrogate": '["1","1","t\\ud800","e",{}]',
    "nested without end": '["1","1","t","e",' + "[" * 100_000 + "]" * 100_000 + "]",
    "join without any ref": text(None, None, "t", "phx_join"),
}
BAD_BINARY = {
    "nothing": b"",
    "cut head": b"\x00\x01\x01",
    "a reply": b"\x01\x01\x01\x01\x0211tok",
    "a broadcast": b"\x02\x01\x01te",
    "event shorter than its length": b"\x00\x00\x00\x01\x05tevn",
    "not utf-8": b"\x00\x01\x01\x01\x0111\xffe",
    "long ref": binary("1", "r" * 65, "t", "e", b""),
    "empty topic": binary("1", "1", "", "e", b""),
    "json as binary": text("1", "1", "t", "phx_join").encode(),
    "join": binary("1", "1", "t", "phx_join", b"{}"),
}
BAD_FRAMES = [
    *(pytest.param(frame, id=f"text: {name}") for name, frame in BAD_TEXT.items()),
    *(pytest.param(frame, id=f"binary: {name}") for name, frame in BAD_BINARY.items()),
]


@pytest.mark.parametrize("frame", BAD_FRAMES)
def test_a_bad_frame_is_answered_and_the_socket_kept(frame: str | bytes) -> None:
    connection = joined_to("events")
    answer = only_frame(connection.receive(frame))
    assert answer[0] is None
    assert answer[3] == "phx_reply"
    assert answer[4]["status"] == "error"
    assert answer[4]["response"]["code"] == "protocol_error"
    assert len(json.dumps(answer)) < 700
    assert isinstance(connection.receive(text("4", "5", "events", "new_event"))[0], Push)
    assert dict(connection.joined) == {"events": "4"}


@pytest.mark.parametrize("frame", BAD_FRAMES)
def test_the_fifth_bad_frame_closes_the_socket(frame: str | bytes) -> None:
    connection = joined_to("events")
    for _ in range(4):
        only_frame(connection.receive(frame))
        assert isinstance(connection.receive(text("4", "5", "events", "new_event"))[0], Push)
    answer, close = connection.receive(frame)
    assert isinstance(answer, Outgoing)
    assert isinstance(close, Close)
    assert close.code == 1008
    assert len(close.reason.encode()) <= 123
    assert connection.receive(text("4", "6", "events", "new_event")) == []
    assert connection.disconnect() == [Leave("events", "4")]


def test_bytes_that_are_not_utf_8_inside_a_text_payload_are_refused() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode_text(b'["1","1","t","e",{"a":"\xff"}]')
    assert "utf-8" in caught.value.reason


def test_an_error_names_ref_and_topic_where_these_could_be_read() -> None:
    connection = Connection()
    assert only_frame(connection.receive(text("1", "7", "t", "e" * 256)))[:3] == [None, "7", "t"]
    assert only_frame(connection.receive(text("1", "7", "t" * 256, "e")))[:3] == [None, "7", "phoenix"]
    assert only_frame(connection.receive(text("1", "7" * 65, "t", "e")))[:3] == [None, None, "phoenix"]


@pytest.mark.parametrize("topic", ["t" * 255, "é" * 127, "dashboard:../x", "\x00"])
def test_the_longest_and_the_oddest_fields_still_arrive(topic: str) -> None:
    connection = Connection()
    join = only_join(connection.receive(text("j" * 64, "r" * 64, topic, "phx_join")))
    connection.accept(join)
    [push] = connection.receive(text("j" * 64, "r", topic, "e" * 255))
    assert isinstance(push, Push)


# arbitrary input

near_frames = st.lists(json_values | st.sampled_from(["t", "phx_join", "1", "phoenix"]), max_size=6).map(
    json.dumps
)
near_binary = st.tuples(st.binary(min_size=4, max_size=4), st.binary(max_size=40)).map(
    lambda parts: b"\x00" + bytes(size % 12 for size in parts[0]) + parts[1]
)


@given(st.text(st.characters(codec=None)) | near_frames | st.binary() | near_frames.map(str.encode))
def test_no_text_frame_raises_anything_but_a_protocol_error(frame: str | bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(decode_text(frame), Message)


@given(st.binary() | near_binary)
def test_no_binary_frame_raises_anything_but_a_protocol_error(frame: bytes) -> None:
    with suppress(ProtocolError):
        assert isinstance(decode_binary(frame), Message)


known_frames = st.builds(
    text,
    st.sampled_from([None, "1", "2", "3"]),
    st.sampled_from([None, "1", "2", "3"]),
    st.sampled_from(["a", "b", "c", "phoenix", ""]),
    st.sampled_from(["phx_join", "phx_join", "phx_leave", "new_event", "heartbeat", ""]),
)


@given(
    st.lists(
        st.tuples(known_frames | near_frames | near_binary, st.sampled_from(["accept", "refuse", "wait"]))
    )
)
def test_whatever_comes_joins_and_leaves_are_told_in_pairs(story: list[tuple[str | bytes, str]]) -> None:
    connection = Connection(max_topics=2, max_protocol_errors=1_000)
    present: dict[str, str] = {}
    for frame, answer in story:
        for action in connection.receive(frame):
            if isinstance(action, Outgoing):
                sent(action.data)
            elif isinstance(action, Leave):
                assert present.pop(action.topic) == action.join_ref
            elif isinstance(action, Join):
                assert action.topic not in present
                if answer == "accept":
                    connection.accept(action)
                if answer == "refuse":
                    connection.refuse(action, {"reason": "no"})
                else:
                    present[action.topic] = action.join_ref
            elif isinstance(action, Push):
                assert connection.joined[action.message.topic] == present[action.message.topic]
        assert connection.joined.items() <= present.items()
        assert len(present) <= 2
    assert {leave.topic: leave.join_ref for leave in connection.disconnect()} == present


# long frames

FIELDS = st.none() | st.text(max_size=10)
GAPS = st.sampled_from(["", " ", "\n\t ", "\r"])


@given(FIELDS, FIELDS, st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=10), GAPS)
def test_a_long_frame_is_read_as_a_short_one_is(
    join_ref: str | None, ref: str | None, topic: str, event: str, gap: str
) -> None:
    fields = [json.dumps(field, ensure_ascii=len(topic) > 2) for field in (join_ref, ref, topic, event)]
    short, long = '{"a":["]"]}', '{"a":["]' + "x" * LARGE + '"]}'

    def framed(payload: str) -> str:
        return f"{gap}[{gap}" + f"{gap},{gap}".join([*fields, payload]) + f"{gap}]{gap}"

    found, expected = decode_text(framed(long)), decode_text(framed(short))
    assert msgspec.structs.replace(found, payload=expected.payload) == expected
    assert bytes(found.payload).strip() == long.encode()


@pytest.mark.parametrize(
    "frame",
    ["[{}", '["1","2","t","e",{}', '["1","2",null,"e",{}]', '["1",2,"t","e",{}]', '["1","2","t",{}]', "{}"],
)
def test_a_long_frame_that_is_none_is_a_protocol_error(frame: str) -> None:
    payload = '{"x":"' + "y" * LARGE + '"}'
    with pytest.raises(ProtocolError):
        decode_text(frame.replace("{}", payload))


def test_the_limits_of_fields_hold_in_a_long_frame_too() -> None:
    with pytest.raises(ProtocolError, match="topic: has 300 bytes"):
        decode_text(f'["1","2","{"t" * 300}","e","{"y" * LARGE}"]')
