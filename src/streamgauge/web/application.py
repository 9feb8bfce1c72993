"""One ASGI application: ingest and the socket as plain ASGI in front, everything else as Starlette routes."""

from __future__ import annotations

import base64
import gzip
import hashlib
import mimetypes
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from functools import lru_cache
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from streamgauge.errors import StreamgaugeError
from streamgauge.reloading import Reloaded
from streamgauge.sources.http import HttpSource
from streamgauge.web import api, configuration, dead_letters, problem, sources
from streamgauge.web.access import (
    EVENTS_PATH,
    Access,
    Header,
    preflight_headers,
    refusal,
    shared_headers,
    socket_refusal,
)
from streamgauge.web.backup import BackupDesk
from streamgauge.web.backup import routes as backup_routes
from streamgauge.web.documentation import documentation_page
from streamgauge.web.letters import LetterDesk
from streamgauge.web.openapi import document
from streamgauge.web.problem import Receive, Scope, Send
from streamgauge.web.protocols.refusal import Refusal
from streamgauge.web.service import Service
from streamgauge.web.socket import PATH as SOCKET_PATH
from streamgauge.web.socket import SocketEndpoint
from streamgauge.web.sources import DoorDesk
from streamgauge.web.verify import VerifyDesk
from streamgauge.web.verify import routes as verify_routes

log = structlog.get_logger()

DASHBOARD: Final = Path(__file__).parent.parent / "dashboard"
SERVED: Final = frozenset({".js", ".mjs", ".css", ".svg", ".json", ".txt", ".png", ".ico"})
SECURITY: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
NO_SNIFFING: Final = (b"x-content-type-options", SECURITY["X-Content-Type-Options"].encode())
NOT_KEPT: Final = (b"cache-control", b"no-store")  # figures change; what is served from files says otherwise


class WebApplication:
    """The server's ASGI application. access: who may ask; on_refused is called for each request of others."""

    def __init__(
        self,
        service: Service,
        *,
        source: HttpSource,
        socket: SocketEndpoint,
        letters: LetterDesk,
        doors: DoorDesk,
        verify: VerifyDesk,
        backup: BackupDesk,
        reload: Callable[[], Awaitable[Reloaded]],
        access: Access,
        on_refused: Callable[[], None],
    ) -> None:
        self._source, self._socket = source, socket
        self._access, self._on_refused = access, on_refused
        rest = Starlette(
            routes=[
                *api.routes(service),
                *dead_letters.routes(letters),
                *sources.routes(doors),
                *verify_routes(verify),
                *backup_routes(backup),
                *configuration.routes(reload),
                Route("/", _page, methods=["GET"]),
                Route("/docs", _documentation, methods=["GET"]),
                Route("/openapi.json", _openapi, methods=["GET"]),
                Route("/dashboard/{path:path}", _file, methods=["GET"]),
            ],
            exception_handlers={HTTPException: _http_error, StreamgaugeError: _our_error, Exception: _bug},  # type: ignore[dict-item]
        )
        self._rest = GZipMiddleware(rest, minimum_size=1024, compresslevel=6)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or connection."""
        path = _path_of(scope)
        if scope["type"] == "http":
            await self._http(path, scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(path, scope, receive, send)
        else:
            await self._rest(scope, receive, _guarded(send))

    async def _http(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        fields = dict(scope["headers"])
        formats = self._source.formats.paths
        found = refusal(self._access, scope["method"], path, fields, doors=formats)
        if found is not None:
            self._on_refused()
            await _refuse(found, scope, receive, send)
        elif path != EVENTS_PATH and path not in formats:
            await self._rest(scope, receive, _guarded(send))
        elif (origin := self._access.sender(fields)) is None:
            await self._source(scope, receive, send, formats.get(path))
        elif scope["method"] == "OPTIONS":
            await send({"type": "http.response.start", "status": 204, "headers": preflight_headers(origin)})
            await send({"type": "http.response.body"})
        else:
            await self._source(scope, receive, _adding(shared_headers(origin), send), formats.get(path))

    async def _websocket(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        found = socket_refusal(self._access, dict(scope["headers"]))
        if found is not None:
            self._on_refused()
            log.info("socket refused", reason=found.detail)
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": found.code})
            return
        if path == SOCKET_PATH:
            await self._socket(scope, receive, send)
            return
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": f"there is {SOCKET_PATH}"})


def _path_of(scope: Scope) -> str:
    """Give a path without that below which the application is mounted (ASGI: `path` begins with `root_path`)."""
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "")
    return path[len(root) :] if root and path.startswith(f"{root}/") else path


async def _refuse(found: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer without a look at the body; what of it still comes is thrown away."""
    answer = problem.response(found.status, found.code, found.detail)
    await answer(scope, receive, _guarded(send))


