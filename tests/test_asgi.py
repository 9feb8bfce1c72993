"""A Streamgauge inside somebody else's ASGI application: everything works below its prefix, whatever loop it runs on."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from mounted_tools import PREFIX, behind_middleware, hosted, in_fastapi, in_litestar, in_starlette
from streamgauge import Streamgauge, StreamgaugeError
from web_tools import WAIT_S, ok, receive, talk, until

START_S = 1_700_000_000
HOSTS = pytest.mark.parametrize("host", [in_starlette, in_fastapi, in_litestar, behind_middleware])


def event(number: int, kind: str = "a") -> dict[str, Any]:
    return {"type": kind, "timestamp": START_S + number % 100, "value": number}


class Mounted:
    """A host that is being served, with a Streamgauge in it."""

    def __init__(self, gauge: Streamgauge, port: int, http: httpx.AsyncClient) -> None:
        self.gauge, self.port, self.http = gauge, port, http

    def socket(self) -> connect:
        address = f"ws://127.0.0.1:{self.port}{PREFIX}/socket/websocket?vsn=2.0.0"
        return connect(address, proxy=None, compression=None)

    async def count(self) -> int:
        answer = await self.http.get(f"{PREFIX}/api/metrics/events", params={"from": "all"})
        assert answer.status_code == 200, answer.text
        return sum(series["totals"]["count"] for series in answer.json()["series"])


@asynccontextmanager
async def mounted(
    host: Callable[[Any], Any] = in_starlette, data: Path | None = None, *, lifespan: str = "off"
) -> AsyncIterator[Mounted]:
    gauge = Streamgauge(data=data)
    try:
        async with (
            hosted(host(gauge.asgi()), lifespan=lifespan) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=30.0) as http,
        ):
            yield Mounted(gauge, port, http)
    finally:
        await asyncio.to_thread(gauge.close)


class TestMounted:
    @HOSTS
    async def test_events_that_are_sent_below_the_prefix_are_counted(
        self, host: Callable[[Any], Any]
    ) -> None:
        async with mounted(host) as there:
            sent = await there.http.post(f"{PREFIX}/api/events", json=[event(1), event(2), {"value": 3}])
            assert (sent.status_code, sent.json()["accepted"], sent.json()["rejected"]) == (202, 2, 1)
            assert await there.count() == 2
            assert (await there.http.get("/")).text.strip('"') == "hello"

    @HOSTS
    async def test_the_page_and_all_that_it_names_are_below_the_prefix(
        self, host: Callable[[Any], Any]
    ) -> None:
        async with mounted(host) as there:
            moved = await there.http.get(PREFIX)
            assert moved.status_code in {301, 302, 307, 308}
            assert moved.headers["location"].endswith(f"{PREFIX}/")
            page = await there.http.get(f"{PREFIX}/")
            assert page.status_code == 200
            assert 'src="/' not in page.text
            assert 'href="/' not in page.text
            for path in (
                "dashboard/main.js",
                "dashboard/vendor/phoenix.mjs",
                "docs",
                "openapi.json",
                "healthz",
            ):
                assert (await there.http.get(f"{PREFIX}/{path}")).status_code == 200, path
            assert "href='/" not in (await there.http.get(f"{PREFIX}/docs")).text
            missing = await there.http.get(f"{PREFIX}/nothing")
            assert missing.status_code == 404
            slash = await there.http.get(f"{PREFIX}/docs/")
            assert slash.headers["location"].endswith(f"{PREFIX}/docs")

    @HOSTS
    async def test_a_viewer_sees_what_is_pushed_from_python(self, host: Callable[[Any], Any]) -> None:
        async with mounted(host) as there, there.socket() as viewer:
            params = {"from": START_S * 1000, "to": (START_S + 100) * 1000}
            ok(await talk(viewer, "1", "1", "dashboard:overview", "phx_join", params))
            await asyncio.to_thread(there.gauge.push_events, [event(i, "pushed kind") for i in range(10)])
            async with asyncio.timeout(WAIT_S):
                while "pushed kind" not in str(await receive(viewer)):
                    pass

    @HOSTS
    async def test_events_can_be_pushed_over_the_socket(self, host: Callable[[Any], Any]) -> None:
        async with mounted(host) as there:
            async with there.socket() as sender:
                ok(await talk(sender, "1", "1", "events", "phx_join", {}))
                answers = await asyncio.gather(
                    talk(sender, "1", "2", "events", "new_events", {"events": [event(1), event(2)]})
                )
                assert ok(answers[0])["accepted"] == 2
            assert await there.count() == 2

    async def test_a_large_body_and_many_requests_at_once_are_whole(self) -> None:
        async with mounted() as there:
            large = [{**event(i), "text": "x" * 200} for i in range(20_000)]
            sent = await there.http.post(f"{PREFIX}/api/events", json=large)
            assert sent.json() == {"accepted": 20_000}
            many = [there.http.post(f"{PREFIX}/api/events", json=event(i)) for i in range(200)]
            assert {answer.status_code for answer in await asyncio.gather(*many)} == {202}
            assert await there.count() == 20_200

    async def test_a_body_that_is_announced_too_large_is_told_so_and_not_to_come_back(self) -> None:
        head = f"POST {PREFIX}/api/events HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999999\r\n\r\n"
        async with mounted() as there:
            reader, writer = await asyncio.open_connection("127.0.0.1", there.port)
            writer.write(head.encode())
            async with asyncio.timeout(WAIT_S):
                assert await reader.readline() == b"HTTP/1.1 413 Request Entity Too Large\r\n"
            writer.close()

    async def test_it_starts_with_the_first_request_and_not_before(self, tmp_path: Path) -> None:
        async with mounted(data=tmp_path / "data") as there:
            assert there.gauge._engine is None
            assert not (tmp_path / "data").exists()
            first = [there.http.get(f"{PREFIX}/readyz") for _ in range(10)]
            assert {answer.status_code for answer in await asyncio.gather(*first)} == {200}
            assert sum(thread.name == "streamgauge" for thread in threading.enumerate()) == 1

    async def test_what_was_pushed_before_the_first_request_is_on_its_pages(self) -> None:
        async with mounted() as there:
            await there.gauge.push_events_async([event(1), event(2)])
            assert await there.count() == 2

    async def test_events_outlive_the_host(self, tmp_path: Path) -> None:
        for expected in (1, 2):
            async with mounted(data=tmp_path / "data") as there:
                assert (await there.http.post(f"{PREFIX}/api/events", json=event(1))).status_code == 202
                assert await there.count() == expected

    async def test_a_sender_who_leaves_in_the_middle_does_no_harm(self) -> None:
        async with mounted() as there:
            await there.http.get(f"{PREFIX}/readyz")
            for _ in range(5):
                _, writer = await asyncio.open_connection("127.0.0.1", there.port)
                writer.write(
                    f"POST {PREFIX}/api/events HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{{".encode()
                )
                await writer.drain()
                writer.close()
                await writer.wait_closed()
            assert there.gauge._inside is not None
            serving = there.gauge._inside._serving
            assert (await there.http.post(f"{PREFIX}/api/events", json=event(1))).status_code == 202
            await until(lambda: not serving)
            assert await there.count() == 1


async def code_of_the_end(viewer: ClientConnection) -> int | None:
    """Read until the connection is closed, and give the code with which it was."""
    try:
        while True:
            await receive(viewer)
    except ConnectionClosed as closed:
        return None if closed.rcvd is None else int(closed.rcvd.code)


class TestEnding:
    async def test_closing_ends_sockets_and_refuses_what_comes_after(self) -> None:
        async with mounted() as there:
            async with there.socket() as viewer:
                ok(await talk(viewer, "1", "1", "dashboard:overview", "phx_join", {"range": "5m"}))
                await asyncio.to_thread(there.gauge.close)
                assert await code_of_the_end(viewer) == 1012
            late = await there.http.post(f"{PREFIX}/api/events", json=event(1))
            assert late.status_code == 503
            assert "it was closed" in late.json()["detail"]

    async def test_closing_from_the_hosts_own_loop_does_not_lock_up(self) -> None:
        async with mounted() as there, there.socket() as viewer:
            ok(await talk(viewer, "1", "1", "dashboard:overview", "phx_join", {"range": "5m"}))
            there.gauge.close()
            assert await code_of_the_end(viewer) == 1012

    async def test_as_a_whole_application_it_lives_as_long_as_its_host(self, tmp_path: Path) -> None:
        gauge = Streamgauge(data=tmp_path / "data")
        async with hosted(gauge.asgi(), lifespan="on") as port:
            assert gauge._inside is not None
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
                assert (await http.post("/api/events", json=event(1))).status_code == 202
                assert (await http.get("/")).status_code == 200
        assert gauge._engine is None
        with Streamgauge(data=tmp_path / "data") as again:
            assert again.ledger()["stored"] == 1

    async def test_a_folder_that_has_an_owner_is_told_to_who_asks(self, tmp_path: Path) -> None:
        with Streamgauge(data=tmp_path / "data"):
            async with mounted(data=tmp_path / "data") as there:
                answer = await there.http.get(f"{PREFIX}/readyz")
                assert answer.status_code == 503
                assert "another process is using this data folder" in answer.json()["detail"]


class TestAwaiting:
    async def test_everything_can_be_awaited(self) -> None:
        async with Streamgauge() as gauge:
            await gauge.push_event_async(event(1))
            receipt = await gauge.push_events_async([event(2), {"value": 1}])
            assert (receipt.accepted, receipt.rejected) == (1, 1)
            [series] = await gauge.query_async("events", by="type", aggregates=["count", "sum"])
            assert series["totals"] == {"count": 2, "sum": 3.0}
            assert (await gauge.ledger_async())["received"] == 3
        with pytest.raises(StreamgaugeError, match="it was closed"):
            await gauge.push_event_async(event(3))

    async def test_many_tasks_can_push(self) -> None:
        async with Streamgauge() as gauge:

            async def push(first: int) -> None:
                for number in range(first, first + 2000):
                    await gauge.push_event_async(event(number))

            await asyncio.gather(*(push(2000 * i) for i in range(10)))
            [series] = await gauge.query_async("events", aggregates=["count"])
            assert series["totals"] == {"count": 20_000}
