"""How bytes on a socket become requests, frames and refusals: uvicorn's protocols with the limits that they lack.

`HttpProtocol` refuses what is too large, too slow or ambiguous before the application sees it, answering in
turn where earlier requests are still being served. `WebSocketProtocol` lets the application write frames that
were made once for everybody, through a `Viewer`. What an address means, who may use it and what a chunked body
adds up to is the application's business.
"""

import re
import socket
import struct
import time
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final, cast

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from streamgauge.errors import InternalError

if TYPE_CHECKING:
    import asyncio

    from uvicorn.server import ServerState
    from websockets.frames import Frame

    from streamgauge.web.server import ServerConfig

__all__ = ["VIEWER_EXTENSION", "HttpProtocol", "Viewer", "WebSocketProtocol", "frame_text"]

VIEWER_EXTENSION: Final = "streamgauge.viewer"
"""Where an application finds its `Viewer` in `scope["extensions"]`; absent under any other server."""

_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")
_MOST_LENIENT_CHUNKS: Final = 2


def frame_text(payload: bytes) -> bytes:
    """Make the one unmasked text frame that every viewer gets. `payload`: UTF-8. RFC 6455, section 5.2."""
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", 0x81, size) + payload
    if size < 65_536:
        return struct.pack("!BBH", 0x81, 126, size) + payload
    return struct.pack("!BBQ", 0x81, 127, size) + payload


