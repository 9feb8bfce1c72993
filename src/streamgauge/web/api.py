"""The HTTP API beside ingest: metrics, SQL, the ledger, health."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from streamgauge.errors import QueryError, StreamgaugeError, TooLarge
from streamgauge.events.clock import parse_timestamp
from streamgauge.metric import Metric
from streamgauge.metrics.query import SeriesAnswer
from streamgauge.web import problem
from streamgauge.web.service import Answer, Service
from streamgauge.web.sql import check_select

JSON: Final = "application/json"
ALL: Final = "all"  # all times, as the range or as one step
CSV: Final = "text/csv; charset=utf-8"
MOST_QUERY_BODY: Final = 1024 * 1024
DEFAULT_RANGE_MS: Final = 15 * 60 * 1000
INTEGERS: Final = range(-(2**63), 2**64)  # what the encoder takes; beyond, integers travel as decimals


class SqlQuestion(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /api/query`."""

    sql: str
    params: list[str | int | float | bool | None] = []


def routes(service: Service) -> list[Route]:
    """Give the API's routes."""
    api = Api(service)
    return [
        Route("/api/metrics", api.metrics, methods=["GET"]),
        Route("/api/metrics/{name}", api.metric, methods=["GET"]),
        Route("/api/query", api.query, methods=["POST"]),
        Route("/api/ledger", api.ledger, methods=["GET"]),
        Route("/healthz", api.healthz, methods=["GET"]),
        Route("/readyz", api.readyz, methods=["GET"]),
        Route("/metrics", api.prometheus, methods=["GET"]),
    ]


class Api:
    """The API's handlers."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._encoder = msgspec.json.Encoder(decimal_format="number")

    async def metrics(self, request: Request) -> Response:  # noqa: ARG002  a route's handler takes the request
        """List the metrics."""
        return _json({"metrics": [_about(metric) for metric in self._service.reader.metrics.values()]})

    async def metric(self, request: Request) -> Response:
        """Answer totals and series of one metric."""
        try:
            found = self._service.reader.metric(request.path_params["name"])
            answer = await self._service.answer_metric(found, **self._range(request), **_options(request))
        except StreamgaugeError as exc:
            return problem.response_to(exc)
        totals_only = request.query_params.get("step") == ALL
        if "text/csv" in request.headers.get("accept", ""):
            return Response(_totals_csv(answer) if totals_only else _metric_csv(answer), media_type=CSV)
        return _json(metric_body(answer, totals_only=totals_only))

    def _range(self, request: Request) -> dict[str, int | None]:
        """Read `from` and `to`, in seconds; by default the last 15 minutes."""
        now_ms = self._service.now_us() // 1000
        start, end = request.query_params.get("from"), request.query_params.get("to")
        if start == ALL:
            return {"start": None, "end": None if end is None else -(-_time("to", end) // 1000)}
        end_ms = (now_ms // 1000 + 1) * 1000 if end is None else _time("to", end)
        start_ms = end_ms - DEFAULT_RANGE_MS if start is None else _time("from", start)
        return {"start": start_ms // 1000, "end": -(-end_ms // 1000)}

    async def query(self, request: Request) -> Response:
        """Answer one SELECT."""
        try:
            question = msgspec.json.decode(await _body(request), type=SqlQuestion)
            table, as_of = await self._service.answer_sql(check_select(question.sql), question.params)
        except ClientDisconnect:
            return Response()  # nobody is there to read it
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            detail = f'body: {exc}; expected {{"sql": "SELECT ...", "params": []}}'
            return problem.response(HTTPStatus.BAD_REQUEST, "malformed", detail)
        except StreamgaugeError as exc:
            return problem.response_to(exc)
        if "text/csv" in request.headers.get("accept", ""):
            return Response(write_csv(table.columns, table.rows), media_type=CSV)
        rows = [[_plain(value) for value in row] for row in table.rows]
        answer = {"columns": list(table.columns), "rows": rows, "truncated": table.truncated, "as_of": as_of}
        return Response(self._encoder.encode(answer), media_type=JSON)

    async def ledger(self, request: Request) -> Response:  # noqa: ARG002  a route's handler takes the request
        """Give what became of every event."""
        return _json({**self._service.ledger.as_dict(), "once": self._service.once()})

    async def healthz(self, request: Request) -> Response:  # noqa: ARG002  a route's handler takes the request
        """Say that the process is alive."""
        return _json({"status": "ok"})

    async def readyz(self, request: Request) -> Response:  # noqa: ARG002  a route's handler takes the request
        """Say whether events are accepted now, and if not, why; a source in trouble is named, but others go on."""
        reasons, troubles = self._service.not_ready(), self._service.degraded()
        status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
        words = "not ready" if reasons else "degraded" if troubles else "ready"
        return _json({"status": words, "reasons": [*reasons, *troubles]}, status)

    async def prometheus(self, request: Request) -> Response:
        """Give the server's own metrics."""
        body, kind = await self._service.exposition(request.headers.get("accept", ""))
        return Response(body, headers={"Content-Type": kind})


