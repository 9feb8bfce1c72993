"""Topic `events` of the socket: what each push is answered, and what it leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from benchmarks.programs.frames import client_frame
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from streamgauge.channels import Message
from streamgauge.errors import JournalError, Saturated
from streamgauge.event import FieldMapping
from streamgauge.intake import Receipt
from streamgauge.sources import socket as socket_source
from streamgauge.sources.socket import MOST_PUSHES, Pushes, SocketSource
from web_tools import LONG, WAIT_S, Frame, Served, ok, receive, refused, serving, talk, until

TOPIC = "events"
DASHBOARD = "dashboard:overview"
JOIN: Frame = ["1", "1", TOPIC, "phx_join", {}]
EVENT = {"type": "sale", "value": 2}
MIB = 2**20


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    async with serving(store={"commit_interval": LONG}) as served:
        yield served


async def joined(server: Served, params: object = None, **options: Any) -> ClientConnection:
    socket = await server.socket(**options)
    assert ok(await talk(socket, *JOIN[:4], params or {})) == {}
    return socket


async def push(socket: ClientConnection, payload: object, event: str = "new_event", ref: str = "2") -> Frame:
    return await talk(socket, "1", ref, TOPIC, event, payload)


async def lines(server: Served) -> list[dict[str, Any]]:
    await server.commit()
    rows = await server.ask("SELECT event FROM events ORDER BY received_at, event_id")
    return [msgspec.json.decode(row[0]) for row in rows]


async def counts(server: Served) -> dict[str, int]:
    found: dict[str, int] = (await server.get("/api/ledger"))["sources"]["websocket"]
    return {name: found[name] for name in ("received", "rejected", "requests_refused")}


async def close_code(socket: ClientConnection) -> int | None:
    async with asyncio.timeout(WAIT_S):
        with suppress(ConnectionClosed):
            while True:
                await socket.recv()
    return socket.close_code


# what is accepted


async def test_one_event_and_many_are_accepted_and_kept_as_they_were_sent(server: Served) -> None:
    async with await joined(server) as socket:
        reply = await push(socket, EVENT)
        assert reply == ["1", "2", TOPIC, "phx_reply", {"status": "ok", "response": {"accepted": 1}}]
        many = [{"type": "view", "event_id": str(number), "deep": {"é": [1, None]}} for number in range(3)]
        assert ok(await push(socket, {"events": many}, "new_events", "3")) == {"accepted": 3}
        assert await lines(server) == [EVENT, *many]
        assert await counts(server) == {"received": 4, "rejected": 0, "requests_refused": 0}


@pytest.mark.parametrize(
    "payload",
    [
        '{"events":[{"type":"a"},{"type":"b"}]}',
        ' { "events" : [ {"type":"a"} ,\n {"type":"b"} ] } ',
        '{"events":[{"type":"a"},{"type":"b"}],"sent_by":"me"}',
        '{"sent_by":"me","events":[{"type":"a"},{"type":"b"}]}',
        '{"events":[{"type":"x"}],"events":[{"type":"a"},{"type":"b"}]}',
        '{"events":[{"type":"a"},{"type":"b"}],"tags":["x"]}',
        '{"\\u0065vents":[{"type":"a"},{"type":"b"}]}',
    ],
)
async def test_the_events_are_found_however_their_object_is_written(server: Served, payload: str) -> None:
    async with await joined(server) as socket:
        await socket.send(f'["1","2","events","new_events",{payload}]')
        assert ok(await receive(socket)) == {"accepted": 2}
        assert [line["type"] for line in await lines(server)] == ["a", "b"]


async def test_no_events_are_none(server: Served) -> None:
    async with await joined(server) as socket:
        assert ok(await push(socket, {"events": []}, "new_events"))["accepted"] == 0


async def test_a_binary_push_holds_the_same_json(server: Served) -> None:
    async with await joined(server) as socket:
        fields = [b"1", b"2", TOPIC.encode(), b"new_event"]
        head = bytes([0, *map(len, fields)]) + b"".join(fields)
        await socket.send(head + msgspec.json.encode(EVENT))
        assert ok(await receive(socket)) == {"accepted": 1}
        await socket.send(head + b"not json")
        assert refused(await receive(socket))["code"] == "malformed"


async def test_the_join_says_which_fields_play_which_part(server: Served) -> None:
    async with await joined(server, {"type": "event", "value": "amount", "token": "x"}) as socket:
        assert ok(await push(socket, {"event": "buy", "amount": 3, "type": 5})) == {"accepted": 1}
        await server.commit()
        assert await server.ask("SELECT type, value FROM events") == [["buy", 3.0]]


@pytest.mark.parametrize("params", [{"type": 5}, {"type": "x", "value": "x"}, {"type": ""}, [], "x", None])
async def test_a_join_that_maps_nothing_that_can_be_is_refused_and_the_socket_lives_on(
    server: Served, params: object
) -> None:
    async with server.socket() as socket:
        why = refused(await talk(socket, *JOIN[:4], params))
        assert why["code"] == "bad_mapping"
        ok(await talk(socket, "2", "2", TOPIC, "phx_join", {}))


# what is not


async def test_the_bad_events_of_a_push_are_named_and_the_good_ones_accepted(server: Served) -> None:
    events = [EVENT, {"name": "x"}, 7, EVENT]
    async with await joined(server) as socket:
        assert ok(await push(socket, {"events": events}, "new_events")) == {
            "accepted": 2,
            "rejected": 2,
            "errors": [
                {"index": 1, "error": "no `type`; did you mean to map `name`?"},
                {"index": 2, "error": "event: expected an object, got 7"},
            ],
        }
        assert await counts(server) == {"received": 4, "rejected": 2, "requests_refused": 0}


async def test_a_push_of_which_nothing_is_acceptable_is_an_error_that_needs_no_retry(server: Served) -> None:
    async with await joined(server) as socket:
        why = refused(await push(socket, {"value": 1}))
        assert why["code"] == "rejected"
        assert why["reason"].startswith("no `type`")
        assert (why["accepted"], why["rejected"]) == (0, 1)
        assert "retry_after_ms" not in why


@pytest.mark.parametrize(
    ("event", "payload"),
    [
        ("new_event", [EVENT]),
        ("new_event", 5),
        ("new_event", None),
        ("new_events", [EVENT]),
        ("new_events", {"events": EVENT}),
        ("new_events", {"event": [EVENT]}),
        ("new_events", {}),
        ("new_events", "x"),
    ],
)
async def test_a_payload_of_another_shape_is_refused_with_what_is_expected(
    server: Served, event: str, payload: object
) -> None:
    async with await joined(server) as socket:
        why = refused(await push(socket, payload, event))
        assert why["code"] == "malformed"
        assert f"{event}: expected" in why["reason"]
        assert await counts(server) == {"received": 0, "rejected": 0, "requests_refused": 1}
        ok(await push(socket, EVENT))


async def test_another_event_is_refused_by_name_of_what_there_is(server: Served) -> None:
    async with await joined(server) as socket:
        why = refused(await push(socket, {}, "new_evnet"))
        assert why["code"] == "unknown_event"
        assert "new_event and new_events" in why["reason"]


async def test_nothing_is_taken_before_a_join_and_after_a_leave(server: Served) -> None:
    async with server.socket() as socket:
        assert refused(await push(socket, EVENT))["code"] == "unmatched_topic"
        ok(await talk(socket, *JOIN))
        ok(await talk(socket, "1", "3", TOPIC, "phx_leave", {}))
        assert await receive(socket) == ["1", "1", TOPIC, "phx_close", {}]
        assert refused(await push(socket, EVENT, ref="4"))["code"] == "unmatched_topic"
        ok(await talk(socket, "5", "5", TOPIC, "phx_join", {}))
        ok(await talk(socket, "5", "6", TOPIC, "new_event", EVENT))


async def test_joining_again_closes_the_first_join_and_takes_the_new_mapping(server: Served) -> None:
    async with await joined(server, {"type": "a"}) as socket:
        await socket.send('["7","7","events","phx_join",{"type":"b"}]')
        assert await receive(socket) == ["1", "1", TOPIC, "phx_close", {}]
        ok(await receive(socket))
        assert refused(await push(socket, {"b": "x"}))["code"] == "stale_join"
        assert ok(await talk(socket, "7", "8", TOPIC, "new_event", {"b": "x"})) == {"accepted": 1}


async def test_events_and_a_dashboard_are_joined_on_one_socket(server: Served) -> None:
    async with await joined(server) as socket:
        state = ok(await talk(socket, "2", "2", DASHBOARD, "phx_join", {}))["state"]
        assert state["totals"]["events"]["count"] == 0
        ok(await push(socket, EVENT, ref="3"))
        while (frame := await receive(socket))[3] != "diff" or [
            "set",
            ["total_events"],
            1,
        ] not in frame[4]["patch"]:
            pass  # fmt: skip
        ok(await talk(socket, "1", "4", TOPIC, "phx_leave", {}))
        assert server.app.hub.viewers == 1
        ok(await talk(socket, "2", "5", DASHBOARD, "phx_leave", {}))
        assert server.app.hub.viewers == 0


# sizes


def many_of(size: int) -> str:
    """Write a push of `new_events` of exactly this many bytes."""
    head, tail = '["1","2","events","new_events",{"events":[', "]}]"
    event = '{"type":"sale","text":"%s"}'
    whole = [event % ("x" * 1000)] * ((size - 2000) // 1028)
    left = size - len(head) - len(tail) - sum(map(len, whole)) - len(whole)
    whole.append(event % ("x" * (left - len(event % ""))))
    return head + ",".join(whole) + tail


@pytest.mark.parametrize("size", [MIB, MIB + 1, 3 * MIB])
async def test_new_events_may_be_larger_than_other_messages(server: Served, size: int) -> None:
    message = many_of(size)
    assert len(message) == size
    async with await joined(server) as socket:
        await socket.send(message)
        accepted = ok(await receive(socket))["accepted"]
        assert accepted == message.count('"sale"')
        await server.commit()
        assert await server.ask("SELECT count(*) FROM events") == [[accepted]]


@pytest.mark.parametrize("text", ["x", "é"], ids=["ASCII", "UTF-8"])
@pytest.mark.parametrize("event", ["new_event", "phx_leave", "heartbeat"])
async def test_any_other_message_that_is_larger_closes_the_socket(
    server: Served, event: str, text: str
) -> None:
    async with await joined(server) as socket:
        payload = {"type": "a", "text": text * (MIB // len(text.encode()))}
        await socket.send(msgspec.json.encode(["1", "2", TOPIC, event, payload]).decode())
        assert await close_code(socket) == 1009


async def test_new_events_has_a_limit_too() -> None:
    async with serving(limits={"body_bytes": "2MiB"}) as server, await joined(server) as socket:
        await socket.send(many_of(2 * MIB))
        assert ok(await receive(socket))["accepted"] > 1000
        await socket.send(many_of(2 * MIB + 1))
        assert await close_code(socket) == 1009


async def test_a_large_message_is_refused_before_the_join_and_after_the_leave(server: Served) -> None:
    async with server.socket() as socket:
        await socket.send(many_of(MIB + 1))
        assert await close_code(socket) == 1009
    async with await joined(server) as socket:
        ok(await talk(socket, "1", "3", TOPIC, "phx_leave", {}))
        await socket.send(many_of(MIB + 1))
        assert await close_code(socket) == 1009


@pytest.mark.parametrize("end", ["", "]", "}", "]},{}", '],"more":1}', "]} x", '],"a":[{}]}'])
async def test_a_large_push_that_is_not_whole_or_holds_more_is_refused(server: Served, end: str) -> None:
    events = '{"type":"a"},' * 100_000 + '{"type":"a"}'
    async with await joined(server) as socket:
        await socket.send(f'["1","2","events","new_events",{{"events":[{events}{end}]')
        why = refused(await receive(socket))
        assert why["code"] == "malformed"
        assert (await lines(server)) == []


async def test_an_event_that_is_too_long_costs_only_itself(server: Served) -> None:
    async with await joined(server) as socket:
        events = [EVENT, {"type": "a", "text": "x" * 300_000}, EVENT]
        response = ok(await push(socket, {"events": events}, "new_events"))
        assert (response["accepted"], response["rejected"], response["errors"][0]["index"]) == (2, 1, 1)


# pressure


def fill(server: Served) -> None:
    producer = server.app.engine.producer
    producer.capacity = 0
    producer._room.clear()


def empty(server: Served, capacity: int = 100_000) -> None:
    producer = server.app.engine.producer
    producer.capacity = capacity
    producer._room.set()


async def test_a_full_server_answers_an_error_that_says_when_to_come_back() -> None:
    async with serving(limits={"saturated_wait": "0s"}) as server, await joined(server) as socket:
        fill(server)
        why = refused(await push(socket, EVENT))
        assert (why["code"], why["retry_after_ms"] >= 1) == ("saturated", True)
        assert "no room" in why["reason"]
        assert await counts(server) == {"received": 0, "rejected": 0, "requests_refused": 1}
        empty(server)
        assert ok(await push(socket, EVENT, ref="3")) == {"accepted": 1}


async def test_pushes_wait_for_room_together_and_each_is_answered_by_its_ref() -> None:
    async with serving(limits={"saturated_wait": "1m"}) as server, await joined(server) as socket:
        fill(server)
        for ref in range(100):
            await socket.send(f'["1","{ref}","events","new_event",{{"type":"a","event_id":"{ref}"}}]')
        await until(lambda: len(server.app._socket_source._under_way) == 100)
        empty(server)
        answered = {(await receive(socket))[1] for _ in range(100)}
        assert answered == {str(ref) for ref in range(100)}
        await server.commit()
        assert await server.ask("SELECT count(DISTINCT event_id) FROM events") == [[100]]


async def test_a_sender_that_waits_for_no_answer_is_not_read_any_further_while_the_server_is_full() -> None:
    pushes, text = 1000, "x" * 50_000
    async with serving(limits={"saturated_wait": "1m"}) as server, await joined(server) as socket:
        fill(server)
        source = server.app._socket_source

        async def send_all() -> None:
            for ref in range(pushes):
                await socket.send(f'["1","{ref}","events","new_event",{{"type":"a","text":"{text}"}}]')

        sending = asyncio.create_task(send_all())
        await until(lambda: len(source._under_way) == MOST_PUSHES)
        await until(lambda: socket.transport.get_write_buffer_size() > 0)  # nobody takes it any more
        assert len(source._under_way) == MOST_PUSHES
        assert not sending.done()
        empty(server)
        for _ in range(pushes):
            ok(await receive(socket))
        await sending
        assert (await counts(server))["received"] == pushes


async def test_a_server_that_drains_says_so_and_answers_what_it_had_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with serving(limits={"saturated_wait": "1m"}) as server:
        socket = await joined(server)
        fill(server)
        await socket.send('["1","2","events","new_event",{"type":"a"}]')
        await until(lambda: len(server.app._socket_source._under_way) == 1)
        server.app.engine.intake.draining = True
        why = refused(await push(socket, EVENT, ref="3"))
        assert (why["code"], why["retry_after_ms"] > 0) == ("draining", True)
        empty(server)
        assert refused(await receive(socket))["code"] == "draining"
    assert await close_code(socket) == 1012


async def test_pushes_that_were_read_are_taken_although_their_sender_has_gone(server: Served) -> None:
    fill(server)
    socket = await joined(server)
    await socket.send('["1","2","events","new_event",{"type":"a"}]')
    await until(lambda: len(server.app._socket_source._under_way) == 1)
    socket.transport.abort()
    await socket.wait_closed()
    empty(server)
    await until(lambda: not server.app._socket_source._under_way)
    assert (await counts(server))["received"] == 1


# failures, without a server


class BrokenDoor:
    """Raises what it is given. at_once: it takes what is small at once, and fails then."""

    def __init__(self, error: Exception, *, at_once: bool) -> None:
        self.error, self.at_once, self.refused = error, at_once, 0

    def accept_now(
        self, payload: bytes, source: str, mapping: FieldMapping
    ) -> asyncio.Future[Receipt] | None:
        if not self.at_once:
            return None
        failed: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        failed.set_exception(self.error)
        return failed

    async def accept(self, payload: bytes, source: str, mapping: FieldMapping) -> Receipt:
        raise self.error

    def refuse(self, source: str) -> None:
        self.refused += 1


class Peer:
    """Who is answered. reads: whether it takes what is sent."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.reads = asyncio.Event()
        self.reads.set()

    def send_now(self, frame: bytes) -> bool:
        if self.reads.is_set():
            self.frames.append(frame)
        return self.reads.is_set()

    async def send(self, frame: bytes) -> None:
        await self.reads.wait()
        self.frames.append(frame)


