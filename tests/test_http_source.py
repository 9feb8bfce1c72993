"""`POST /api/events`: what each kind of request is answered, and what it leaves behind."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import pytest
import zstandard

from streamgauge.epoch import EpochBook
from streamgauge.errors import JournalError, Saturated, StorageFull
from streamgauge.event import FieldMapping
from streamgauge.events.compression import DecodedLimits
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import EventLimits
from streamgauge.intake import Intake, Receipt
from streamgauge.journal import Entry, Record
from streamgauge.journals.memory import MemoryJournal
from streamgauge.ledger import Ledger
from streamgauge.sources.formats import FORMATS
from streamgauge.sources.http import HttpLimits, HttpSource
from streamgauge.stages.producer import EventProducer

NOW_US = 1_770_000_000_000_000
JSON = "application/json"
LINES = "application/x-ndjson"
EVENT = b'{"type":"a","value":1}'

Message = MutableMapping[str, Any]


@dataclass
class Answer:
    """What came back; nothing when the sender was gone."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def send(
    source: HttpSource,
    body: bytes | Iterable[bytes] = b"",
    headers: Iterable[tuple[str, str]] | dict[str, str] = (),
    *,
    method: str = "POST",
    query: str = "",
    leaves: bool = False,
) -> Answer:
    """Make one request; the body in as many parts as given. leaves: the sender goes away before the last part."""
    parts = [body] if isinstance(body, bytes) else list(body)
    messages: list[Message] = [
        {"type": "http.request", "body": part, "more_body": leaves or number < len(parts)}
        for number, part in enumerate(parts, 1)
    ]
    messages.append({"type": "http.disconnect"})
    answer = Answer()

    async def receive() -> Message:
        return messages.pop(0)

    async def respond(message: Message) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message["body"]

    pairs = headers.items() if isinstance(headers, dict) else headers
    scope = {
        "type": "http",
        "method": method,
        "query_string": query.encode(),
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in pairs],
    }
    await source(scope, receive, respond)
    return answer


@dataclass
class FakeDoor:
    """Takes everything, or raises what it is given."""

    error: Exception | None = None
    payloads: list[tuple[bytes, str, FieldMapping]] = field(default_factory=list)
    refused: int = 0

    async def accept(self, payload: bytes, source: str, mapping: FieldMapping) -> Receipt:
        if self.error is not None:
            raise self.error
        self.payloads.append((payload, source, mapping))
        return Receipt(accepted=payload.count(b"\n") or 1)

    async def accept_once(self, payload: bytes, source: str, mapping: FieldMapping, key: str) -> Receipt:
        raise AssertionError(f"{key}: none of these requests has a key")

    def refuse(self, source: str) -> None:
        assert source == "http"
        self.refused += 1


class KeepingJournal(MemoryJournal):
    """A journal whose entries can be looked at."""

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []

    def append(self, entry: Entry, written: Callable[[int], None]) -> asyncio.Future[int]:
        self.entries.append(entry)
        return super().append(entry, written)


@dataclass
class Shard:
    """A real way in, down to a journal in memory."""

    room: Callable[[], Awaitable[None]] | None = None
    limits: EventLimits = field(default_factory=EventLimits)
    journal: KeepingJournal = field(default_factory=KeepingJournal)
    ledger: Ledger = field(default_factory=Ledger)
    producer: EventProducer = field(default_factory=lambda: EventProducer(capacity=1000))

    def __post_init__(self) -> None:
        self.intake = Intake(
            decoder=EventDecoder(["country"], self.limits),
            journal=self.journal,
            book=EpochBook(shard="0", committed_seq=0, next_number=1, now=0.0),
            producer=self.producer,
            ledger=self.ledger,
            now_us=lambda: NOW_US,
            has_room=lambda: self.room is None,
            room=self.room or self.producer.room,
            patience_s=0.01,
            keep_lines=True,
        )
        self.source = source_of(self.intake)

    @property
    def lines(self) -> list[bytes]:
        return [line for entry in self.journal.entries for line in entry.payload.split(b"\n")[:-1]]

    @property
    def counts(self) -> dict[str, int]:
        names = ("received", "rejected", "pending", "requests_refused")
        return {name: number for name, number in self.ledger.total().as_dict().items() if name in names}


