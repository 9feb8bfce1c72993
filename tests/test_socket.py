"""The live socket, as a Phoenix client meets it: on our own server, and under uvicorn as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import pytest_asyncio
import uvicorn
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidStatus

from soak import trials
from streamgauge.channels import encode_broadcast
from streamgauge.live.diff import apply
from streamgauge.live.hub import Watcher
from streamgauge.web.socket import SocketEndpoint, SocketLimits
from web_tools import LONG, WAIT_S, Frame, Served, ok, receive, refused, serving, talk, until

TOPIC = "dashboard:overview"
JOIN = ("1", "1", TOPIC, "phx_join", {"range": "5m"})
FAST = {"max_rate": 60}
WAYS = ["our server", "plain uvicorn"]


@pytest.fixture(params=WAYS)
async def server(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """A server whose socket is reached directly, or through the plain ASGI path."""
    async with reached(request.param) as served:
        yield served


@pytest_asyncio.fixture(params=WAYS, scope="module", loop_scope="module")
async def shared(request: pytest.FixtureRequest) -> AsyncIterator[Served]:
    """The same for many tests, which send no events and leave no viewers."""
    async with reached(request.param) as served:
        yield served


@asynccontextmanager
async def reached(way: str) -> AsyncIterator[Served]:
    async with serving(live=FAST, store={"commit_interval": LONG}) as served:
        if way == WAYS[0]:
            yield served
        else:
            async with plain_uvicorn(served) as plain:
                yield plain


@asynccontextmanager
async def plain_uvicorn(served: Served) -> AsyncIterator[Served]:
    """The same application behind uvicorn's own protocols, which know nothing of viewers."""
    config = uvicorn.Config(
        served.app.asgi(), host="127.0.0.1", port=0, log_config=None, lifespan="off", ws="websockets-sansio"
    )
    plain = uvicorn.Server(config)
    plain.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    running = asyncio.create_task(plain._serve())
    await until(lambda: plain.started or running.done())
    port = plain.servers[0].sockets[0].getsockname()[1]
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            yield Served(served.app, port, http)
    finally:
        plain.should_exit = plain.force_exit = True
        await running


def hub_viewers(server: Served) -> int:
    return server.app.hub.viewers


async def next_diff(socket: ClientConnection) -> Any:
    while True:
        frame = await receive(socket)
        if frame[3] == "diff":
            assert frame[:3] == [None, None, TOPIC]
            return frame[4]


async def closed_with(socket: ClientConnection) -> int:
    """Read until the connection has ended; give the code it was closed with."""
    async with asyncio.timeout(WAIT_S):
        async for _ in _until_the_end(socket):
            pass
    assert socket.close_code is not None
    return socket.close_code


async def _until_the_end(socket: ClientConnection) -> AsyncIterator[object]:
    with suppress(ConnectionClosed):
        while True:
            yield await socket.recv()


# the handshake


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("query", ["?vsn=2.0.0", "?vsn=2.1.3", "?token=x&vsn=2.0.0"])
async def test_version_two_of_the_protocol_is_spoken(shared: Served, query: str) -> None:
    async with shared.socket(query) as socket:
        assert ok(await talk(socket, None, "9", "phoenix", "heartbeat", {})) == {}


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("query", ["", "?vsn=1.0.0", "?vsn=3.0.0", "?vsn=2", "?vsn=", "?vsn=1.0.0&vsn=2.0.0"])
async def test_another_version_is_refused_at_the_handshake(shared: Served, query: str) -> None:
    with pytest.raises(InvalidStatus) as answer:
        await shared.socket(query)
    assert answer.value.response.status_code == 403
    await until(lambda: hub_viewers(shared) == 0)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "http://127.0.0.1:1",
        "http://127.0.0.1",
        "null",
        "http://[",
        "http://{host}.evil.example",
        "http://evil.example/{host}",
        "http://evil.example?{host}",
        "http://{host}@evil.example",
    ],
)
async def test_a_page_of_another_origin_is_refused(shared: Served, origin: str) -> None:
    with pytest.raises(InvalidStatus) as answer:
        await shared.socket(origin=origin.replace("{host}", f"127.0.0.1:{shared.port}"))
    assert answer.value.response.status_code == 403


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("origin", ["http://127.0.0.1:{port}", "https://127.0.0.1:{port}", None])
async def test_our_own_page_and_programs_without_an_origin_are_let_in(
    shared: Served, origin: str | None
) -> None:
    async with shared.socket(origin=origin and origin.format(port=shared.port)) as socket:
        ok(await talk(socket, *JOIN))


