"""Replaying files: what the server gets, when it gets it, and what the user is told."""

from __future__ import annotations

import gzip
import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from command_line import run
from fake_server import FakeServer, Refusal
from server_process import ServerProcess
from streamgauge import replay as replaying
from streamgauge.event import FieldMapping
from streamgauge.event_files import Line, UnreadableFile
from streamgauge.remote import Address, RemoteError
from streamgauge.replay import Clock, Outcome, Pace, ReplayError, describe_range, page_address, replay
from streamgauge.replay_bodies import LINGER_S, Body, Gathering, Times

StartServer = Callable[..., ServerProcess]

NOW_US = 1_790_000_000_000_000
START_MS = 1_700_000_000_000
BY_ID = "SELECT CAST(event->>'$.id' AS INT) AS id FROM events ORDER BY id"


def event(number: int, **fields: Any) -> dict[str, Any]:
    return {"type": "a", "timestamp": START_MS + number * 1000, "id": number, **fields}


def ndjson(*events: Any) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in events)


class HandClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.passed_s = 0.0
        self.slept: list[float] = []

    def clock(self) -> Clock:
        return Clock(
            now_us=lambda: NOW_US + round(self.passed_s * 1e6),
            monotonic=lambda: self.passed_s,
            sleep=self.sleep,
        )

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.passed_s += seconds


@pytest.fixture
def hand() -> HandClock:
    return HandClock()


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def put(name: str, *events: Any, text: bytes = b"") -> str:
        (tmp_path / name).write_bytes(text or ndjson(*events))
        return str(tmp_path / name)

    return put


@pytest.fixture
def piped() -> Iterator[Callable[[ServerProcess], subprocess.Popen[bytes]]]:
    """Starts to send what will be written to its standard input."""
    started: list[subprocess.Popen[bytes]] = []

    def start(server: ServerProcess) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "streamgauge", "replay", "-", "--url", server.url]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(words, stdin=pipe, stdout=pipe, stderr=pipe))
        return started[-1]

    yield start
    for one in started:
        one.kill()
        one.communicate()


Write = Callable[..., str]


def send(
    fake: FakeServer,
    *names: str,
    hand: HandClock | None = None,
    fields: dict[str, str] | None = None,
    **pace: Any,
) -> Outcome:
    clock = (hand or HandClock()).clock()
    return replay(names, fake.url, fields=fields or {}, pace=Pace(**pace), clock=clock)


class TestWithAServer:
    def test_files_of_every_kind_arrive_whole_in_one_go(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        rows = "".join(f"a,{START_MS + i * 1000},{i}\n" for i in range(20, 30))
        write("a.ndjson", *map(event, range(10)))
        write("b.ndjson.gz", text=gzip.compress(ndjson(*map(event, range(10, 20)))))
        write("c.csv", text=f"type,timestamp,id\n{rows}".encode())
        write("d.ndjson.zst", text=zstandard.ZstdCompressor().compress(ndjson(*map(event, range(30, 40)))))
        write("e.json", text=json.dumps(list(map(event, range(40, 50)))).encode())
        names = ["a.ndjson", "b.ndjson.gz", "c.csv", "d.ndjson.zst", "e.json", "-"]
        given = ndjson(*map(event, range(50, 60)))
        done = run("replay", *names, "--url", server.url, folder=tmp_path, given=given)
        assert (done.code, done.err) == (0, "")
        assert "60 events accepted, 0 rejected" in done.out
        server.wait_until_committed()
        assert server.ask(BY_ID) == [[i] for i in range(60)]

    def test_events_with_ids_that_are_sent_again_are_said_to_have_come_before(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        write("a.ndjson", *[event(i, event_id=f"e{i}") for i in range(10)])
        write("b.ndjson", *[event(i, event_id=f"e{i}") for i in range(5, 12)])
        run("replay", "a.ndjson", "--url", server.url, folder=tmp_path)
        done = run("replay", "b.ndjson", "--url", server.url, folder=tmp_path)
        assert "2 events accepted, 0 rejected, 5 had come before" in done.out
        assert run("replay", "b.ndjson", "--url", server.url, folder=tmp_path).code == 0
        server.wait_until_committed()
        assert server.ask(BY_ID) == [[i] for i in range(12)]

    def test_the_printed_address_holds_the_range_of_the_data(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        write("a.ndjson", *map(event, [30, 0, 10]), event(5, value="bad"))
        done = run("replay", "a.ndjson", "--url", server.url, folder=tmp_path)
        assert "2023-11-14 22:13:20 to 2023-11-14 22:13:50 UTC" in done.out
        address = re.search(r"See them at (http\S+)", done.out)
        assert address is not None
        assert address[1] == f"{server.url}/?from={START_MS}&to={START_MS + 31_000}"
        assert server.client.get(address[1].replace("localhost", "127.0.0.1")).status_code == 200
        times = dict(part.split("=") for part in address[1].partition("?")[2].split("&"))
        [series] = server.get("/api/metrics/events", **times)["series"]
        assert series["totals"]["count"] == 3

    def test_fields_of_other_names_are_said_on_the_command_line(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        write("a.csv", text=b"kind,at,amount,who,key\n404,2026-01-31T12:00:00Z,2.5,007,k1\n")
        words = ["--type", "kind", "--timestamp", "at", "--value", "amount"]
        more = ["--user-id", "who", "--event-id", "key"]
        done = run("replay", "a.csv", *words, *more, "--url", server.url, folder=tmp_path)
        assert done.code == 0, done.err
        assert "2026-01-31 12:00:00 to 2026-01-31 12:00:00 UTC" in done.out
        server.wait_until_committed()
        rows = server.ask("SELECT type, value, user_id, event_id FROM events")
        assert rows == [["404", 2.5, "007", "k1"]]

    def test_a_wrong_field_says_what_the_server_says_and_which_option_helps(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        write("a.ndjson", {"event": "x", "ts": 1}, {"event": "y", "ts": 2})
        done = run("replay", "a.ndjson", "--url", server.url, folder=tmp_path)
        assert done.code == 2
        assert done.out == ""
        assert "a.ndjson, line 1: no `type`; did you mean to map `event`?" in done.err
        assert "has the fields `event`, `ts`. Try --type event" in done.err
        assert run("replay", "a.ndjson", "--type", "event", "--url", server.url, folder=tmp_path).code == 0

    def test_events_that_are_rejected_are_listed_and_do_not_cost_the_others(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        bad = [event(i, value="much") for i in range(1100, 1120)]
        write("a.ndjson", *map(event, range(1100)), *bad, *map(event, range(1120, 1130)))
        done = run("replay", "a.ndjson", "--url", server.url, folder=tmp_path)
        assert done.code == 0
        assert "1,110 events accepted, 20 rejected" in done.out
        assert '  a.ndjson, line 1,101: value: expected a number, got "much"' in done.out
        assert "the first 10 of 20" in done.out
        ledger = server.wait_until_committed()
        assert (ledger["stored"], ledger["rejected"]) == (1110, 20)

    def test_a_damaged_end_does_not_cost_what_came_before(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        write("a.ndjson", text=ndjson(*map(event, range(1000))) + b'{"type": "a", "val')
        done = run("replay", "a.ndjson", "--url", server.url, folder=tmp_path)
        assert done.code == 0
        assert "1,000 events accepted, 1 rejected" in done.out
        assert "a.ndjson, line 1,001: " in done.out

    def test_shifted_to_now_the_last_event_is_now_and_the_others_keep_their_distance(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        write("a.ndjson", *map(event, [0, 100, 7]), {"type": "a", "timestamp": "2023-11-14T22:13:21.000001Z"})
        done = run("replay", "a.ndjson", "--shift-to-now", "--url", server.url, folder=tmp_path)
        assert done.code == 0, done.err
        server.wait_until_committed()
        [[last_ms, span_us, micros]] = server.ask(
            "SELECT epoch_ms(max(time)), epoch_us(max(time)) - epoch_us(min(time)),"
            " count(DISTINCT epoch_us(time) % 10) FROM events"
        )
        [[received_ms]] = server.ask("SELECT epoch_ms(max(received_at)) FROM events")
        assert 0 <= received_ms - last_ms < 30_000
        assert span_us == 100_000_000
        assert micros == 2, "microseconds are kept"

    def test_csv_may_come_in_on_standard_input(self, start_server: StartServer, tmp_path: Path) -> None:
        server = start_server()
        given = gzip.compress(b"type,value\na,1\n")
        assert run("replay", "-", "--url", server.url, folder=tmp_path, given=given).code == 0
        server.wait_until_committed()
        assert server.ask("SELECT type, value FROM events") == [["a", 1.0]]


class TestStream:
    """What comes on standard input while it is being made."""

    def test_events_are_counted_although_no_more_come_for_the_moment(
        self, start_server: StartServer, piped: Callable[[ServerProcess], subprocess.Popen[bytes]]
    ) -> None:
        server = start_server()
        sending = piped(server)
        for number in range(3):
            _write(sending, event(number))
            _wait_for(server, number + 1, sending)
        out, _ = sending.communicate(timeout=60)
        assert out.decode().startswith("3 events accepted, 0 rejected")
        assert sending.returncode == 0
        server.wait_until_committed()
        assert server.ask(BY_ID) == [[0], [1], [2]]

    def test_ctrl_c_ends_it_with_what_was_accepted(
        self, start_server: StartServer, piped: Callable[[ServerProcess], subprocess.Popen[bytes]]
    ) -> None:
        server = start_server()
        sending = piped(server)
        for number in range(2):
            _write(sending, event(number))
            _wait_for(server, number + 1, sending)
        sending.send_signal(signal.SIGINT)  # perhaps before it has heard of the second
        out, err = sending.communicate(timeout=60)
        assert re.match(
            r"stopped before the end\n(2 events accepted|whether the last 1 events .* not known\n1 events accepted)",
            out.decode(),
        )
        assert (sending.returncode, err) == (130, b"")

    def test_what_was_read_before_ctrl_c_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupted(*_: Any, **__: Any) -> Iterator[Line]:
            yield Line(ndjson(event(0)), 1, "line")
            raise KeyboardInterrupt

        monkeypatch.setattr(replaying, "lines_of", interrupted)
        with FakeServer() as fake:
            outcome = send(fake, "-")
            assert [one["id"] for one in fake.events] == [0]
            assert (outcome.accepted, outcome.unknown, outcome.was_interrupted) == (1, 0, True)
            assert not send(fake, "a.ndjson").accepted, "a file is there to be sent again"

    def test_what_was_being_sent_when_ctrl_c_came_is_said_to_be_unknown(
        self, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        name = write("a.ndjson", *map(event, range(1700)))
        with FakeServer(None, Refusal()) as fake:

            def interrupt(_: float) -> None:
                raise KeyboardInterrupt

            outcome = replay([name], fake.url, fields={}, clock=Clock(sleep=interrupt))
        assert (outcome.accepted, outcome.unknown, outcome.was_interrupted) == (1000, 700, True)

    def test_a_bad_first_event_does_not_end_a_stream_and_ten_do(
        self, start_server: StartServer, piped: Callable[[ServerProcess], subprocess.Popen[bytes]]
    ) -> None:
        server = start_server()
        sending = piped(server)
        for number in range(9):
            _write(sending, event(number, value="much"))
            _wait_for(server, number + 1, sending)
        _write(sending, event(9, value="much"))
        _, err = sending.communicate(timeout=60)
        assert sending.returncode == 2
        assert "no event was accepted" in err.decode()
        assert server.wait_until_committed()["rejected"] == 10

    def test_what_waits_is_given_when_its_time_has_come_and_not_before(self, hand: HandClock) -> None:
        given: list[Body] = []
        gathering = Gathering("-", Times(FieldMapping()), given.append, hand.clock().monotonic)
        assert gathering.hurry() is None
        gathering.put(Line(ndjson(event(0)), 1, "line"))
        assert gathering.hurry() == LINGER_S
        hand.sleep(LINGER_S / 2)
        gathering.put(Line(ndjson(event(1)), 2, "line"))
        assert gathering.hurry() == pytest.approx(LINGER_S / 2)
        hand.sleep(LINGER_S / 2)
        assert gathering.hurry() is None
        [body] = given
        assert (len(body.rows), body.is_early) == (2, True)


def _write(sending: subprocess.Popen[bytes], *events: Any) -> None:
    assert sending.stdin is not None
    sending.stdin.write(ndjson(*events))
    sending.stdin.flush()


def _wait_for(server: ServerProcess, received: int, sending: subprocess.Popen[bytes]) -> None:
    while server.get("/api/ledger")["received"] < received:
        assert sending.poll() is None, "it has ended"


class TestRefusedAtTimes:
    @pytest.mark.parametrize("status", [503, 429])
    def test_a_server_without_room_is_waited_for_and_nothing_is_lost_or_doubled(
        self, status: int, write: Write, hand: HandClock
    ) -> None:
        full = Refusal(status, {"Retry-After": "3"})
        name = write("a.ndjson", *map(event, range(2500)))
        with FakeServer(full, None, full, full, None) as fake:
            outcome = send(fake, name, hand=hand)
        assert [one["id"] for one in fake.events] == list(range(2500))
        assert (outcome.accepted, outcome.rejected) == (2500, 0)
        assert hand.slept == [3, 3, 3]

    @pytest.mark.parametrize("wait", ["", "Fri, 31 Dec 1999 23:59:59 GMT", "-1", "soon"])
    def test_a_retry_after_that_is_no_number_of_seconds_is_a_short_wait(
        self, wait: str, write: Write, hand: HandClock
    ) -> None:
        with FakeServer(Refusal(503, {"Retry-After": wait} if wait else {})) as fake:
            send(fake, write("a.ndjson", event(0)), hand=hand)
        assert hand.slept == [1]
        assert len(fake.events) == 1

    def test_a_server_that_stays_full_is_given_up_and_what_was_accepted_is_told(
        self, write: Write, hand: HandClock
    ) -> None:
        with (
            FakeServer(None, *[Refusal(503, {"Retry-After": "9"})] * 99) as fake,
            pytest.raises(ReplayError, match=r"503: no room; 1,000 events had been accepted before"),
        ):
            send(fake, write("a.ndjson", *map(event, range(1500))), hand=hand)
        assert 60 <= hand.passed_s < 120

    def test_what_was_under_way_when_the_connection_broke_is_sent_again_with_the_same_key(
        self, write: Write, hand: HandClock
    ) -> None:
        name = write("a.ndjson", *map(event, range(1700)))
        with FakeServer(None, *[Refusal(hang_up=True)] * 3) as fake:
            outcome = send(fake, name, hand=hand)
        assert outcome.accepted == 1700
        keys = [headers["idempotency-key"] for headers in fake.headers]
        assert keys[1:] == [keys[1]] * 4
        assert keys[0] != keys[1]

    def test_a_server_that_does_not_come_back_is_given_up_and_what_is_not_known_is_told(
        self, write: Write, hand: HandClock
    ) -> None:
        name = write("a.ndjson", *map(event, range(1700)))
        with (
            FakeServer(None, *[Refusal(hang_up=True)] * 99) as fake,
            pytest.raises(
                ReplayError, match=r"whether the last 700 events were accepted is not known; 1,000"
            ),
        ):
            send(fake, name, hand=hand)
        assert 60 <= hand.passed_s < 70

    def test_a_server_that_is_restarted_meanwhile_has_every_event_once(
        self, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        server = start_server()
        write("a.ndjson", *map(event, range(200_000)))
        sending = subprocess.Popen(
            [sys.executable, "-m", "streamgauge", "replay", "a.ndjson", "--url", server.url],
            cwd=tmp_path, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        while server.get("/api/ledger")["received"] < 5000:
            assert sending.poll() is None
        server.kill()
        again = start_server("--port", str(Address.read(server.url).connect(1.0).port))
        assert sending.communicate(timeout=60)[0].startswith("200,000 events accepted")
        again.wait_until_committed()
        assert again.ask("SELECT count(*), count(DISTINCT event->>'$.id') FROM events") == [[200_000] * 2]

    def test_a_connection_that_rested_is_opened_anew(self, write: Write, hand: HandClock) -> None:
        name = write("a.ndjson", event(0), event(1), event(100))
        with FakeServer() as fake:
            send(fake, name, hand=hand, speed=1)
        assert [one["id"] for one in fake.events] == [0, 1, 100]
        assert fake.connections == 2, "0 and 1 go over the same connection, 100 s later there is another"

    def test_another_answer_ends_it_with_what_it_said(self, write: Write) -> None:
        refusal = Refusal(401, body=b'{"detail": "no key"}')
        with FakeServer(refusal) as fake, pytest.raises(ReplayError, match=r"answered 401: no key$"):
            send(fake, write("a.ndjson", event(0)))

    def test_a_server_of_another_kind_is_recognised(self, write: Write) -> None:
        refusal = Refusal(202, body=b"<html>hello</html>")
        with FakeServer(refusal) as fake, pytest.raises(ReplayError, match="no Streamgauge server"):
            send(fake, write("a.ndjson", event(0)))

    def test_a_server_that_cannot_be_reached_is_one_line(self, write: Write, tmp_path: Path) -> None:
        write("a.ndjson", event(0))
        done = run("replay", "a.ndjson", "--url", "localhost:1", folder=tmp_path)
        assert done.code == 2
        assert "http://localhost:1 cannot be reached" in done.line
        assert "running there" in done.line

    def test_a_file_that_breaks_off_tells_how_much_was_accepted(self, write: Write) -> None:
        packed = gzip.compress(ndjson(*map(event, range(5000))))
        name = write("a.ndjson.gz", text=packed[:-500])
        with FakeServer() as fake, pytest.raises(ReplayError, match=r"ends too early.*000 events had been"):
            send(fake, name)
        ids = [one["id"] for one in fake.events]
        assert ids == list(range(len(ids)))

    def test_a_missing_file_is_one_line(self, tmp_path: Path) -> None:
        done = run("replay", "nowhere.ndjson", folder=tmp_path)
        assert done.code == 2
        assert done.line == "streamgauge: nowhere.ndjson: No such file or directory"


class TestPace:
    def test_with_a_speed_events_are_as_far_apart_as_they_were_divided_by_it(
        self, write: Write, hand: HandClock
    ) -> None:
        name = write("a.ndjson", *map(event, [0, 10, 10, 11, 40]))
        with FakeServer() as fake:
            send(fake, name, hand=hand, speed=2)
        assert hand.slept == pytest.approx([5, 0.5, 14.5])
        assert [body.count(b"\n") for body in fake.bodies] == [1, 2, 1, 1]

    def test_a_slow_stream_is_not_held_back_until_a_request_is_full(
        self, write: Write, hand: HandClock
    ) -> None:
        with FakeServer() as fake:
            send(fake, write("a.ndjson", *map(event, range(60))), hand=hand, speed=1)
        assert len(fake.bodies) == 60
        assert hand.passed_s == pytest.approx(59)

    def test_a_fast_stream_goes_in_parts_of_a_tenth_of_a_second(self, write: Write, hand: HandClock) -> None:
        events = [{"type": "a", "timestamp": START_MS + i} for i in range(1000)]
        with FakeServer() as fake:
            send(fake, write("a.ndjson", *events), hand=hand, speed=1)
        assert [body.count(b"\n") for body in fake.bodies] == [100] * 10
        assert hand.passed_s == pytest.approx(0.9)

    def test_events_out_of_order_or_without_a_time_are_not_waited_for(
        self, write: Write, hand: HandClock
    ) -> None:
        name = write("a.ndjson", event(100), event(0), {"type": "a"}, event(101))
        with FakeServer() as fake:
            send(fake, name, hand=hand, speed=1)
        assert len(fake.events) == 4
        assert hand.passed_s == pytest.approx(1)

    def test_without_a_speed_nothing_is_waited_for(self, write: Write, hand: HandClock) -> None:
        with FakeServer() as fake:
            send(fake, write("a.ndjson", *map(event, range(5000))), hand=hand)
        assert hand.slept == []
        assert len(fake.bodies) == 5

    @pytest.mark.parametrize("speed", [-1.0, float("nan"), float("inf")])
    def test_a_speed_that_means_nothing_is_refused(self, speed: float) -> None:
        with pytest.raises(ReplayError, match="--speed: expected 0 or more"):
            Pace(speed=speed)

    def test_shifting_changes_the_time_and_nothing_else(self, write: Write) -> None:
        lines = b'{"id":12345678901234567890,"timestamp":"2023-11-14T22:13:20Z","x":1.50,"type":"a"}\n{oops\n{"type":"b"}\n'
        with FakeServer() as fake:
            outcome = send(fake, write("a.ndjson", text=lines), shift_to_now=True)
        [body] = fake.bodies
        now = datetime.fromtimestamp(NOW_US / 1e6, UTC).isoformat().replace("+00:00", "Z")
        assert body == lines.replace(b"2023-11-14T22:13:20Z", now.encode())
        assert outcome.last_us == NOW_US

    def test_shifting_looks_at_all_files_for_the_last_event(self, write: Write) -> None:
        names = [write("a.ndjson", event(50)), write("b.ndjson", event(0))]
        with FakeServer() as fake:
            outcome = send(fake, *names, shift_to_now=True)
        assert (outcome.first_us, outcome.last_us) == (NOW_US - 50_000_000, NOW_US)

    def test_standard_input_cannot_be_shifted(self) -> None:
        with FakeServer() as fake, pytest.raises(ReplayError, match="standard input cannot be read twice"):
            send(fake, "-", shift_to_now=True)


class TestOutcome:
    def test_the_fields_are_named_in_the_request(self, write: Write) -> None:
        given = {"type": "kind", "timestamp": "at"}
        with FakeServer() as fake:
            outcome = send(fake, write("a.ndjson", {"kind": "a", "at": START_MS}), fields=given)
        assert fake.queries == [given]
        assert outcome.first_us == START_MS * 1000

    def test_fields_that_are_not_named_are_those_that_the_server_expects(self, write: Write) -> None:
        with FakeServer(fields={"type": "event", "timestamp": "ts"}) as fake:
            outcome = send(fake, write("a.ndjson", {"kind": "a", "ts": START_MS}), fields={"type": "kind"})
        assert fake.queries == [{"type": "kind"}]
        assert outcome.first_us == START_MS * 1000

    @pytest.mark.parametrize("field", ["ts", "created_at", "@timestamp"])
    def test_events_that_seem_to_know_their_time_are_not_counted_as_of_now(
        self, field: str, write: Write
    ) -> None:
        name = write("a.ndjson", {"type": "a", field: "2026-01-01T00:00:00Z"})
        with FakeServer() as fake:
            with pytest.raises(ReplayError, match=f"line 1: no `timestamp`.* --timestamp {field}, or"):
                send(fake, name)
            assert fake.events == []
            assert send(fake, name, fields={"timestamp": "timestamp"}).first_us == NOW_US

    def test_one_unreadable_time_does_not_cost_the_others_their_range(self, write: Write) -> None:
        name = write("a.ndjson", event(0), event(1, timestamp="yesterday"), event(2, timestamp=[]), event(3))
        with FakeServer() as fake:
            outcome = send(fake, name)
        assert outcome.first_us is not None
        assert outcome.last_us is not None
        assert outcome.last_us - outcome.first_us == 3_000_000

    def test_events_without_a_time_are_of_now(self, write: Write) -> None:
        with FakeServer() as fake:
            outcome = send(fake, write("a.ndjson", {"type": "a"}))
        assert (outcome.first_us, outcome.last_us) == (NOW_US, NOW_US)

    def test_rejected_events_are_not_in_the_range(self, write: Write) -> None:
        body = json.dumps({"accepted": 1, "rejected": 1, "errors": [{"index": 1, "error": "too far ahead"}]})
        with FakeServer(Refusal(202, body=body.encode())) as fake:
            outcome = send(fake, name := write("a.ndjson", event(0), event(9_000_000)))
        assert outcome.last_us == START_MS * 1000
        assert outcome.errors == [f"{name}, line 2: too far ahead"]

    def test_a_row_of_csv_that_is_no_event_counts_as_rejected(self, write: Write) -> None:
        with FakeServer() as fake:
            outcome = send(fake, write("a.csv", text=b"type,x\na,1\nb,2,3\n"))
        assert (outcome.accepted, outcome.rejected) == (1, 1)
        assert "line 3" in outcome.errors[0]

    def test_progress_tells_the_bytes_of_the_file(self, write: Write) -> None:
        packed = gzip.compress(ndjson(*map(event, range(3000))))
        name, read = write("a.ndjson.gz", text=packed), list[int]()
        with FakeServer() as fake:
            replay([name], fake.url, fields={}, progress=read.append)
        assert sum(read) == len(packed)

    def test_a_missing_file_among_others_tells_what_was_accepted(self, write: Write) -> None:
        with FakeServer() as fake, pytest.raises(ReplayError, match=r"No such file.*; 1 events had been"):
            send(fake, write("a.ndjson", event(0)), "nowhere.ndjson")

    @pytest.mark.parametrize(
        ("text", "help_"),
        [
            (b'{\n  "type": "a"\n}\n', "jq -c . FILE writes them so"),
            (b'{"events": [{"type": "a"}]}\n', "jq -c '.events[]' FILE | streamgauge replay -"),
            (b"words\n", "--format says what it is: json, csv, parquet, json-logs, combined"),
            (b"[1]\n", "Each line has to be a JSON object; the first is int"),
        ],
    )
    def test_a_file_of_another_shape_says_what_would_help(
        self, text: bytes, help_: str, start_server: StartServer, write: Write, tmp_path: Path
    ) -> None:
        write("a.json", text=text)
        done = run("replay", "a.json", "--url", start_server().url, folder=tmp_path)
        assert done.code == 2
        assert help_ in done.err

    def test_a_missing_first_file_sends_nothing(self) -> None:
        with FakeServer() as fake, pytest.raises(UnreadableFile):
            send(fake, "nowhere.ndjson")
        assert fake.requests == 0

    def test_an_empty_file_says_that_it_is_empty(self, write: Write, tmp_path: Path) -> None:
        write("a.ndjson", text=b"\n")
        with FakeServer() as fake:
            done = run("replay", "a.ndjson", "--url", fake.url, folder=tmp_path)
        assert (done.code, done.out) == (0, "there are no events in it; nothing was sent\n")

    def test_large_files_go_in_requests_of_a_megabyte(self, write: Write) -> None:
        with FakeServer() as fake:
            send(fake, write("a.ndjson", *(event(i, text="x" * 50_000) for i in range(60))))
        assert max(map(len, fake.bodies)) <= 2**20
        assert [one["id"] for one in fake.events] == list(range(60))

    @given(st.lists(st.integers(0, 10**12), min_size=1))
    def test_the_address_of_the_page_holds_every_event(self, times_us: list[int]) -> None:
        outcome = Outcome()
        for at in times_us:
            outcome.cover(at)
        first, last = re.findall(r"=(\d+)", page_address("localhost:4000/", outcome))
        assert all(int(first) * 1000 <= at < int(last) * 1000 for at in times_us)
        assert describe_range(outcome).endswith(" UTC")


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("localhost:4000", "http://localhost:4000"),
        ("http://localhost:4000/", "http://localhost:4000"),
        ("https://example.org/analytics/", "https://example.org/analytics"),
        ("[::1]:4000", "http://[::1]:4000"),
    ],
)
def test_an_address_is_read_as_people_write_it(text: str, url: str) -> None:
    assert Address.read(text).url == url


@pytest.mark.parametrize("text", ["", "ftp://a", "http://", "a:b", "a:70000", "http://a b", "a?x=1", "[::1"])
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(RemoteError, match="expected something like http://localhost:4000"):
        Address.read(text)