@dataclass(frozen=True, slots=True)
class _Problem:
    status: HTTPStatus
    code: str
    detail: str

    def response(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Write the answer of RFC 9457, after which the connection is closed."""
        body = msgspec.json.encode(
            {
                "title": self.status.phrase,
                "status": int(self.status),
                "code": self.code,
                "detail": self.detail,
            }
        )
        lines = [
            f"HTTP/1.1 {int(self.status)} {self.status.phrase}".encode(),
            *(name + b": " + value for name, value in headers),
            b"content-type: application/problem+json",
            b"content-length: %d" % len(body),
            b"connection: close",
            b"",
            body,
        ]
        return b"\r\n".join(lines)


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


class _Outgoing:
    """Since when a peer has not taken what was sent to it, or has kept a closed connection from ending."""

    __slots__ = ("stuck_since",)

    def __init__(self) -> None:
        self.stuck_since = 0.0

    def is_overdue(self, transport: "asyncio.Transport", now: float, timeout_s: float) -> bool:
        if not self.stuck_since and transport.is_closing():
            self.stuck_since = now
        return self.stuck_since > 0.0 and now - self.stuck_since > timeout_s


class HttpProtocol(HttpToolsProtocol):
    """HTTP/1.1 with limits on size, count and time. Passed to uvicorn as `http=` by `uvicorn_config`.

    A request that breaks a limit is answered with problem+json, in its turn, and a closed connection: 400
    malformed or ambiguous, 408 late, 413 body, 414 address, 417 expectation, 431 header, 501 and 505 what we do
    not speak. A connection on which nothing was ever sent is closed without a word.
    """

    config: "ServerConfig"

    def __init__(
        self,
        config: "ServerConfig",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: "asyncio.AbstractEventLoop | None" = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._outgoing = _Outgoing()
        self._phase = _SILENT
        self._since = 0.0  # when the phase began; 0.0: not yet looked at the clock
        self._chunk_bytes = 0
        self._carried_bytes = 0  # of a header that comes in pieces
        self._body_bytes = 0
        self._raw_body_bytes = 0
        self._known_host: bytes | None = None
        self._ignored_upgrade = False
        self._problem: _Problem | None = None

    def connection_made(self, transport: "asyncio.Transport") -> None:  # type: ignore[override]  # as in uvicorn
        """Start the clock for the first header."""
        super().connection_made(transport)
        self._since = self.loop.time()
        self.config.watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self.config.watch.discard(self)
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
            self._refuse(self._problem or _malformed(str(exc)))
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
            self._refuse(_late("header", limits.header_timeout_s))
        elif phase is _BODY and late_s > limits.body_timeout_s:
            self._refuse(_late("body", limits.body_timeout_s))

    # what the parser calls

    def on_message_begin(self) -> None:
        """Begin a request at its first byte."""
        super().on_message_begin()
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
        super().on_headers_complete()
        if self.cycle is not previous:
            self._phase = _BODY
            self._since = 0.0
            self._body_bytes = self._raw_body_bytes = 0
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

    def on_response_complete(self) -> None:
        """Go on with the next request, or with the refusal that waited for its turn."""
        if self._phase is _REFUSED and not self.pipeline:
            if not self.transport.is_closing():
                self._send_refusal()
            return
        super().on_response_complete()

    # limits

    def _find_problem(self) -> _Problem | None:
        limits = self._limits
        size = self._carried_bytes + self._chunk_bytes  # at least the header's, and known for nothing
        if len(self.headers) > limits.header_count or (
            size > limits.header_bytes and self._header_bytes() > limits.header_bytes
        ):
            return self._too_much_header()
        if len(self.pipeline) >= limits.pipelined_requests:
            return _malformed(
                f"more than {limits.pipelined_requests} requests wait for an answer on this connection"
            )
        version = self.parser.get_http_version()
        fields = dict(self.headers)
        problem = self._host_problem(fields, version) or self._body_problem(fields, version)
        if problem is None and self.parser.should_upgrade():
            return self._upgrade_problem(fields, version)
        return problem

    def _body_problem(self, fields: dict[bytes, bytes], version: str) -> _Problem | None:
        most = self._limits.body_bytes
        if int(fields.get(b"content-length", b"0")) > most:
            detail = f"the body is larger than {most} bytes; send it in parts"
            return _Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)
        if b"transfer-encoding" in fields:
            if version != "1.1":
                return _malformed(f"Transfer-Encoding is not part of HTTP/{version}")
            codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
            if codings != [b"chunked"]:
                return _Problem(
                    HTTPStatus.BAD_REQUEST, "transfer_coding", "the only Transfer-Encoding is chunked"
                )
        if b"expect" in fields and not self.expect_100_continue:
            return _Problem(HTTPStatus.EXPECTATION_FAILED, "expectation", "the only Expect is 100-continue")
        return None

    def _host_problem(self, fields: dict[bytes, bytes], version: str) -> _Problem | None:
        if version not in {"1.1", "1.0"}:
            status = HTTPStatus.BAD_REQUEST if version == "0.9" else HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
            return _Problem(status, "http_version", f"HTTP/{version} is not spoken here; use HTTP/1.1")
        host = fields.get(b"host")
        hosts = int(host is not None)
        if len(fields) < len(self.headers):  # some name came more than once
            hosts = sum(name == b"host" for name, _ in self.headers)
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            return _malformed(f"found {hosts} Host headers; HTTP/1.1 has exactly one (RFC 9112, section 3.2)")
        if host is not None and host != self._known_host:
            if not _is_host(host):
                return _malformed("the Host header is not a host with an optional port")
            self._known_host = host
        return None if self.url.startswith(b"/") else self._target_problem(host or b"")

    def _target_problem(self, host: bytes) -> _Problem | None:
        """Bring an absolute address to the usual form; it must be the Host's. RFC 9112, section 3.2.2."""
        if self.parser.get_method() == b"CONNECT":
            return _Problem(HTTPStatus.NOT_IMPLEMENTED, "method", "CONNECT is for proxies; this is a server")
        if self.url == b"*":
            return None
        target = httptools.parse_url(self.url)
        authority = target.host + (b":%d" % target.port if target.port is not None else b"")
        if host and authority.lower() != host.lower():
            return _malformed("the address names another host than the Host header")
        self.url = (target.path or b"/") + (b"?" + target.query if target.query else b"")
        return None

    def _upgrade_problem(self, fields: dict[bytes, bytes], version: str) -> _Problem | None:
        self._ignored_upgrade = not self._should_upgrade()
        if self._ignored_upgrade:
            return None
        lengths = [value for name, value in self.headers if name == b"content-length"]
        if version != "1.1" or b"transfer-encoding" in fields or set(lengths) - {b"0"}:
            return _malformed("a WebSocket begins with HTTP/1.1 and no body (RFC 6455, section 4.1)")
        if self._is_answering():
            return _malformed("a WebSocket cannot begin before earlier requests are answered")
        return None

    def _header_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _too_much_header(self) -> _Problem:
        limits = self._limits
        if len(self.url) > limits.header_bytes:
            detail = f"the address is longer than {limits.header_bytes} bytes"
            return _Problem(HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long", detail)
        detail = f"more than {limits.header_bytes} bytes or {limits.header_count} lines of header; send fewer"
        return _Problem(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", detail)

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
                or self._header_bytes() > most
            ):
                self._refuse(self._too_much_header())
        elif phase is before is _BODY:
            self._raw_body_bytes += self._chunk_bytes
            if self._raw_body_bytes > _MOST_LENIENT_CHUNKS * self._body_bytes + self._limits.header_bytes:
                self._refuse(
                    _malformed("the body is mostly chunk headers, extensions or trailers; send larger chunks")
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

    def _refuse(self, problem: _Problem) -> None:
        """Answer with the problem when it is this request's turn, and end the connection."""
        self.config.refused[problem.code] += 1
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


_SILENT_END: Final = (_SILENT, _REFUSED)
_RECEIVING: Final = (_HEADER, _BODY)
_ABOUT_THE_REQUEST: Final = (_Refused, httptools.HttpParserError, UnicodeError)


def _is_host(host: bytes) -> bool:
    found = _HOST.fullmatch(host)
    return found is not None and int(found[1] or 0) < 65_536


def _malformed(problem: str) -> _Problem:
    return _Problem(HTTPStatus.BAD_REQUEST, "malformed", problem)


def _late(part: str, timeout_s: float) -> _Problem:
    return _Problem(
        HTTPStatus.REQUEST_TIMEOUT, f"{part}_timeout", f"the {part} was not complete within {timeout_s:g} s"
    )


class Viewer:
    """A browser that watches, on a WebSocket that was accepted: frames go straight to its connection.

    `writable`: whether `write` would send. `behind_since`: since when the peer has not taken what was written
    (the clock of `time.monotonic`), or None. A viewer that is behind needs full state once it is writable again.
    """

    __slots__ = ("_protocol", "_transport", "_viewing", "behind_since")

    def __init__(self, protocol: "WebSocketProtocol") -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._viewing = False
        self.behind_since: float | None = None

    @property
    def writable(self) -> bool:
        """Whether a frame would be sent now. False before `become_viewer()` and after the connection's end."""
        return (
            self._viewing
            and self.behind_since is None
            and not self._protocol.close_sent
            and not self._transport.is_closing()
        )

    @property
    def viewing(self) -> bool:
        """Whether `become_viewer()` was called."""
        return self._viewing

    @property
    def max_message_bytes(self) -> int:
        """The largest message that this connection may send; what is larger closes it with 1009.

        Setting it holds from the next message on of which nothing has arrived yet.
        """
        return cast("int", self._protocol.conn.max_message_size)

    @max_message_bytes.setter
    def max_message_bytes(self, size: int) -> None:
        self._protocol.conn.max_message_size = size

    def become_viewer(self) -> None:
        """Let this connection notice after a few frames that its peer does not read.

        Otherwise the kernel would take up to 4 MB of frames, half an hour's worth, before anybody noticed.
        Raises InternalError before the application has accepted the WebSocket.
        """
        if self._transport.is_closing():
            return  # the peer left before it was accepted, which is nobody's mistake
        if not self._protocol.handshake_complete:
            raise InternalError("become_viewer() was called before the WebSocket was accepted")
        connection = self._transport.get_extra_info("socket")
        not_sent = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux and macOS
        if (
            not_sent is not None
            and connection is not None
            and connection.family in {socket.AF_INET, socket.AF_INET6}
        ):
            connection.setsockopt(socket.IPPROTO_TCP, not_sent, 4096)
        self._transport.set_write_buffer_limits(high=0)
        self._viewing = True

    def write(self, frame: bytes) -> bool:
        """Send one whole frame, as `frame_text` makes it. False: nothing was sent, because the peer is behind."""
        if not self.writable:
            return False
        self._transport.write(frame)
        return True

    def close(self, code: int, reason: str = "") -> None:
        """End the connection: `code` as in RFC 6455, 7.4, `reason` of at most 123 bytes. Twice is as once.

        The application receives `websocket.disconnect`. A peer that does not answer is cut off.
        Raises InternalError before the application has accepted the WebSocket.
        """
        if not self._protocol.handshake_complete and not self._transport.is_closing():
            raise InternalError("close() was called before the WebSocket was accepted")
        self._protocol.end(code, reason)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """A WebSocket that offers its `Viewer` to the application, and is bounded in every direction.

    Passed to uvicorn as `ws=` by `uvicorn_config`. Too large a message or too many fragments end it with 1009,
    a flood of pings with 1008; a peer that takes nothing is cut off.
    """

    config: "ServerConfig"
    viewer: Viewer

    def __init__(
        self,
        config: "ServerConfig",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: "asyncio.AbstractEventLoop | None" = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = config.limits
        self._outgoing = _Outgoing()
        self._pings = 0

    def connection_made(self, transport: "asyncio.BaseTransport") -> None:
        """Start the clock."""
        super().connection_made(transport)
        self.viewer = Viewer(self)
        self.config.watch.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self.config.watch.discard(self)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Note since when the peer is behind."""
        self._outgoing.stuck_since = self.loop.time()
        self.viewer.behind_since = time.monotonic()
        super().pause_writing()

    def resume_writing(self) -> None:
        """Note that the peer has caught up."""
        self._outgoing.stuck_since = 0.0
        self.viewer.behind_since = None
        super().resume_writing()

    def check(self, now: float, elapsed: float) -> None:  # noqa: ARG002  (see `Watched`)
        """End the connection if its peer takes nothing; see `Watched`."""
        self._pings = 0
        timeout_s = self._limits.viewer_timeout_s if self.viewer.viewing else self._limits.write_timeout_s
        if self._outgoing.is_overdue(self.transport, now, timeout_s):
            self.transport.abort()

    async def run_asgi(self) -> None:
        """Run the application, with the viewer among its scope's extensions."""
        extensions = cast("dict[str, Any]", self.scope["extensions"])
        extensions[VIEWER_EXTENSION] = self.viewer
        await super().run_asgi()

    def refuse_handshake(self) -> None:
        """Answer a handshake that could not even be read, which uvicorn leaves open."""
        self.config.refused["handshake"] += 1
        answer = b"".join(self.conn.data_to_send())
        problem = _Problem(HTTPStatus.BAD_REQUEST, "handshake", "the WebSocket handshake cannot be read")
        self.transport.write(answer or problem.response(self.default_headers))
        self.transport.close()

    def end(self, code: int, reason: str) -> None:
        """Send a close frame and wait for the peer's as long as uvicorn would; nothing if that was done already."""
        if self.close_sent or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    def handle_cont(self, event: "Frame") -> None:
        """Bound the number of fragments: empty ones never reach the limit on bytes."""
        if self.close_sent:
            return
        if len(self.frames) >= self._limits.websocket_fragments:
            self.conn.fail(1009, f"a message of more than {self._limits.websocket_fragments} fragments")
            self.handle_parser_exception()
            return
        super().handle_cont(event)

    def handle_ping(self) -> None:
        """Answer, unless there are too many, or the peer does not read the answers. RFC 6455, section 5.5.3."""
        if self.close_sent:
            return
        self._pings += 1
        if self._pings > self._limits.websocket_pings:
            self.conn.fail(1008, "too many pings")
            self.handle_parser_exception()
        elif self._outgoing.stuck_since:
            self.conn.data_to_send()  # taken out and left unsent, so that nothing piles up
        else:
            super().handle_ping()

    def handle_parser_exception(self) -> None:
        """End the connection; uvicorn expects that it was accepted before it went wrong."""
        if self.conn.close_sent is None:
            self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006})
            # as after a lost connection, so that accepting it is no error of the application
            self.close_sent = self.disconnected = self.handshake_complete = True
            self.transport.close()
            return
        super().handle_parser_exception()
