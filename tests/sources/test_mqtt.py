"""Events from a real broker: what is asked of it, what becomes of its messages, and what is said when it is not there."""

from __future__ import annotations

import asyncio
import re
import subprocess
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mqtt_broker import Broker, find
from streamgauge.config import from_mapping
from streamgauge.sources.mqtt import MqttSource
from web_tools import Served, ok, serving, talk, until

WAIT_S = 30.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    broker = Broker(tmp_path_factory.mktemp("broker"))
    broker.start()
    yield broker
    broker.stop()


def section(broker: Broker, *topics: str, **more: Any) -> dict[str, Any]:
    return {"kind": "mqtt", "url": broker.url, "topics": list(topics), **more}


async def connected(server: Served) -> None:
    await until(lambda: all(source.status()["connected"] for source in server.app.sources), WAIT_S)


@asynccontextmanager
async def subscribed(
    *sources: dict[str, Any], data: Path | None = None, **sections: Any
) -> AsyncIterator[Served]:
    """Run a server that is connected to its brokers."""
    async with serving(data, source=list(sources), **sections) as server:
        await connected(server)
        yield server


def has_more(server: Served, events: int, publishing: asyncio.Task[None]) -> bool:
    """More than so many events have come in, or no more will."""
    return server.app.engine.ledger.of("mqtt").received > events or publishing.done()


async def run(*words: str) -> None:
    await asyncio.to_thread(subprocess.run, words, check=True, capture_output=True)


async def publish(broker: Broker, topic: str, *payloads: str | bytes, qos: int = 1, **more: Any) -> None:
    await asyncio.to_thread(broker.publish, topic, *payloads, qos=qos, **more)


async def received(server: Served, events: int, name: str = "mqtt") -> dict[str, int]:
    """Wait until so many events have come in and all are committed; give the source's ledger."""
    await until(lambda: server.app.engine.ledger.of(name).received >= events, WAIT_S)
    await server.commit()
    ledger: dict[str, int] = (await server.get("/api/ledger"))["sources"][name]
    assert ledger["received"] == events
    return ledger


async def stored(server: Served, columns: str = "type, value") -> list[list[Any]]:
    return sorted(await server.ask(f"SELECT {columns} FROM events"), key=str)


def numbers(start: int, stop: int) -> list[str]:
    return [f'{{"type":"n","value":{i}}}' for i in range(start, stop)]


# what is subscribed to


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_every_message_is_an_event_once_at_each_quality_of_service(
    broker: Broker, qos: int, protocol: str
) -> None:
    async with subscribed(section(broker, f"q{qos}/#", qos=qos, protocol=protocol)) as server:
        await publish(broker, f"q{qos}/a/b", *numbers(0, 50), qos=qos)
        ledger = await received(server, 50)
        assert (ledger["stored"], ledger["rejected"], ledger["requests_refused"]) == (50, 0, 0)
        assert sorted(await server.ask("SELECT value FROM events")) == [[float(i)] for i in range(50)]


async def test_only_what_fits_the_wildcards_comes_in(broker: Broker) -> None:
    async with subscribed(section(broker, "w/+/x", "deep/#")) as server:
        for topic in ("w/1/x", "w/2/x", "w/1/y", "w/1/2/x", "deep", "deep/1/2", "other"):
            await publish(broker, topic, f'{{"type":"{topic}"}}')
        await publish(broker, "deep/last", '{"type":"last"}')
        await received(server, 5)
        assert [row[0] for row in await stored(server, "type")] == [
            "deep",
            "deep/1/2",
            "last",
            "w/1/x",
            "w/2/x",
        ]


async def test_parts_of_the_topic_become_properties_and_one_named_type_the_type(broker: Broker) -> None:
    metric = {"name": "doors", "by": ["site", "device"], "aggregates": ["count", "sum"]}
    async with subscribed(section(broker, "fleet/{site}/{device}/{type}"), metric=[metric]) as server:
        await publish(broker, "fleet/oslo/d1/door", '{"value":1}', "2", '{"value":3,"site":"bergen"}')
        await received(server, 3)
        assert await stored(server, "type, event->>'$.site', event->>'$.device', value") == [
            ["door", "bergen", "d1", 3.0],
            ["door", "oslo", "d1", 1.0],
            ["door", "oslo", "d1", 2.0],
        ]
        answer = await server.get("/api/metrics/doors", **{"from": "all", "step": 86_400})
        sums = {one["by"]["site"]: (one["totals"]["count"], one["totals"]["sum"]) for one in answer["series"]}
        assert sums == {"oslo": (2, 3.0), "bergen": (1, 3.0)}


