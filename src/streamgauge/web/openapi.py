"""The API's description as an OpenAPI document, its schemas from msgspec; as a page it is in `documentation.py`."""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from streamgauge.event import RESERVED
from streamgauge.reloading import Reloaded
from streamgauge.verify import Report
from streamgauge.version import __version__
from streamgauge.web.backup import PATH as BACKUP_PATH
from streamgauge.web.configuration import PATH as RELOAD_PATH
from streamgauge.web.dead_letters import PATH as LETTERS_PATH
from streamgauge.web.dead_letters import Discarded, Wanted
from streamgauge.web.letters import Letter, LetterList, Replayed
from streamgauge.web.sources import PATH as SOURCES_PATH
from streamgauge.web.sources import DoorList
from streamgauge.web.verify import PATH as VERIFY_PATH

Schema = dict[str, Any]


class EventError(msgspec.Struct):
    """Why one event of a batch was rejected."""

    index: int
    error: str


class Accepted(msgspec.Struct, omit_defaults=True):
    """What became of the events."""

    accepted: int
    duplicates: int = 0
    rejected: int = 0
    errors: list[EventError] = []
    detail: str = ""


class Problem(msgspec.Struct):
    """An RFC 9457 problem; `code` is stable."""

    title: str
    status: int
    code: str
    detail: str


class MetricAbout(msgspec.Struct):
    """A metric that exists."""

    name: str
    by: list[str]
    aggregates: list[str]
    where: str | None
    value: str
    built_in: bool


class MetricList(msgspec.Struct):
    """Every metric."""

    metrics: list[MetricAbout]


class MetricSeries(msgspec.Struct, omit_defaults=True):
    """One series: totals over the range, and columns of points, `time` in milliseconds since 1970."""

    by: dict[str, str | int | float | bool | None]
    totals: dict[str, int | float | None]
    points: dict[str, list[int | float | None]] = {}
    other: bool = False


class MetricAnswer(msgspec.Struct, rename={"start": "from", "end": "to"}):
    """Totals and series of a range. Times in milliseconds since 1970, step in seconds; `all`: there are no points."""

    metric: str
    start: int
    end: int
    step: int | Literal["all"]
    as_of: int
    series: list[MetricSeries]


class SqlAnswer(msgspec.Struct):
    """Rows of a SELECT."""

    columns: list[str]
    rows: list[list[Any]]
    truncated: bool
    as_of: int


class SqlBody(msgspec.Struct):
    """One SELECT over the views `events` and `rollups`, with `?` for parameters."""

    sql: Annotated[str, Meta(description="one SELECT over the views `events` and `rollups`")]
    params: Annotated[
        list[str | int | float | bool | None],
        Meta(description="what `?`, or `$1` and so on, stand for in it"),
    ] = []


class LedgerCounts(msgspec.Struct):
    """received = stored + filtered + duplicate + dead_lettered + rejected + pending."""

    received: int
    stored: int
    filtered: int
    duplicate: int
    dead_lettered: int
    rejected: int
    pending: int
    requests_refused: int


class Once(msgspec.Struct):
    """How many ids are remembered, and for how many seconds back certainly every one: sent again, it counts once."""

    ids: int
    horizon_s: int


class LedgerAnswer(LedgerCounts):
    """The ledger in all, and by source; `imbalance`: events by which its equation does not hold, 0 unless there is a bug."""

    imbalance: int
    sources: dict[str, LedgerCounts]
    once: Once


class Status(msgspec.Struct):
    """Whether the server is alive, or ready, and if not, why; `degraded`: ready, but a source is in trouble."""

    status: str
    reasons: list[str] = []


EVENT: Final = {"type": "page_view", "user_id": "user_123", "page": "/products", "value": 1}
EVENT_LINES: Final = '{"type": "page_view", "page": "/products"}\n{"type": "sale", "value": 12.5}\n'
EVENT_FIELDS: Final = {
    "type": {"type": "string", "minLength": 1, "description": "what happened; every event has it"},
    "timestamp": {
        "description": "when it happened: ISO 8601, without a zone UTC, or a number told by its size to be s, ms, µs or ns;"
        " default: on arrival"
    },
    "value": {"description": "the number that it carries"},
    "user_id": {"description": "whose event it is: a string or a number"},
    "event_id": {"description": "its id, a string or a number: sent again, it counts once"},
}
CLOUD_EVENT: Final = {
    "specversion": "1.0",
    "type": "sale",
    "source": "/shop",
    "id": "o-1",
    "data": {"value": 12.5},
}
QUESTION: Final = {"sql": "SELECT type, count(*) FROM events WHERE value > ? GROUP BY type", "params": [10]}
LETTERS_WANTED: Final = {"names": ["0:12:3"]}
RANGE: Final = [
    (
        "from",
        "string",
        "ISO 8601, or a number told by its size to be s, ms, µs or ns; `all`; default: 15 minutes before `to`",
    ),
    ("to", "string", "like `from`; default: now"),
    ("step", "string", "seconds between points; default: what gives at most 200 points; `all`: totals only"),
    ("by", "string", "some of the metric's groups, separated by commas; empty: all together"),
    ("aggregates", "string", "some of the metric's aggregates, separated by commas"),
    ("top", "integer", "only the series with the greatest counts"),
    ("where", "string", "an SQL condition on the metric's groups"),
]
LETTERS: Final = [
    ("limit", "integer", "letters of a page, at most 200; default: 50"),
    ("after", "string", "the name of the last letter that is known already: `next` of the page before"),
    ("state", "string", "`open` (default), or `all`: those that were replayed or discarded, too"),
]