def _adding(lines: Sequence[Header], send: Send) -> Send:
    """Add these headers to an answer."""

    async def send_more(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message["headers"], *lines]
        await send(message)

    return send_more


def _guarded(send: Send) -> Send:
    """Add to an answer what every one of them should have."""

    async def send_guarded(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            present = {name.lower() for name, _ in message["headers"]}
            more = [line for line in (NO_SNIFFING, NOT_KEPT) if line[0] not in present]
            message["headers"] = [*message["headers"], *more]
        await send(message)

    return send_guarded


async def _page(request: Request) -> Response:
    return _asset_response(request, DASHBOARD / "index.html", "text/html")


async def _file(request: Request) -> Response:
    path = _served(request.path_params["path"])
    if path is None:
        return problem.response(HTTPStatus.NOT_FOUND, "not_found", "there is no such file")
    kind = "text/javascript" if path.suffix in {".js", ".mjs"} else mimetypes.guess_type(path.name)[0]
    return _asset_response(request, path, kind or "application/octet-stream")


class _Asset(NamedTuple):
    """A file of the page, compressed once."""

    plain: bytes
    compressed: bytes
    tag: str


@lru_cache(maxsize=256)
def _asset(path: Path, changed_ns: int) -> _Asset:  # noqa: ARG001  a file that changed is another one
    plain = path.read_bytes()
    return _Asset(plain, gzip.compress(plain, 9, mtime=0), f'"{hashlib.sha256(plain).hexdigest()[:32]}"')


def _asset_response(request: Request, path: Path, kind: str) -> Response:
    """Give a file, or 304 where the browser has it already."""
    asset = _asset(path, path.stat().st_mtime_ns)
    headers = {**SECURITY, "ETag": asset.tag, "Vary": "Accept-Encoding"}
    if request.headers.get("if-none-match", "").removeprefix("W/") == asset.tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if "gzip" not in request.headers.get("accept-encoding", ""):
        return Response(asset.plain, headers=headers, media_type=kind)
    headers["Content-Encoding"] = "gzip"
    return Response(asset.compressed, headers=headers, media_type=kind)


def _served(name: str) -> Path | None:
    """Give the file of that name in the dashboard's folder; None where there is none that may be served."""
    try:
        path = (DASHBOARD / name).resolve()
        found = path.is_relative_to(DASHBOARD.resolve()) and path.suffix in SERVED and path.is_file()
    except (OSError, ValueError):  # too long a name, or one with a null byte
        return None
    return path if found else None


async def _documentation(request: Request) -> Response:  # noqa: ARG001  a route's handler takes the request
    page, style = documentation_page()
    digest = hashlib.sha256(style.encode()).digest()
    policy = f"default-src 'none'; style-src 'sha256-{_base64(digest)}'"
    return HTMLResponse(page, headers={**SECURITY, "Content-Security-Policy": policy})


def _base64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


async def _openapi(request: Request) -> Response:  # noqa: ARG001  a route's handler takes the request
    return Response(document(), media_type="application/json", headers=SECURITY)


async def _http_error(request: Request, error: HTTPException) -> Response:
    details = {
        HTTPStatus.NOT_FOUND: (
            "not_found",
            f"there is nothing at {request.url.path[:200]}; /docs lists what there is",
        ),
        HTTPStatus.METHOD_NOT_ALLOWED: ("method_not_allowed", f"{request.method[:20]} is not possible here"),
    }
    code, detail = details.get(HTTPStatus(error.status_code), ("bad_request", str(error.detail)))
    return problem.response(error.status_code, code, detail, headers=dict(error.headers or {}))


async def _our_error(request: Request, error: StreamgaugeError) -> Response:  # noqa: ARG001  a handler takes the request
    return problem.response_to(error)


async def _bug(request: Request, error: Exception) -> Response:
    log.error("request failed", path=request.url.path, exc_info=error)
    return problem.response(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "a bug of ours; the server's log has the details"
    )
