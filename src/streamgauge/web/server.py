"""The listening side: which limits connections have, how the server is set up, started and stopped.

What happens on a connection is in `protocols`; what an address means is the application's business.
Signals are left alone, so that whoever runs the loop decides what ends the process.
"""

import asyncio
import errno
import socket
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, cast

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.server import ServerState

from streamgauge.errors import InternalError, OptionError
from streamgauge.web.deadlines import Watch
from streamgauge.web.listening import accept_the_last
from streamgauge.web.protocols import HttpProtocol, WebSocketProtocol
from streamgauge.web.protocols.direct import DirectHandler

__all__ = [
    "Server",
    "ServerConfig",
    "ServerLimits",
    "missing_uvicorn_names",
    "uvicorn_config",
]

_KEPT_FILES: Final = 64  # open files for the journal, the store and everything else that is no connection
_LAST_WORDS_S: Final = 1.0
_LAST_CALL_S: Final = 0.1
# a host file may name ::1 on a machine without IPv6
_NO_SUCH_ADDRESS: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """What one connection may cost. Sizes in bytes, times in seconds.

    `header_bytes` holds the request line too. `header_timeout_s` runs from the first byte (or from the opening)
    to the end of the header, `body_timeout_s` from there to the end of the body, without the time in which the
    application did not want to read. `write_timeout_s` and, for a viewer, `viewer_timeout_s` end a connection
    that takes nothing. A refused sender is listened to for `linger_s` more, so that it can read why.
    Beyond `connections` at a time (None: as many as the limit on open files leaves room for) who connects is told
    to come back. `pipelined_requests` and `websocket_fragments` bound what costs more memory than its bytes;
    `websocket_pings` is the most between two looks at the deadlines, which are at most a second apart.
    """

    header_bytes: int = 32 * 1024
    header_count: int = 100
    header_timeout_s: float = 10.0
    body_bytes: int = 32 * 1024 * 1024
    body_timeout_s: float = 60.0
    write_timeout_s: float = 60.0
    viewer_timeout_s: float = 10.0
    keep_alive_timeout_s: int = 30
    linger_s: float = 2.0
    connections: int | None = None
    pipelined_requests: int = 1024
    websocket_message_bytes: int = 1024 * 1024
    websocket_fragments: int = 16 * 1024
    websocket_pings: int = 100

    @property
    def shortest_timeout_s(self) -> float:
        """The deadline that needs the closest watch."""
        return min(
            self.header_timeout_s,
            self.body_timeout_s,
            self.write_timeout_s,
            self.viewer_timeout_s,
            self.linger_s,
        )


_UVICORN_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "http": """app_state config connection_lost connection_made cycle data_received expect_100_continue flow
            handle_websocket_upgrade headers loop on_body on_headers_complete on_message_begin on_message_complete
            on_response_complete parser pause_writing pipeline resume_writing server_state timeout_keep_alive_task
            transport url _should_upgrade _unset_keepalive_if_required""",
        "flow": "read_paused resume_reading",
        "cycle": "disconnected message_event response_complete response_started",
        "websocket": """close_sent close_timeout close_timer conn connection_lost connection_made default_headers
            disconnected frames handle_cont handle_parser_exception handle_ping handshake_complete handshake_initiated loop
            pause_writing queue read_paused resume_writing run_asgi transport""",
        "websocket.conn": "close_sent data_to_send fail max_message_size send_close",
        "state": "connections default_headers tasks",
        "server": "config on_tick server_state shutdown startup",
    }
)
"""Every attribute of uvicorn, and of the websockets connection inside it, that `protocols` and `Server` build on."""


def missing_uvicorn_names(config: "ServerConfig") -> list[str]:
    """Name what we build on and the installed uvicorn does not have; [] is how it should be."""
    if not config.loaded:
        config.load()
    state = ServerState()
    cycle: Any = RequestResponseCycle  # only stores what it is given
    http = HttpProtocol(config, state, {})
    http.on_message_begin()  # which sets some of the names
    websocket = WebSocketProtocol(config, state, {})
    owners: Mapping[str, object] = {
        "http": http,
        "flow": FlowControl(cast("asyncio.Transport", None)),
        "cycle": cycle(*[None] * 11),
        "websocket": websocket,
        "websocket.conn": getattr(websocket, "conn", None),
        "state": state,
        "server": uvicorn.Server(config),
    }
    return [
        f"{owner}.{name}"
        for owner, names in _UVICORN_NAMES.items()
        for name in names.split()
        if not hasattr(owners[owner], name)
    ]


class ServerConfig(uvicorn.Config):
    """uvicorn's configuration with what our protocols need beside it; made by `uvicorn_config`.

    `refused` counts the requests that never reached the application, by the `code` in their answer.
    """

    def __init__(
        self,
        app: Any,
        limits: ServerLimits,
        on_refused: Callable[[], None],
        direct: DirectHandler | None,
        **settings: Any,
    ) -> None:
        super().__init__(app, **settings)
        self.limits = limits
        self.watch = Watch(min(1.0, limits.shortest_timeout_s / 4))
        self.most_connections = _room_for_connections() if limits.connections is None else limits.connections
        self.refused: Counter[str] = Counter()
        self._on_refused = on_refused
        self.direct = direct

    def count_refused(self, code: str) -> None:
        """Count a request that the application never sees."""
        self.refused[code] += 1
        self._on_refused()


