"""Answers that say what went wrong, as RFC 9457 problem details with a stable `code`."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

from streamgauge import errors

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

MEDIA_TYPE = "application/problem+json"
LONGEST_DETAIL: Final = 1000  # characters; a question of any length may be quoted in it

_STATUS: Final[Mapping[type[Exception], HTTPStatus]] = {
    errors.TooLarge: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    errors.UnsupportedEncoding: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    errors.IdempotencyKeyReused: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.UnknownParameter: HTTPStatus.UNPROCESSABLE_ENTITY,
    errors.DecodeError: HTTPStatus.BAD_REQUEST,
    errors.UnknownMetric: HTTPStatus.NOT_FOUND,
    errors.QueryTimeout: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.QueryError: HTTPStatus.BAD_REQUEST,
    errors.ExpressionError: HTTPStatus.BAD_REQUEST,
    errors.Saturated: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.JournalError: HTTPStatus.SERVICE_UNAVAILABLE,
    errors.StoreError: HTTPStatus.SERVICE_UNAVAILABLE,
}
_CODES: Final[Sequence[tuple[type[Exception], str]]] = (
    (errors.ExpressionError, "bad_expression"),
    (errors.JournalError, "storage_error"),
    (errors.StoreError, "store_error"),
    (errors.StreamgaugeError, "bad_request"),
)


def body_of(status: int, code: str, detail: str, **more: Any) -> bytes:
    """Write a problem. Of a detail that quotes something very long, the middle is left out."""
    if len(detail) > LONGEST_DETAIL:
        detail = f"{detail[: LONGEST_DETAIL // 2]} … {detail[-LONGEST_DETAIL // 2 :]}"
    problem = {
        "title": HTTPStatus(status).phrase,
        "status": int(status),
        "code": code,
        "detail": detail,
        **more,
    }
    return msgspec.json.encode(problem)


def response(
    status: int, code: str, detail: str, *, headers: dict[str, str] | None = None, **more: Any
) -> Response:
    """Answer with a problem."""
    return Response(body_of(status, code, detail, **more), status, headers, MEDIA_TYPE)


def response_to(error: errors.StreamgaugeError) -> Response:
    """Answer an error of ours; raises it again where it is not the sender's to know."""
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
    if status is None:
        raise error
    headers = {}
    if isinstance(error, errors.Saturated):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    elif status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = "5"
    code = getattr(error, "code", None) or next(code for kind, code in _CODES if isinstance(error, kind))
    return response(status, code, str(error), headers=headers)
