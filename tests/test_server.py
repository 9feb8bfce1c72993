"""What a client meets at the socket: limits, deadlines, order, frames; under asyncio's loop and under uvloop."""

import asyncio
import re
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from typing import Any

import msgspec
import pytest
import uvicorn
import uvloop
from hypothesis import given
from hypothesis import strategies as st
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.frames import Frame, Opcode

from streamgauge.errors import InternalError, OptionError
from streamgauge.web.deadlines import Watch
from streamgauge.web.protocols import VIEWER_EXTENSION, Viewer, frame_text
from streamgauge.web.server import (
    Server,
    ServerConfig,
    ServerLimits,
    missing_uvicorn_names,
    uvicorn_config,
)

# pytest-asyncio's new way of choosing the loop is a hook, which would choose it for the tests of everything else too
pytestmark = pytest.mark.filterwarnings('ignore:Overriding the "event_loop_policy" fixture')

Application = Callable[[Any, Any, Any], Awaitable[None]]
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(params=["asyncio", "uvloop"])
def event_loop_policy(request: pytest.FixtureRequest) -> asyncio.AbstractEventLoopPolicy:
    return uvloop.EventLoopPolicy() if request.param == "uvloop" else asyncio.DefaultEventLoopPolicy()


@pytest.fixture(autouse=True)
async def _in_time() -> AsyncIterator[None]:
    watchdog = asyncio.get_running_loop().call_later(15, _give_up)
    yield
    watchdog.cancel()


def _give_up() -> None:
    for task in asyncio.all_tasks():
        task.cancel("the test waited longer than 15 s")


class Recorder:
    """Answers with the path and the size of the body, and remembers what it saw."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.disconnected = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.started = asyncio.Event()
        self.scopes: list[Any] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.paths.append(scope["path"])
        self.scopes.append(scope)
        self.started.set()
        await self.gate.wait()
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.disconnected.set()
                return
            size += len(message["body"])
            if not message["more_body"]:
                break
        body = f"{scope['path']} {size}".encode()
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-length", b"%d" % len(body))],
            }
        )
        await send({"type": "http.response.body", "body": body})


@asynccontextmanager
async def serving(app: Application, limits: ServerLimits | None = None) -> AsyncIterator[Server]:
    server = Server(uvicorn_config(app, host="127.0.0.1", port=0, limits=limits))
    await server.start()
    try:
        yield server
    finally:
        await server.stop(grace_s=0.5)


class Answer:
    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ", 2)[1]) if head else 0
        self.head = head.lower()

    @property
    def code(self) -> str:
        assert b"application/problem+json" in self.head
        return str(msgspec.json.decode(self.body)["code"])


async def ask(port: int, *parts: bytes) -> Answer:
    """Send, and read until the server has closed the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
        await writer.drain()
    answer = Answer(await reader.read())
    writer.close()
    return answer


def statuses(answers: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answers)]


def closing_get(path: str = "/") -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()


# limits on size and count


async def test_a_header_of_one_megabyte_is_refused() -> None:
    app = Recorder()
    async with serving(app) as server:
        answer = await ask(server.port, b"GET / HTTP/1.1\r\nHost: a\r\nX: ", b"x" * 1_000_000)
    assert (answer.status, answer.code) == (431, "header_too_large")
    assert app.paths == []


async def test_a_complete_header_over_the_limit_is_refused_and_one_at_the_limit_is_served() -> None:
    app = Recorder()
    async with serving(app) as server:
        large = closing_get()[:-2] + b"X: " + b"x" * (33 * 1024) + b"\r\n\r\n"
        fits = closing_get()[:-2] + b"X: " + b"x" * (31 * 1024) + b"\r\n\r\n"
        assert (await ask(server.port, large)).status == 431
        assert (await ask(server.port, fits)).status == 200
    assert app.paths == ["/"]