async def test_the_type_may_be_the_topic_or_a_field_of_its_own(broker: Broker) -> None:
    by_topic = section(broker, "t/#", type_from="topic", name="by_topic")
    by_field = section(broker, "f/{kind}", type_from="kind", name="by_field")
    async with subscribed(by_topic, by_field, events={"value": "reading"}) as server:
        await publish(broker, "t/a/temperature", "21.5", '{"type":"own","reading":1}')
        await publish(broker, "f/humidity", '{"reading":40}', '{"kind":"own","reading":2}', "3")
        await received(server, 2, "by_topic")
        await received(server, 3, "by_field")
        assert await stored(server) == [
            ["humidity", 3.0],
            ["humidity", 40.0],
            ["own", 1.0],
            ["own", 2.0],
            ["t/a/temperature", 21.5],
        ]


async def test_servers_of_one_group_share_the_messages(broker: Broker) -> None:
    shared = section(broker, "s/#", group="workers")
    async with subscribed(shared) as one, subscribed(shared) as other:
        await publish(broker, "s/1", *numbers(0, 200))
        ledgers = [server.app.engine.ledger.of("mqtt") for server in (one, other)]
        await until(lambda: sum(ledger.received for ledger in ledgers) >= 200, WAIT_S)
        values = []
        for server, ledger in zip((one, other), ledgers, strict=True):
            assert ledger.received > 0, "one of the two got everything"
            await server.commit()
            values += [row[0] for row in await server.ask("SELECT value FROM events")]
        assert sorted(values) == [float(i) for i in range(200)]


async def test_two_sources_have_their_own_rows_in_the_ledger(broker: Broker) -> None:
    sources = section(broker, "one/#", name="one"), section(broker, "two/#", name="two")
    async with subscribed(*sources) as server:
        await publish(broker, "one/a", *numbers(0, 3))
        await publish(broker, "two/a", *numbers(0, 4))
        assert (await received(server, 3, "one"))["stored"] == 3
        assert (await received(server, 4, "two"))["stored"] == 4


# what a message holds


async def test_bad_messages_cost_only_themselves_are_counted_with_a_reason_and_never_come_again(
    broker: Broker, tmp_path: Path
) -> None:
    bad = [
        b"", b"hello", b"\xff\xfe{\x00}\x00", b"\0", b"null", b'"text"', b"true", b"NaN", b"[1", b'{"type":"a"',
        b'{"type":""}', b'{"type":7}', b'{"value":1}', b'{"type":"a","value":"1"}', b'{"type":"a","value":1e999}',
        b'{"type":"a","x":' + b"[" * 100 + b"]" * 100 + b"}", b'{"type":"' + b"x" * 70_000 + b'"}',
        b'{"type":"a"} trailing', b'{"type":"a","timestamp":"yesterday"}', b"12",
    ]  # fmt: skip
    async with subscribed(section(broker, "bad/#", qos=1), data=tmp_path / "data") as server:
        for one in bad:
            await publish(broker, "bad/1", one)
        await publish(broker, "bad/2", b'{"type":"good"}\n{"type":\n{"type":"good"}')
        ledger = await received(server, len(bad) + 3)
        assert (ledger["stored"], ledger["rejected"]) == (2, len(bad) + 1)
        assert server.app.engine.intake.notes["mqtt"].problem
        assert (await server.get("/readyz"))["status"] == "ready"
    async with subscribed(section(broker, "bad/#", qos=1), data=tmp_path / "data") as server:
        await publish(broker, "bad/3", '{"type":"after"}')
        ledger = await received(server, len(bad) + 4)  # of the restarted server: only the last is new
        assert ledger["stored"] == 3


async def test_one_message_may_hold_many_events(broker: Broker) -> None:
    async with subscribed(section(broker, "many/#", message_bytes="4MiB")) as server:
        lines = "\n".join(numbers(0, 30_000))  # more than is decoded in one piece
        await publish(broker, "many/lines", lines)
        await publish(broker, "many/array", "[" + ",".join(numbers(30_000, 60_000)) + "]")
        await received(server, 60_000)
        assert await server.ask("SELECT count(*), count(DISTINCT value), max(value) FROM events") == [
            [60_000, 60_000, 59_999.0]
        ]


