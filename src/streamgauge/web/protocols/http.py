"""HTTP/1.1 connections: uvicorn's, with limits on size, count and time; what a header may say is in `rules`."""

from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from streamgauge.errors import InternalError
from streamgauge.web.protocols import rules
from streamgauge.web.protocols.direct import (
    DirectCycle,
    DirectHandler,
    DirectRequest,
    Header,
    is_small,
    response_head,
)
from streamgauge.web.protocols.outgoing import Outgoing
from streamgauge.web.protocols.refusal import Refusal, late, malformed, too_many_connections

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Sequence

    from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
    from uvicorn.server import ServerState

    from streamgauge.web.protocols.websocket import WebSocketProtocol
    from streamgauge.web.server import ServerConfig

_MOST_LENIENT_CHUNKS: Final = 2
_PATH_END: Final = (b"", b"?")
_CLOSE: Final = (b"connection", b"close")


class _Refused(Exception):
    """Stops the parser at a request that breaks a limit."""


class _Phase(Enum):
    """What a connection waits for."""

    SILENT = auto()  # a first byte
    HEADER = auto()  # the rest of a header
    BODY = auto()  # the rest of a body
    COMPLETE = auto()  # our own answer, or the next request within the keep-alive time
    REFUSED = auto()  # its end; what still comes is thrown away