async def test_a_header_that_drips_past_the_limit_is_refused_before_it_ends() -> None:
    async with serving(Recorder(), ServerLimits(header_bytes=1000)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nX: ")
        answer = asyncio.create_task(reader.read())
        for _ in range(1000):
            if answer.done():
                break
            writer.write(b"x" * 100)
            await asyncio.sleep(0)
        assert Answer(await answer).status == 431
        writer.close()


async def test_more_than_a_hundred_header_lines_are_refused() -> None:
    app = Recorder()
    async with serving(app) as server:
        most = closing_get()[:-2] + b"".join(b"x%d: 1\r\n" % i for i in range(98)) + b"\r\n"
        more = closing_get()[:-2] + b"".join(b"x%d: 1\r\n" % i for i in range(99)) + b"\r\n"
        assert (await ask(server.port, most)).status == 200
        assert (await ask(server.port, more)).status == 431
        assert (await ask(server.port, POST + b"x: 1\r\n" * 20_000)).status == 431
    assert app.paths == ["/"]


async def test_a_long_address_is_refused_as_such() -> None:
    async with serving(Recorder()) as server:
        answer = await ask(server.port, b"GET /" + b"x" * 65_536 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
    assert (answer.status, answer.code) == (414, "address_too_long")


async def test_a_body_announced_too_large_is_refused_before_it_is_sent() -> None:
    app = Recorder()
    async with serving(app) as server:
        answer = await ask(server.port, POST + b"Content-Length: %d\r\n\r\n" % (32 * 1024 * 1024 + 1))
        assert (answer.status, answer.code) == (413, "too_large")
        assert dict(server.refused) == {"too_large": 1}
    assert app.paths == []


async def test_a_sender_in_the_middle_of_a_large_body_can_still_read_why_it_was_refused() -> None:
    async with serving(Recorder(), ServerLimits(body_bytes=1000)) as server:
        answer = await ask(server.port, POST + b"Content-Length: 5000000\r\n\r\n", b"x" * 5_000_000)
    assert answer.status == 413


async def test_a_refused_sender_that_never_stops_is_cut_off() -> None:
    async with serving(Recorder(), ServerLimits(body_bytes=10, linger_s=0.1)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST + b"Content-Length: 5000000000\r\n\r\n")
        assert Answer(await reader.read()).status == 413
        with pytest.raises(ConnectionError):
            await send_forever(writer)
        writer.close()


async def send_forever(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"x" * 65_536)
        await writer.drain()


async def test_one_byte_chunks_and_endless_trailers_are_refused() -> None:
    chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
    async with serving(Recorder()) as server:
        bytes_of_one = await ask(server.port, chunked, b"1\r\nx\r\n" * 100_000)
        trailers = await ask(server.port, chunked, b"1\r\nx\r\n0\r\nX: ", b"x" * 1_000_000)
    assert bytes_of_one.status == 400
    assert trailers.status == 400


async def test_trailers_do_not_become_headers() -> None:
    app = Recorder()
    trailer = b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Role: admin\r\n\r\n"
    async with serving(app) as server:
        answer = await ask(server.port, POST + trailer)
    assert answer.body == b"/ 3"
    assert b"x-role" not in dict(app.scopes[0]["headers"])


# ambiguous requests: none may reach the application, nor what is hidden behind them

SMUGGLED = b"GET /smug HTTP/1.1\r\nHost: a\r\n\r\n"
AMBIGUOUS = {
    "length and chunked": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    **{
        f"coding {coding!r}": POST + b"Transfer-Encoding: " + coding + b"\r\n\r\n0\r\n\r\n"
        for coding in (
            *(b"chunked, identity", b"xchunked", b"\x0bchunked", b"gzip, chunked", b"identity"),
            *(b"Chunked\r\nTransfer-Encoding: chunked", b"gzip\r\nTransfer-Encoding: chunked"),
        )
    },
    "coding in 1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    **{
        f"length {length!r}": POST + b"Content-Length: " + length + b"\r\n\r\n"
        for length in (
            *(
                b"0\r\nContent-Length: 0",
                b"0\r\nContent-Length: 5",
                b"+5",
                b"-1",
                b"0_5",
                b"5 5",
                b"0x5",
                b"",
                b"5,5",
            ),
            b"18446744073709551616",
        )
    },
    **{
        f"line {line!r}": b"GET / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n"
        for line in (b"X : a", b"X: a\r\n b", b"X: a\0b", b"X: a\rb", b"X", b"\xff: a")
    },
    "bare line feeds": b"GET / HTTP/1.1\nHost: a\n\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    **{
        f"host {host!r}": b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n"
        for host in (b"a\r\nHost: a", b"a\r\nHost: b", b"a b", b"a/../b", b"127.0.0.1:99999")
    },
    "another host in the address": b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/0.9": b"GET /\r\n\r\n",
    "HTTP/3.7": b"GET / HTTP/3.7\r\nHost: a\r\n\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00",
    "SSH": b"SSH-2.0-OpenSSH\r\n",
}


