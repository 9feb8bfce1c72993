"""The Phoenix Channels protocol with version 2 of its frames, without I/O.

A client joins topics on one socket and pushes events to them; the server pushes whenever it likes. A text
frame is the JSON array `[join_ref, ref, topic, event, payload]`: `ref` pairs a reply with its push,
`join_ref` (the ref of the join) says which of several joins of a topic is meant.
On purpose not here: sockets, clocks (idle time-outs, rates), what a topic means, and who may join it.

    connection = Connection()
    [join] = connection.receive('["1","1","events","phx_join",{}]')
    connection.accept(join)       # b'["1","1","events","phx_reply",{"status":"ok","response":{}}]': send it
    [push] = connection.receive('["1","2","events","new_event",{"type":"sale"}]')
    connection.reply(push, "ok", {"accepted": 1})
    connection.receive('[null,"3","phoenix","heartbeat",{}]')    # [Outgoing(...)]: send its data

Source: Phoenix 1.8, `lib/phoenix/socket.ex` and `lib/phoenix/socket/serializers/v2_json_serializer.ex`.
"""

import base64
import re
from collections.abc import Mapping
from itertools import accumulate, pairwise
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

import msgspec

from streamgauge.errors import InternalError, StreamgaugeError

VERSION: Final = "2.0.0"
SYSTEM_TOPIC: Final = "phoenix"
POLICY_VIOLATION: Final = 1008
LARGE: Final = 256 * 1024
"""A longer text frame is cut behind its fields instead of being looked through, which would take milliseconds."""

_AUTH_PROTOCOL: Final = "base64url.bearer.phx."
_BINARY_HEAD_BYTES: Final = 5
# ref and topic come first, so that the answer to a fault in a later field can carry them
_FIELD_LIMITS_BYTES: Final = (("ref", 64), ("topic", 255), ("join_ref", 64), ("event", 255))

Status: TypeAlias = Literal["ok", "error"]


class ProtocolError(StreamgaugeError, ValueError):
    """A frame or a handshake is not what the protocol allows.

    reason: what was found and what is allowed.
    ref, topic: those of the frame as far as they could be read, for the answer; otherwise None.
    """

    code = "protocol_error"

    def __init__(self, reason: str, *, ref: str | None = None, topic: str | None = None) -> None:
        self.reason, self.ref, self.topic = reason, ref, topic
        super().__init__(reason)


class Message(msgspec.Struct, frozen=True):
    """One frame from a client.

    payload: of a text frame its JSON, not decoded (`msgspec.Raw`), and not even checked in a frame of more than
    `LARGE` characters; of a binary frame its bytes, whatever they are. Tell them apart by
    `isinstance(payload, msgspec.Raw)`: at run time, Raw is not bytes.
    """

    join_ref: str | None
    ref: str | None
    topic: str
    event: str
    payload: msgspec.Raw | bytes


class Join(msgspec.Struct, frozen=True):
    """A client wants to join: answer with `Connection.accept` or `Connection.refuse`."""

    message: Message
    topic: str
    join_ref: str
    params: msgspec.Raw


class Push(msgspec.Struct, frozen=True):
    """An event for a joined topic: answer with `Connection.reply`, else the client waits for 10 s."""

    message: Message


class Leave(msgspec.Struct, frozen=True):
    """This join of the topic is over, also when it was still waiting for its answer. Nothing to answer."""

    topic: str
    join_ref: str


class Outgoing(msgspec.Struct, frozen=True):
    """A text frame to be sent at once."""

    data: bytes


class Close(msgspec.Struct, frozen=True):
    """Close the socket with this WebSocket close code; always the last action of a connection."""

    code: int
    reason: str


Action: TypeAlias = Join | Push | Leave | Outgoing | Close


_FIELD: Final = r'(?:null|"(?:[^"\\]|\\.){0,1600}")\s*,\s*'
_FIELDS: Final = re.compile(r"\s*\[\s*" + 4 * _FIELD)
_TEXT_FRAMES: Final = msgspec.json.Decoder(tuple[str | None, str | None, str, str, msgspec.Raw])


