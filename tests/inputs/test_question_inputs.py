"""Questions that cannot be answered, and paths that ask for more than there is: a table over the API's addresses."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pytest

from wire import INSIDE, Target

CONFIGURATION: Final = '[query]\ntimeout = "1s"\n'
EVENTS: Final = "/api/metrics/events"
NASTY: Final = (
    *(
        "'",
        '"',
        ";",
        "--",
        "\\",
        "%",
        "_",
        "\0",
        "`",
        "\\'",
        "\u02bc",
        "' OR 1=1 --",
        "'; DROP TABLE events;--",
        "\n",
    ),
    *(
        "x" * 10_000,
        "../../etc/passwd",
        "read_text('/etc/passwd')",
        "getenv('HOME')",
        "${HOME}",
        "{{7*7}}",
        "\u202e",
        "\U0001d7d9",
    ),
)


@dataclass(frozen=True)
class Question:
    """One row: a GET, or the body of a POST to the queries' address; how it is answered, and with which `code`."""

    number: str
    asked: str | bytes
    status: int
    code: str = ""

    def __str__(self) -> str:
        return f"{self.number} {str(self.asked)[:60]}"


def get(number: str, *addresses: str, status: int = 400, code: str = "bad_query") -> list[Question]:
    return [Question(number, address, status, code if status >= 400 else "") for address in addresses]


def sql(number: str, *statements: str, status: int = 400, code: str = "bad_query") -> list[Question]:
    return [
        Question(number, json.dumps({"sql": one}).encode(), status, code if status >= 400 else "")
        for one in statements
    ]


def body(number: str, *bodies: bytes, status: int = 400, code: str = "malformed") -> list[Question]:
    return [Question(number, one, status, code) for one in bodies]


def parameter(name: str, *values: str) -> list[str]:
    return [f"{EVENTS}?{name}={quote(value, safe='')}" for value in values]


TABLE: Final = [
    *get("I-135", *parameter("tz", "UTC'; DROP TABLE events;--", "../../etc/passwd", "utc", "x" * 20_000)),
    *(
        question
        for name in ("from", "to", "step", "by", "aggregates", "top", "where", "order", "format", "cursor")
        for question in get("I-136", *parameter(name, *NASTY), code="")
    ),
    *get("I-136", *(f"/api/metrics/{quote(name, safe='')}" for name in NASTY), status=404, code=""),
    *get("I-137", *parameter("by", "select", "read_text('/etc/passwd')", "getenv('X')", "*")),
    *get(
        "I-137",
        *parameter("where", "select 1", "read_text('/etc/passwd') = ''", "(SELECT 1) = 1", "country = 'x'"),
        code="",
    ),
    *sql(
        "I-138",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT getenv('HOME')",
        "SELECT * FROM '/etc/passwd'",
    ),
    *sql(
        "I-138", "COPY events TO '/tmp/x'", "ATTACH 'x.db'", "INSTALL httpfs", "LOAD httpfs", "PRAGMA version"
    ),
    *sql(
        "I-138",
        "SET enable_external_access=true",
        "SELECT * FROM duckdb_secrets()",
        "SELECT 1; SELECT 2",
        "",
        ";",
        "--",
    ),
    *sql(
        "I-138",
        "EXPLAIN ANALYZE SELECT 1",
        "DESCRIBE raw_events",
        "SHOW TABLES",
        "CALL x()",
        "SELECT 1 INTO x",
        "VACUUM",
    ),
    *sql(
        "I-138",
        "DELETE FROM events",
        "UPDATE events SET value=1",
        "DROP TABLE events",
        "CREATE TABLE x(y INT)",
        "BEGIN",
    ),
    *sql(
        "I-138",
        "SELECT * FROM information_schema.tables",
        "SELECT * FROM main.events",
        "SELECT nowhere FROM events",
        "(",
    ),
    *sql(
        "I-138",
        "SELECT " + "(" * 5000 + "1" + ")" * 5000,
        "SELECT " + "x" * 99_000,
        "SELECT '\ud7ff'||chr(-1)",
        code="",
    ),
    *sql(
        "I-138",
        "SELECT count(*) FROM range(1000000000000) a, range(1000000000000) b",
        status=503,
        code="query_timeout",
    ),
    *sql(
        "I-138",
        "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n+1 FROM t) SELECT max(n) FROM t",
        status=503,
        code="",
    ),
    *body(
        "I-138",
        b"",
        b"{",
        b"[]",
        b"42",
        b'{"sql": 1}',
        b'{"sql":"SELECT 1","more":1}',
        b'{"sql":"\xff"}',
        b"[" * 10_000,
    ),
    *body(
        "I-138",
        b'{"sql":"SELECT ?","params":[[1]]}',
        b'{"sql":"SELECT ?","params":{}}',
        b'{"sql":"SELECT ?","params":[NaN]}',
    ),
    *body(
        "I-138",
        b'{"sql":"SELECT ?","params":[' + b"9" * 4000 + b"]}",
        b'{"sql":"SELECT ?"}',
        b'{"sql":"SELECT 1","params":[1]}',
        code="",
    ),
    *body("I-138", b'{"sql":"' + b"x" * 2**20 + b'"}', status=413, code="too_large"),
    *get(
        "I-139",
        f"{EVENTS}?from=200&to=100",
        f"{EVENTS}?from=1000000&to=1000000",
        f"{EVENTS}?from=1&to=9e99",
        code="",
    ),
    *get(
        "I-139",
        *parameter(
            "from", "soon", "2026-02-30", "", "10000-01-01", "9" * 400, "-inf", "nan", "1e400", "0x10"
        ),
    ),
    *get("I-139", f"{EVENTS}?from=0&step=1", f"{EVENTS}?from=1970-01-01&to=9999-01-01&step=1"),
    *get(
        "I-140",
        *parameter("step", "0", "-1", "1.5", "NaN", "0x10", "\u0661\u0660", "", " 1", "1e3", "9" * 30),
    ),
    *get("I-140", *parameter("top", "-1", "NaN", "0x10", "\u0661\u0660", "", "9" * 30, "1.0", "+1")),
    *get("I-141", *parameter("where", "NOT " * 1000 + "type = 'a'", "(" * 500 + "1=1" + ")" * 500), code=""),
    *get(
        "I-141", *parameter("where", "type SIMILAR TO '(.*a){30}'", "regexp_matches(type, '(a+)+$')"), code=""
    ),
    *get("I-142", *parameter("aggregates", "p101", "p-1", "pNaN", "p", "median", "count,nothing")),
    *get("I-144", f"{EVENTS}?callback=alert(1)"),
    *get(
        "I-146",
        "/.env",
        "/.git/config",
        "/streamgauge.toml",
        "/streamgauge.duckdb",
        "/data/lock",
        status=404,
        code="not_found",
    ),
    *get("I-153", "/admin", "/debug", "/debug/pprof", "/status", "/config", status=404, code="not_found"),
]