def source_of(door: Any, limits: HttpLimits | None = None) -> HttpSource:
    return HttpSource(door, mapping=FieldMapping(), limits=limits or HttpLimits(), formats=FORMATS)


@pytest.fixture
def shard() -> Shard:
    return Shard()


@pytest.fixture
def door() -> FakeDoor:
    return FakeDoor()


async def test_one_event_an_array_and_lines_are_accepted(shard: Shard) -> None:
    assert (await send(shard.source, b' { "type" : "one" } ', {"Content-Type": JSON})).json == {"accepted": 1}
    assert (await send(shard.source, b'[{"type":"two"}, {"type":"three"}]')).json == {"accepted": 2}
    answer = await send(shard.source, b'{"type": "four"}\n{"type":"five"}', {"Content-Type": LINES})
    assert (answer.status, answer.headers["content-type"], answer.json) == (202, JSON, {"accepted": 2})
    types = ['{"type":"one"}', '{"type":"two"}', '{"type":"three"}', '{"type": "four"}', '{"type":"five"}']
    assert [line.decode() for line in shard.lines] == types
    assert shard.counts == {"received": 5, "rejected": 0, "pending": 5, "requests_refused": 0}


@pytest.mark.parametrize("kind", ["array", "lines"])
async def test_the_bad_events_of_a_batch_are_named_and_the_good_ones_accepted(
    shard: Shard, kind: str
) -> None:
    events = [b'{"type":"a"}', b'{"type":"b","value":"abc"}', b"7", b'{"type":"c"}', b'{"name":"d"}']
    body, media = (b"[" + b",".join(events) + b"]", JSON) if kind == "array" else (b"\n".join(events), LINES)
    answer = await send(shard.source, body, {"Content-Type": media})
    assert answer.status == 202
    assert answer.json == {
        "accepted": 2,
        "rejected": 3,
        "errors": [
            {"index": 1, "error": 'value: expected a number, got "abc"'},
            {"index": 2, "error": "event: expected an object, got 7"},
            {"index": 4, "error": "no `type`; did you mean to map `name`?"},
        ],
    }
    assert shard.lines == [events[0], events[3]]
    assert shard.counts == {"received": 5, "rejected": 3, "pending": 2, "requests_refused": 0}


async def test_a_large_body_names_the_places_of_its_bad_events_in_the_whole(shard: Shard) -> None:
    lines = [b'{"type":"a","n":%d}' % number for number in range(40_000)]
    for place in (0, 17_000, 39_999):
        lines[place] = b'{"type":7}'
    answer = await send(shard.source, b"\n".join(lines), {"Content-Type": LINES})
    assert (answer.json["accepted"], answer.json["rejected"]) == (39_997, 3)
    assert [error["index"] for error in answer.json["errors"]] == [0, 17_000, 39_999]
    assert shard.lines == [line for line in lines if line != b'{"type":7}']
    assert [entry.count for entry in shard.journal.entries] == [39_997]