def serializer_for(vsn: str | None) -> str:
    """Give the version spoken with a client that asks for `vsn`; ProtocolError (answer 403) unless 2.x.x."""
    if re.fullmatch(r"2\.[0-9]{1,9}\.[0-9]{1,9}", vsn or ""):
        return VERSION
    found = "missing, which means 1.0.0" if vsn is None else repr(vsn[:20])
    raise ProtocolError(f"vsn: {found}; this server speaks {VERSION}: connect with ?vsn={VERSION}")


def auth_token(subprotocols: list[str]) -> str | None:
    """Give the token that a client sent as a sub-protocol (its `authToken` option).

    The handshake must then be answered with `Sec-WebSocket-Protocol: phoenix`.
    None if there is no token, more than one, or one that is not base64 of UTF-8.
    """
    tokens = [name for name in subprotocols if name.startswith(_AUTH_PROTOCOL)]
    if len(tokens) != 1:
        return None
    # browsers encode with btoa, which is plain base64 in spite of the prefix
    encoded = tokens[0].removeprefix(_AUTH_PROTOCOL).replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True).decode() or None
    except ValueError:
        return None


def decode_text(data: str | bytes) -> Message:
    """Read a text frame; raises ProtocolError. The payload is known to be JSON in UTF-8, and no more.

    Of a str longer than `LARGE` the payload is what stands between the fields and the last bracket: UTF-8, and no more.
    """
    if len(data) > LARGE and isinstance(data, str) and (fields := _FIELDS.match(data)):
        return _cut(data, fields.end())
    try:
        if isinstance(data, bytes) and not data.isascii():
            data.decode()  # the decoder does not look inside the strings of a payload that stays raw
        message = Message(*_TEXT_FRAMES.decode(data))
    except (msgspec.DecodeError, UnicodeError, RecursionError) as exc:
        raise ProtocolError(f"text frame: {exc}; send [join_ref, ref, topic, event, payload]") from exc
    return _within_limits(message)


def _cut(data: str, start: int) -> Message:
    """Read a long text frame whose payload begins at `start`."""
    end = len(data.rstrip(" \t\r\n"))
    if data[end - 1] != "]":
        raise ProtocolError("text frame: it has no end; send [join_ref, ref, topic, event, payload]")
    try:
        head = Message(*_TEXT_FRAMES.decode(data[:start] + "null]"))
        payload = msgspec.Raw(data[start : end - 1].encode())
    except (msgspec.DecodeError, UnicodeError) as exc:
        raise ProtocolError(f"text frame: {exc}; send [join_ref, ref, topic, event, payload]") from exc
    return _within_limits(msgspec.structs.replace(head, payload=payload))


def decode_binary(data: bytes) -> Message:
    """Read a client's binary push; raises ProtocolError.

    A byte 0, a byte for the length of each of join_ref, ref, topic and event, these in UTF-8, the payload.
    A ref of length 0 is None.
    """
    if len(data) < _BINARY_HEAD_BYTES or data[0] != 0:
        raise ProtocolError(f"binary frame: starts with {data[:1].hex() or 'nothing'}; a push starts with 00")
    ends = list(accumulate(data[1:_BINARY_HEAD_BYTES], initial=_BINARY_HEAD_BYTES))
    if ends[-1] > len(data):
        raise ProtocolError(f"binary frame: has {len(data)} bytes; its fields alone need {ends[-1]}")
    try:
        join_ref, ref, topic, event = (data[start:end].decode() for start, end in pairwise(ends))
    except UnicodeDecodeError as exc:
        raise ProtocolError("binary frame: a field is not UTF-8") from exc
    return _within_limits(Message(join_ref or None, ref or None, topic, event, data[ends[-1] :]))


