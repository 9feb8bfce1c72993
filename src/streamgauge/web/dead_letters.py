"""`/api/dead-letters`: events that could not be handled, why, and what to do with them."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from streamgauge.commit import DeadLetterName
from streamgauge.dead_letters import name_text, read_name
from streamgauge.errors import QueryError, StreamgaugeError, TooLarge
from streamgauge.web import problem
from streamgauge.web.letters import LetterDesk, whole

PATH: Final = "/api/dead-letters"
FEW, MOST = 50, 200  # letters of one page
MOST_BODY: Final = 2**20


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """Which letters are meant: `names`, or all."""

    names: Annotated[list[str], Meta(description="the letters' names")] = []
    all: Annotated[bool, Meta(description="all that are open")] = False
    event: Annotated[
        dict[str, Any] | None, Meta(description="what to send in place of the event of the only letter")
    ] = None


class Discarded(msgspec.Struct):
    """How many letters were open and are discarded now."""

    discarded: int


def routes(desk: LetterDesk) -> list[Route]:
    """Give the routes of dead letters."""
    api = DeadLetters(desk)
    return [
        Route(PATH, api.page, methods=["GET"]),
        Route(f"{PATH}/replay", api.replay, methods=["POST"]),
        Route(f"{PATH}/discard", api.discard, methods=["POST"]),
        Route(f"{PATH}/{{name}}", api.one, methods=["GET"]),
        Route(f"{PATH}/{{name}}", api.discard_one, methods=["DELETE"]),
    ]


class DeadLetters:
    """The handlers."""

    def __init__(self, desk: LetterDesk) -> None:
        self._desk = desk

    async def page(self, request: Request) -> Response:
        """List letters, the last ones first."""
        try:
            limit, after, only_open = _page(request)
            return _json(await self._desk.page(limit, after, only_open=only_open))
        except StreamgaugeError as exc:
            return problem.response_to(exc)

    async def one(self, request: Request) -> Response:
        """Give one letter whole."""
        try:
            name = read_name(request.path_params["name"])
            kept = await self._desk.find(name)
        except StreamgaugeError as exc:
            return problem.response_to(exc)
        return _missing(name) if kept is None else _json(whole(kept))

    async def replay(self, request: Request) -> Response:
        """Send letters again."""
        try:
            wanted, names = await _wanted(request)
            if wanted.all:
                return _json(await self._desk.replay_all(), HTTPStatus.ACCEPTED)
            event = None if wanted.event is None else msgspec.json.encode(wanted.event)
            return _json(await self._desk.replay(names, event), HTTPStatus.ACCEPTED)
        except ClientDisconnect:
            return Response()  # nobody is there to read it
        except StreamgaugeError as exc:
            return problem.response_to(exc)

    async def discard(self, request: Request) -> Response:
        """Mark letters as dealt with."""
        try:
            wanted, names = await _wanted(request)
            if wanted.event is not None:
                raise QueryError("event: only a letter that is replayed can be given another event")
            count = await (self._desk.discard_all() if wanted.all else self._desk.discard(names))
        except ClientDisconnect:
            return Response()
        except StreamgaugeError as exc:
            return problem.response_to(exc)
        return _json(Discarded(count))

    async def discard_one(self, request: Request) -> Response:
        """Mark one letter as dealt with."""
        try:
            name = read_name(request.path_params["name"])
            if await self._desk.find(name) is None:
                return _missing(name)
            return _json(Discarded(await self._desk.discard([name])))
        except StreamgaugeError as exc:
            return problem.response_to(exc)


def _page(request: Request) -> tuple[int, DeadLetterName | None, bool]:
    given = request.query_params
    for name in given:
        if name not in {"limit", "after", "state"}:
            raise QueryError(f"{name[:60]}: unknown; there are limit, after, state")
    text = given.get("limit", str(FEW))
    if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= MOST):
        raise QueryError(f"limit: expected a whole number from 1 to {MOST}, got {text[:60]!r}")
    state = given.get("state", "open")
    if state not in {"open", "all"}:
        raise QueryError(f'state: expected "open" or "all", got {state[:60]!r}')
    after = given.get("after")
    return int(text), None if after is None else read_name(after), state == "open"


async def _wanted(request: Request) -> tuple[Wanted, Sequence[DeadLetterName]]:
    """Read which letters are meant."""
    body = bytearray()
    async for part in request.stream():
        body += part
        if len(body) > MOST_BODY:
            raise TooLarge(f"body: more than {MOST_BODY} bytes")
    try:
        wanted = msgspec.json.decode(bytes(body), type=Wanted)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise QueryError(f'body: {exc}; expected {{"names": ["0:12:3"]}} or {{"all": true}}') from exc
    if wanted.all == bool(wanted.names):
        raise QueryError('body: expected either {"names": ["0:12:3"]} or {"all": true}')
    names = list(dict.fromkeys(read_name(text) for text in wanted.names))
    if wanted.event is not None and len(names) != 1:
        raise QueryError(f"event: takes the place of one letter's event, got {len(names)} names")
    return wanted, names


def _missing(name: DeadLetterName) -> Response:
    detail = f"there is no dead letter {name_text(name)}; {PATH} lists those that there are"
    return problem.response(HTTPStatus.NOT_FOUND, "not_found", detail)


def _json(value: Any, status: int = HTTPStatus.OK) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")