@cache
def schemas() -> dict[str, Schema]:
    """Give the schemas that operations refer to, by name."""
    kinds = (
        Accepted,
        Problem,
        MetricList,
        MetricAnswer,
        SqlAnswer,
        SqlBody,
        LedgerAnswer,
        Status,
        LetterList,
        Letter,
        Wanted,
        Replayed,
        Discarded,
        DoorList,
        Report,
        Reloaded,
    )
    return msgspec.json.schema_components(kinds, ref_template="#/components/schemas/{name}")[1]


@cache
def document() -> bytes:
    """Give the OpenAPI document."""
    paths: dict[str, dict[str, Schema]] = {}
    for path, method, operation in operations():
        paths.setdefault(path, {})[method] = operation
    about = {"title": "Streamgauge", "version": __version__, "description": "Events in, exact numbers out."}
    return msgspec.json.encode(
        {"openapi": "3.1.0", "info": about, "paths": paths, "components": {"schemas": schemas()}}
    )


def operations() -> list[tuple[str, str, Schema]]:
    """Give every operation: its path, its method, and what it is."""
    return [
        ("/api/events", "post", _events()),
        ("/api/metrics", "get", _get("What metrics there are", "MetricList")),
        ("/api/metrics/{name}", "get", _metric()),
        ("/api/query", "post", _query()),
        ("/api/ledger", "get", _get("What became of every event", "LedgerAnswer")),
        (SOURCES_PATH, "get", _get("Every way in for events, and what came by it", "DoorList")),
        *_dead_letters(),
        (VERIFY_PATH, "post", _verify()),
        (BACKUP_PATH, "get", _backup()),
        (RELOAD_PATH, "post", _reload()),
        ("/healthz", "get", _get("Is the process alive", "Status")),
        ("/readyz", "get", {**_get("Are events accepted now", "Status"), "responses": {**_ok("Status"), "503": _is("Status", "not ready")}}),
        ("/metrics", "get", {"summary": "The server's own metrics, for Prometheus", "responses": {"200": {"description": "text", "content": {"text/plain": {"schema": {"type": "string"}}}}}}),
    ]  # fmt: skip


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _is(name: str, text: str, kind: str = "application/json") -> Schema:
    return {"description": text, "content": {kind: {"schema": _ref(name)}}}


def _ok(name: str) -> Schema:
    return {"200": _is(name, "the answer")}


def _wants(name: str, example: Schema) -> Schema:
    return {
        "required": True,
        "content": {"application/json": {"schema": _ref(name), "example": example}},
    }


def _problems(*codes: tuple[int, str]) -> Schema:
    return {str(code): _is("Problem", text, "application/problem+json") for code, text in codes}


def _get(summary: str, name: str) -> Schema:
    return {"summary": summary, "responses": _ok(name)}


def _cloud_event() -> Schema:
    attributes = {name: {"type": "string", "minLength": 1} for name in ("type", "source", "id")}
    version = {"type": "string", "const": "1.0"}
    return {
        "type": "object",
        "properties": {"specversion": version, **attributes, "data": {}},
        "required": ["specversion", *attributes],
    }