async def test_a_retained_message_is_not_counted_again_at_every_start(broker: Broker, tmp_path: Path) -> None:
    await publish(broker, "kept/a", *numbers(0, 1), options=["-r"])
    async with subscribed(section(broker, "kept/#"), data=tmp_path / "data") as server:
        await received(server, 1)
    async with subscribed(section(broker, "kept/#"), data=tmp_path / "data") as server:
        await publish(broker, "kept/b", *numbers(1, 2))
        await received(server, 2)
        assert await stored(server, "value") == [[0.0], [1.0]]


# room


async def test_what_the_pipeline_has_no_room_for_waits_at_the_broker_and_comes_through_after(
    broker: Broker,
) -> None:
    source = section(broker, "full/#", receive_maximum=10)
    async with subscribed(source, limits={"saturated_wait": "0s"}) as server:
        producer = server.app.engine.producer
        capacity, producer.capacity = producer.capacity, 0
        producer._room.clear()
        await publish(broker, "full/a", *numbers(0, 100))
        await until(lambda: any("wait at the broker" in one for one in server.app.sources[0].problems()))
        assert server.app.engine.ledger.of("mqtt").received == 0
        [taking] = server.app.sources
        assert isinstance(taking, MqttSource)
        assert len(taking._session.held) == 10, "the broker keeps what is beyond the maximum"
        producer.capacity = capacity
        producer._room.set()
        ledger = await received(server, 100)
        assert ledger["stored"] == 100
        assert sorted(await server.ask("SELECT value FROM events")) == [[float(i)] for i in range(100)]
        assert server.app.sources[0].problems() == []


# starts and stops


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
@pytest.mark.parametrize("qos", [1, 2])
async def test_what_is_published_while_the_server_is_down_or_restarts_arrives_once(
    broker: Broker, tmp_path: Path, qos: int, protocol: str
) -> None:
    source = section(broker, f"away{qos}{protocol}/#", qos=qos, protocol=protocol)
    topic = f"away{qos}{protocol}/a"
    async with subscribed(source, data=tmp_path / "data") as server:
        await publish(broker, topic, *numbers(0, 20), qos=qos)
        await received(server, 20)
    await publish(broker, topic, *numbers(20, 40), qos=qos)
    publishing = asyncio.create_task(publish(broker, topic, *numbers(40, 2000), qos=qos))
    for _ in range(3):  # stopped in the middle of a stream
        async with subscribed(source, data=tmp_path / "data") as server:
            await until(
                partial(has_more, server, server.app.engine.ledger.of("mqtt").received, publishing), WAIT_S
            )
    await publishing
    async with subscribed(source, data=tmp_path / "data") as server:
        ledger = await received(server, 2000)
        assert ledger["stored"] == 2000
        assert sorted(await server.ask("SELECT value FROM events")) == [[float(i)] for i in range(2000)]


async def test_a_broker_that_is_down_at_the_start_is_named_and_tried_again(tmp_path: Path) -> None:
    late = Broker(tmp_path / "broker")
    async with serving(source=[section(late, "late/#")]) as server:
        await until(lambda: "not connected yet" not in str(server.app.sources[0].problems()))
        answer = await server.http.get("/readyz")
        assert answer.status_code == 200, "other ways in are open"
        assert answer.json()["status"] == "degraded"
        [reason] = answer.json()["reasons"]
        assert reason.startswith(f"mqtt: no connection to {late.url}: ")
        assert 'streamgauge_source_connected{source="mqtt"} 0.0' in (await server.http.get("/metrics")).text
        assert (await server.send({"type": "over http"})).status_code == 202
        late.start()
        try:
            await connected(server)
            await publish(late, "late/a", '{"type":"over mqtt"}')
            await received(server, 1)
            assert await stored(server, "type") == [["over http"], ["over mqtt"]]
            assert await server.get("/readyz") == {"status": "ready", "reasons": []}
            assert (
                'streamgauge_source_connected{source="mqtt"} 1.0' in (await server.http.get("/metrics")).text
            )
        finally:
            late.stop()


