"""The configuration changes while events flow: what counts from when on, and what changes nothing at all."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reload_tools import RARELY, T0, Reloadable, reloadable, with_module, write_module
from streamgauge.errors import StorageFull
from streamgauge.event import FieldMapping
from streamgauge.intake import Receipt
from streamgauge.settings import IN_MEMORY
from web_tools import WAIT_S, problem, serving, until

OFTEN = '[store]\ncommit_interval = "20ms"\n'
STAMP_1 = '[transform]\nderive = { by = "value * 0 + 1" }\n'
STAMP_2 = '[transform]\nderive = { by = "value * 0 + 2" }\n'
BY_COUNTRY = '[[metric]]\nname = "countries"\nby = ["country"]\naggregates = ["count"]\n'
LARGE = '[[metric]]\nname = "large"\nwhere = "value > {least}"\naggregates = ["count"]\n'


def sale(number: int, **fields: Any) -> dict[str, Any]:
    return {"type": "sale", "timestamp": T0 + number, "value": number, "country": "BR", "weight": 3, **fields}


async def stamps(server: Reloadable) -> list[str | None]:
    """Give by which version each stored event was changed, in the order of their numbers."""
    rows = await server.ask("SELECT event->>'$.by' FROM events ORDER BY value")
    return [row[0] for row in rows]


# what changes, and from when on


async def test_a_new_metric_counts_from_the_reload_on_and_the_others_go_on(tmp_path: Path) -> None:
    async with reloadable(tmp_path, RARELY) as server:
        await server.send(*map(sale, range(5)))
        found = await server.take_up(RARELY + BY_COUNTRY)
        assert found["changed"] == ["metric.countries"]
        assert found["seq"] == 2  # the control record stands behind the one append
        await server.send(*map(sale, range(3)))
        assert await server.count("countries") == {("BR",): 3}
        assert await server.count() == {("sale",): 8}
        assert "streamgauge_configuration_changes_total 1.0" in (await server.http.get("/metrics")).text
        await server.verified()
        assert await server.count("countries") == {("BR",): 3}
        assert await server.count() == {("sale",): 8}


async def test_a_metric_that_is_taken_out_is_not_there_any_more_and_comes_back_as_it_was(
    tmp_path: Path,
) -> None:
    async with reloadable(tmp_path, RARELY + BY_COUNTRY) as server:
        await server.send(sale(1))
        await server.take_up(RARELY)
        await server.send(sale(2))
        assert (await server.http.get("/api/metrics/countries")).status_code == 404
        await server.take_up(RARELY + BY_COUNTRY)
        await server.send(sale(3), sale(4))
        assert await server.count("countries") == {("BR",): 3}  # the second sale came while nobody counted
        await server.verified()
        assert await server.count("countries") == {("BR",): 3}


@pytest.mark.parametrize("is_committed", [True, False])
async def test_what_a_metric_counted_under_another_definition_is_never_mixed_in(
    tmp_path: Path, *, is_committed: bool
) -> None:
    async with reloadable(tmp_path, RARELY + LARGE.format(least=2)) as server:
        await server.send(*map(sale, range(10)))
        if is_committed:
            await server.commit()
        assert await server.count("large") == {(): 7}
        await server.take_up(RARELY + LARGE.format(least=5))
        assert await server.count("large") == {}
        await server.send(*map(sale, range(10)))
        assert await server.count("large") == {(): 4}
        report = await server.verified()
        assert any("definition" in reason for reason in report["not_checked"])
        assert await server.count("large") == {(): 4}
        await server.take_up(RARELY + LARGE.format(least=2))
        assert await server.count("large") == {(): 7}  # the first definition, with what it had counted


async def test_derived_fields_and_filters_hold_from_the_reload_on(tmp_path: Path) -> None:
    old = '[transform]\nderive = { by = "value * 0 + 1" }\nkeep = "value < 5"\n'
    new = '[transform]\nderive = { by = "value * 0 + 2" }\nkeep = "value >= 5"\n'
    async with reloadable(tmp_path, RARELY + old) as server:
        await server.send(*map(sale, range(10)))
        assert (await server.take_up(RARELY + new))["changed"] == ["transform.derive", "transform.keep"]
        await server.send(*map(sale, range(10)))
        await server.verified()
        assert await stamps(server) == ["1.0"] * 5 + ["2.0"] * 5
        ledger = await server.get("/api/ledger")
        assert (ledger["received"], ledger["stored"], ledger["filtered"]) == (20, 10, 10)


async def test_a_changed_module_is_taken_up_and_the_old_process_ends_when_its_events_are_committed(
    tmp_path: Path,
) -> None:
    write_module(tmp_path, "old")
    async with reloadable(tmp_path, RARELY + with_module(tmp_path)) as server:
        [old] = workers(server)
        await server.send(*map(sale, range(3)))
        server.write_module("new")
        assert (await server.take_up())["changed"] == ["transform.module"]
        await server.send(*map(sale, range(3, 5)))
        assert is_running(old)
        await server.verified()
        assert await stamps(server) == ["old"] * 3 + ["new"] * 2
        await until(lambda: not is_running(old))
        [new] = workers(server)
        assert is_running(new)
    await until(lambda: not is_running(new))


async def test_dead_letters_of_a_module_are_replayed_through_the_one_that_was_mended(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text("def transform(event):\n    return {**event, 'price': 100 / event['value']}\n")
    async with reloadable(tmp_path, OFTEN + with_module(tmp_path)) as server:
        await server.send(sale(0), sale(1))
        await server.commit()
        module.write_text("def transform(event):\n    return {**event, 'price': None}\n")
        await server.take_up()
        answer = await server.http.post("/api/dead-letters/replay", json={"all": True})
        assert answer.status_code == 202, answer.text
        await server.verified()
        prices = await server.ask("SELECT value, event->>'$.price' FROM events ORDER BY value")
        assert prices == [[0.0, None], [1.0, "100.0"]]
        ledger = await server.get("/api/ledger")
        assert (ledger["received"], ledger["stored"], ledger["dead_lettered"]) == (3, 2, 1)


def workers(server: Reloadable) -> list[int]:
    runners = [change.module for change in server.app.engine.terms.current.changes if change.module]
    return [runner._worker.pid for runner in runners if runner._worker]


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_which_field_plays_which_part_changes_with_the_next_request(tmp_path: Path) -> None:
    async with reloadable(tmp_path, RARELY) as server:
        await server.send({"type": "a", "timestamp": T0, "value": 1, "kind": "b", "amount": 10})
        found = await server.take_up(RARELY + '[events]\ntype = "kind"\nvalue = "amount"\n')
        assert found["changed"] == ["events.type", "events.value"]
        await server.send({"type": "a", "timestamp": T0, "value": 1, "kind": "b", "amount": 10})
        answer = await server.get("/api/metrics/events", **{"from": "all"})
        sums = {one["by"]["type"]: one["totals"]["sum"] for one in answer["series"]}
        assert sums == {"a": 1, "b": 10}
        assert (await server.get("/api/sources"))["fields"]["type"] == "kind"
        await server.verified()


async def test_limits_of_queries_change_without_a_place_in_the_journal(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as server:
        found = await server.take_up(
            "[query]\nmax_rows = 3\n[live]\nmax_rate = 9.0\n[store]\nraw_retention = '3d'\n"
        )
        assert found["changed"] == ["live.max_rate", "query.max_rows", "store.raw_retention"]
        assert found["seq"] is None
        assert len(await server.ask("SELECT * FROM range(10)")) == 3
        assert server.app.engine.journal.last_seq == 0


async def test_an_unchanged_file_changes_nothing_whatever_its_spelling(tmp_path: Path) -> None:
    async with reloadable(tmp_path, BY_COUNTRY) as server:
        found = await server.take_up("# the same\n" + BY_COUNTRY.replace(" = ", "="))
        assert (found["changed"], found["seq"]) == ([], None)
        assert server.app.engine.journal.last_seq == 0


async def test_a_server_that_keeps_nothing_reloads_too(tmp_path: Path) -> None:
    in_memory = f'[store]\nurl = "{IN_MEMORY}"\nraw_events = false\n'
    async with reloadable(tmp_path, in_memory) as server:
        await server.send(sale(1))
        write_module(tmp_path, "new")
        by_version = '[[metric]]\nname = "versions"\nby = ["by"]\naggregates = ["count"]\n'
        await server.take_up(in_memory + with_module(tmp_path) + by_version)
        await server.send(sale(2))
        assert await server.count() == {("sale",): 2}
        assert await server.count("versions") == {("new",): 1}
        assert not (tmp_path / "data").exists()


async def test_many_reloads_at_once_are_one_change(tmp_path: Path) -> None:
    async with reloadable(tmp_path) as server:
        server.write(BY_COUNTRY)
        answers = await asyncio.gather(*(server.take_up() for _ in range(10)))
        assert sorted(bool(answer["changed"]) for answer in answers) == [False] * 9 + [True]
        assert server.app.engine.journal.last_seq == 1


async def test_more_changes_than_can_be_under_way_wait_for_their_turn(tmp_path: Path) -> None:
    async with reloadable(tmp_path, OFTEN) as server:
        for number in range(25):
            await server.send(sale(100 + number))
            await server.take_up(OFTEN + LARGE.format(least=number))
        assert await server.count() == {("sale",): 25}
        await server.verified()
        await until(lambda: len(server.app.engine.terms._open) == 1)


async def test_events_read_at_the_door_just_before_a_change_are_counted_by_the_new_rules(
    tmp_path: Path,
) -> None:
    """What is read by the old rules and written behind the change lacks fields that only the new rules refer to."""
    new = '[transform]\nderive = { by = "weight * 2" }\n'
    async with reloadable(tmp_path, RARELY + STAMP_1) as server:
        engine, may_go_on = server.app.engine, asyncio.Event()
        sort = engine.claims.sort

        async def held_up(*arguments: Any) -> Any:
            await may_go_on.wait()
            return await sort(*arguments)

        engine.claims.sort = held_up  # type: ignore[method-assign,assignment]
        lines = msgspec.json.Encoder().encode_lines([sale(number) for number in range(1000)])
        sending: asyncio.Task[Receipt] = asyncio.create_task(
            engine.intake.accept(lines, "test", FieldMapping())
        )
        await server.take_up(RARELY + new + BY_COUNTRY)
        may_go_on.set()
        assert (await sending).accepted == 1000
        assert await server.count("countries") == {("BR",): 1000}
        await server.verified()
        assert set(await stamps(server)) == {"6.0"}


# what changes nothing

BROKEN: dict[str, tuple[str, list[str]]] = {
    "no TOML": ("[store\n", ["line 1", "not valid TOML"]),
    "half of a file": ('[[metric]]\nname = "coun', ["end of document"]),
    "an unknown key": ("[query]\nmax_row = 3\n", ["query.max_row", "did you mean `max_rows`?"]),
    "a wrong type": ('[query]\nmax_rows = "many"\n', ["query.max_rows", '"many"']),
    "a bad filter": ('[[metric]]\nname = "m"\nwhere = "value >"\n', ["metric[0].where"]),
    "a bad field": ('[transform]\nderive = { a = "1 +" }\n', ["transform.derive"]),
    "no module": ('[transform]\nmodule = "missing.py"\n', ["transform.module", "missing.py"]),
}


@pytest.mark.parametrize("case", BROKEN)
async def test_a_file_with_something_wrong_changes_nothing_and_says_where(tmp_path: Path, case: str) -> None:
    text, words = BROKEN[case]
    async with reloadable(tmp_path, BY_COUNTRY) as server:
        server.write("[live]\nmax_rate = 9.0\n" + text if case != "no TOML" else text)
        detail = problem(await server.reload(), 422, "bad_configuration")
        assert all(word in detail for word in [str(server.file), *words]), detail
        await expect_nothing_changed(server)


async def test_a_file_that_is_not_there_changes_nothing(tmp_path: Path) -> None:
    async with reloadable(tmp_path, BY_COUNTRY) as server:
        server.file.unlink()
        assert "no such file" in problem(await server.reload(), 422, "bad_configuration")
        server.file.mkdir()
        assert "is a folder" in problem(await server.reload(), 422, "bad_configuration")
        await expect_nothing_changed(server)


async def expect_nothing_changed(server: Reloadable) -> None:
    assert server.app.engine.journal.last_seq == 0
    await server.send(sale(1))
    assert await server.count("countries") == {("BR",): 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("def transform(event:\n    return event\n", ["line 1", "SyntaxError"]),
        ("x = 1\n1 / 0\ndef transform(event):\n    return event\n", ["line 2", "ZeroDivisionError"]),
        ("def change(event):\n    return event\n", ["transform"]),
    ],
)
async def test_a_module_with_something_wrong_changes_nothing_and_says_where(
    tmp_path: Path, text: str, words: list[str]
) -> None:
    write_module(tmp_path, "old")
    async with reloadable(tmp_path, RARELY + with_module(tmp_path)) as server:
        (tmp_path / "module.py").write_text(text)
        server.write(RARELY + with_module(tmp_path) + BY_COUNTRY)
        detail = problem(await server.reload(), 422, "bad_configuration")
        assert all(word in detail for word in ["module.py", "transform.module", *words]), detail
        await server.send(sale(1))
        await server.commit()
        assert await stamps(server) == ["old"]
        assert (await server.http.get("/api/metrics/countries")).status_code == 404


async def test_a_server_stops_while_it_waits_for_a_module_that_does_not_come_to_an_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamgauge.reloading.LAST_S", 0.01)
    (tmp_path / "module.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'begun')!r}).touch()\nwhile True:\n    pass\n"
    )
    async with asyncio.timeout(WAIT_S):
        async with reloadable(tmp_path, RARELY) as server:
            await server.send(sale(1))
            server.write(RARELY + with_module(tmp_path))
            waiting = asyncio.create_task(server.reload())
            await until((tmp_path / "begun").exists)
    await asyncio.gather(waiting, return_exceptions=True)
    async with reloadable(tmp_path, RARELY) as server:
        assert await server.count() == {("sale",): 1}


async def test_what_needs_a_restart_is_named_and_nothing_is_applied(tmp_path: Path) -> None:
    async with reloadable(tmp_path, RARELY) as server:
        server.write('[store]\nraw_events = false\n[journal]\nfsync = "always"\n' + BY_COUNTRY)
        answer = await server.reload()
        assert "restart" in problem(answer, 409, "restart_needed")
        assert answer.json()["keys"] == ["journal.fsync", "store.commit_interval", "store.raw_events"]
        assert (await server.http.get("/api/metrics/countries")).status_code == 404
        assert (await server.take_up(RARELY))["changed"] == []


async def test_a_server_without_a_file_says_so() -> None:
    async with serving() as server:
        answer = await server.http.post("/api/configuration/reload")
        assert "without a configuration file" in problem(answer, 409, "no_configuration_file")


async def test_what_cannot_be_written_into_the_journal_changes_nothing_and_can_be_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_module(tmp_path, "old")
    async with reloadable(tmp_path, RARELY) as server:
        engine = server.app.engine

        def refuse(kind: str, data: object, written: object) -> asyncio.Future[int]:
            future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
            future.set_exception(StorageFull("the disk is full", 5.0))
            return future

        with monkeypatch.context() as patched:
            patched.setattr(engine.journal, "append_control", refuse)
            server.write(RARELY + with_module(tmp_path))
            answer = await server.reload()
            assert "the disk is full" in problem(answer, 503, "storage_full")
            assert answer.headers["Retry-After"] == "5"
        await server.send(sale(1))
        await server.take_up()
        await server.send(sale(2))
        await server.verified()
        assert await stamps(server) == [None, "old"]


# taken up by itself


async def watching(folder: Path, change: Callable[[Reloadable], None], text: str) -> None:
    async with reloadable(folder, text) as server:
        watch = asyncio.create_task(server.app.reloader.watch(0.01))
        try:
            change(server)
            await until(lambda: server.app.engine.terms.changes == 1)
        finally:
            watch.cancel()
        await server.send(sale(1))
        await server.commit()
        assert await stamps(server) in (["new"], ["2.0"])


async def test_a_watched_file_is_taken_up_when_it_changes(tmp_path: Path) -> None:
    await watching(tmp_path, lambda server: server.write(RARELY + STAMP_2), RARELY)


async def test_a_watched_module_is_taken_up_when_it_changes(tmp_path: Path) -> None:
    write_module(tmp_path, "old")
    await watching(tmp_path, lambda server: server.write_module("new"), RARELY + with_module(tmp_path))


async def test_a_watched_file_is_taken_up_when_a_link_on_the_way_to_it_is_swapped(tmp_path: Path) -> None:
    """As Kubernetes replaces the files of a ConfigMap: the folder that a link names changes under it."""
    versions = {"1": RARELY, "2": RARELY + STAMP_2}
    for name, text in versions.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "gauge.toml").write_text(text)
    (tmp_path / "data_link").symlink_to("1")

    def swap(server: Reloadable) -> None:
        (tmp_path / "next").symlink_to("2")
        (tmp_path / "next").replace(tmp_path / "data_link")

    (tmp_path / "gauge.toml").symlink_to("data_link/gauge.toml")
    await watching(tmp_path, swap, RARELY)


async def test_a_file_that_comes_and_goes_does_not_disturb_the_watch(tmp_path: Path) -> None:
    async with reloadable(tmp_path, BY_COUNTRY) as server:
        watch = asyncio.create_task(server.app.reloader.watch(0.001))
        for text in ("[store\n", "", '[server]\nhost = "::1"\n'):
            server.file.unlink()
            await asyncio.to_thread(server.file.exists)
            server.write(text)
            await asyncio.to_thread(server.file.exists)
        server.write(LARGE.format(least=3))
        async with asyncio.timeout(WAIT_S):
            while (await server.http.get("/api/metrics/large")).status_code == 404:
                assert not watch.done()
        watch.cancel()