def _room_for_connections() -> int:
    """Give how many connections there may be before the journal and the store would lack open files."""
    if sys.platform == "win32":
        return sys.maxsize
    import resource  # noqa: PLC0415  not there on Windows

    most_files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if most_files == resource.RLIM_INFINITY else max(1, most_files - _KEPT_FILES)


def uvicorn_config(
    app: Any,
    *,
    host: str,
    port: int,
    limits: ServerLimits | None = None,
    backlog: int = 2048,
    stop_timeout_s: int = 10,
    trusted_proxies: Sequence[str] = (),
    on_refused: Callable[[], None] = lambda: None,
    direct: DirectHandler | None = None,
) -> ServerConfig:
    """Set up a server for an ASGI application.

    `port` 0 means any free one. `trusted_proxies` are the addresses whose `X-Forwarded-For` is believed: none,
    unless named. `on_refused` is called for each request that is refused before the application. `direct` takes small requests
    to one address without the application, which has to take them as well. No access log
    is written (addresses carry keys), no `Server` header is sent, the `Date` is renewed once a second, messages
    are not compressed (that would end sending one frame to everybody), and lifespan events are not sent: who
    starts the server starts the application.
    """
    chosen = limits or ServerLimits()
    return ServerConfig(
        app,
        chosen,
        on_refused,
        direct,
        host=host,
        port=port,
        http=HttpProtocol,
        ws=WebSocketProtocol,
        ws_max_size=chosen.websocket_message_bytes,
        ws_per_message_deflate=False,
        interface="asgi3",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        backlog=backlog,
        timeout_keep_alive=chosen.keep_alive_timeout_s,
        timeout_graceful_shutdown=stop_timeout_s,
    )


class Server:
    """A server inside a running event loop, which may run others beside it.

    `start()` and `stop()` are each called once, in this order.
    """

    def __init__(self, config: ServerConfig) -> None:
        self._config = config
        self._uvicorn = uvicorn.Server(config)
        self._sockets: list[socket.socket] = []
        self._ticker: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is listened on. Raises InternalError before `start()`."""
        if not self._sockets:
            raise InternalError("Server.port was asked for while the server does not listen")
        return int(self._sockets[0].getsockname()[1])

    @property
    def refused(self) -> Mapping[str, int]:
        """How many requests were refused before the application saw them, by the `code` in their answer."""
        return MappingProxyType(self._config.refused)

    async def start(self, sockets: Sequence[socket.socket] = ()) -> int:
        """Listen, and give the port.

        `sockets`: bound ones to listen on instead of the configured address; they are closed by `stop()`.
        Raises OptionError if the address cannot be had, InternalError if this uvicorn does not fit.
        """
        if missing := missing_uvicorn_names(self._config):
            raise InternalError(
                f"uvicorn {uvicorn.__version__} lacks what the server builds on: {', '.join(missing)}"
            )
        self._sockets = list(sockets) or await _bind(
            self._config.host, self._config.port, self._config.backlog
        )
        self._uvicorn.lifespan = self._config.lifespan_class(self._config)
        await self._uvicorn.on_tick(0)
        await self._uvicorn.startup(sockets=self._sockets)
        self._ticker = asyncio.create_task(self._tick(), name="server date")
        return self.port

    async def stop(self, grace_s: float | None = None) -> None:
        """Accept no more, let requests end for `grace_s` seconds (default: as configured), then cut what is left.

        WebSockets are closed at once with 1012 (the server restarts).
        """
        if self._ticker is None:
            return
        self._ticker.cancel()
        with suppress(asyncio.CancelledError):
            await self._ticker
        self._ticker = None
        state = self._uvicorn.server_state
        if grace_s is not None:
            self._config.timeout_graceful_shutdown = grace_s  # type: ignore[assignment]  # only handed to wait_for
        await self._last_call(state)
        await self._uvicorn.shutdown(sockets=self._sockets)
        for connection in tuple(state.connections):
            connection.transport.abort()
        if state.tasks:
            await asyncio.wait(tuple(state.tasks), timeout=_LAST_WORDS_S)

    async def _last_call(self, state: ServerState) -> None:
        """Hear those who got through before we cease to listen: closed with a request unread, they would be reset."""
        loop = asyncio.get_running_loop()
        for connection in [each for listening in self._sockets for each in accept_the_last(listening)]:
            await loop.connect_accepted_socket(lambda: HttpProtocol(self._config, state, {}), connection)
        if state.connections:
            await asyncio.sleep(_LAST_CALL_S)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            await self._uvicorn.on_tick(0)


async def _bind(host: str, port: int, backlog: int) -> list[socket.socket]:
    """Listen on every address that the host has; `localhost` has two, which get the same port."""
    loop = asyncio.get_running_loop()
    bound: list[socket.socket] = []
    problem: OSError | None = None
    try:
        found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, _, _, _, address in dict.fromkeys(found):
            wanted = bound[0].getsockname()[1] if bound else port
            try:
                bound.append(_listen(family, str(address[0]), wanted, backlog))
            except OSError as exc:
                if exc.errno not in _NO_SUCH_ADDRESS:
                    raise
                problem = exc
    except OSError as exc:
        for listening in bound:
            listening.close()
        bound, problem = [], exc
    if not bound:
        raise OptionError(
            "server.port",
            f"cannot listen on {host}:{port}: {problem}",
            "stop what is using it, or choose another with --port",
        ) from problem
    return bound


def _listen(family: int, host: str, port: int, backlog: int) -> socket.socket:
    # asyncio switches Nagle's delay off only where the protocol is named; with it, answers take 40 ms more
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.settimeout(0)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listening.bind((host, port))
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening
