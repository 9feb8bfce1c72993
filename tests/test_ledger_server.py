"""The ledger of a running server: what is settled at the door outlives it, and what goes missing is noticed."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from server_process import ServerProcess
from web_tools import Served, serving, until

BAD = b'{"no": "type"}\n'
SOON = {"commit_interval": "50ms"}


def figure(text: str, name: str) -> float:
    """Give the sum of a metric's samples."""
    found = re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE)
    return sum(map(float, found))


def wait_for_commits(server: ServerProcess, more_than: float) -> float:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        commits = figure(server.client.get("/metrics").text, "streamgauge_store_write_seconds_count")
        if commits > more_than:
            return commits
    raise AssertionError("nothing was committed")


def test_what_was_only_rejected_outlives_a_crash_once_it_was_committed(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server()
    assert server.post(BAD * 3).status_code == 422
    wait_for_commits(server, 0)
    before = server.get("/api/ledger")
    assert (before["received"], before["rejected"], before["pending"]) == (3, 3, 0)
    server.kill()
    after = start_server().get("/api/ledger")
    assert after["sources"] == before["sources"]


def test_what_was_only_rejected_outlives_a_clean_stop_however_soon(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server(configuration='[store]\ncommit_interval = "1m"\n')
    assert server.post(BAD * 5).status_code == 422
    assert server.post(b"x", content_type="text/html").status_code == 415
    before = server.get("/api/ledger")
    assert server.stop() == 0
    assert start_server().get("/api/ledger")["sources"] == before["sources"]


async def test_the_ledger_is_committed_alone_once_and_not_for_ever(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", store=SOON) as served:
        engine = served.app.engine
        assert (await served.send({"no": "type"})).status_code == 422
        await until(lambda: engine.store.positions().get("0"))
        position = engine.store.positions()["0"]
        assert (position.epoch, position.last_seq) == (1, 0)
        assert position.ledger["http"]["rejected"] == 1
        await until(engine.committer._idle)
        await served.send({"type": "a"})
        await served.commit()
        assert engine.store.positions()["0"].epoch == 2  # and none in between
        assert (await served.http.post("/api/verify")).json()["ok"]


async def test_an_event_that_went_missing_is_shown_everywhere(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", store=SOON) as served:
        await served.send({"type": "a"})
        await served.commit()
        assert (await served.get("/api/ledger"))["imbalance"] == 0
        with capture_logs() as logs:
            served.app.engine.ledger.of("http").received += 3
            await until(lambda: served.app.engine.ledger.imbalance)
            served.app.engine.check_ledger()
        told = [line for line in logs if line["event"] == "the ledger does not balance"]
        assert [line["events"] for line in told] == [3]
        assert (await served.get("/api/ledger"))["imbalance"] == 3
        metrics = (await served.http.get("/metrics")).text
        assert figure(metrics, "streamgauge_ledger_imbalance") == 3
        report = (await served.http.post("/api/verify")).json()
        assert [one["kind"] for one in report["differences"]] == ["ledger"]


async def test_the_equation_holds_at_every_look_while_events_come_in(tmp_path: Path) -> None:
    async with serving(tmp_path / "data", store=SOON) as served:

        async def send() -> None:
            for _ in range(40):
                await served.send({"type": "a"}, {"type": "b", "value": "x"}, {"type": "c"})

        sending = [asyncio.create_task(send()) for _ in range(3)]
        while not all(task.done() for task in sending):
            served.app.engine.check_ledger()
            assert served.app.engine.ledger.imbalance == 0
            await asyncio.sleep(0)
        await asyncio.gather(*sending)
        await served.commit()
        row: dict[str, Any] = (await served.get("/api/ledger"))["sources"]["http"]
        assert (row["received"], row["stored"], row["rejected"], row["pending"]) == (360, 240, 120, 0)


async def ask_badly(served: Served, request: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(request)
    await writer.drain()
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"no http at all\r\n\r\n", b"400"),
    ],
    ids=["too many headers", "no HTTP"],
)
async def test_a_request_that_the_protocol_refuses_is_counted(request_: bytes, status: bytes) -> None:
    async with serving() as served:
        assert status in (await ask_badly(served, request_)).split(b"\r\n")[0]
        metrics = (await served.http.get("/metrics")).text
        assert figure(metrics, "streamgauge_protocol_refusals_total") == 1
