"""What the OpenAPI document promises, held against the server with made-up data, good and bad, for every operation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from server_process import ServerProcess
from soak import trials
from streamgauge.web.openapi import document

CONFIGURATION: Final = '[query]\ntimeout = "2s"\n'
CHECKS: Final = [
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schema = schemathesis.openapi.from_dict(json.loads(document()))
EXAMPLES: Final = settings(
    max_examples=trials(15, 2000), deadline=None, suppress_health_check=list(HealthCheck), database=None
)


@schemathesis.serializer("application/x-ndjson")
def as_lines(_: schemathesis.SerializationContext, value: object) -> bytes:
    """Send a text as it is, and everything else as a line of JSON."""
    return value.encode(errors="replace") if isinstance(value, str) else json.dumps(value).encode()


@pytest.fixture(scope="module")
def described(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a few events, so that there is something to answer."""
    server = ServerProcess(tmp_path_factory.mktemp("described") / "data", configuration=CONFIGURATION)
    assert server.post(b'{"type":"a","value":1}\n{"type":"b","value":2}\n').status_code == 202
    yield server
    server.kill()


@schema.parametrize()
@EXAMPLES
def test_every_answer_is_one_that_the_description_promises(
    case: schemathesis.Case[Any], described: ServerProcess
) -> None:
    answer = case.call(base_url=str(described.client.base_url), timeout=60)
    assert answer.status_code < 500 or answer.status_code == 503, answer.text
    case.validate_response(answer, checks=CHECKS)


def test_every_operation_was_reached(described: ServerProcess) -> None:
    served = described.get("/openapi.json")
    assert served == json.loads(document())
    assert set(served["paths"]) >= {
        "/api/events",
        "/api/metrics/{name}",
        "/api/query",
        "/api/ledger",
        "/readyz",
    }
    assert "Traceback" not in described.errors()
    assert described.client.get("/healthz").status_code == httpx.codes.OK


def test_the_log_stays_quiet(described: ServerProcess) -> None:
    assert Path(described.log).read_text() == ""
