"""Events on their way through `[transform]`: what is counted, what is stored, what is set aside, in what order."""

from __future__ import annotations

import itertools
import os
import runpy
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from server_process import ServerProcess
from streamgauge.errors import OptionError
from streamgauge.event import FieldMapping
from streamgauge.stages.aggregator import Aggregator
from transform_tools import DEADLY, KINDS, MILD, POISON, write_module
from web_tools import WAIT_S, Served, serving

EXAMPLE = Path(__file__).parent.parent / "examples" / "my_transforms.py"
T0 = 1_700_000_000
GOOD = 10_000
EACH = 100 if os.environ.get("STREAMGAUGE_SOAK") else 5  # bad events of each kind


async def stored(served: Served) -> list[Any]:
    """Give the stored events, in the order of their times."""
    rows = await served.ask("SELECT event FROM events ORDER BY time, event")
    return [msgspec.json.decode(row[0]) for row in rows]


async def letters(served: Served) -> list[Any]:
    found = (await served.get("/api/dead-letters", limit=200))["dead_letters"]
    return sorted(found, key=lambda one: [int(part) for part in one["name"].split(":")])


async def totals(served: Served, metric: str = "events", **options: Any) -> list[Any]:
    answer = await served.get(f"/api/metrics/{metric}", **{"from": "all"}, **options)
    return [(one["by"], one["totals"]) for one in answer["series"]]


async def test_derived_fields_are_kept_filtered_measured_grouped_by_and_stored() -> None:
    metric = {"name": "price", "value": "unit_price", "by": ["large"], "aggregates": ["count", "sum"]}
    derive = {"unit_price": "amount / quantity", "large": "unit_price > 3"}
    async with serving(
        transform={"derive": derive, "keep": "unit_price IS NOT NULL"}, metric=[metric]
    ) as served:
        await served.send(
            {"type": "a", "timestamp": T0, "amount": 10, "quantity": 4},
            {"type": "b", "timestamp": T0 + 1, "amount": 10, "quantity": 2},
            {"type": "c", "timestamp": T0 + 2, "amount": 10, "quantity": 0},
        )
        await served.commit()
        assert await totals(served, "price") == [
            ({"large": False}, {"count": 1, "sum": 2.5}),
            ({"large": True}, {"count": 1, "sum": 5.0}),
        ]
        assert await stored(served) == [
            {"type": "a", "timestamp": T0, "amount": 10, "quantity": 4, "unit_price": 2.5, "large": False},
            {"type": "b", "timestamp": T0 + 1, "amount": 10, "quantity": 2, "unit_price": 5.0, "large": True},
        ]
        ledger = await served.get("/api/ledger")
        assert (ledger["stored"], ledger["filtered"], ledger["pending"]) == (2, 1, 0)


async def test_a_derived_value_is_the_value_of_the_event() -> None:
    async with serving(transform={"derive": {"value": "amount * 2"}}) as served:
        await served.send({"type": "a", "timestamp": T0, "amount": 10, "value": 1})
        assert [figures["sum"] for _, figures in await totals(served, aggregates="sum")] == [20.0]


async def test_derived_fields_are_there_without_raw_events_too() -> None:
    metric = {"name": "price", "value": "double", "aggregates": ["sum"]}
    async with serving(
        transform={"derive": {"double": "amount * 2"}}, metric=[metric], store={"raw_events": False}
    ) as served:
        await served.send({"type": "a", "timestamp": T0, "amount": 10})
        assert await totals(served, "price") == [({}, {"sum": 20.0})]


async def test_what_a_module_changes_is_what_is_counted_and_stored(tmp_path: Path) -> None:
    module = write_module(
        tmp_path,
        f"""
        def transform(event):
            if event["type"] == "unwanted":
                return None
            event.update(type="sale", timestamp={T0}, value=event["cents"] / 100)
            return event
        """,
    )
    async with serving(transform={"module": str(module), "derive": {"double": "value * 2"}}) as served:
        await served.send({"type": "buy", "cents": 250}, {"type": "unwanted"}, {"type": "buy", "cents": 50})
        await served.commit()
        assert [(by, figures["sum"]) for by, figures in await totals(served)] == [({"type": "sale"}, 3.0)]
        rows = await served.ask(
            "SELECT type, epoch(time), value, event->>'double' FROM events ORDER BY value"
        )
        assert rows == [["sale", T0, 0.5, "1.0"], ["sale", T0, 2.5, "5.0"]]
        ledger = await served.get("/api/ledger")
        assert (ledger["received"], ledger["stored"], ledger["filtered"]) == (3, 2, 1)


async def test_a_module_sees_the_fields_as_the_sender_names_them(tmp_path: Path) -> None:
    module = write_module(tmp_path, "def transform(event): return {**event, 'event': event['event'].upper()}")
    async with serving(transform={"module": str(module)}) as served:
        await served.send({"event": "buy", "timestamp": T0}, query="?type=event")
        assert [by for by, _ in await totals(served)] == [{"type": "BUY"}]