SALE = Message("1", "2", TOPIC, "new_event", msgspec.Raw(b'{"type":"a"}'))


async def answer_of(error: Exception, *, at_once: bool) -> tuple[dict[str, Any], BrokenDoor, SocketSource]:
    door, peer = BrokenDoor(error, at_once=at_once), Peer()
    source = SocketSource(door, mapping=FieldMapping())
    await Pushes(source, peer).take(SALE)
    await until(lambda: peer.frames)
    return refused(msgspec.json.decode(peer.frames[0])), door, source


AT_ONCE = pytest.mark.parametrize("at_once", [True, False], ids=["at once", "in a task"])


@AT_ONCE
@pytest.mark.parametrize(
    ("error", "code", "retry_ms"),
    [(Saturated("full", 1.25), "saturated", 1250), (JournalError("the disk is gone"), "storage_error", 5000)],
)
async def test_what_may_go_better_later_says_when(
    error: Exception, code: str, retry_ms: int, *, at_once: bool
) -> None:
    why, door, source = await answer_of(error, at_once=at_once)
    assert (why["code"], why["retry_after_ms"], door.refused) == (code, retry_ms, 1)
    assert source.answers == {503: 1}


@AT_ONCE
async def test_a_bug_of_ours_is_answered_and_holds_nothing(
    capsys: pytest.CaptureFixture[str], *, at_once: bool
) -> None:
    why, _, source = await answer_of(RuntimeError("secret"), at_once=at_once)
    assert why["code"] == "internal"
    assert "secret" not in why["reason"]
    await source.answered(WAIT_S)
    assert source.room.used == 0


