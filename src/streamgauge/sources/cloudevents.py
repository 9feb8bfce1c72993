"""CloudEvents 1.0 over HTTP: structured, batched and binary mode.

`type` and `time` become the event's type and timestamp, `source|id` its event_id. The fields of a `data` object become
the event's own; those that would stand where these three do are kept as `data_<name>`. A number as data is the
event's value, anything else stands in `data` or `data_base64`. Every other attribute is kept as `ce_<name>`.

Source: CloudEvents 1.0.2, `spec.md`, `formats/json-format.md` and `bindings/http-protocol-binding.md`.
"""

from __future__ import annotations

import asyncio
import base64
import re
from io import BytesIO
from typing import Final
from urllib.parse import unquote_to_bytes

import msgspec

from streamgauge.errors import DecodeError, TooLarge
from streamgauge.event import FieldMapping
from streamgauge.events.containers import LONGEST_EVENT, first_of, lines_of_json
from streamgauge.sources.converted import UNREADABLE, Converted, Sent

PREFIX: Final = "application/cloudevents"
STRUCTURED: Final = "application/cloudevents+json"
BATCHED: Final = "application/cloudevents-batch+json"
HEADER: Final = b"ce-"
MARK: Final = b"ce-specversion"
VERSION: Final = "1.0"
REQUIRED: Final = ("specversion", "type", "source", "id")
DATA: Final = ("data", "data_base64")
ATTRIBUTE: Final = "ce_"
STEP_BYTES: Final = 256 * 1024  # converted without a pause
LINE_COST_BYTES: Final = 1024  # what an event costs beside its bytes, in as many of them
ABSENT: Final = msgspec.Raw(b"null")

_Fields = dict[str, msgspec.Raw]
_events: Final = msgspec.json.Decoder(_Fields)


class _NoCloudEvent(Exception):
    """An event lacks what makes it one. problem: what is wrong."""

    def __init__(self, problem: str) -> None:
        self.problem = problem
        super().__init__(problem)


async def structured(sent: Sent) -> Converted:
    """Convert one CloudEvent in the JSON format; raises DecodeError where the body is no JSON object."""
    if first_of(sent.body) != b"{":
        raise DecodeError(f"body: expected one CloudEvent, a JSON object; send several as {BATCHED}")
    return await _converted(await lines_of_json(sent.body), sent.mapping)


async def batched(sent: Sent) -> Converted:
    """Convert an array of CloudEvents, which may be empty; raises DecodeError where the body is none."""
    if first_of(sent.body) != b"[":
        raise DecodeError(f"body: expected a JSON array of CloudEvents; send one alone as {STRUCTURED}")
    return await _converted(await lines_of_json(sent.body), sent.mapping)


async def binary(sent: Sent) -> Converted:
    """Convert a body whose attributes are `ce-` headers; raises DecodeError where it says JSON and is not."""
    body, headers = sent.body, sent.headers
    content_type = headers.get(b"content-type", b"application/json").decode("latin-1")
    if len(body) > LONGEST_EVENT:
        raise TooLarge(f"body: the data of one event is longer than {LONGEST_EVENT} bytes")
    try:
        event = {
            name.removeprefix(HEADER).decode("latin-1"): _raw(_header_text(name, value))
            for name, value in headers.items()
            if name.startswith(HEADER)
        }
    except _NoCloudEvent as exc:
        return Converted(UNREADABLE + b"\n", {0: exc.problem})
    event["datacontenttype"] = _raw(content_type)
    event |= _body_data(body, content_type)
    return await _converted(msgspec.json.encode(event) + b"\n", sent.mapping)


def _body_data(body: bytes, content_type: str) -> _Fields:
    """Give the data of binary mode as structured mode would write it."""
    if not body:
        return {}
    if _is_json(content_type):
        try:
            return {"data": msgspec.Raw(msgspec.json.format(body, indent=-1))}
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise DecodeError(f"body: not JSON: {exc}") from exc
    if content_type.startswith("text/"):
        try:
            return {"data": _raw(body.decode())}
        except UnicodeDecodeError as exc:
            raise DecodeError(f"body: {content_type[:80]} that is not UTF-8: {exc}") from exc
    return {"data_base64": _raw(base64.b64encode(body).decode())}