async def test_a_server_stops_soon_also_while_it_looks_for_its_broker(tmp_path: Path) -> None:
    nowhere = Broker(tmp_path / "broker")
    async with asyncio.timeout(20):
        async with serving(source=[section(nowhere, "a/#")]) as server:
            await until(lambda: "not connected yet" not in str(server.app.sources[0].problems()))


@pytest.mark.parametrize("keeps", [True, False])
async def test_after_a_restart_of_the_broker_messages_come_again(tmp_path: Path, *, keeps: bool) -> None:
    """With and without its memory of the session."""
    broker = Broker(tmp_path / "broker")
    broker.start()
    try:
        async with subscribed(section(broker, "r/#"), data=tmp_path / "data") as server:
            await publish(broker, "r/a", *numbers(0, 10))
            await received(server, 10)
            broker.stop()
            await until(server.app.sources[0].problems)
            assert (await server.get("/readyz"))["status"] == "degraded"
            if not keeps:
                (tmp_path / "broker" / "mosquitto.db").unlink()
            broker.start()
            await connected(server)
            await publish(broker, "r/a", *numbers(10, 20))
            await received(server, 20)
            assert sorted(await server.ask("SELECT value FROM events")) == [[float(i)] for i in range(20)]
    finally:
        broker.stop()


# who may connect


async def test_a_wrong_password_is_named_and_no_password_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    passwords = tmp_path / "passwords"
    await run(find("mosquitto_passwd"), "-b", "-c", str(passwords), "gauge", "open sesame")
    broker = Broker(tmp_path / "broker", f"password_file {passwords}", "allow_anonymous false")
    broker.start()
    monkeypatch.setenv("GAUGE_PASSWORD", "open sesame\n")
    login = ["-u", "gauge", "-P", "open sesame"]
    try:
        wrong = section(broker, "p/#") | {"url": f"mqtt://gauge:hunter2@127.0.0.1:{broker.port}"}
        async with serving(source=[wrong]) as server:
            await until(lambda: "refused" in str(server.app.sources[0].problems()))
            shown = str(server.app.sources[0].problems()) + str(server.app.sources[0].status())
            shown += (await server.http.get("/readyz")).text
            assert "hunter2" not in shown
            assert broker.url in shown
        right = section(broker, "p/#", username="gauge", password="${GAUGE_PASSWORD}")  # noqa: S106  the variable's name
        async with subscribed(right) as server:
            await publish(broker, "p/a", '{"type":"in"}', options=login)
            await received(server, 1)
    finally:
        broker.stop()
    said = capsys.readouterr()
    assert "hunter2" not in said.out + said.err


async def test_a_connection_with_tls_trusts_only_the_certificates_that_it_is_told_of(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    await run(
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate),
    )  # fmt: skip
    broker = Broker(
        tmp_path / "broker",
        f"certfile {certificate}",
        f"keyfile {key}",
        "allow_anonymous true",
        scheme="mqtts",
    )
    broker.start()
    try:
        async with serving(source=[section(broker, "tls/#")]) as server:
            await until(lambda: "certificate is not trusted" in str(server.app.sources[0].problems()))
        async with subscribed(section(broker, "tls/#", ca_file=str(certificate))) as server:
            trusted = ["--cafile", str(certificate)]
            await publish(broker, "tls/a", '{"type":"in"}', options=trusted)
            await received(server, 1)
    finally:
        broker.stop()


@pytest.mark.parametrize("version", ["5", "311"])  # a broker says why only to and of clients of MQTT 5
async def test_another_client_with_the_same_name_is_named_as_the_reason(broker: Broker, version: str) -> None:
    async with subscribed(section(broker, "twin/#", client_id="twin")) as server:
        intruder = await asyncio.create_subprocess_exec(
            find("mosquitto_sub"), "-p", str(broker.port), "-i", "twin", "-t", "x", "-W", "60", "-V", version
        )
        try:
            await until(lambda: "same client_id" in str(server.app.sources[0].problems()), WAIT_S)
        finally:
            intruder.kill()  # told to end while it connects, mosquitto_sub can wait for itself for ever
            await intruder.wait()
        await connected(server)