@pytest.mark.parametrize("request_bytes", AMBIGUOUS.values(), ids=AMBIGUOUS.keys())
async def test_an_ambiguous_request_is_refused_with_what_hides_behind_it(request_bytes: bytes) -> None:
    app = Recorder()
    async with serving(app) as server:
        answer = await ask(server.port, request_bytes + SMUGGLED)
        assert answer.status == 400
        assert statuses(answer.raw) == [400]
        assert b"connection: close" in answer.head
        assert sum(server.refused.values()) == 1
    assert "/smug" not in app.paths


async def test_an_unfulfillable_length_and_an_unknown_expectation_have_their_own_status() -> None:
    async with serving(Recorder()) as server:
        assert (await ask(server.port, POST + b"Content-Length: 18446744073709551615\r\n\r\n")).status == 413
        assert (await ask(server.port, POST + b"Expect: 200-maybe\r\n\r\n")).status == 417
        assert (await ask(server.port, b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n")).status == 501


async def test_http_1_0_without_a_host_and_an_absolute_address_of_this_host_are_served() -> None:
    app = Recorder()
    async with serving(app) as server:
        assert (await ask(server.port, b"GET /old HTTP/1.0\r\n\r\n")).status == 200
        absolute = b"GET http://a:80/x?y=1 HTTP/1.1\r\nHost: a:80\r\nConnection: close\r\n\r\n"
        assert (await ask(server.port, absolute)).status == 200
    assert app.paths == ["/old", "/x"]
    assert app.scopes[1]["query_string"] == b"y=1"


async def test_a_body_behind_an_offer_to_upgrade_is_a_body_and_not_a_request() -> None:
    app = Recorder()
    offer = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED)
    async with serving(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(offer)
        await app.started.wait()  # so that the body comes by itself
        writer.write(SMUGGLED)
        writer.write(closing_get("/next"))
        answer = await reader.read()
        writer.close()
    assert app.paths == ["/", "/next"]
    assert b"/ %d" % len(SMUGGLED) in answer


# deadlines


async def test_half_a_header_is_closed_at_the_deadline_with_408() -> None:
    async with serving(Recorder(), ServerLimits(header_timeout_s=0.2)) as server:
        begun = time.monotonic()
        answer = await ask(server.port, b"GET / HTTP/1.1\r\nHost:")
        assert (answer.status, answer.code) == (408, "header_timeout")
        assert 0.15 < time.monotonic() - begun < 2
        assert dict(server.refused) == {"header_timeout": 1}


async def test_a_silent_connection_is_closed_without_a_word() -> None:
    async with serving(Recorder(), ServerLimits(header_timeout_s=0.2)) as server:
        assert (await ask(server.port)).raw == b""


async def test_a_dripping_header_does_not_move_its_deadline() -> None:
    async with serving(Recorder(), ServerLimits(header_timeout_s=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        answer = asyncio.create_task(reader.read())
        writer.write(b"GET / HTTP/1.1\r\nX: ")
        while not answer.done():
            writer.write(b"x")
            await asyncio.wait([answer], timeout=0.02)
        assert Answer(answer.result()).status == 408
        writer.close()


async def test_empty_lines_after_an_answer_do_not_keep_a_connection() -> None:
    async with serving(Recorder(), ServerLimits(header_timeout_s=0.2)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        assert await reader.readuntil(b"/ 0")
        writer.write(b"\r\n")
        assert await reader.read() == b""
        writer.close()


async def test_a_stalled_body_is_closed_at_the_deadline_and_the_application_told() -> None:
    app = Recorder()
    async with serving(app, ServerLimits(body_timeout_s=0.2, linger_s=60)) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST + b"Content-Length: 100\r\n\r\nhalf")
        answer = Answer(await reader.read())
        assert (answer.status, answer.code) == (408, "body_timeout")
        await app.disconnected.wait()  # while the sender still holds its side open
        writer.close()


async def test_a_body_that_the_application_does_not_read_is_not_late() -> None:
    app = Recorder()
    app.gate.clear()
    size = 3_000_000
    config = uvicorn_config(app, host="127.0.0.1", port=0, limits=ServerLimits(body_timeout_s=0.2))
    server = Server(config)
    port = await server.start()
    answer = asyncio.create_task(
        ask(port, POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % size, b"x" * size)
    )
    await app.started.wait()
    await sweeps(config.watch, 8)  # twice the deadline
    app.gate.set()
    assert (await answer).body == b"/ %d" % size
    await server.stop(grace_s=0.5)


async def test_a_header_behind_requests_that_wait_for_the_application_is_not_late() -> None:
    app = Recorder()
    app.gate.clear()
    config = uvicorn_config(app, host="127.0.0.1", port=0, limits=ServerLimits(header_timeout_s=0.2))
    server = Server(config)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start())
    writer.write(GET + GET + closing_get()[:20])
    await app.started.wait()
    await sweeps(config.watch, 8)
    app.gate.set()
    writer.write(closing_get()[20:])
    assert statuses(await reader.read()) == [200, 200, 200]
    writer.close()
    await server.stop(grace_s=0.5)


async def test_time_in_which_the_server_stood_still_does_not_count_against_anybody() -> None:
    limits = ServerLimits(header_timeout_s=0.5, body_timeout_s=0.5)
    config = uvicorn_config(Recorder(), host="127.0.0.1", port=0, limits=limits)
    server = Server(config)
    port = await server.start()
    silent, half, body = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
    half[1].write(closing_get()[:20])
    body[1].write(POST + b"Connection: close\r\nContent-Length: 8\r\n\r\nhalf")
    await sweeps(config.watch, 1)
    time.sleep(1.5)  # noqa: ASYNC251  (the loop has to stand still)
    await sweeps(config.watch, 1)
    silent[1].write(closing_get())
    half[1].write(closing_get()[20:])
    body[1].write(b"half")
    assert [statuses(await reader.read()) for reader, _ in (silent, half, body)] == [[200]] * 3
    for _, writer in (silent, half, body):
        writer.close()
    await server.stop(grace_s=0.5)


async def test_time_between_requests_does_not_count_against_the_next_header() -> None:
    config = uvicorn_config(Recorder(), host="127.0.0.1", port=0, limits=ServerLimits(header_timeout_s=0.2))
    server = Server(config)
    reader, writer = await asyncio.open_connection("127.0.0.1", await server.start())
    writer.write(POST + b"Content-Length: 8\r\n\r\nhalf")
    await sweeps(config.watch, 2)
    writer.write(b"half")
    await reader.readuntil(b"/ 8")
    await sweeps(config.watch, 8)
    writer.write(closing_get()[:20])
    await sweeps(config.watch, 2)
    writer.write(closing_get()[20:])
    assert statuses(await reader.read()) == [200]
    writer.close()
    await server.stop(grace_s=0.5)


async def sweeps(watch: Watch, count: int) -> None:
    """Wait until the deadlines have been looked at so many times."""
    done = asyncio.Event()

    class Counter:
        left = count

        def check(self, now: float, elapsed: float) -> None:
            self.left -= 1
            if self.left == 0:
                done.set()

        def forgive(self, lost_s: float) -> None:
            pass

    counter = Counter()
    watch.add(counter)
    await done.wait()
    watch.discard(counter)


async def test_a_client_that_takes_no_answer_is_cut_off() -> None:
    ended = asyncio.Event()

    async def flood(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(1000):
            await send({"type": "http.response.body", "body": b"x" * 65_536, "more_body": True})
        ended.set()

    async with serving(flood, ServerLimits(write_timeout_s=0.2)) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(GET)
        await ended.wait()
        writer.close()


async def test_an_answer_under_way_is_cut_off_rather_than_mixed_with_a_refusal() -> None:
    started = asyncio.Event()

    async def early(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
        started.set()
        while (await receive())["type"] != "http.disconnect":
            pass

    async with serving(early) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        await started.wait()
        writer.write(b"nonsense\r\n")
        answer = await reader.read()
        writer.close()
    assert statuses(answer) == [200]
    assert answer.endswith(b"\r\n\r\n")


# order and keep-alive


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with serving(Recorder()) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        for path in (b"/1", b"/2", b"/3"):
            writer.write(b"GET " + path + b" HTTP/1.1\r\nHost: a\r\n\r\n")
            assert (await reader.readuntil(path + b" 0")).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_thousand_pipelined_requests_are_answered_in_order() -> None:
    async with serving(Recorder()) as server:
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % i for i in range(1000))
        answer = await ask(server.port, requests + closing_get("/last"))
    order = re.findall(rb"\r\n\r\n(/[a-z0-9]+) 0", answer.raw)
    assert order == [b"/%d" % i for i in range(1000)] + [b"/last"]


async def test_too_many_pipelined_requests_are_refused_after_the_earlier_ones_are_answered() -> None:
    async with serving(Recorder(), ServerLimits(pipelined_requests=3)) as server:
        answer = await ask(server.port, GET * 10)
    assert statuses(answer.raw) == [200] * 4 + [400]


async def test_a_refusal_waits_for_the_answers_to_earlier_requests() -> None:
    app = Recorder()
    app.gate.clear()
    async with serving(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET + b"GET / HTTP/1.1\r\n\r\n")
        await app.started.wait()
        app.gate.set()
        answer = await reader.read()
        writer.close()
    assert statuses(answer) == [200, 400]


async def test_requests_of_a_sender_that_has_gone_are_neither_started_nor_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    second, gone, begun = asyncio.Event(), asyncio.Event(), []

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["path"])
        if len(begun) == 2:
            second.set()
            await gone.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async with serving(answer) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET * 5)
        await second.wait()
        writer.transport.abort()
        while server._uvicorn.server_state.connections:  # noqa: ASYNC110  (nothing tells of a connection's end)
            await asyncio.sleep(0)
        gone.set()
        while server._uvicorn.server_state.tasks:  # noqa: ASYNC110  (nor of a task's)
            await asyncio.sleep(0)
    assert len(begun) == 2
    assert caplog.records == []


async def test_a_broken_body_of_a_waiting_request_is_refused_in_its_turn() -> None:
    app = Recorder()
    app.gate.clear()
    async with serving(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET + POST + b"Transfer-Encoding: chunked\r\n\r\nnonsense\r\n")
        await app.started.wait()
        app.gate.set()
        answer = await reader.read()
        writer.close()
    assert statuses(answer) == [200, 400]
    assert app.paths == ["/"]


# frames


@given(st.binary(max_size=300))
def test_a_frame_is_what_the_websockets_library_would_send(payload: bytes) -> None:
    assert frame_text(payload) == Frame(Opcode.TEXT, payload).serialize(mask=False)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 1_000_000])