@pytest.mark.asyncio(loop_scope="module")
async def test_a_socket_elsewhere_is_refused(shared: Served) -> None:
    with pytest.raises(InvalidStatus) as answer:
        await shared.socket("/nowhere?vsn=2.0.0")
    assert answer.value.response.status_code == 403


@pytest.mark.asyncio(loop_scope="module")
async def test_the_sub_protocol_that_phoenix_asks_for_is_chosen(shared: Served) -> None:
    offered: Any = ["phoenix", "base64url.bearer.phx.YWJj"]
    async with shared.socket(subprotocols=offered) as socket:
        assert socket.subprotocol == "phoenix"
        ok(await talk(socket, *JOIN))


# joining


async def test_a_join_is_answered_with_a_snapshot_and_diffs_follow_it(server: Served) -> None:
    async with server.socket() as socket:
        reply = await talk(socket, *JOIN)
        assert reply[:4] == ["1", "1", TOPIC, "phx_reply"]
        snapshot = ok(reply)
        assert snapshot["version"] >= 1
        assert snapshot["state"]["totals"]["events"]["count"] == 0
        await server.send({"type": "a", "value": 1}, {"type": "b"})
        version, state = snapshot["version"], snapshot["state"]
        while state["totals"]["events"]["count"] < 2:
            change = await next_diff(socket)
            assert (change["from"], change["version"]) == (version, version + 1)
            assert change["epoch"] == snapshot["epoch"]
            version, state = change["version"], apply(state, change["patch"])
        assert {name: one["count"] for name, one in state["types"].items()} == {"a": 1, "b": 1}


async def test_every_viewer_is_sent_the_same_diff(server: Served) -> None:
    async with server.socket() as one, server.socket() as other:
        ok(await talk(one, *JOIN))
        ok(await talk(other, *JOIN))
        await server.send({"type": "a"})
        changes = {change["version"]: change for change in [await next_diff(one) for _ in range(3)]}
        for _ in range(3):
            change = await next_diff(other)
            assert changes.get(change["version"], change) == change


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("topic", ["event", "dashboard:nothing", "dashboard", "x", "é" * 100])
async def test_an_unknown_topic_is_refused_by_name_of_what_there_is(shared: Served, topic: str) -> None:
    async with shared.socket() as socket:
        why = refused(await talk(socket, "1", "1", topic, "phx_join", {}))
        assert why["code"] == "unknown_topic"
        assert TOPIC in why["reason"]
        ok(await talk(socket, *JOIN))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(
    "params",
    [{"range": "2m"}, {"range": []}, {"from": "x"}, {"from": 10**30, "to": 10**31}, [], "x", 5, None],
)
async def test_bad_parameters_are_refused_and_the_socket_lives_on(shared: Served, params: Any) -> None:
    async with shared.socket() as socket:
        why = refused(await talk(socket, "1", "1", TOPIC, "phx_join", params))
        assert why["code"] == "bad_params"
        assert "xpected" in why["reason"]
        await until(lambda: hub_viewers(shared) == 0)
        ok(await talk(socket, "2", "2", TOPIC, "phx_join", {}))