def _events() -> Schema:
    event = {
        "type": "object",
        "properties": EVENT_FIELDS,
        "required": ["type"],
        "description": "All other fields are kept too.",
    }
    content = {
        "application/json": {
            "schema": {"oneOf": [event, {"type": "array", "items": event}]},
            "example": EVENT,
        },
        "application/x-ndjson": {"schema": {"type": "string"}, "example": EVENT_LINES},
        "application/cloudevents+json": {"schema": _cloud_event(), "example": CLOUD_EVENT},
        "application/cloudevents-batch+json": {
            "schema": {"type": "array", "items": _cloud_event()},
            "example": [CLOUD_EVENT],
        },
    }
    key = {
        "name": "Idempotency-Key",
        "in": "header",
        "required": False,
        "description": "A request that is sent again with the same key and body counts once, and is answered as it was.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$"},
    }
    parts = [
        {
            "name": part,
            "in": "query",
            "required": False,
            "description": f"the field of the events that is their `{part}`",
            "schema": {"type": "string"},
        }
        for part in RESERVED
    ]
    refused = _is(
        "Accepted",
        "no event was acceptable, the Idempotency-Key came before with another body, or the query string has an"
        " unknown parameter",
    )
    refused["content"] |= _is("Problem", "", "application/problem+json")["content"]
    return {
        "summary": "Send one event, an array of events, or one event a line",
        "description": "`Content-Encoding: gzip` or `zstd`. The query string may name other fields, and nothing else: `?type=event&timestamp=ts`.",
        "parameters": [key, *parts],
        "requestBody": {"required": True, "content": content},
        "responses": {
            "202": _is("Accepted", "accepted: will be counted, whatever happens"),
            "422": refused,
            **_problems(
                (400, "not JSON"),
                (403, "a web page of another origin; see [server] allowed_origins"),
                (413, "too large"),
                (415, "unknown media type"),
                (503, "no room now; see Retry-After"),
            ),
        },
    }


def _metric() -> Schema:
    parameters = [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}]
    parameters += [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": kind}}
        for name, kind, text in RANGE
    ]
    answer = _is("MetricAnswer", "totals and series")
    answer["content"]["text/csv"] = {"schema": {"type": "string"}}
    return {
        "summary": "Totals and series of a metric",
        "parameters": parameters,
        "responses": {
            "200": answer,
            **_problems((400, "a question the metric cannot answer"), (404, "no such metric")),
        },
    }


def _query() -> Schema:
    answer = _is("SqlAnswer", "rows")
    answer["content"]["text/csv"] = {"schema": {"type": "string"}}
    return {
        "summary": "One SELECT over the views `events` and `rollups`",
        "requestBody": _wants("SqlBody", QUESTION),
        "responses": {
            "200": answer,
            **_problems((400, "not a SELECT that may run"), (413, "too large"), (503, "took too long")),
        },
    }


def _dead_letters() -> list[tuple[str, str, Schema]]:
    name = {"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}
    page = [
        {"name": name, "in": "query", "required": False, "description": text, "schema": {"type": kind}}
        for name, kind, text in LETTERS
    ]
    body = _wants("Wanted", LETTERS_WANTED)
    bad, missing, full = (
        (400, "a question that cannot be answered"),
        (404, "no such letter"),
        (503, "no room now"),
    )
    one, discarded = f"{LETTERS_PATH}/{{name}}", _ok("Discarded")
    return [
        (LETTERS_PATH, "get", {"summary": "Events that could not be handled, the last ones first", "parameters": page, "responses": {**_ok("LetterList"), **_problems(bad)}}),
        (one, "get", {"summary": "One of them, with its event and why it failed", "parameters": [name], "responses": {**_ok("Letter"), **_problems(bad, missing)}}),
        (one, "delete", {"summary": "Mark one as dealt with", "parameters": [name], "responses": {**discarded, **_problems(bad, missing)}}),
        (f"{LETTERS_PATH}/replay", "post", {"summary": "Send them again; each counts once, however often it is sent", "requestBody": body, "responses": {"202": _is("Replayed", "what became of them"), **_problems(bad, (413, "too large"), full)}}),
        (f"{LETTERS_PATH}/discard", "post", {"summary": "Mark them as dealt with", "requestBody": body, "responses": {**discarded, **_problems(bad, (413, "too large"))}}),
    ]  # fmt: skip


def _verify() -> Schema:
    return {
        "summary": "Derive all figures again from the raw events, and tell what is stored otherwise",
        "description": "It changes nothing. One runs at a time; after two minutes it tells what it has found by then.",
        "responses": {**_ok("Report"), **_problems((503, "another one is under way; see Retry-After"))},
    }


def _backup() -> Schema:
    refusals = (
        (409, "everything is in memory"),
        (503, "another one is under way, or the disk is full; see Retry-After"),
    )
    return {
        "summary": "Everything that was accepted by now, as one file from which a data folder can be made",
        "description": "A tar file, at whose end `manifest.json` names each file with its size and SHA-256.",
        "responses": {
            "200": {
                "description": "a backup",
                "content": {"application/x-tar": {"schema": {"type": "string", "format": "binary"}}},
            },
            **_problems(*refusals),
        },
    }


def _reload() -> Schema:
    refusals = (
        (409, "something changed that needs a restart, or there is no file"),
        (422, "the file, or the module, cannot be used; nothing has changed"),
        (503, "it cannot be written into the journal now; see Retry-After"),
    )
    return {
        "summary": "Read the configuration file again, and put in force what changed",
        "description": "Events accepted before it are computed by the old configuration, those after it by the new one.",
        "responses": {**_ok("Reloaded"), **_problems(*refusals)},
    }