def test_a_frame_of_every_length_form_is_what_the_websockets_library_would_send(size: int) -> None:
    assert frame_text(b"x" * size) == Frame(Opcode.TEXT, b"x" * size).serialize(mask=False)


# viewers


class Room:
    """Echoes what it is sent, and broadcasts it to all as one frame where the server lets it."""

    def __init__(self) -> None:
        self.members: dict[Any, Viewer | None] = {}
        self.joined = asyncio.Event()
        self.closed: list[Any] = []
        self.left = asyncio.Event()
        self.max_message_bytes: int | None = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "websocket.connect"
        await send({"type": "websocket.accept"})
        viewer = scope["extensions"].get(VIEWER_EXTENSION)
        if viewer is not None:
            viewer.become_viewer()
            if self.max_message_bytes is not None:
                viewer.max_message_bytes = self.max_message_bytes
        self.members[send] = viewer
        self.joined.set()
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": f"echo {len(message['text'])}"})
            await self.broadcast(message["text"])
        self.closed.append((message["code"], message.get("reason")))
        del self.members[send]
        self.left.set()

    async def broadcast(self, text: str) -> None:
        frame = frame_text(text.encode())
        for send, viewer in self.members.items():
            if viewer is None:
                await send({"type": "websocket.send", "text": text})
            else:
                assert viewer.write(frame)

    @property
    def viewer(self) -> Viewer:
        (viewer,) = self.members.values()
        assert viewer is not None
        return viewer