async def test_a_view_that_cannot_be_read_is_refused_and_can_be_joined_later(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    from streamgauge.errors import StoreError

    def broken(*_: Any, **__: Any) -> None:
        raise StoreError("the disk is gone")

    async with server.socket() as socket:
        with monkeypatch.context() as for_a_while:
            for_a_while.setattr(server.app.engine.store, "read", broken)
            assert refused(await talk(socket, *JOIN))["code"] == "unavailable"
        ok(await talk(socket, "2", "2", TOPIC, "phx_join", {}))


async def test_joining_again_closes_the_first_join_and_shows_the_new_range(server: Served) -> None:
    async with server.socket() as socket:
        ok(await talk(socket, *JOIN))
        await socket.send(msgspec.json.encode(["7", "7", TOPIC, "phx_join", {"range": "1h"}]).decode())
        frames: list[Frame] = []
        while not frames or frames[-1][3] != "phx_reply":
            frames.append(await receive(socket))
        told = [frame for frame in frames if frame[3] != "diff"]
        assert told[0] == ["1", "1", TOPIC, "phx_close", {}]
        assert ok(told[-1])["state"]["range"]["preset"] == "1h"
        assert hub_viewers(server) == 1


async def test_leaving_ends_the_diffs_and_the_socket_lives_on(server: Served) -> None:
    async with server.socket() as socket:
        ok(await talk(socket, *JOIN))
        ok(await talk(socket, "1", "2", TOPIC, "phx_leave", {}))
        assert await receive(socket) == ["1", "1", TOPIC, "phx_close", {}]
        assert hub_viewers(server) == 0
        await server.send({"type": "a"})
        assert ok(await talk(socket, None, "3", "phoenix", "heartbeat", {})) == {}
        ok(await talk(socket, "4", "4", TOPIC, "phx_join", {}))
        assert hub_viewers(server) == 1


@pytest.mark.asyncio(loop_scope="module")
async def test_leaving_what_was_never_joined_is_fine(shared: Served) -> None:
    async with shared.socket() as socket:
        ok(await talk(socket, "1", "2", TOPIC, "phx_leave", {}))


async def test_a_push_is_refused_with_a_reply_not_with_silence(server: Served) -> None:
    async with server.socket() as socket:
        ok(await talk(socket, *JOIN))
        why = refused(await talk(socket, "1", "2", TOPIC, "new_event", {"type": "a"}))
        assert why["code"] == "unknown_event"
        assert "new_event" in why["reason"]


@pytest.mark.asyncio(loop_scope="module")
async def test_a_push_to_what_is_not_joined_is_refused(shared: Served) -> None:
    async with shared.socket() as socket:
        refused(await talk(socket, "1", "2", TOPIC, "new_event", {}))


async def test_frames_that_are_not_of_the_protocol_are_answered_and_then_end_the_socket(
    server: Served,
) -> None:
    async with server.socket() as socket:
        await socket.send("not json")
        assert (await receive(socket))[4]["status"] == "error"
        for _ in range(10):
            await socket.send(b"\x09")
        assert await closed_with(socket) == 1008


# ends


async def test_a_browser_that_goes_is_no_viewer_any_more(server: Served) -> None:
    async with server.socket() as socket:
        ok(await talk(socket, *JOIN))
        assert hub_viewers(server) == 1
    await until(lambda: hub_viewers(server) == 0)


async def test_a_browser_that_vanishes_is_no_viewer_any_more(server: Served) -> None:
    socket = await server.socket()
    ok(await talk(socket, *JOIN))
    socket.transport.abort()
    await server.send({"type": "a"})
    await until(lambda: hub_viewers(server) == 0)


async def vanish(server: Served, after: str) -> None:
    """Connect, get so far, and be gone without a word."""
    if after == "half a handshake":
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: localhost\r\nUpgrade: webso")
        await writer.drain()
        writer.transport.abort()
        return
    socket = await server.socket()
    if after != "a handshake":
        await socket.send(msgspec.json.encode(JOIN).decode())
    if after in ("a join", "a diff"):
        ok(await receive(socket))
    if after == "a diff":
        await server.send({"type": "a"})
        await receive(socket)
    socket.transport.abort()


async def test_browsers_that_vanish_at_any_moment_leave_nothing_behind(server: Served) -> None:
    def held() -> tuple[int, int]:
        return len(asyncio.all_tasks()), sum(1 for _ in Path("/proc/self/fd").iterdir())

    moments = ["half a handshake", "a handshake", "a request to join", "a join", "a diff"]
    for moment in moments:  # once, so that whatever is made once is there
        await vanish(server, moment)
    await until(lambda: hub_viewers(server) == 0)
    before = held()
    for _ in range(trials(10, 300)):
        await asyncio.gather(*(vanish(server, moment) for moment in moments))
    await until(lambda: hub_viewers(server) == 0)
    await until(lambda: all(now <= then for now, then in zip(held(), before, strict=True)))


async def test_a_socket_without_heartbeats_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    def impatient(hub: Any, source: Any, limits: SocketLimits) -> SocketEndpoint:
        return SocketEndpoint(hub, source, replace(limits, idle_s=0.05))

    monkeypatch.setattr("streamgauge.app.SocketEndpoint", impatient)
    async with serving() as server, server.socket() as socket:
        ok(await talk(socket, *JOIN))
        assert await closed_with(socket) == 1001
        await until(lambda: hub_viewers(server) == 0)


async def test_a_viewer_that_the_hub_gives_up_is_closed_and_can_come_back(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a bug")

    async with server.socket() as socket:
        ok(await talk(socket, *JOIN))
        with monkeypatch.context() as for_a_while:
            for_a_while.setattr("streamgauge.live.view.View.figures", broken)
            await server.send({"type": "a"})
            assert await closed_with(socket) == 1011
    async with server.socket() as socket:
        assert ok(await talk(socket, *JOIN))["state"]["totals"]["events"]["count"] == 1


async def test_viewers_are_told_when_the_server_drains_and_closed_so_that_they_come_back() -> None:
    async with serving() as server:
        socket = await server.socket()
        ok(await talk(socket, *JOIN))
        server.app.hub.announce("draining", {"retry_ms": 1000})
        while (frame := await receive(socket))[3] != "draining":
            pass
        assert frame[4] == {"retry_ms": 1000}
    assert await closed_with(socket) == 1012


# viewers that do not read


async def test_a_viewer_that_does_not_read_is_skipped_and_then_shown_the_newest_state(
    server: Served,
) -> None:
    """Padding fills the connection for as long as the viewer does not read."""
    hub = server.app.hub
    async with server.socket(max_queue=1, max_size=None) as slow, server.socket() as quick:
        ok(await talk(slow, *JOIN))
        [viewer] = next(iter(hub._channels.values())).viewers
        filling = asyncio.create_task(_fill(viewer))
        await until(lambda: hub.behind == 1)
        ok(await talk(quick, *JOIN))
        await server.send({"type": "a"})
        while ["set", ["total_events"], 1] not in (await next_diff(quick))["patch"]:
            pass  # the quick one is told all the while
        assert hub.behind == 1
        filling.cancel()
        told: list[Frame] = []
        while not told or told[-1][3] != "snapshot":
            told.append(await receive(slow))
        newest = told[-1][4]
        assert newest["state"]["totals"]["events"]["count"] == 1
        assert [
            frame for frame in told if frame[3] == "diff" and frame[4]["version"] >= newest["version"]
        ] == []
        assert (await next_diff(slow))["from"] == newest["version"]


async def _fill(viewer: Watcher) -> None:
    padding = encode_broadcast(TOPIC, "padding", msgspec.json.encode("x" * 2**16))
    while True:
        viewer.send(padding)
        await asyncio.sleep(0)