class OpenDoor(BrokenDoor):
    """Accepts every push."""

    def accept_now(
        self, payload: bytes, source: str, mapping: FieldMapping
    ) -> asyncio.Future[Receipt] | None:
        accepted: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        accepted.set_result(Receipt(accepted=1))
        return accepted


async def test_a_sender_that_reads_no_answers_is_read_no_further_and_gets_them_all_in_their_order() -> None:
    source, peer = SocketSource(OpenDoor(RuntimeError(), at_once=True), mapping=FieldMapping()), Peer()
    pushes = Pushes(source, peer)
    peer.reads.clear()
    for number in range(MOST_PUSHES):
        await pushes.take(msgspec.structs.replace(SALE, ref=str(number)))
    further = asyncio.create_task(pushes.take(msgspec.structs.replace(SALE, ref=str(MOST_PUSHES))))
    await until(lambda: len(source._under_way) == MOST_PUSHES)
    assert not further.done()
    ending = asyncio.create_task(source.answered(WAIT_S))
    peer.reads.set()
    await further
    await ending
    assert [msgspec.json.decode(frame)[1] for frame in peer.frames] == [
        str(number) for number in range(MOST_PUSHES + 1)
    ]
    assert source.room.used == 0


async def test_small_pushes_that_came_together_are_accepted_without_a_task_and_in_one_append(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[object] = []
    monkeypatch.setattr(Pushes, "_start", lambda *given: started.append(given))
    async with await joined(server) as socket:
        journal = server.app.engine.journal
        before = journal.last_seq
        one = '["1","%d","events","new_event",{"type":"a","value":%d}]'
        many = '["1","%d","events","new_events",{"events":[{"type":"b"},{"type":"c"}]}]'
        texts = [one % (number, number) for number in range(50)]
        texts += [many % number for number in range(50, 60)]
        socket.transport.write(b"".join(client_frame(text.encode()) for text in texts))
        replies = [await receive(socket) for _ in texts]
        assert [reply[1] for reply in replies] == [str(number) for number in range(60)]
        assert sum(ok(reply)["accepted"] for reply in replies) == 70
        assert len(await lines(server)) == 70
        assert not started
        assert journal.last_seq - before < len(texts)


def test_the_bounds_leave_room_for_the_largest_push() -> None:
    assert socket_source.MOST_BYTES >= 32 * MIB