def ask(our_target: Target, question: Question, **headers: str) -> Any:
    if isinstance(question.asked, bytes):
        return our_target.client.post("/api/query", content=question.asked, headers=headers)
    return our_target.client.get(question.asked, headers=headers)


@pytest.mark.parametrize("question", TABLE, ids=str)
def test_a_question_that_cannot_be_answered_is_told_why(our_target: Target, question: Question) -> None:
    answer = ask(our_target, question)
    assert answer.status_code == question.status, answer.text[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == question.status
    assert problem["code"] == question.code or (not question.code and problem["code"] != "internal")
    assert len(problem["detail"]) < 2000
    assert not [word for word in INSIDE if word in answer.text]
    assert our_target.client.get("/healthz").status_code == 200


def test_ordinary_questions_are_answered_as_before(our_target: Target) -> None:
    our_target.accept_a_good_event()
    assert our_target.client.get(EVENTS).json()["series"]
    assert our_target.ask("SELECT 1 + 1") == [[2]]


def test_names_of_events_are_text_wherever_they_are_shown(our_target: Target) -> None:
    """I-143, I-144, I-154: neither a formula, nor markup, nor a label of the server's own metrics."""
    kinds = ["=HYPERLINK(1)", "+1", "-1", "@x", "<script>alert(1)</script>", 'a"b,c\n']
    lines = "\n".join(json.dumps({"type": kind}) for kind in kinds)
    sent = our_target.client.post(
        "/api/events", content=lines, headers={"Content-Type": "application/x-ndjson"}
    )
    assert sent.json() == {"accepted": len(kinds)}
    answer = our_target.client.get(EVENTS, headers={"Accept": "text/csv"})
    assert "\n=" not in answer.text
    assert ",=" not in answer.text
    assert ",'=HYPERLINK(1)" in answer.text
    page = our_target.client.get(EVENTS, headers={"Accept": "text/html"})
    assert page.headers["content-type"] == "application/json"
    assert page.headers["x-content-type-options"] == "nosniff"
    assert "HYPERLINK" not in our_target.client.get("/metrics").text


def test_figures_of_the_server_name_no_paths(our_target: Target) -> None:
    """I-153."""
    for path in ("/healthz", "/readyz", "/api/ledger", "/openapi.json"):
        assert not [word for word in (*INSIDE, "/tmp") if word in our_target.client.get(path).text]  # noqa: S108  looked for


def test_the_log_has_no_word_about_any_of_it(our_target: Target) -> None:
    assert "Traceback" not in our_target.log.read_text()
