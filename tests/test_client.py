"""The client library: every event that it takes is in the server once, whatever happens in between; or it is told."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from fake_server import FakeServer, Refusal
from server_process import ServerProcess
from streamgauge import AsyncClient, Client
from streamgauge.client import Counts, Undelivered
from streamgauge.errors import BufferFull, ClientClosed, OptionError, Saturated, UnwritableEvent
from web_tools import serving, until

StartServer = Callable[..., ServerProcess]

BY_ID = "SELECT CAST(event->>'$.id' AS INT) AS id FROM events ORDER BY id"
WAIT_S = 60.0


def event(number: int, **more: Any) -> dict[str, Any]:
    return {"type": "a", "id": number, "value": number, **more}


def ids(server: ServerProcess) -> list[int]:
    server.wait_until_committed()
    return [row[0] for row in server.ask(BY_ID)]


def refused_at(server: ServerProcess) -> int:
    """How many requests were too large so far."""
    text = server.client.get("/metrics").text
    found = re.findall(r"^streamgauge_protocol_refusals_total\{.*\} (\d+)", text, re.MULTILINE)
    return sum(map(int, found))


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as server:
        yield server


@pytest.fixture
def told() -> list[Undelivered]:
    return []


class TestSending:
    def test_events_arrive_in_the_order_of_their_pushing_in_batches(self, fake: FakeServer) -> None:
        with Client(fake.url, batch_events=100) as client:
            for number in range(250):
                client.push_event(event(number))
            client.push_events(event(number) for number in range(250, 1000))
        assert [one["id"] for one in fake.events] == list(range(1000))
        assert 10 <= len(fake.bodies) < 100
        assert client.counts() == Counts(pushed=1000, accepted=1000)

    def test_an_event_arrives_without_being_asked_for(self, fake: FakeServer) -> None:
        client = Client(fake.url, linger_s=0.001, batch_events=10)
        client.push_event(event(1))
        assert client._courier().wait(lambda: client._courier().is_settled(1), WAIT_S)
        assert [one["id"] for one in fake.events] == [1]
        client.close()

    def test_flush_does_not_wait_for_the_linger(self, fake: FakeServer) -> None:
        with Client(fake.url, linger_s=3600) as client:
            client.push_event(event(1))
            assert client.flush(WAIT_S)
            assert len(fake.events) == 1

    def test_an_event_may_be_changed_after_it_was_pushed(self, fake: FakeServer) -> None:
        with Client(fake.url, linger_s=60) as client:
            mine = event(1)
            client.push_event(mine)
            mine["id"] = 2
        assert fake.events[0]["id"] == 1

    def test_one_connection_is_kept_open(self, fake: FakeServer) -> None:
        with Client(fake.url) as client:
            for number in range(5):
                client.push_event(event(number))
                client.flush()
        assert (fake.requests, fake.connections) == (5, 1)

    def test_the_key_is_sent_as_a_bearer_token(self, fake: FakeServer) -> None:
        with Client(fake.url, "s3cret") as client:
            client.push_event(event(1))
        assert fake.headers[0]["authorization"] == "Bearer s3cret"

    def test_compressed_events_are_counted_like_others(self, start_server: StartServer) -> None:
        server = start_server()
        with Client(server.url, compress=True) as client:
            client.push_events(event(number) for number in range(2500))
        assert ids(server) == list(range(2500))

    def test_many_threads_can_push(self, fake: FakeServer) -> None:
        with Client(fake.url, buffer_events=500, batch_events=50) as client:

            def push(first: int) -> None:
                for number in range(first, first + 500):
                    client.push_event(event(number))

            threads = [threading.Thread(target=push, args=(500 * i,)) for i in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(one["id"] for one in fake.events) == list(range(2000))


class TestAgain:
    def test_a_batch_is_repeated_with_its_key_and_the_waits_that_are_asked_for(
        self, fake: FakeServer
    ) -> None:
        fake.answers = [Refusal(headers={"Retry-After": "1"}), Refusal(status=500), None]
        began = time.monotonic()
        with Client(fake.url) as client:
            client.push_events([event(1), event(2)])
            assert client.flush(WAIT_S)
            client.push_event(event(3))
        assert time.monotonic() - began >= 1.0
        assert [one["id"] for one in fake.events] == [1, 2, 3]
        keys = [headers["idempotency-key"] for headers in fake.headers]
        assert keys[0] == keys[1] == keys[2] != keys[3]
        assert client.counts() == Counts(pushed=3, accepted=3, retries=2)

    def test_a_connection_that_breaks_under_a_request_does_not_count_it_twice(self, fake: FakeServer) -> None:
        fake.answers = [None, Refusal(hang_up=True), Refusal(hang_up=True), None]
        with Client(fake.url) as client:
            client.push_event(event(1))
            assert client.flush(WAIT_S)
            client.push_event(event(2))
        assert [one["id"] for one in fake.events] == [1, 2]
        assert len({headers["idempotency-key"] for headers in fake.headers}) == 2

    @pytest.mark.parametrize("status", [401, 404])
    def test_what_will_never_succeed_is_told_and_does_not_hold_up_the_rest(
        self, status: int, fake: FakeServer, told: list[Undelivered]
    ) -> None:
        fake.answers = [Refusal(status=status, body=b'{"detail": "not you"}'), None]
        with Client(fake.url, on_error=told.append) as client:
            client.push_events([event(1), event(2)])
            client.flush()
            client.push_event(event(3))
        assert told == [Undelivered(events=2, reason=f"answered {status}: not you", status=status)]
        assert client.counts() == Counts(pushed=3, accepted=1, undelivered=2)

    def test_what_is_too_much_at_once_is_sent_in_smaller_batches_from_then_on(
        self, start_server: StartServer, told: list[Undelivered]
    ) -> None:
        server = start_server(configuration='[limits]\nbody_bytes = "16KiB"\n')
        large = event(1000, text="x" * 20_000)
        with Client(server.url, on_error=told.append) as client:
            client.push_events([*(event(number) for number in range(1000)), large])
            assert client.flush(WAIT_S)
            requests = refused_at(server)
            assert requests > 0
            client.push_events(event(number) for number in range(2000, 2500))
        assert refused_at(server) == requests
        assert ids(server) == [*range(1000), *range(2000, 2500)]
        [problem] = told
        assert (problem.events, problem.status) == (1, 413)
        assert client.counts() == Counts(pushed=1501, accepted=1500, undelivered=1)

    def test_a_batch_of_which_nobody_knows_what_became_is_not_sent_in_other_batches(
        self, fake: FakeServer, told: list[Undelivered]
    ) -> None:
        hang_up = Refusal(hang_up=True)
        fake.answers = [hang_up, hang_up, Refusal(status=413, body=b"too large")]
        with Client(fake.url, on_error=told.append) as client:
            client.push_events([event(1), event(2)])
        assert [(problem.events, problem.status) for problem in told] == [(2, 413)]
        assert fake.events == []

    def test_events_that_the_server_rejects_are_given_back_with_its_reasons(
        self, start_server: StartServer, told: list[Undelivered]
    ) -> None:
        server = start_server()
        with Client(server.url, on_error=told.append) as client:
            client.push_events([event(0), {"id": 1}, event(2, value="much")])
            client.flush()
            client.push_event({"id": 3})
        assert ids(server) == [0]
        first, second = told
        assert [(json.loads(line)["id"], why) for line, why in first.rejected] == [
            (1, "no `type`"), (2, 'value: expected a number, got "much"'),
        ]  # fmt: skip
        assert "2 of 3 events rejected; the first: no `type`" in first.reason
        assert [json.loads(line) for line, _ in second.rejected] == [{"id": 3}]
        assert client.counts() == Counts(pushed=4, accepted=1, rejected=3)

    def test_a_batch_is_given_up_after_the_time_for_it(
        self, fake: FakeServer, told: list[Undelivered]
    ) -> None:
        fake.answers = [Refusal(), None]
        with Client(fake.url, retry_s=0, on_error=told.append) as client:
            client.push_event(event(1))
            client.flush()
            client.push_event(event(2))
        assert told == [
            Undelivered(
                events=1, reason="given up after 1 attempts; the last: answered 503: no room", status=503
            )
        ]
        assert [one["id"] for one in fake.events] == [2]

    def test_a_callback_that_fails_is_logged_and_costs_nothing_else(
        self, fake: FakeServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        fake.answers = [Refusal(status=404), None]
        with caplog.at_level(logging.ERROR), Client(fake.url, on_error=lambda problem: 1 / 0) as client:  # type: ignore[arg-type]
            client.push_event(event(1))
            client.flush()
            client.push_event(event(2))
        assert [one["id"] for one in fake.events] == [2]
        assert "on_error failed" in caplog.text
        assert "1 events were not accepted: answered 404" in caplog.text


class TestFull:
    def test_pushing_waits_for_room_and_not_for_the_linger(self, fake: FakeServer) -> None:
        with Client(fake.url, buffer_events=10, linger_s=3600, wait_s=WAIT_S) as client:
            client.push_events(event(number) for number in range(35))
        assert [one["id"] for one in fake.events] == list(range(35))

    def test_pushing_says_so_when_no_room_comes_and_has_taken_nothing_of_it(self, fake: FakeServer) -> None:
        fake.answers = [Refusal() for _ in range(1000)]
        client = Client(fake.url, buffer_events=10, wait_s=0.05, exit_s=0)
        client.push_events(event(number) for number in range(10))
        with pytest.raises(BufferFull, match=r"1 events found no room within 0\.05 s"):
            client.push_event(event(10))
        with pytest.raises(BufferFull) as full:
            client.push_events([event(10), event(11)])
        assert (full.value.taken, full.value.left) == (0, 2)
        assert client.counts().pushed == 10
        fake.answers.clear()
        assert client.flush(WAIT_S)
        client.push_events(event(number) for number in range(10, 20))
        client.close(WAIT_S)
        assert [one["id"] for one in fake.events] == list(range(20))

    def test_it_drops_and_counts_where_it_is_told_to(self, fake: FakeServer) -> None:
        fake.answers = [Refusal()]
        with Client(fake.url, buffer_bytes=200, when_full="drop") as client:
            client.push_events(event(number) for number in range(100))
            counts = client.counts()
            assert counts.pushed + counts.dropped == 100
            assert counts.dropped > 90
        assert [one["id"] for one in fake.events] == list(range(counts.pushed))

    @pytest.mark.parametrize(
        ("bad", "says"),
        [
            ({"type": object()}, "event 1: cannot be written as JSON"),
            ({"type": "\ud800"}, "event 1: cannot be written as JSON"),
            (["type", "a"], "event 1: expected an object, got list"),
            ({"type": "x" * 5000}, "event 1: .* more than the whole buffer"),
        ],
    )
    def test_an_event_that_cannot_be_sent_is_told_at_once_and_nothing_of_its_batch_is_taken(
        self, bad: Any, says: str, fake: FakeServer
    ) -> None:
        with Client(fake.url, buffer_bytes=2000) as client, pytest.raises(UnwritableEvent, match=says):
            client.push_events([event(1), bad])
        assert fake.requests == 0


class TestEnding:
    def test_after_closing_it_takes_nothing(self, fake: FakeServer) -> None:
        client = Client(fake.url)
        client.push_event(event(1))
        client.close()
        client.close()
        with pytest.raises(ClientClosed, match="was closed; make another"):
            client.push_event(event(2))
        assert len(fake.events) == 1

    def test_closing_before_the_first_event_is_harmless(self, fake: FakeServer) -> None:
        client = Client(fake.url)
        client.close()
        with pytest.raises(ClientClosed):
            client.push_event(event(1))
        assert client.counts() == Counts()

    def test_closing_reports_what_it_could_not_send(self, fake: FakeServer, told: list[Undelivered]) -> None:
        fake.answers = [Refusal() for _ in range(1000)]
        client = Client(fake.url, batch_events=2, on_error=told.append)
        client.push_events(event(number) for number in range(5))
        client.close(0.05)
        assert sum(problem.events for problem in told) == 5
        assert client.counts() == Counts(pushed=5, undelivered=5, retries=client.counts().retries)

    def test_no_thread_is_left(self, fake: FakeServer) -> None:
        before = set(threading.enumerate())
        with Client(fake.url) as client:
            client.push_event(event(1))
        assert [
            one for one in threading.enumerate() if one.name == "streamgauge client" and one not in before
        ] == []

    def test_a_client_that_is_forgotten_sends_what_it_has_and_ends(self, fake: FakeServer) -> None:
        client = Client(fake.url, linger_s=3600)
        client.push_event(event(1))
        courier = client._courier()
        thread = courier._thread
        assert thread is not None
        del client
        thread.join(WAIT_S)
        assert not thread.is_alive()
        assert [one["id"] for one in fake.events] == [1]

    @pytest.mark.parametrize(
        ("choice", "says"),
        [
            ({"url": "ftp://somewhere"}, "url: no server's address: 'ftp://somewhere'"),
            ({"url": "http://host:port"}, "url: no server's address"),
            ({"key": "two words"}, "key: has characters"),
            ({"batch_events": 0}, "batch_events: .*>= 1.*got 0"),
            ({"linger_s": "soon"}, "linger_s: .*got 'soon'"),
            ({"when_full": "panic"}, "when_full: .*got 'panic'"),
            ({"on_error": 3}, "on_error: cannot be called: 3"),
        ],
    )  # fmt: skip
    def test_bad_choices_are_told_at_once(self, choice: dict[str, Any], says: str) -> None:
        with pytest.raises(OptionError, match=says):
            Client(**choice)


def program(text: str, url: str, *, timeout_s: float = WAIT_S) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", dedent(text), url],
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout_s,
    )


class TestProcesses:
    def test_a_program_that_ends_without_closing_has_sent_everything(self, fake: FakeServer) -> None:
        done = program(
            """
            import sys
            from streamgauge import Client
            client = Client(sys.argv[1], linger_s=3600)
            for number in range(2500):
                client.push_event({"type": "a", "id": number})
            """,
            fake.url,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert [one["id"] for one in fake.events] == list(range(2500))

    def test_a_program_ends_in_time_also_where_no_server_answers(self) -> None:
        with FakeServer() as gone:
            url = gone.url
        done = program(
            """
            import logging, sys
            from streamgauge import Client
            logging.basicConfig()
            client = Client(sys.argv[1], exit_s=0.2)
            client.push_event({"type": "a"})
            """,
            url,
        )
        assert done.returncode == 0
        assert "1 events were not accepted: closed before it was taken" in done.stderr
        assert "cannot be reached: Connection refused" in done.stderr

    @pytest.mark.parametrize("way", ["fork", "multiprocessing"])
    def test_a_forked_process_sends_its_own_events_and_none_of_its_parents(
        self, way: str, start_server: StartServer
    ) -> None:
        server = start_server()
        done = program(
            f"""
            import multiprocessing, os, sys, warnings
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads, from Python 3.12 on
            from streamgauge import Client
            client = Client(sys.argv[1], linger_s=3600)
            client.push_events({{"type": "a", "id": number}} for number in range(10))

            def child():
                assert client.counts().pushed == 0
                client.push_events({{"type": "a", "id": number}} for number in range(10, 30))

            if "{way}" == "fork":
                if (pid := os.fork()) == 0:
                    child()
                    sys.exit(0)
                assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
            else:
                process = multiprocessing.get_context("fork").Process(target=child)
                process.start()
                process.join()
                assert process.exitcode == 0
            client.push_events({{"type": "a", "id": number}} for number in range(30, 40))
            client.close()
            assert client.counts().accepted == 20
            """,
            server.url,
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert ids(server) == list(range(40))

    def test_importing_it_does_not_import_the_engine(self) -> None:
        done = program(
            """
            import sys
            from streamgauge import AsyncClient, Client
            print(*sorted(name for name in sys.modules if name in {"numpy", "duckdb", "sqlglot", "starlette"}
                          or name in {"streamgauge.embedded", "streamgauge.engine"}))
            """,
            "",
        )
        assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "", "")


class TestWithAServer:
    async def test_events_outlast_a_server_that_is_saturated_for_a_while(self) -> None:
        async with serving() as served:
            intake = served.app.engine.intake
            accept, refusals = intake.accept_once, iter(range(3))

            async def refuse(*arguments: Any, **named: Any) -> Any:
                if next(refusals, None) is not None:
                    raise Saturated("no room", 0.01)
                return await accept(*arguments, **named)

            intake.accept_once = refuse  # type: ignore[method-assign]  # it passes on what it is given
            async with AsyncClient(f"http://127.0.0.1:{served.port}", batch_events=500) as client:
                await client.push_events(event(number) for number in range(1200))
                assert await client.flush(WAIT_S)
            assert client.counts() == Counts(pushed=1200, accepted=1200, retries=3)
            await served.commit()
            assert await served.ask("SELECT count(*), sum(value) FROM events") == [[1200, 719_400.0]]
            ledger = await served.get("/api/ledger")
            assert (ledger["received"], ledger["duplicate"]) == (1200, 0)

    async def test_an_answer_that_is_lost_does_not_count_events_twice(self) -> None:
        async with serving() as served:
            intake = served.app.engine.intake
            accept, losses = intake.accept_once, iter(range(2))

            async def lose(*arguments: Any, **named: Any) -> Any:
                receipt = await accept(*arguments, **named)
                if next(losses, None) is not None:
                    raise Saturated("accepted, but nobody is told", 0.01)
                return receipt

            intake.accept_once = lose  # type: ignore[method-assign]  # it passes on what it is given
            async with AsyncClient(f"http://127.0.0.1:{served.port}") as client:
                await client.push_events(event(number) for number in range(100))
            assert client.counts() == Counts(pushed=100, accepted=100, retries=2)
            await served.commit()
            assert await served.ask("SELECT count(*) FROM events") == [[100]]

    def test_a_server_that_is_started_again_in_between_has_every_event_once(
        self, start_server: StartServer, tmp_path: Path
    ) -> None:
        first = start_server()
        port = first.url.rpartition(":")[2]
        client = Client(first.url, batch_events=50, linger_s=0.001)
        pushed = threading.Event()

        def push() -> None:
            for number in range(5000):
                client.push_event(event(number))
                if number == 2500:
                    pushed.set()

        pushing = threading.Thread(target=push)
        pushing.start()
        assert pushed.wait(WAIT_S)
        first.kill()
        second = start_server("--port", port)
        pushing.join()
        assert client.flush(WAIT_S)
        counts = client.counts()
        client.close()
        assert (counts.accepted, counts.undelivered, counts.waiting) == (5000, 0, 0)
        assert ids(second) == list(range(5000))

    def test_events_pushed_while_there_is_no_server_arrive_when_there_is_one(
        self, start_server: StartServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        first = start_server()
        port = first.url.rpartition(":")[2]
        assert first.stop() == 0
        with caplog.at_level(logging.INFO), Client(first.url, wait_s=WAIT_S) as client:
            client.push_events(event(number) for number in range(100))
            second = start_server("--port", port)
            assert client.flush(WAIT_S)
        assert ids(second) == list(range(100))
        assert "events wait to be sent again" in caplog.text
        assert "cannot be reached: Connection refused" in caplog.text
        assert "events are taken again" in caplog.text


class TestAsync:
    async def test_the_loop_goes_on_while_a_push_waits_for_room(self, fake: FakeServer) -> None:
        fake.answers = [Refusal() for _ in range(1000)]
        client = AsyncClient(fake.url, buffer_events=10, wait_s=WAIT_S, linger_s=0)
        await client.push_events(event(number) for number in range(10))
        waiting = asyncio.create_task(client.push_events([event(10), event(11)]))
        await until(lambda: fake.requests >= 2)
        assert not waiting.done()
        fake.answers.clear()
        await waiting
        assert await client.flush(WAIT_S)
        await client.close()
        assert [one["id"] for one in fake.events] == list(range(12))

    async def test_it_says_when_no_room_comes_and_when_it_was_closed(self, fake: FakeServer) -> None:
        fake.answers = [Refusal() for _ in range(1000)]
        client = AsyncClient(fake.url, buffer_events=10, wait_s=0.01)
        await client.push_events(event(number) for number in range(10))
        with pytest.raises(BufferFull):
            await client.push_event(event(10))
        assert not await client.flush(0.01)
        assert client._courier()._listeners == set()
        await client.close(0.01)
        with pytest.raises(ClientClosed):
            await client.push_event(event(11))

    async def test_many_tasks_can_push(self, fake: FakeServer) -> None:
        async with AsyncClient(fake.url, buffer_events=50, batch_events=20) as client:
            await asyncio.gather(*(client.push_event(event(number)) for number in range(1000)))
        assert sorted(one["id"] for one in fake.events) == list(range(1000))