async def test_what_a_module_makes_of_an_event_is_checked_as_at_the_door(tmp_path: Path) -> None:
    module = write_module(tmp_path, "def transform(event): return event.get('then')")
    bad: list[tuple[dict[str, Any], str]] = [
        ({"type": "a", "timestamp": "yesterday"}, "timestamp"),
        ({"type": "a", "timestamp": 9_999_999_999}, "ahead"),
        ({"type": 1}, "expected a non-empty string"),
        ({"no": "type"}, "no `type`"),
        ({"type": "a", "value": "much"}, "value: expected a number"),
    ]
    good = {"type": "fine", "timestamp": T0}
    events = [{"type": "a", "then": then} for then, _ in bad] + [{"type": "a", "then": good}]
    async with serving(transform={"module": str(module)}) as served:
        await served.send(*events)
        await served.commit()
        assert await stored(served) == [good]
        found = await letters(served)
        assert [one["name"] for one in found] == [f"0:1:{place}" for place in range(len(bad))]
        for one, (_, problem) in zip(found, bad, strict=True):
            assert one["stage"] == "transform"
            assert problem in one["reason"]


async def test_a_dead_letter_holds_the_event_as_it_was_accepted_and_why_it_failed(tmp_path: Path) -> None:
    module = write_module(tmp_path, POISON)
    sent = b'{"type": "raise",  "nested": {"a": [1, 2.50]}}'
    async with serving(transform={"module": str(module)}) as served:
        await served.http.post(
            "/api/events", content=sent + b"\n", headers={"Content-Type": "application/x-ndjson"}
        )
        await served.commit()
        answer = await served.http.get("/api/dead-letters/0:1:0")
        assert sent in answer.content
        assert "ValueError: no such thing" in answer.json()["traceback"]
        assert answer.json()["source"] == "http"


async def test_order_is_kept_within_a_shard(tmp_path: Path) -> None:
    metric = {"name": "latest", "value": "number", "aggregates": ["last"]}
    async with serving(transform={"module": str(write_module(tmp_path, POISON))}, metric=[metric]) as served:
        for start in range(0, 6000, 500):
            kinds = itertools.cycle(["ok"] * 50 + ["raise"])
            await served.send(
                *({"type": next(kinds), "timestamp": T0, "number": start + n} for n in range(500))
            )
        await served.send({"type": "ok", "timestamp": T0, "number": -1})
        assert await totals(served, "latest") == [({}, {"last": -1.0})]


async def test_several_workers_share_the_events(tmp_path: Path) -> None:
    module = write_module(
        tmp_path, "import os\ndef transform(event): return {**event, 'worker': str(os.getpid())}"
    )
    pipeline = {"transformer": {"concurrency": 3}}
    async with serving(transform={"module": str(module)}, pipeline=pipeline) as served:
        for _ in range(10):
            await served.send(*({"type": "a", "timestamp": T0} for _ in range(2000)))
        await served.commit()
        rows = await served.ask("SELECT event->>'worker', count(*) FROM events GROUP BY 1")
        assert sum(count for _, count in rows) == 20_000
        assert len(rows) > 1


async def test_a_module_that_fails_at_import_keeps_the_server_from_starting(tmp_path: Path) -> None:
    module = write_module(tmp_path, "\nimport no_such_thing\n")
    with pytest.raises(OptionError, match=r"shop.py, line 2: ModuleNotFoundError"):
        async with serving(transform={"module": str(module)}):
            pytest.fail("it started")


async def test_events_that_fail_in_the_aggregator_are_dead_letters_as_they_were_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute = Aggregator._compute

    def fails(self: Aggregator, batches: Any) -> Any:
        if any(
            kind == "bad" for batch in batches for kind in (batch.type.values[c] for c in batch.type.codes)
        ):
            raise RuntimeError("cannot count this")
        return compute(self, batches)

    monkeypatch.setattr(Aggregator, "_compute", fails)
    module = write_module(tmp_path, "def transform(event): return {**event, 'more': 1}")
    for store, transform in itertools.product(({}, {"raw_events": False}), ({}, {"module": str(module)})):
        async with serving(transform=transform, store=store) as served:
            await served.send(*({"type": kind, "timestamp": T0} for kind in ("a", "bad", "b", "bad")))
            await served.commit()
            assert [one["name"] for one in await letters(served)] == ["0:1:1", "0:1:3"]
            letter = await served.get("/api/dead-letters/0:1:3")
            assert letter["stage"] == "aggregate"
            assert letter["reason"] == "RuntimeError: cannot count this"
            assert "in fails" in letter["traceback"]
            assert letter["event"] == {"type": "bad", "timestamp": T0}
            ledger = await served.get("/api/ledger")
            assert (ledger["stored"], ledger["dead_lettered"], ledger["pending"]) == (2, 2, 0)


async def test_a_mapping_pushed_from_python_is_kept_too_when_it_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(self: Aggregator, batches: Any) -> Any:
        raise RuntimeError("cannot count this")

    monkeypatch.setattr(Aggregator, "_compute", fails)
    event = {"type": "a", "timestamp": T0, "nested": {"a": 1}}
    async with serving(store={"raw_events": False}) as served:
        await served.app.engine.intake.accept_objects([event], "python", FieldMapping())
        await served.commit()
        assert (await served.get("/api/dead-letters/0:1:0"))["event"] == event