@asynccontextmanager
async def plain_uvicorn(app: Application) -> AsyncIterator[int]:
    config = uvicorn.Config(
        app, port=0, ws="websockets-sansio", lifespan="off", log_config=None, log_level="critical"
    )
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


def browser(port: int) -> connect:
    return connect(f"ws://127.0.0.1:{port}/socket", max_size=None, compression="deflate")


@pytest.mark.parametrize("under", ["ours", "plain uvicorn"])
async def test_a_client_sees_the_same_messages_with_and_without_the_viewer_extension(under: str) -> None:
    room = Room()
    async with serving(room) as server, plain_uvicorn(room) as plain_port:
        port = server.port if under == "ours" else plain_port
        async with browser(port) as first, browser(port) as second:
            assert (first.protocol.extensions == []) == (
                under == "ours"
            )  # a compressed frame is nobody else's
            seen = []
            for size in (0, 1, 125, 126, 65_535, 65_536):
                await first.send("\u00e9" * size)
                seen.append((await first.recv(), await first.recv(), await second.recv()))
            assert all((viewer is not None) == (under == "ours") for viewer in room.members.values())
    assert seen == [(f"echo {n}", "\u00e9" * n, "\u00e9" * n) for n in (0, 1, 125, 126, 65_535, 65_536)]