def _within_limits(message: Message) -> Message:
    known: dict[str, str | None] = {}
    for name, limit in _FIELD_LIMITS_BYTES:
        text: str | None = getattr(message, name)
        if text is not None:
            length = len(text) if text.isascii() else len(text.encode())
            if length > limit or (length == 0 and name in {"topic", "event"}):
                reason = f"{name}: has {length} bytes; allowed are 1 to {limit}"
                raise ProtocolError(reason, ref=known.get("ref"), topic=known.get("topic"))
        known[name] = text
    return message


def encode_reply(message: Message, status: Status, response: Any) -> bytes:
    """Encode the answer to a push, join, leave or heartbeat. response: a JSON object, or `msgspec.Raw`."""
    return _encode_reply(message.join_ref, message.ref, message.topic, status, response)


def encode_push(topic: str, event: str, payload_json: bytes, join_ref: str | None = None) -> bytes:
    """Encode an event for one client. A client drops it if `join_ref` is not that of its present join."""
    return msgspec.json.encode((join_ref, None, topic, event, msgspec.Raw(payload_json)))


def encode_broadcast(topic: str, event: str, payload_json: bytes) -> bytes:
    """Encode an event once for every client that has joined the topic: the same bytes for all."""
    return encode_push(topic, event, payload_json)


def encode_close(topic: str, join_ref: str) -> bytes:
    """Encode the end of a join; the client does not join again by itself."""
    return msgspec.json.encode((join_ref, join_ref, topic, "phx_close", {}))


def encode_error(topic: str, join_ref: str, reason: str) -> bytes:
    """Encode the failure of a join; the client joins again by itself after a while."""
    return msgspec.json.encode((join_ref, join_ref, topic, "phx_error", {"reason": reason}))


def _encode_reply(join_ref: str | None, ref: str | None, topic: str, status: Status, response: Any) -> bytes:
    payload = {"status": status, "response": response}
    return msgspec.json.encode((join_ref, ref, topic, "phx_reply", payload))


def _error(ref: str | None, topic: str, code: str, reason: str) -> Outgoing:
    # without join_ref: a client drops a reply that carries another join_ref than that of its present join
    return Outgoing(_encode_reply(None, ref, topic, "error", {"code": code, "reason": reason}))


def _unmatched(message: Message) -> Outgoing:
    return _error(message.ref, message.topic, "unmatched_topic", "unmatched topic")