def _header_text(name: bytes, value: bytes) -> str:
    """Read a header as the HTTP binding writes it: percent-encoded UTF-8, perhaps in double quotes (3.1.3.2)."""
    if len(value) > 1 and value.startswith(b'"') and value.endswith(b'"'):
        value = re.sub(rb"\\(.)", rb"\1", value[1:-1])
    try:
        return unquote_to_bytes(value).decode()
    except UnicodeDecodeError:
        raise _NoCloudEvent(f"{name.decode('latin-1')}: not percent-encoded UTF-8") from None


async def _converted(lines: bytes, mapping: FieldMapping) -> Converted:
    converted: list[bytes] = []
    problems: dict[int, str] = {}
    since = 0
    for place, line in enumerate(BytesIO(lines)):
        try:
            too_long = len(line) > LONGEST_EVENT  # and refused as such, unread
            converted.append(line.rstrip() if too_long else _line(_events.decode(line), mapping))
        except _NoCloudEvent as exc:
            problems[place] = exc.problem
            converted.append(UNREADABLE)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            problems[place] = f"event: expected a CloudEvent, a JSON object: {exc}"
            converted.append(UNREADABLE)
        since += len(line) + LINE_COST_BYTES
        if since > STEP_BYTES:
            since = 0
            await asyncio.sleep(0)
    return Converted(b"\n".join([*converted, b""]) if converted else b"", problems)


def _line(event: _Fields, mapping: FieldMapping) -> bytes:
    """Write a CloudEvent as an event of ours; what its data holds stays as it was written."""
    attributes = {name: raw for name, raw in event.items() if name not in DATA and bytes(raw) != b"null"}
    _check(attributes)
    own: _Fields = {mapping.type: attributes.pop("type")}
    if "time" in attributes:
        own[mapping.timestamp] = attributes.pop("time")
    name = f"{_text('source', attributes['source'])}|{_text('id', attributes.pop('id'))}"
    own[mapping.event_id] = _raw(name)
    del attributes["specversion"]
    if _is_json(_text("datacontenttype", attributes.get("datacontenttype", _raw("application/json")))):
        attributes.pop("datacontenttype", None)
    context = {f"{ATTRIBUTE}{name}": raw for name, raw in attributes.items()}
    return msgspec.json.encode({**own, **_data_fields(event, mapping), **context})


def _check(attributes: _Fields) -> None:
    missing = [name for name in REQUIRED if name not in attributes]
    if missing:
        raise _NoCloudEvent(f"no {', '.join(missing)}; a CloudEvent has {', '.join(REQUIRED)}")
    for name in (*REQUIRED, "time", "subject", "dataschema"):
        if name in attributes and not _text(name, attributes[name]):
            raise _NoCloudEvent(f"{name}: expected a non-empty string")
    version = _text("specversion", attributes["specversion"])
    if version != VERSION:
        raise _NoCloudEvent(f"specversion: expected {VERSION}, got {version[:20]!r}")


def _data_fields(event: _Fields, mapping: FieldMapping) -> _Fields:
    data, encoded = bytes(event.get("data", ABSENT)), event.get("data_base64", ABSENT)
    if bytes(encoded) != b"null":
        if data != b"null":
            raise _NoCloudEvent("data: there is data_base64 too; a CloudEvent has one of them")
        return {"data_base64": encoded}
    if data == b"null":
        return {}
    if data.startswith(b"{"):
        taken = (mapping.type, mapping.timestamp, mapping.event_id)
        return {f"data_{name}" if name in taken else name: raw for name, raw in _events.decode(data).items()}
    return {mapping.value if data[:1] in b"-0123456789" else "data": msgspec.Raw(data)}


def _is_json(content_type: str) -> bool:
    kind = content_type.split(";", maxsplit=1)[0].strip().lower()
    return kind.endswith(("/json", "+json"))


def _raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(text))


def _text(name: str, raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str)
    except msgspec.DecodeError:
        raise _NoCloudEvent(
            f"{name}: expected a string, got {bytes(raw)[:40].decode(errors='replace')}"
        ) from None