@asynccontextmanager
async def slow_reader(port: int) -> AsyncIterator[socket.socket]:
    """A browser that has joined and reads nothing; its receive buffer is small, so that the test is short."""
    loop = asyncio.get_running_loop()
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(0)
        await loop.sock_connect(client, ("127.0.0.1", port))
        await loop.sock_sendall(client, HANDSHAKE)
        reply = b""
        while not reply.endswith(b"\r\n\r\n"):
            reply += await loop.sock_recv(client, 1)
        assert b" 101 " in reply
        yield client


HANDSHAKE = (
    b"GET /socket HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)


async def fill(viewer: Viewer, frame: bytes) -> int:
    """Write until the viewer is behind, letting the loop run between; give how many frames it took."""
    for count in range(20_000):
        if not viewer.write(frame):
            return count
        await asyncio.sleep(0)
    return 20_000


async def test_a_slow_viewer_is_noticed_after_few_frames_and_holds_nobody_up() -> None:
    room = Room()
    frame = frame_text(b"x" * 600)
    async with serving(room) as server, slow_reader(server.port):
        await room.joined.wait()
        viewer = room.viewer
        taken = await fill(viewer, frame)
        assert taken * len(frame) < 50_000  # the kernel alone would take some 4 MB
        assert not viewer.writable
        assert viewer.behind_since is not None
        assert 0 <= time.monotonic() - viewer.behind_since < 5
        begun = time.monotonic()
        assert not any(viewer.write(frame) for _ in range(1000))
        assert time.monotonic() - begun < 0.1


async def until_writable(viewer: Viewer) -> None:
    while not viewer.writable:  # noqa: ASYNC110  (a viewer has no event: its hub looks at every tick)
        await asyncio.sleep(0)


async def test_a_slow_viewer_gets_only_whole_frames_and_is_writable_again_once_it_has_read() -> None:
    room = Room()
    frame = frame_text(b"x" * 600)
    loop = asyncio.get_running_loop()
    async with serving(room) as server, slow_reader(server.port) as client:
        await room.joined.wait()
        taken = await fill(room.viewer, frame)
        read = b""
        while len(read) < taken * len(frame):
            read += await loop.sock_recv(client, 65_536)
        assert read == frame * taken
        await until_writable(room.viewer)
        assert room.viewer.behind_since is None
        assert room.viewer.write(frame_text(b"newest"))
        assert await loop.sock_recv(client, 100) == frame_text(b"newest")


async def test_a_viewer_that_stays_behind_is_cut_off() -> None:
    room = Room()
    async with serving(room, ServerLimits(viewer_timeout_s=0.2)) as server, slow_reader(server.port):
        await room.joined.wait()
        await fill(room.viewer, frame_text(b"x" * 600))
        await room.left.wait()
    assert room.members == {}


async def test_pings_of_a_viewer_that_reads_nothing_do_not_pile_up_answers() -> None:
    room = Room()
    loop = asyncio.get_running_loop()
    async with serving(room) as server, slow_reader(server.port) as client:
        await room.joined.wait()
        await fill(room.viewer, frame_text(b"x" * 600))
        await loop.sock_sendall(client, masked(9, b"are you there") * 20 + masked(8, b"\x03\xe8"))
        await room.left.wait()
        read = b""
        while part := await loop.sock_recv(client, 65_536):
            read += part
    assert b"are you there" not in read


async def test_a_viewer_that_does_not_answer_a_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room()
    async with serving(room, ServerLimits(viewer_timeout_s=60)) as server, slow_reader(server.port) as client:
        await room.joined.wait()
        monkeypatch.setattr(room.viewer._protocol, "close_timeout", 0.1)
        await fill(room.viewer, frame_text(b"x" * 600))
        connections = server._uvicorn.server_state.connections
        room.viewer.close(4000, "enough")
        while connections:  # noqa: ASYNC110  (nothing tells of a connection's end but the set)
            await asyncio.sleep(0)
        assert client.fileno() != -1


async def test_a_closed_viewer_is_told_why_and_takes_no_more_frames() -> None:
    room = Room()
    async with serving(room) as server, browser(server.port) as client:
        await room.joined.wait()
        viewer = room.viewer
        viewer.close(4001, "not joined")
        viewer.close(4001, "again")
        assert not viewer.write(frame_text(b"late"))
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        await room.left.wait()
    assert closed.value.rcvd is not None
    assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (4001, "not joined")
    assert room.closed == [(4001, "not joined")]


async def test_a_viewer_cannot_be_used_before_the_application_has_accepted() -> None:
    found: list[str] = []

    async def eager(scope: Any, receive: Any, send: Any) -> None:
        viewer = scope["extensions"][VIEWER_EXTENSION]
        for use in (viewer.become_viewer, lambda: viewer.close(1000)):
            with pytest.raises(InternalError, match="before the WebSocket was accepted"):
                use()
        found.append(str(viewer.write(frame_text(b"early"))))
        await send({"type": "websocket.close"})

    async with serving(eager) as server:
        with pytest.raises(InvalidStatus):
            await browser(server.port)
    assert found == ["False"]


async def test_a_message_over_the_limit_closes_with_1009_unless_the_application_raised_it() -> None:
    room = Room()
    async with serving(room, ServerLimits(websocket_message_bytes=1000)) as server:
        async with browser(server.port) as client:
            await client.send("x" * 1000)
            assert await client.recv() == "echo 1000"
            await client.send("x" * 1001)
            assert await close_code(client) == 1009
        room.max_message_bytes = 5000
        async with browser(server.port) as client:
            await client.send("x" * 5000)
            assert await client.recv() == "echo 5000"
            await client.send("x" * 5001)
            assert await close_code(client) == 1009


async def receive_forever(client: ClientConnection) -> None:
    while True:
        await client.recv()


async def close_code(client: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed) as closed:
        await receive_forever(client)
    return closed.value.rcvd.code if closed.value.rcvd else None


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    return Frame(Opcode(opcode), payload, fin).serialize(mask=True)


async def talk(port: int, *frames: bytes) -> int:
    """Shake hands, send the frames, and give the code of the server's close frame."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    for frame in frames:
        writer.write(frame)
    received = await reader.read()
    writer.close()
    position = 0
    while received[position] != 0x88:
        assert received[position + 1] < 126
        position += 2 + received[position + 1]
    return int(struct.unpack_from("!H", received, position + 2)[0])


VIOLATIONS = {
    "unmasked": (frame_text(b"x"), 1002),
    "reserved bit": (b"\xc1\x80\0\0\0\0", 1002),
    "unknown opcode": (b"\x83\x80\0\0\0\0", 1002),
    "fragmented ping": (b"\x09\x80\0\0\0\0", 1002),
    "continuation of nothing": (masked(0), 1002),
    "close code 1005": (masked(8, b"\x03\xed"), 1002),
    "close of one byte": (masked(8, b"\x03"), 1002),
    "not UTF-8": (masked(1, b"\xff"), 1007),
    "2**62 bytes": (b"\x81\xff" + struct.pack("!Q", 2**62), 1009),
    "empty fragments": (masked(1, fin=False) + masked(0, fin=False) * 20_000, 1009),
    "pings": (masked(9) * 1000, 1008),
}


@pytest.mark.parametrize(("frames", "code"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
async def test_a_websocket_that_breaks_the_rules_is_closed_with_the_right_code(
    frames: bytes, code: int
) -> None:
    async with serving(Room()) as server:
        assert await talk(server.port, frames) == code


HANDSHAKES = {
    "no key": (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
    "two keys": (HANDSHAKE[:-2] + b"Sec-WebSocket-Key: BAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", 400),
    "version 12": (HANDSHAKE.replace(b"13", b"12"), 400),
    "HTTP/1.0": (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), 400),
    "a body": (HANDSHAKE[:-2] + b"Content-Length: 5\r\n\r\nhello", 400),
    "POST": (HANDSHAKE.replace(b"GET", b"POST"), 405),
    "a header line too long for the handshake": (
        HANDSHAKE[:-2] + b"Cookie: " + b"x" * 9000 + b"\r\n\r\n",
        431,
    ),
}


@pytest.mark.parametrize(("handshake", "status"), HANDSHAKES.values(), ids=HANDSHAKES.keys())
async def test_a_wrong_handshake_is_refused_and_closed(handshake: bytes, status: int) -> None:
    room = Room()
    async with serving(room) as server:
        assert (await ask(server.port, handshake)).status == status
    assert not room.joined.is_set()


async def test_a_websocket_cannot_overtake_an_earlier_request() -> None:
    app = Recorder()
    app.gate.clear()
    async with serving(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET + HANDSHAKE)
        await app.started.wait()
        app.gate.set()
        assert statuses(await reader.read()) == [200, 400]
        writer.close()


async def test_a_frame_that_comes_with_the_handshake_is_not_lost() -> None:
    room = Room()
    async with serving(room) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HANDSHAKE + masked(1, b"early"))
        await reader.readuntil(frame_text(b"echo 5"))
        writer.close()


async def test_frames_that_break_the_rules_before_the_accept_end_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    room = Room()
    unhandled: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unhandled.append(context))
    async with serving(room) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(HANDSHAKE + b"\x83\x80\0\0\0\0")
        assert b" 101 " not in await reader.read()
        writer.close()
    assert unhandled == []
    assert caplog.records == []


# the server


async def test_a_server_stops_while_a_viewer_reads_nothing_and_a_request_hangs() -> None:
    room, app = Room(), Recorder()
    app.gate.clear()

    async def both(scope: Any, receive: Any, send: Any) -> None:
        await (room if scope["type"] == "websocket" else app)(scope, receive, send)

    server = Server(uvicorn_config(both, host="127.0.0.1", port=0))
    port = await server.start()
    async with slow_reader(port):
        await room.joined.wait()
        await fill(room.viewer, frame_text(b"x" * 600))
        hanging = asyncio.create_task(ask(port, closing_get()))
        await app.started.wait()
        begun = time.monotonic()
        await server.stop(grace_s=0.2)
        assert time.monotonic() - begun < 2
        await hanging
        assert server._uvicorn.server_state.connections == set()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection("127.0.0.1", port)


async def test_a_request_under_way_is_answered_before_the_server_stops() -> None:
    app = Recorder()
    app.gate.clear()
    server = Server(uvicorn_config(app, host="127.0.0.1", port=0))
    answer = asyncio.create_task(ask(await server.start(), GET))
    await app.started.wait()
    stopping = asyncio.create_task(server.stop(grace_s=5))
    await asyncio.sleep(0)
    app.gate.set()
    assert (await answer).status == 200
    await stopping


async def test_a_viewer_is_told_that_the_server_restarts() -> None:
    server = Server(uvicorn_config(Room(), host="127.0.0.1", port=0))
    async with browser(await server.start()) as client:
        stopping = asyncio.create_task(server.stop(grace_s=1))
        assert await close_code(client) == 1012
        await stopping


async def test_a_port_in_use_is_an_option_error_that_says_what_to_do() -> None:
    async with serving(Recorder()) as server:
        second = Server(uvicorn_config(Recorder(), host="127.0.0.1", port=server.port))
        with pytest.raises(OptionError, match=r"server\.port: cannot listen on 127\.0\.0\.1"):
            await second.start()
        with pytest.raises(InternalError):
            _ = second.port


async def test_localhost_is_reached_under_one_port() -> None:
    server = Server(uvicorn_config(Recorder(), host="localhost", port=0))
    answer = await ask(await server.start(), closing_get())
    await server.stop(grace_s=0.5)
    assert answer.status == 200


async def test_answers_carry_a_date_and_do_not_name_the_server() -> None:
    async with serving(Recorder()) as server:
        answer = await ask(server.port, closing_get())
    assert b"\r\ndate: " in answer.head
    assert b"\r\nserver:" not in answer.head


async def test_one_timer_watches_and_none_is_left_when_nobody_is_connected() -> None:
    config = uvicorn_config(Recorder(), host="127.0.0.1", port=0)
    server = Server(config)
    await ask(await server.start(), closing_get())
    await server.stop(grace_s=0.5)
    assert config.watch._timer is None
    assert config.watch._watched == set()


def config() -> ServerConfig:
    return uvicorn_config(Recorder(), host="127.0.0.1", port=0)


async def test_the_installed_uvicorn_has_everything_that_we_build_on() -> None:
    assert missing_uvicorn_names(config()) == []


async def test_a_uvicorn_that_lost_a_name_is_named_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(uvicorn.Server, "on_tick")
    with pytest.raises(InternalError, match=r"uvicorn .* lacks .*server\.on_tick"):
        await Server(config()).start()