class Connection:
    """What is joined on one socket, and the answers that need no application.

    Give each frame to `receive` and carry out the actions in their order; when the socket is gone, call
    `disconnect`. Joins may be answered later, in any order; one that the client gave up meanwhile has been
    reported by a Leave, and its answer is an error.

    max_topics: joined or waiting for an answer at once; a further join is refused.
    max_protocol_errors: with this many on one socket, `receive` gives a Close with 1008.
    """

    def __init__(self, *, max_topics: int = 100, max_protocol_errors: int = 5) -> None:
        self._max_topics = max_topics
        self._protocol_errors_left = max_protocol_errors
        self._joining: dict[str, Join] = {}
        self._joined: dict[str, str] = {}
        self._closed = False

    @property
    def joined(self) -> Mapping[str, str]:
        """The join_ref of each topic that is joined now; a read-only view."""
        return MappingProxyType(self._joined)

    def receive(self, frame: str | bytes) -> list[Action]:
        """Take a text (str) or binary (bytes) frame and say what to do. A bad frame is answered, not raised."""
        if self._closed:
            return []
        try:
            return self._handle(decode_text(frame) if isinstance(frame, str) else decode_binary(frame))
        except ProtocolError as error:
            return self._refuse_frame(error)

    def accept(self, join: Join, response_json: bytes = b"{}") -> bytes:
        """Join the topic; gives the frame to send, with `response_json` (encoded JSON) as it is.

        If the client has left or joined anew meanwhile, `joined` stays as it is and the frame is an error.
        """
        if self._joining.get(join.topic) is not join:
            return encode_reply(join.message, "error", {"code": "stale_join", "reason": "no longer wanted"})
        del self._joining[join.topic]
        self._joined[join.topic] = join.join_ref
        return encode_reply(join.message, "ok", msgspec.Raw(response_json))

    def refuse(self, join: Join, response: Any) -> bytes:
        """Turn a join down; gives the frame to send. The client tries again by itself after a while."""
        if self._joining.get(join.topic) is join:
            del self._joining[join.topic]
        return encode_reply(join.message, "error", response)

    def reply(self, push: Push, status: Status, response: Any) -> bytes:
        """Answer a push; gives the frame to send."""
        return encode_reply(push.message, status, response)

    def close_topic(self, topic: str) -> bytes:
        """End a join for good; gives the frame to send. Raises InternalError if the topic is not joined."""
        return encode_close(topic, self._end(topic))

    def fail_topic(self, topic: str, reason: str) -> bytes:
        """End a join so that the client joins anew; gives the frame. Raises InternalError as `close_topic`."""
        return encode_error(topic, self._end(topic), reason)

    def disconnect(self) -> list[Leave]:
        """Tell the connection that its socket is gone: everything is left, and nothing is joined after it."""
        self._closed = True
        present = {topic: join.join_ref for topic, join in self._joining.items()} | self._joined
        self._joining.clear()
        self._joined.clear()
        return [Leave(topic, join_ref) for topic, join_ref in present.items()]

    def _handle(self, message: Message) -> list[Action]:
        if message.topic == SYSTEM_TOPIC:
            is_heartbeat = message.event == "heartbeat"
            return [Outgoing(encode_reply(message, "ok", {})) if is_heartbeat else _unmatched(message)]
        if message.event == "phx_join":
            return self._join(message)
        if message.event == "phx_leave":
            return self._leave(message)
        return [self._push(message)]

    def _join(self, message: Message) -> list[Action]:
        topic = message.topic
        join_ref = message.ref if message.join_ref is None else message.join_ref
        if join_ref is None:
            raise ProtocolError("phx_join: no join_ref; send the ref of the join as both", topic=topic)
        if not isinstance(message.payload, msgspec.Raw):
            raise ProtocolError("phx_join: in a binary frame; send it as text", ref=message.ref, topic=topic)
        actions: list[Action] = []
        replaced = self._forget(topic)
        if replaced is not None:
            actions += [Outgoing(encode_close(topic, replaced)), Leave(topic, replaced)]
        if len(self._joined) + len(self._joining) >= self._max_topics:
            reason = f"this socket has joined {self._max_topics} topics, the most allowed; leave one first"
            response = {"code": "too_many_topics", "reason": reason}
            return [*actions, Outgoing(encode_reply(message, "error", response))]
        join = self._joining[topic] = Join(message, topic, join_ref, message.payload)
        return [*actions, join]

    def _leave(self, message: Message) -> list[Action]:
        reply = Outgoing(encode_reply(message, "ok", {}))
        left = self._forget(message.topic, message.join_ref)
        if left is None:
            return [reply]
        return [Leave(message.topic, left), reply, Outgoing(encode_close(message.topic, left))]

    def _push(self, message: Message) -> Action:
        present = self._joined.get(message.topic)
        if present is None:
            return _unmatched(message)
        if message.join_ref not in {None, present}:
            return _error(message.ref, message.topic, "stale_join", "not the join_ref of the present join")
        return Push(message)

    def _end(self, topic: str) -> str:
        if topic not in self._joined:
            raise InternalError(f"{topic!r} is not joined; joined are {sorted(self._joined)}")
        return self._joined.pop(topic)

    def _forget(self, topic: str, join_ref: str | None = None) -> str | None:
        join = self._joining.get(topic)
        present = self._joined.get(topic) if join is None else join.join_ref
        if join_ref not in {None, present}:
            return None
        self._joining.pop(topic, None)
        self._joined.pop(topic, None)
        return present

    def _refuse_frame(self, error: ProtocolError) -> list[Action]:
        answer = _error(error.ref, error.topic or SYSTEM_TOPIC, error.code, error.reason)
        self._protocol_errors_left -= 1
        if self._protocol_errors_left > 0:
            return [answer]
        self._closed = True
        return [answer, Close(POLICY_VIOLATION, "too many protocol errors")]
