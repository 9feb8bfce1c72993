"""CloudEvents over HTTP, sent with the SDK that their users have, and by hand where the SDK would not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from cloudevents.core.bindings.http import (
    HTTPMessage,
    to_binary_event,
    to_structured_event,
)
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.errors import DecodeError
from streamgauge.sources import cloudevents
from streamgauge.sources.cloudevents import BATCHED, STRUCTURED
from streamgauge.sources.converted import UNREADABLE, Sent
from web_tools import Served, problem, serving

ENVELOPE = {"specversion": "1.0", "type": "com.shop.sale", "source": "/shop/1", "id": "A-1"}
TIME = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=1)
WHAT = "SELECT type, CAST(epoch_ms(time) AS BIGINT), value, event_id, event FROM events ORDER BY event_id"


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with serving() as served:
        yield served


async def post(server: Served, body: object, headers: dict[str, str], query: str = "") -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await server.http.post(f"/api/events{query}", content=content, headers=headers)


async def send(server: Served, body: object, kind: str = STRUCTURED, query: str = "") -> httpx.Response:
    return await post(server, body, {"Content-Type": kind}, query)


async def send_message(server: Served, message: HTTPMessage) -> httpx.Response:
    return await server.http.post("/api/events", content=message.body, headers=message.headers)


async def stored(server: Served) -> list[dict[str, Any]]:
    """Give every event as it was kept."""
    await server.commit()
    return [json.loads(row[4]) for row in await server.ask(WHAT)]


def envelope(**more: object) -> dict[str, object]:
    return {**ENVELOPE, **more}


# what the SDK sends


@pytest.mark.parametrize("write", [to_structured_event, to_binary_event], ids=["structured", "binary"])
async def test_an_event_of_the_sdk_arrives_with_every_attribute_and_field(server: Served, write: Any) -> None:
    attributes = {
        **{name: ENVELOPE[name] for name in ("type", "source", "id")},
        "time": TIME,
        "subject": 'ein "Zähler" 100% neu',
        "dataschema": "https://schemas.example/sale",
        "region": "eu",
        "datacontenttype": "application/json",
    }
    sale = {"value": 12.5, "user_id": "u1", "country": "DE", "lines": [{"sku": "x"}]}
    answer = await send_message(server, write(CloudEvent(attributes, sale)))
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1})
    await server.commit()
    [[kind, time_ms, value, event_id, event]] = await server.ask(WHAT)
    assert (kind, time_ms, value, event_id) == (
        "com.shop.sale",
        TIME.timestamp() * 1000,
        12.5,
        "/shop/1|A-1",
    )
    kept = json.loads(event)
    assert datetime.fromisoformat(kept.pop("timestamp")) == TIME
    assert kept == {
        **sale,
        "type": "com.shop.sale",
        "event_id": "/shop/1|A-1",
        "ce_source": "/shop/1",
        "ce_subject": 'ein "Zähler" 100% neu',
        "ce_dataschema": "https://schemas.example/sale",
        "ce_region": "eu",
    }


@pytest.mark.parametrize("write", [to_structured_event, to_binary_event], ids=["structured", "binary"])
@pytest.mark.parametrize(
    ("data", "content_type", "fields"),
    [
        (b"\xff\x00", "image/png", {"data_base64": "/wA=", "ce_datacontenttype": "image/png"}),
        ("<a/>", "text/xml", {"data": "<a/>", "ce_datacontenttype": "text/xml"}),
        (None, None, {}),
    ],
)
async def test_data_that_is_no_object_is_kept_as_it_is(
    server: Served, write: Any, data: Any, content_type: str | None, fields: dict[str, str]
) -> None:
    about = {} if content_type is None else {"datacontenttype": content_type}
    event = CloudEvent({"type": "t", "source": "s", "id": "1", "time": TIME, **about}, data)
    assert (await send_message(server, write(event))).status_code == 202
    [kept] = await stored(server)
    del kept["timestamp"]
    assert kept == {"type": "t", "event_id": "s|1", "ce_source": "s", **fields}


# the mapping


@pytest.mark.parametrize(
    ("data", "fields"),
    [
        (21.5, {"value": 21.5}),
        (-3, {"value": -3}),
        ("a string", {"data": "a string"}),
        ([1, 2], {"data": [1, 2]}),
        (True, {"data": True}),
        (None, {}),
        ({}, {}),
        ({"type": "own", "timestamp": 5, "event_id": "own"}, {"data_type": "own", "data_timestamp": 5, "data_event_id": "own"}),
        ({"source": "inner", "id": 7, "time": "noon"}, {"source": "inner", "id": 7, "time": "noon"}),
        ({"ce_source": "forged"}, {}),
    ],
)  # fmt: skip
async def test_every_kind_of_data_becomes_fields(data: object, fields: dict[str, object]) -> None:
    converted = await cloudevents.structured(Sent(json.dumps(envelope(data=data)).encode()))
    assert converted.problems == {}
    kept = json.loads(converted.lines)
    assert kept == {
        "type": "com.shop.sale",
        "event_id": "/shop/1|A-1",
        "ce_source": "/shop/1",
        **fields,
    }


async def test_reserved_parts_are_written_under_the_names_that_the_request_maps(server: Served) -> None:
    body = envelope(time=TIME.isoformat(), data={"type": "inner", "amount": 4})
    assert (await send(server, body, query="?type=kind&timestamp=ts&value=amount")).status_code == 202
    await server.commit()
    [[kind, time_ms, value, _, event]] = await server.ask(WHAT)
    assert (kind, time_ms, value) == ("com.shop.sale", TIME.timestamp() * 1000, 4)
    assert json.loads(event)["type"] == "inner"


async def test_an_attribute_that_is_null_is_absent() -> None:
    body = json.dumps(envelope(time=None, subject=None, data=None, data_base64=None)).encode()
    converted = await cloudevents.structured(Sent(body))
    assert json.loads(converted.lines).keys() == {"type", "event_id", "ce_source"}


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(st.dictionaries(st.text(), JSON_VALUES, max_size=4), max_size=5), st.sampled_from([None, 1]))
async def test_a_batch_gives_one_line_for_each_event_with_its_data_unchanged(
    several: list[dict[str, Any]], indent: int | None
) -> None:
    batch = [envelope(id=str(number), data=data) for number, data in enumerate(several)]
    converted = await cloudevents.batched(Sent(json.dumps(batch, indent=indent).encode()))
    lines = converted.lines.split(b"\n")[:-1]
    assert len(lines) == len(several)
    for number, (line, data) in enumerate(zip(lines, several, strict=True)):
        kept = json.loads(line)
        assert (kept["type"], kept["event_id"]) == ("com.shop.sale", f"/shop/1|{number}")
        taken = {"type", "timestamp", "event_id"}
        expected = {f"data_{name}" if name in taken else name: value for name, value in data.items()}
        assert {name: kept[name] for name in expected if name != "ce_source"} == {
            name: value for name, value in expected.items() if name != "ce_source"
        }


# batches


async def test_a_batch_is_accepted_in_one_request(server: Served) -> None:
    batch = [envelope(id=str(number), data={"value": number}) for number in range(250)]
    answer = await send(server, batch, BATCHED)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 250})
    await server.commit()
    assert await server.ask("SELECT count(DISTINCT event_id), sum(value) FROM events") == [
        [250, sum(range(250))]
    ]


async def test_an_empty_batch_is_fine(server: Served) -> None:
    answer = await send(server, [], BATCHED)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 0)


async def test_what_is_no_cloudevent_in_a_batch_is_named_and_the_others_are_accepted(server: Served) -> None:
    batch: list[object] = [
        envelope(id="1"),
        {"specversion": "1.0", "type": "t"},
        7,
        envelope(specversion="0.3"),
        envelope(id=5),
        envelope(type=""),
        envelope(data=1, data_base64="AA=="),
        envelope(id="2", data={"value": "abc"}),
        envelope(id="3"),
    ]
    answer = await send(server, batch, BATCHED)
    assert (answer.status_code, answer.json()["accepted"], answer.json()["rejected"]) == (202, 2, 7)
    reasons = {one["index"]: one["error"] for one in answer.json()["errors"]}
    assert reasons.keys() == {1, 2, 3, 4, 5, 6, 7}
    assert reasons[1].startswith("no source, id;")
    assert "expected a CloudEvent" in reasons[2]
    assert "expected 1.0, got '0.3'" in reasons[3]
    assert reasons[4] == "id: expected a string, got 5"
    assert reasons[5] == "type: expected a non-empty string"
    assert "data_base64" in reasons[6]
    assert reasons[7] == 'value: expected a number, got "abc"'
    ledger = (await server.get("/api/ledger"))["sources"]["http"]
    assert (ledger["received"], ledger["rejected"]) == (9, 7)


@pytest.mark.parametrize("kind", [STRUCTURED, "binary"])
async def test_attributes_that_are_missing_are_named(server: Served, kind: str) -> None:
    if kind == STRUCTURED:
        answer = await send(server, {"specversion": "1.0", "type": "t", "data": {}})
    else:
        headers = {"ce-specversion": "1.0", "ce-type": "t", "Content-Type": "application/json"}
        answer = await post(server, {}, headers)
    assert answer.status_code == 422
    [why] = answer.json()["errors"]
    assert why == {
        "index": 0,
        "error": "no source, id; a CloudEvent has specversion, type, source, id",
    }


# by hand


@pytest.mark.parametrize(
    ("value", "read"),
    [("a%20b", "a b"), ('"a \\"b\\""', 'a "b"'), ("%E2%82%AC", "€"), ("100%2525", "100%25"), ("a+b", "a+b")],
)
async def test_headers_are_read_as_the_binding_says(value: str, read: str) -> None:
    headers = {b"ce-%b" % name.encode(): text.encode() for name, text in ENVELOPE.items()}
    headers[b"ce-subject"] = value.encode()
    converted = await cloudevents.binary(Sent(b"", headers))
    assert json.loads(converted.lines)["ce_subject"] == read


async def test_a_header_that_is_not_utf_8_is_rejected_by_name() -> None:
    headers = {b"ce-%b" % name.encode(): text.encode() for name, text in ENVELOPE.items()}
    converted = await cloudevents.binary(Sent(b"", headers | {b"ce-subject": b"%C0%A0"}))
    assert (converted.lines, converted.problems) == (
        UNREADABLE + b"\n",
        {0: "ce-subject: not percent-encoded UTF-8"},
    )


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"not json", STRUCTURED),
        (b"", STRUCTURED),
        (b"[]", STRUCTURED),
        (b"{", STRUCTURED),
        (b"{}", BATCHED),
        (b"[{]", BATCHED),
    ],
)
async def test_a_body_that_cannot_be_read_is_400_and_counted(server: Served, body: bytes, kind: str) -> None:
    answer = await send(server, body, kind)
    assert answer.status_code == 400
    assert (await server.get("/api/ledger"))["sources"]["http"]["requests_refused"] == 1


async def test_binary_data_that_is_not_the_json_it_says_is_400() -> None:
    headers = {b"ce-%b" % name.encode(): text.encode() for name, text in ENVELOPE.items()}
    with pytest.raises(DecodeError, match="not JSON"):
        await cloudevents.binary(Sent(b"{", headers | {b"content-type": b"application/json"}))


@pytest.mark.parametrize("kind", ["application/cloudevents+avro", "application/cloudevents"])
async def test_another_format_of_envelope_is_415(server: Served, kind: str) -> None:
    assert "cloudevents" in problem(await send(server, b"x", kind), 415, "unsupported_media_type")
    headers = {"Content-Type": kind, "ce-specversion": "1.0"}
    problem(await post(server, b"x", headers), 415, "unsupported_media_type")


async def test_the_media_type_is_read_in_any_case_and_with_parameters(server: Served) -> None:
    kind = "Application/CloudEvents+JSON; charset=UTF-8"
    assert (await send(server, envelope(), kind)).status_code == 202


@pytest.mark.parametrize("size", [300_000, 2_000_000])
async def test_an_event_that_is_too_long_costs_only_itself(server: Served, size: int) -> None:
    batch = [envelope(id="1"), envelope(id="2", data={"text": "x" * size}), envelope(id="3")]
    answer = await send(server, batch, BATCHED)
    assert (answer.status_code, answer.json()["accepted"]) == (202, 2)
    [why] = answer.json()["errors"]
    assert why["index"] == 1
    assert "at most 262144 are allowed" in why["error"]