async def _body(request: Request) -> bytes:
    """Read a question's body; raises TooLarge before memory is spent."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_QUERY_BODY:
            raise TooLarge(f"body: more than {MOST_QUERY_BODY} bytes")
    return bytes(body)


def _json(value: Any, status: int = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=JSON)


def _about(metric: Metric) -> dict[str, Any]:
    return {
        "name": metric.name,
        "by": list(metric.by),
        "aggregates": list(metric.aggregates),
        "where": metric.where.text if metric.where else None,
        "value": metric.value.text,
        "built_in": metric.built_in,
    }


def _time(name: str, text: str) -> int:
    """Read a time, ISO 8601 or a number as in events, in milliseconds."""
    try:
        plain = text.isascii() and text.lstrip("-").replace(".", "", 1).isdigit()
        number = float(text) if plain else None
        return parse_timestamp(text.replace(" ", "+") if number is None else number) // 1000
    except (ValueError, OverflowError) as exc:
        raise QueryError(f"{name}: {exc}, got {text[:60]!r}") from None


def _options(request: Request) -> dict[str, Any]:
    given = request.query_params
    for name in given:
        if name not in {"from", "to", "step", "by", "aggregates", "top", "where"}:
            raise QueryError(f"{name[:60]}: unknown; there are from, to, step, by, aggregates, top, where")
    step = given.get("step")
    return {
        "step": None if step == ALL else _whole("step", step),
        "top": _whole("top", given.get("top")),
        "by": _names(given.get("by")),
        "aggregates": _names(given.get("aggregates")),
        "where": given.get("where"),
    }


def _whole(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit()) or len(text) > 10:
        raise QueryError(
            f"{name}: expected {'`all` or ' if name == 'step' else ''}a whole number of"
            f" {'seconds' if name == 'step' else 'series'}, got {text[:60]!r}"
        )
    return int(text)


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name for name in text.split(",") if name]


def metric_body(answer: Answer, *, totals_only: bool = False) -> dict[str, Any]:
    """Give an answer as JSON has it: times in milliseconds. totals_only: without points, and so without a step."""
    series = [
        {
            "by": dict(one.by),
            **({"other": True} if one.is_other else {}),
            "totals": dict(one.totals),
            **({} if totals_only else {"points": _points(one)}),
        }
        for one in answer.series
    ]
    return {
        "metric": answer.metric,
        "from": answer.start_ms,
        "to": answer.end_ms,
        "step": ALL if totals_only else answer.step,
        "as_of": answer.as_of,
        "series": series,
    }


def _points(one: SeriesAnswer) -> dict[str, Any]:
    return {"time": [second * 1000 for second in one.time], **one.points}


def _metric_csv(answer: Answer) -> str:
    """Write a line for each point."""
    rows = (
        [
            _iso(second),
            *_group_cells(answer, one),
            *(one.points[figure][place] for figure in answer.aggregates),
        ]
        for one in answer.series
        for place, second in enumerate(one.time)
    )
    return write_csv(["time", *_group_columns(answer), *answer.aggregates], rows)


def _totals_csv(answer: Answer) -> str:
    """Write a line for each series."""
    rows = (
        [*_group_cells(answer, one), *(one.totals[figure] for figure in answer.aggregates)]
        for one in answer.series
    )
    return write_csv([*_group_columns(answer), *answer.aggregates], rows)


def _group_columns(answer: Answer) -> list[str]:
    """Give the columns that name a series; `other` where one of them is of all series beyond the limit."""
    return [*answer.by, *(["other"] if any(one.is_other for one in answer.series) else [])]


def _group_cells(answer: Answer, one: SeriesAnswer) -> list[Any]:
    others = any(other.is_other for other in answer.series)
    return [*(one.by.get(name) for name in answer.by), *(["true" if one.is_other else ""] if others else [])]


def write_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Write rows as CSV, safe to open in a spreadsheet."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    writer.writerows([_cell(_plain(value)) for value in row] for row in rows)
    return out.getvalue()


def _cell(value: Any) -> Any:
    """Keep a spreadsheet from taking a text for a formula (OWASP ASVS 5.0, 1.2.10)."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _plain(value: Any) -> Any:
    """Give a value of the store as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds" if value.microsecond else "seconds") + (
            "" if value.tzinfo else "Z"
        )
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Decimal):
        return value if value.is_finite() else None
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has neither NaN nor infinity
    if isinstance(value, int) and value not in INTEGERS:
        return Decimal(value)
    if isinstance(value, (bytes, bytearray)):
        return value.hex()
    if isinstance(value, date) or not isinstance(value, (str, int, float, bool, type(None))):
        return str(value)
    return value


__all__ = ["Api", "metric_body", "routes", "write_csv"]