async def test_the_first_hundred_errors_are_given_and_all_are_counted(shard: Shard) -> None:
    answer = await send(shard.source, b'{"type":"a"}\n' + b"{}\n" * 250, {"Content-Type": LINES})
    assert (answer.json["accepted"], answer.json["rejected"], len(answer.json["errors"])) == (1, 250, 100)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('{"event":"signup","value":1}', "no `type`; did you mean to map `event`?"),
        ('{"eventType":"signup"}', "no `type`; did you mean to map `eventType`?"),
        ("{}", "no `type`"),
        ("42", "event: expected an object, got 42"),
        ('"x"', 'event: expected an object, got "x"'),
        ("null", "event: expected an object, got null"),
        ("true", "event: expected an object, got true"),
        ("[null]", "event: expected an object, got null"),
        ("[[]]", "event: expected an object, got []"),
        ('{"type":"a","x":1e400}', "event: number out of range"),
        ('{"type":"a","x":9223372036854775808}', "x: an integer outside of 64 bits"),
        ('{"type":"a","":1}', "event: a field name that is empty or has a NUL character"),
        ('{"type":"a","x":"\\u0000"}', "x: a string with a NUL character, which is not allowed"),
        (
            '{"type":"a","x":' + "[" * 32 + "]" * 32 + "}",
            "x" + "[0]" * 31 + ": nested too deeply; at most 32",
        ),
        ('{"type":"a","x":"' + "y" * 262_144 + '"}', "event: 262163 bytes; at most 262144 are allowed"),
        ('{"type":"a","x":"' + "y" * 9_000_000 + '"}', "event: 9000019 bytes; at most 262144 are allowed"),
    ],
)
async def test_nothing_acceptable_is_422_with_the_reason(shard: Shard, body: str, problem: str) -> None:
    for media in (JSON, LINES) if not body.startswith("[") else (JSON,):
        answer = await send(shard.source, body.encode(), {"Content-Type": media})
        assert answer.status == 422
        assert (answer.json["accepted"], answer.json["rejected"]) == (0, 1)
        assert answer.json["errors"][0]["index"] == 0
        assert answer.json["errors"][0]["error"].startswith(problem)
    assert shard.lines == []
    assert shard.counts["pending"] == 0


async def test_an_array_without_events_is_422(shard: Shard) -> None:
    answer = await send(shard.source, b"[]")
    assert (answer.status, answer.json) == (422, {"accepted": 0, "rejected": 0, "errors": []})


@pytest.mark.parametrize("media", [JSON, LINES])
@pytest.mark.parametrize(
    ("body", "code"),
    [
        *((b"", "empty_body"), (b"  \n", "empty_body"), (b"\xef\xbb\xbf" + EVENT, "bom")),
        *((EVENT.decode().encode(encoding), "malformed") for encoding in ("utf-16-le", "utf-32-be")),
        *((EVENT.decode().encode("utf-16"), "bom"), (b"hello", "malformed"), (b"a=1&b=2", "malformed")),
        *(
            (b'{"type":"a","x":' + text + b"}", "malformed")
            for text in (b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"')
        ),
        *(
            (b'{"type":"a","x":' + text + b"}", "malformed")
            for text in (b'"\xe2\x82"', b'"\\ud800"', b'"\\ude00x"')
        ),
        *(
            (b'{"type":"a","x":' + text + b"}", "malformed")
            for text in (b"NaN", b"-Infinity", b"01", b"+1", b".5")
        ),
        *(
            (b'{"type":"a","x":' + text + b"}", "malformed")
            for text in (b"5.", b"0x1", b"1_0", b"1,", b"'a'", b"//c")
        ),
        *(
            (b'{"type":"a","x":' + text + b"}", "malformed")
            for text in (b'"\\x41"', b'"\\u12"', b"True", b'"\t"')
        ),
        *((EVENT + EVENT, "malformed"), (EVENT + b"\x00", "malformed"), (EVENT + b"garbage", "malformed")),
        (EVENT + b"\r" + EVENT, "malformed"),
    ],
)
async def test_what_is_not_json_at_all_is_400_with_a_problem(
    shard: Shard, media: str, body: bytes, code: str
) -> None:
    answer = await send(shard.source, body, {"Content-Type": media})
    assert answer.status == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json["status"], answer.json["code"]) == (400, code)
    assert answer.json["detail"].startswith("body: ")
    assert shard.lines == []