async def test_an_older_subscription_of_the_session_is_said_to_be_one(broker: Broker, tmp_path: Path) -> None:
    async with subscribed(section(broker, "old/#"), data=tmp_path / "data"):
        pass
    async with subscribed(section(broker, "new/#"), data=tmp_path / "data") as server:
        await publish(broker, "old/a", '{"type":"unasked"}')
        ledger = await received(server, 1)
        assert ledger["rejected"] == 1
        assert "older subscription" in str(server.app.engine.intake.notes["mqtt"].problem)


async def test_the_page_shows_a_source_that_has_no_connection_with_the_reason(tmp_path: Path) -> None:
    nowhere = Broker(tmp_path / "broker")
    async with serving(source=[section(nowhere, "a/#", name="fleet")]) as server, server.socket() as socket:
        await until(lambda: "not connected yet" not in str(server.app.sources[0].problems()))
        joined = ok(await talk(socket, "1", "1", "dashboard:overview", "phx_join", {}))
        [(name, shown)] = joined["state"]["sources"].items()
        assert (name, shown["connected"], shown["url"], shown["rate"]) == ("fleet", False, nowhere.url, 0.0)
        assert shown["last_problem"].startswith(f"fleet: no connection to {nowhere.url}: ")


async def test_the_status_says_where_from_and_how_much(broker: Broker) -> None:
    async with subscribed(section(broker, "st/#", name="fleet")) as server:
        [source] = server.app.sources
        await publish(broker, "st/a", *numbers(0, 30))
        await received(server, 30, "fleet")
        await until(lambda: source.status()["rate"] > 0)
        status = source.status()
        assert (source.name, status["kind"], status["url"], status["connected"]) == (
            "fleet",
            "mqtt",
            broker.url,
            True,
        )
        assert status["last_ms"] == pytest.approx(server.app.engine.now_us() / 1000, abs=30_000)


# the page of the documentation


async def test_what_the_documentation_shows_works_as_it_stands(broker: Broker, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "mqtt.md").read_text()
    blocks = re.findall(r"^```(\w+)\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [configuration, secured] = [tomllib.loads(text) for kind, text in blocks if kind == "toml"]
    from_mapping(secured)
    configuration["source"][0]["url"] = configuration["source"][0]["url"].replace(":1883", f":{broker.port}")
    configuration["source"][0]["url"] = configuration["source"][0]["url"].replace("localhost", "127.0.0.1")
    [commands] = [text for kind, text in blocks if kind == "sh"]
    async with serving(tmp_path / "data", **configuration) as server:
        await connected(server)
        for command in commands.replace("-p 1883", f"-p {broker.port}").splitlines():
            await run("sh", "-c", command)
        await received(server, 4)
        assert await stored(server, "type, value, event_id") == [
            ["alarm", None, None],
            ["door", 1.0, "d-4711"],
            ["reset", None, None],
            ["temperature", 21.5, None],
        ]
        [series] = (await server.get("/api/metrics/temperature", **{"from": "all", "step": 86_400}))["series"]
        assert series["by"] == {"site": "oslo", "device": "t17"}
        assert series["totals"]["last"] == 21.5


# options


@pytest.mark.parametrize(
    ("more", "path", "problem"),
    [
        ({"topics": ["a/#/b"]}, "source[0].topics[0]", "`#` stands alone"),
        ({"topics": ["a", "b/{x}/{x}"]}, "source[0].topics[1]", "same name"),
        ({"url": "mqtt://host:99999"}, "source[0].url", "Port out of range"),
        ({"type_from": "value"}, "source[0].type_from", "must differ"),
        ({"type_from": "topic", "topics": ["a/{type}"]}, "source[0].type_from", "a part named"),
        ({"username": "${NOT_SET_ANYWHERE}"}, "source[0].username", "NOT_SET_ANYWHERE is not set"),
        ({"password": "x"}, "source[0].password", "no username"),
        ({"url": "mqtts://h", "ca_file": "/none.pem"}, "source[0].ca_file", "No such file"),
    ],
)
def test_a_source_that_cannot_be_is_refused_before_anything_is_opened(
    more: dict[str, Any], path: str, problem: str
) -> None:
    from streamgauge.app import App
    from streamgauge.errors import OptionError

    options = from_mapping({"source": [{"kind": "mqtt", "url": "mqtt://host", "topics": ["a"], **more}]})
    with pytest.raises(OptionError) as caught:
        App(options)
    assert caught.value.path == path
    assert problem in caught.value.problem