# names of the module cost a request less than attributes of the class
_SILENT, _HEADER, _BODY, _COMPLETE, _REFUSED = _Phase
_SILENT_END: Final = (_SILENT, _REFUSED)
_RECEIVING: Final = (_HEADER, _BODY)
_ABOUT_THE_REQUEST: Final = (_Refused, httptools.HttpParserError, UnicodeError)


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on size, count and time. Passed to uvicorn as `http=` by `uvicorn_config`.

    A request that breaks a limit is answered with problem+json, in its turn, and a closed connection: 400
    malformed or ambiguous, 408 late, 413 body, 414 address, 417 expectation, 431 header, 501 and 505 what we do
    not speak. A connection on which nothing was ever sent is closed without a word.
    """

    config: "ServerConfig"
    cycle: Any  # uvicorn's, or a DirectCycle

    def __init__(
        self,
        config: "ServerConfig",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: "asyncio.AbstractEventLoop | None" = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._outgoing = Outgoing()
        self._phase = _SILENT
        self._since = 0.0  # when the phase began; 0.0: not yet looked at the clock
        self._chunk_bytes = 0
        self._carried_bytes = 0  # of a header that comes in pieces
        self._body_bytes = 0
        self._raw_body_bytes = 0
        self._known_host: bytes | None = None
        self._fields: dict[bytes, bytes] = {}
        self._ignored_upgrade = False
        self._problem: Refusal | None = None
        self._answered: RequestResponseCycle | None = None  # where others wait for their turn behind it

    def connection_made(self, transport: "asyncio.Transport") -> None:  # type: ignore[override]  # as in uvicorn
        """Start the clock for the first header."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self.config.watch.add(self)
        if len(self.connections) > self.config.most_connections:
            self.config.count_refused("connections")
            transport.write(too_many_connections().response([(b"retry-after", b"5")]))
            transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock, and let go of the requests that nobody waits for any more.

        uvicorn tells only the newest request's application, and goes on writing answers to those before it.
        """
        self.config.watch.discard(self)
        if self._answered is not None:
            self._answered.disconnected = True
            self._answered.message_event.set()
        self.pipeline.clear()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note since when the peer takes nothing."""
        self._outgoing.stuck_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Forget that the peer took nothing."""
        self._outgoing.stuck_since = 0.0
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        """Parse what came, then see what the connection waits for."""
        before = self._phase
        if before is _REFUSED:
            return
        self._unset_keepalive_if_required()
        self._chunk_bytes = len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError as exc:
            cause = exc.__context__
            if isinstance(exc, httptools.HttpParserCallbackError) and not isinstance(
                cause, _ABOUT_THE_REQUEST
            ):
                raise  # a bug in a callback is not the sender's mistake
            self._refuse(self._problem or malformed(str(exc)))
        else:
            self._wait_for_more(before)

    def check(self, now: float, elapsed: float) -> None:
        """End the connection if a deadline has passed; see `Watched`."""
        limits = self._limits
        late_s = now - self._since if self._since else 0.0
        phase = self._phase
        if self._outgoing.is_overdue(self.transport, now, limits.write_timeout_s):
            self.transport.abort()
        elif phase in _SILENT_END and late_s > (
            limits.linger_s if phase is _REFUSED else limits.header_timeout_s
        ):
            self.transport.close()
        elif phase in _RECEIVING and self.flow.read_paused:
            self._since += elapsed  # it is the application that does not read
        elif phase is _HEADER and late_s > limits.header_timeout_s:
            self._refuse(late("header", limits.header_timeout_s))
        elif phase is _BODY and late_s > limits.body_timeout_s:
            self._refuse(late("body", limits.body_timeout_s))

    def forgive(self, lost_s: float) -> None:
        """Move the deadlines; see `Watched`."""
        if self._since:
            self._since += lost_s
        self._outgoing.forgive(lost_s)

    # what the parser calls

    def on_message_begin(self) -> None:
        """Begin a request at its first byte."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []  # the scope is made for requests that need one
        self._phase = _HEADER
        self._since = 0.0
        self._carried_bytes = 0

    def on_headers_complete(self) -> None:
        """Refuse the request, or let uvicorn start the application for it."""
        self._problem = self._find_problem()
        if self._problem is not None:
            raise _Refused
        if self._ignored_upgrade:
            return
        previous = self.cycle
        if not self._begin_directly():
            self._begin_for_application()
        if self.cycle is not previous:
            self._phase = _BODY
            self._since = 0.0
            self._body_bytes = self._raw_body_bytes = 0
            if len(self.pipeline) == 1:
                self._answered = previous
            self.headers = []  # so that trailers do not become headers of a request that was checked

    def on_body(self, body: bytes) -> None:
        """Count a part of a body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Hand the end of a request to the application."""
        if not self._ignored_upgrade:
            super().on_message_complete()
            self._phase = _COMPLETE
            if type(self.cycle) is DirectCycle and self.config.direct is not None:
                self._hand_over(self.cycle, self.config.direct)

    def on_response_complete(self) -> None:
        """Go on with the next request, or with the refusal that waited for its turn."""
        if self._phase is _REFUSED and not self.pipeline:
            if not self.transport.is_closing():
                self._send_refusal()
            return
        if self.pipeline:
            self._answered = self.pipeline[-1][0]
        super().on_response_complete()

    # small requests that need no application

    def _begin_for_application(self) -> None:
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        super().on_headers_complete()

    def _begin_directly(self) -> bool:
        direct, fields = self.config.direct, self._fields
        if (
            direct is None
            or not self.url.startswith(direct.path)
            or self.url[len(direct.path) :][:1] not in _PATH_END
            or self.parser.get_method() != b"POST"
            or len(fields) != len(self.headers)
            or not is_small(fields)
            or self.expect_100_continue
            or self._is_answering()
            or self.flow.write_paused
            or not direct.wants(fields)
        ):
            return False
        query = self.url[len(direct.path) + 1 :].partition(b"#")[0]
        self.cycle = DirectCycle(query, fields, keep_alive=self.parser.should_keep_alive())
        return True

    def _hand_over(self, cycle: DirectCycle, direct: DirectHandler) -> None:
        def answer(status: int, headers: "Sequence[Header]", body: bytes) -> None:
            cycle.response_started = cycle.response_complete = True
            if cycle.disconnected:
                return
            lines = [*self.server_state.default_headers, *headers]
            if not cycle.keep_alive:
                lines.append(_CLOSE)
            self.transport.write(response_head(status, lines, len(body)) + body)
            if not cycle.keep_alive:
                self.transport.close()
            self.on_response_complete()

        direct.take(DirectRequest(cycle.query, cycle.fields, bytes(cycle.body), answer))

    # limits

    def _find_problem(self) -> Refusal | None:
        limits = self._limits
        size = self._carried_bytes + self._chunk_bytes  # at least the header's, and known for nothing
        if len(self.headers) > limits.header_count or (
            size > limits.header_bytes and rules.header_bytes(self.url, self.headers) > limits.header_bytes
        ):
            return rules.too_much_header(self.url, limits)
        if len(self.pipeline) >= limits.pipelined_requests:
            return malformed(
                f"more than {limits.pipelined_requests} requests wait for an answer on this connection"
            )
        version = self.parser.get_http_version()
        self._fields = fields = dict(self.headers)
        problem = self._field_problem(fields, version) or rules.body_problem(
            self.headers, fields, version, limits.body_bytes
        )
        if problem is None and b"expect" in fields and not self.expect_100_continue:
            return rules.unknown_expectation()
        if problem is None and self.parser.should_upgrade():
            return self._upgrade_problem(fields, version)
        return problem

    def _field_problem(self, fields: dict[bytes, bytes], version: str) -> Refusal | None:
        host = fields.get(b"host")
        # the usual case first: the connection's next request, no name of which comes twice
        if version != "1.1" or host is None or host != self._known_host or len(fields) < len(self.headers):
            problem = rules.field_problem(self.headers, version)
            if problem is not None:
                return problem
            self._known_host = host
        if self.url.startswith(b"/"):
            return None
        target = rules.target_in_origin_form(self.parser.get_method(), self.url, host or b"")
        if isinstance(target, Refusal):
            return target
        self.url = target
        return None

    def _upgrade_problem(self, fields: dict[bytes, bytes], version: str) -> Refusal | None:
        self._ignored_upgrade = not self._should_upgrade()
        if self._ignored_upgrade:
            return None
        problem = rules.upgrade_problem(self.headers, fields, version)
        if problem is None and self._is_answering():
            return malformed("a WebSocket cannot begin before earlier requests are answered")
        return problem

    def _wait_for_more(self, before: _Phase) -> None:
        phase = self._phase
        if phase is _COMPLETE:
            if self.timeout_keep_alive_task is None and not self._is_answering():
                # empty lines and the end of a body that nobody waits for stop uvicorn's keep-alive timer
                self._phase = _SILENT
                self._since = self.loop.time()
            return
        if phase is _HEADER:
            if before is _HEADER:
                self._carried_bytes += self._chunk_bytes
            most = self._limits.header_bytes
            if (
                self._carried_bytes > most
                or len(self.headers) > self._limits.header_count
                or rules.header_bytes(self.url, self.headers) > most
            ):
                self._refuse(rules.too_much_header(self.url, self._limits))
        elif phase is before is _BODY:
            self._raw_body_bytes += self._chunk_bytes
            if self._raw_body_bytes > _MOST_LENIENT_CHUNKS * self._body_bytes + self._limits.header_bytes:
                self._refuse(
                    malformed("the body is mostly chunk headers, extensions or trailers; send larger chunks")
                )
        if not self._since:
            self._since = self.loop.time()

    # upgrades

    def _upgrade(self, rest: bytes) -> None:
        if self._ignored_upgrade:
            self._go_on_without_upgrade(rest)
            return
        self.config.watch.discard(self)
        self.handle_websocket_upgrade()
        websocket = cast("WebSocketProtocol", self.transport.get_protocol())
        if not websocket.handshake_initiated:
            websocket.refuse_handshake()
        elif rest:
            websocket.data_received(rest)

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Serve the request as if it had not offered to change the protocol, which RFC 9110, 7.8 allows.

        The parser takes everything after such a header for the other protocol. uvicorn drops what came with it
        and would read the rest of the body as a request of its own; so the header is read again without the offer.
        """
        lines = [
            self.parser.get_method() + b" " + self.url + b" HTTP/" + self.parser.get_http_version().encode()
        ]
        lines += [name + b": " + value for name, value in self.headers if name != b"upgrade"]
        self._ignored_upgrade = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn sets it
        self.data_received(b"\r\n".join([*lines, b"", rest]))

    # refusals

    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _refuse(self, problem: Refusal) -> None:
        """Answer with the problem when it is this request's turn, and end the connection."""
        self.config.count_refused(problem.code)
        has_cycle = self._phase is _BODY
        self._phase, self._since, self._problem = _REFUSED, 0.0, problem
        if has_cycle and self.pipeline and self.pipeline[0][0] is self.cycle:
            self.pipeline.popleft()  # the newest is on the left; it was not started yet
        elif has_cycle and self.cycle.response_started:
            self.transport.close()
        elif has_cycle:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._send_refusal()
        elif not self._is_answering():
            self._send_refusal()

    def _send_refusal(self) -> None:
        if self._problem is None:
            raise InternalError(f"a connection was refused without a reason, at {self.url!r}")
        self._unset_keepalive_if_required()
        self._since = self.loop.time()
        self.transport.write(self._problem.response(self.server_state.default_headers))
        # closed at once, what the sender still sends would reset the connection before it has read the answer
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