async def test_an_event_cut_off_at_any_byte_is_400(shard: Shard) -> None:
    whole = b'{"type":"page_view","value":12.5,"tags":["a","\\u00e9"],"deep":{"x":null,"y":true},"text":"caf\xc3\xa9"}'
    for length in range(len(whole)):
        for media in (JSON, LINES):
            assert (await send(shard.source, whole[:length], {"Content-Type": media})).status == 400
    assert shard.lines == []
    assert (await send(shard.source, whole)).status == 202


async def test_an_array_that_is_no_json_is_refused_whole(shard: Shard) -> None:
    good = b",".join([EVENT] * 20_000)
    for body in (
        b"[" + EVENT,
        b"[" + EVENT + b",]",
        b"[" + good + b",]",
        b"[" + good + b"}",
        b"[" + good + b"]]",
    ):
        answer = await send(shard.source, body)
        assert (answer.status, answer.json["code"]) == (400, "malformed")
    assert shard.lines == []
    assert shard.counts == {"received": 0, "rejected": 0, "pending": 0, "requests_refused": 5}


async def test_lines_sent_as_json_are_refused_and_nothing_of_them_is_taken(shard: Shard) -> None:
    answer = await send(shard.source, EVENT + b"\n" + EVENT + b"\n", {"Content-Type": JSON})
    assert answer.status == 400
    assert shard.lines == []


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "HEAD"])
async def test_other_methods_are_405(door: FakeDoor, method: str) -> None:
    answer = await send(source_of(door), EVENT, method=method)
    assert (answer.status, answer.headers["allow"], answer.json["code"]) == (
        405,
        "POST",
        "method_not_allowed",
    )
    assert door.payloads == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        *(
            (None, 202),
            ("application/json", 202),
            ("APPLICATION/JSON; charset=latin-1", 202),
            ("text/json", 202),
        ),
        *(("application/x-ndjson", 202), ("application/jsonl", 202), (" application/ndjson ;x=y", 202)),
        *(
            ("text/plain", 415),
            ("application/x-www-form-urlencoded", 415),
            ("multipart/form-data; boundary=x", 415),
        ),
        *(("application/json, text/html", 415), ("x" * 65_536, 415), ("\xe9", 415)),
    ],
)
async def test_the_content_type_decides(door: FakeDoor, content_type: str | None, status: int) -> None:
    answer = await send(
        source_of(door), EVENT, {} if content_type is None else {"Content-Type": content_type}
    )
    assert answer.status == status
    assert len(door.payloads) == (status == 202)
    assert door.refused == (status == 415)
    if status == 415:
        assert answer.json["code"] == "unsupported_media_type"
        assert "add -H 'Content-Type: application/json'" in answer.json["detail"]
        assert len(answer.body) < 500


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", gzip.compress(EVENT)),
        ("GZIP", gzip.compress(EVENT)),
        ("zstd", zstandard.ZstdCompressor().compress(EVENT)),
        ("identity", EVENT),
    ],
)
async def test_compressed_bodies_are_accepted(shard: Shard, encoding: str, body: bytes) -> None:
    assert (await send(shard.source, body, {"Content-Encoding": encoding})).status == 202
    assert shard.lines == [EVENT]


@pytest.mark.parametrize(
    ("headers", "body", "status", "code"),
    [
        ([("Content-Encoding", "br")], EVENT, 415, "unsupported_encoding"),
        (
            [("Content-Encoding", "gzip, gzip")],
            gzip.compress(gzip.compress(EVENT)),
            415,
            "unsupported_encoding",
        ),
        (
            [("Content-Encoding", "gzip")] * 2,
            gzip.compress(gzip.compress(EVENT)),
            415,
            "unsupported_encoding",
        ),
        ([("Content-Encoding", "gzip")], EVENT, 400, "malformed_encoding"),
        ([("Content-Encoding", "gzip")], gzip.compress(EVENT)[:-1], 400, "malformed_encoding"),
        ([("Content-Encoding", "zstd")], gzip.compress(EVENT), 400, "malformed_encoding"),
        ([("Content-Encoding", "gzip")], gzip.compress(bytes(64 * 2**20)), 413, "too_large"),
        ([], gzip.compress(EVENT), 400, "malformed"),
    ],
)
async def test_what_cannot_be_decompressed_is_refused(
    door: FakeDoor, headers: list[tuple[str, str]], body: bytes, status: int, code: str
) -> None:
    answer = await send(source_of(door), body, headers)
    assert (answer.status, answer.json["code"]) == (status, code)
    assert (door.payloads, door.refused) == ([], 1)


async def test_a_body_over_the_limit_is_413_and_its_rest_is_never_asked_for(door: FakeDoor) -> None:
    source = source_of(door, HttpLimits(body_bytes=100))
    asked = 0

    def parts() -> Iterable[bytes]:
        nonlocal asked
        for _ in range(50):
            asked += 1
            yield b" " * 60

    whole = EVENT + b" " * (100 - len(EVENT))
    assert (await send(source, whole)).status == 202
    assert (await send(source, [whole[:40], whole[40:], b""])).status == 202
    for body in (whole + b" ", [whole, b" "]):
        answer = await send(source, body)
        assert (answer.status, answer.json["code"], answer.headers["connection"]) == (
            413,
            "too_large",
            "close",
        )
    endless = iter(parts())

    async def receive() -> Message:
        return {"type": "http.request", "body": next(endless), "more_body": True}

    statuses: list[int] = []

    async def respond(message: Message) -> None:
        statuses.append(message.get("status", 0))

    scope = {"type": "http", "method": "POST", "query_string": b"", "headers": []}
    await source(scope, receive, respond)
    assert (statuses[0], asked) == (413, 2)


async def test_a_body_that_inflates_over_the_limit_is_413(door: FakeDoor) -> None:
    source = source_of(door, HttpLimits(decoded=DecodedLimits(decoded_bytes=1000)))
    answer = await send(source, gzip.compress(EVENT + b" " * 1000), {"Content-Encoding": "gzip"})
    assert (answer.status, answer.json["code"]) == (413, "too_large")
    assert (await send(source, gzip.compress(EVENT + b" " * 100), {"Content-Encoding": "gzip"})).status == 202


@pytest.mark.parametrize(
    ("error", "code", "wait"),
    [
        (Saturated("the pipeline has no room for more events", 1.2), "saturated", "2"),
        (StorageFull("the journal is full", 30), "storage_full", "30"),
        (JournalError("the disk failed"), "storage_error", "5"),
    ],
)
async def test_no_room_is_503_with_a_time_to_try_again(error: Exception, code: str, wait: str) -> None:
    door = FakeDoor(error)
    answer = await send(source_of(door), EVENT)
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, code, wait)
    assert door.refused == 1


async def test_a_full_pipeline_answers_503_when_the_sender_has_waited_long_enough() -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    shard = Shard(room=never)
    answer = await send(shard.source, EVENT)
    assert (answer.status, answer.json["code"], answer.headers["retry-after"]) == (503, "saturated", "10")
    assert shard.lines == []
    assert shard.counts == {"received": 0, "rejected": 0, "pending": 0, "requests_refused": 1}


async def test_a_server_that_shuts_down_answers_503(shard: Shard) -> None:
    shard.intake.draining = True
    assert (await send(shard.source, EVENT)).status == 503
    assert shard.lines == []


async def test_a_closed_journal_answers_503_and_nothing_is_counted_as_received(shard: Shard) -> None:
    await shard.journal.close()
    answer = await send(shard.source, EVENT + b"\n{}\n", {"Content-Type": LINES})
    assert (answer.status, answer.json["code"]) == (503, "storage_error")
    assert shard.counts == {"received": 0, "rejected": 0, "pending": 0, "requests_refused": 1}


async def test_the_query_string_says_which_fields_play_which_part(shard: Shard) -> None:
    body = b'{"event":"buy","ts":1769860800000,"am\xc3\xb6unt":3}'
    answer = await send(shard.source, body, query="type=event&timestamp=ts&value=am%C3%B6unt&other=1")
    assert answer.status == 202
    mapping = {"type": "event", "timestamp": "ts", "value": "amöunt"}
    assert shard.journal.entries[0].context == {"mapping": mapping}
    batch = await shard.producer.handle_demand(1)
    assert batch
    assert (batch.type.values, batch.time_us.tolist()) == (["buy"], [1_769_860_800_000_000])
    assert batch.value.values.tolist() == [3.0]


@pytest.mark.parametrize(
    "query",
    [
        *(
            "type=value",
            "type=x&value=x",
            "type=",
            "type=a%22b",
            "type=a%5Cb",
            "type=%00",
            "type=" + "x" * 129,
        ),
        *("&".join(["type=x"] * 40), "type=" + "%C3%A9" * 65),
    ],
)
async def test_a_mapping_that_cannot_be_is_400(door: FakeDoor, query: str) -> None:
    answer = await send(source_of(door), EVENT, query=query)
    assert (answer.status, answer.json["code"]) == (400, "bad_mapping")
    assert answer.json["detail"].startswith("query: ")
    assert door.payloads == []


async def test_other_parameters_of_the_query_are_no_matter(door: FakeDoor) -> None:
    assert (await send(source_of(door), EVENT, query="utm=1&flag&x=%ff")).status == 202
    assert door.payloads[0][2] == FieldMapping()


@pytest.mark.parametrize("parts", [[], [EVENT], [EVENT + b"\n", EVENT[:5]]])
async def test_a_sender_that_leaves_in_the_middle_leaves_nothing_behind(
    shard: Shard, parts: list[bytes]
) -> None:
    answer = await send(shard.source, parts, {"Content-Type": LINES}, leaves=True)
    assert answer == Answer()
    assert shard.lines == []
    assert shard.counts == {"received": 0, "rejected": 0, "pending": 0, "requests_refused": 0}


async def test_a_body_in_parts_is_one_body(shard: Shard) -> None:
    body = EVENT + b"\n" + EVENT + b"\n"
    for size in (1, 7, len(EVENT), len(body)):
        parts = [body[at : at + size] for at in range(0, len(body), size)]
        assert (await send(shard.source, parts, {"Content-Type": LINES})).json == {"accepted": 2}
    assert shard.lines == [EVENT] * 8


async def test_requests_of_one_turn_are_each_answered_for_their_own_events(shard: Shard) -> None:
    bodies = [
        b'{"type":"a"}',
        b'{"type":7}\n{"type":"b"}',
        b"\n\n",
        b"no",
        b'{"type":"c"}\r\n\r\n{"type":"d"}',
        b"{}",
    ]
    answers = await asyncio.gather(*(send(shard.source, body, {"Content-Type": LINES}) for body in bodies))
    assert [answer.status for answer in answers] == [202, 202, 400, 400, 202, 422]
    assert [answer.json.get("accepted") for answer in answers] == [1, 1, None, None, 2, 0]
    assert answers[1].json["errors"][0]["index"] == 0
    assert sorted(shard.lines) == [b'{"type":"%s"}' % letter for letter in (b"a", b"b", b"c", b"d")]


async def test_an_accepted_event_comes_back_from_the_journal_whatever_the_limits_are_by_then() -> None:
    before = Shard()
    event = b'{"event":"a","event":"buy","x":"' + b"y" * 500 + b'","timestamp":1770000500}'
    assert (await send(before.source, event, query="type=event")).status == 202
    small = EventLimits(event_bytes=50, string_bytes=5, depth=1, fields=1, field_name_bytes=1, max_ahead_us=0)
    after = Shard(limits=small)
    assert await after.intake.replay(Record(1, before.journal.entries[0])) == 0
    batch = await after.producer.handle_demand(10)
    assert batch
    assert (batch.type.values, batch.time_us.tolist()) == (["buy"], [1_770_000_500_000_000])
    assert after.counts["pending"] == 1