def poisoned() -> list[dict[str, Any]]:
    """Give good events with bad ones of each kind among them."""
    events: list[dict[str, Any]] = [
        {"type": "ok", "timestamp": T0 + n % 100, "value": n} for n in range(GOOD)
    ]
    kinds = KINDS if EACH > 5 else [*MILD, *(kind for kind in DEADLY if kind != "loop")]
    bad = [{"type": kind, "timestamp": T0, "n": n} for n in range(EACH) for kind in kinds]
    bad += [] if "loop" in kinds else [{"type": "loop", "timestamp": T0}]
    step = GOOD // len(bad)
    for place, event in enumerate(bad):
        events.insert(place * (step + 1), event)
    return events


def check_exact(server: ServerProcess, events: list[dict[str, Any]]) -> None:
    """All good events are counted, and each bad one is in one dead letter."""
    bad = [event for event in events if event["type"] != "ok"]
    ledger = server.wait_until_committed(300.0)
    assert ledger["received"] == len(events)
    assert (ledger["stored"], ledger["dead_lettered"], ledger["filtered"]) == (GOOD, len(bad), 0)
    [series] = server.get("/api/metrics/events", **{"from": "all", "aggregates": "count,sum"})["series"]
    assert series["totals"] == {"count": GOOD, "sum": sum(range(GOOD))}
    [[rows, names, seen]] = server.ask(
        "SELECT count(*), count(DISTINCT event->>'value'), count(*) FILTER ((event->>'seen') = 'true') FROM events"
    )
    assert (rows, names, seen) == (GOOD, GOOD, GOOD)
    found: list[str] = []
    after: dict[str, str] = {}
    while True:
        page = server.get("/api/dead-letters", limit=200, **after)
        found += [one["preview"] for one in page["dead_letters"]]
        if page["next"] is None:
            break
        after = {"after": page["next"]}
    assert sorted(found) == sorted(msgspec.json.encode(event).decode() for event in bad)


def test_bad_events_of_every_kind_are_set_aside_once_and_all_others_are_counted_also_after_a_crash(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    module = write_module(tmp_path, POISON)
    configuration = f"""
        [transform]
        module = "{module}"
        deadline = "1s"
        [store]
        commit_interval = "1m"
    """
    events = poisoned()
    server = start_server(configuration=configuration)
    body = msgspec.json.Encoder().encode_lines(events)
    assert server.post(body).json()["accepted"] == len(events)
    server.kill()
    server = start_server(configuration=configuration.replace("1m", "200ms"))
    check_exact(server, events)
    assert server.stop() == 0
    check_exact(start_server(configuration=configuration), events)


def test_a_server_that_is_killed_takes_its_worker_with_it(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    module = write_module(tmp_path, "import os\ndef transform(event): return {**event, 'pid': os.getpid()}")
    server = start_server(configuration=f'[transform]\nmodule = "{module}"\n')
    server.post(b'{"type":"a"}')
    server.wait_until_committed()
    [[pid]] = server.ask("SELECT event->>'pid' FROM events")
    server.post(b'{"type":"a"}')
    assert Path(f"/proc/{pid}").exists()
    waiting = os.pidfd_open(int(pid))
    server.kill()
    ended, _, _ = select.select([waiting], [], [], 30.0)
    os.close(waiting)
    assert ended


def test_the_configuration_is_checked_with_its_expressions_and_its_module(tmp_path: Path) -> None:
    from command_line import run

    file = tmp_path / "gauge.toml"
    for text, problem in (
        ('[transform]\nderive = { a = "1 +" }', "transform.derive.a"),
        ("[transform]\nderive = { a = 1 }", "transform.derive.a: expected a text"),
        ('[transform]\nmodule = "no.py"', "transform.module (line 2): no.py: No such file"),
    ):
        file.write_text(text)
        done = run("check", str(file), folder=tmp_path)
        assert done.code == 2
        assert problem in done.line


def test_the_example_does_what_it_says() -> None:
    transform = runpy.run_path(str(EXAMPLE))["transform"]
    assert transform({"type": "view", "user_agent": "GoogleBot/2.1"}) is None
    assert transform({"type": "view", "test": True}) is None
    assert transform({"type": "view"}) == {"type": "view"}
    assert transform({"type": "sale", "price_cents": 1000, "currency": "USD"})["price"] == pytest.approx(9.2)


async def test_the_example_runs_in_a_server() -> None:
    async with serving(transform={"module": str(EXAMPLE)}) as served:
        await served.send(
            {"type": "sale", "timestamp": T0, "price_cents": 1000},
            {"type": "view", "timestamp": T0, "user_agent": "a crawler"},
            {"type": "sale", "timestamp": T0, "price_cents": 1000, "currency": "ducats"},
        )
        await served.commit()
        assert [event["price"] for event in await stored(served)] == [10.0]
        [letter] = await letters(served)
        assert letter["reason"] == "KeyError: 'ducats'"
        assert await served.app.engine.flush(WAIT_S)
