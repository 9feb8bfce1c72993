"""The configuration changes under load, well or badly, and the server is killed: each event is handled by one version."""

from __future__ import annotations

import random
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import duckdb
from effort import a_seed, chance_of, trials
from oracle import CONFIGURATION, Oracle, Tally, check, close, sending, tallied, until

from server_process import ServerProcess

OFTEN: Final = '[store]\ncommit_interval = "50ms"\ncheckpoint_interval = "300ms"\n'
JOURNAL: Final = '[journal]\nsegment_bytes = "64KiB"\nsegment_age = "200ms"\n'
MODULE: Final = 'def transform(event):\n    event["module"] = {version}\n    return event\n'
VERSION: Final = """
[transform]
module = "{module}"
derive = {{ derived = "value * 0 + {version}" }}
[[metric]]
name = "v_{version}"
aggregates = ["count"]
"""
RELOADS_IN_A_LIFE: Final = 15
AT_ONCE: Final = 6


class Versions:
    """The configuration file of a server, which each version replaces in one of several ways.

    begun: where the journal says that a version begins, as far as an answer told so.
    """

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.file, self._folder, self._chance = folder / "data.toml", folder / "versions", chance
        self._folder.mkdir()
        self.number = 0
        self.begun: list[tuple[int, int]] = []

    def write_next(self) -> str:
        """Make another version, and have the configuration file name it; give its text."""
        self.number += 1
        module = self._folder / f"module_{self.number}.py"
        module.write_text(MODULE.format(version=self.number))
        text = self.text()
        if self._chance.random() < 0.5:
            self.put_in_place(text)
        else:
            self.link_to(text)
        return text

    def text(self) -> str:
        module = self._folder / f"module_{self.number}.py"
        return JOURNAL + OFTEN + CONFIGURATION + VERSION.format(module=module, version=self.number)

    def put_in_place(self, text: str) -> None:
        fresh = self.file.with_suffix(".fresh")
        fresh.write_text(text)
        fresh.replace(self.file)

    def link_to(self, text: str) -> None:
        target = self._folder / f"{self.number}.toml"
        target.write_text(text)
        link = self.file.with_suffix(".link")
        link.symlink_to(target)
        link.replace(self.file)


def reload(server: ServerProcess) -> tuple[int, dict[str, object]]:
    answer = server.client.post("/api/configuration/reload")
    return answer.status_code, answer.json()


def is_in_force(server: ServerProcess, version: int) -> bool:
    status: int = server.client.get(f"/api/metrics/v_{version}").status_code
    return status == 200


def ask_for(server: ServerProcess, versions: Versions) -> None:
    """Have the next version taken up because somebody asks."""
    versions.write_next()
    status, answer = reload(server)
    assert status == 200, answer
    seq = answer["seq"]
    assert isinstance(seq, int)
    versions.begun.append((seq, versions.number))


def send_signal(server: ServerProcess, versions: Versions) -> None:
    """Have it taken up by signals, of which some come before the one before was heard."""
    versions.write_next()
    for _ in range(AT_ONCE):
        server.process.send_signal(signal.SIGHUP)
    until(lambda: is_in_force(server, versions.number), what="the signal was not heard")


def ask_at_once(server: ServerProcess, versions: Versions) -> None:
    """Have it taken up by many who ask at once: one of them is told where it begins."""
    versions.write_next()
    server.process.send_signal(signal.SIGHUP)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda _: reload(server), range(AT_ONCE)))
    assert {status for status, _ in answers} == {200}, answers
    begun = [answer["seq"] for _, answer in answers if answer["seq"] is not None]
    assert len(begun) <= 1
    versions.begun += [(seq, versions.number) for seq in begun if isinstance(seq, int)]
    assert is_in_force(server, versions.number)


def expect_refused(server: ServerProcess, versions: Versions, status: int, *words: str) -> None:
    found, answer = reload(server)
    assert found == status, answer
    assert all(word in str(answer["detail"]) for word in (str(versions.file), *words)), answer
    assert is_in_force(server, versions.number)


def break_it(server: ServerProcess, versions: Versions) -> None:
    """Write what cannot be read, or only half of it, or nothing."""
    good, chance = versions.text(), versions._chance
    half = good[: chance.randrange(len(JOURNAL), len(good))] + "\n["  # invalid wherever it was cut
    bad: tuple[str, int, str]
    bad = chance.choice(
        [
            (half, 422, "not valid TOML"),
            ("[[metric]\n" + good, 422, "line 1"),
            (good + "ways = 3\n", 422, "ways"),
            (good + 'where = "value >"\n', 422, "metric[2].where"),
            (good.replace("module_", "missing_"), 422, "transform.module"),
            (good + "[pipeline.aggregator]\nmax_batch = 17\n", 409, "pipeline.aggregator.max_batch"),
        ]
    )  # fmt: skip
    versions.file.unlink()
    versions.file.write_text(bad[0])
    expect_refused(server, versions, *bad[1:])
    versions.put_in_place(good)


def remove_it(server: ServerProcess, versions: Versions) -> None:
    versions.file.unlink()
    expect_refused(server, versions, 422, "no such file")
    versions.put_in_place(versions.text())


def break_module(server: ServerProcess, versions: Versions) -> None:
    """Change the module of the version in force into one that cannot be loaded."""
    module = versions._folder / f"module_{versions.number}.py"
    module.write_text("import json\n1 / 0\n")
    status, answer = reload(server)
    assert status == 422, answer
    assert "line 2" in str(answer["detail"]), answer
    module.write_text(MODULE.format(version=versions.number))


CHANGES: Final[list[Callable[[ServerProcess, Versions], None]]] = [
    ask_for, break_it, send_signal, remove_it, ask_at_once, break_module,
]  # fmt: skip


def check_versions(server: ServerProcess) -> None:
    """Every stored event went through one version, and is counted by that one alone."""
    mixed = server.ask(
        "SELECT count(*) FROM events WHERE (event->>'$.module')::DOUBLE IS DISTINCT FROM (event->>'$.derived')::DOUBLE"
    )
    assert mixed == [[0]]
    stored = server.ask("SELECT 'v_' || (event->>'$.module'), count(*) FROM events GROUP BY 1 ORDER BY 1")
    counted = server.ask(
        "SELECT metric, sum(count)::BIGINT FROM rollups WHERE metric LIKE 'v\\_%' ESCAPE '\\' GROUP BY 1 ORDER BY 1"
    )
    assert stored == counted


def check_order(data: Path, begun: list[tuple[int, int]]) -> None:
    """In the order of the journal no version comes back, and each begins where it was said to."""
    with duckdb.connect(str(data / "streamgauge.duckdb"), read_only=True) as store:
        found = store.execute(
            "SELECT seq, min((event::JSON->>'$.module')::INTEGER), max((event::JSON->>'$.module')::INTEGER)"
            " FROM raw_events GROUP BY seq ORDER BY seq"
        ).fetchall()
    last = 0
    for seq, least, most in found:
        assert last <= least == most, f"append {seq}: versions {least} to {most} after version {last}"
        last = most
        for begins, version in begun:
            assert (least >= version) == (seq > begins), (
                f"append {seq}, version {least}: {version} begins at {begins}"
            )


def live(server: ServerProcess, versions: Versions, oracle: Oracle, tally: Tally, reloads: int) -> None:
    """Change the configuration so many times under load, and kill the server right after the last of them."""
    chance = versions._chance
    with sending(oracle, server, senders=2, most=40):
        for change in range(reloads):
            CHANGES[change % len(CHANGES) if change < len(CHANGES) else chance.randrange(len(CHANGES))](
                server, versions
            )
            tally.trials += 1
        server.kill()
        tally.faults += 1


def test_every_event_is_handled_by_one_version_whatever_is_reloaded_and_whenever_it_is_killed(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    chance = chance_of(seed := a_seed())
    oracle, versions = Oracle(seed), Versions(tmp_path, chance)
    left = trials(30, 500)
    with tallied("hot swap under load, and kill -9", seed) as tally:
        text = versions.write_next()
        while left > 0:
            server = start_server(configuration=text)
            live(server, versions, oracle, tally, min(left, RELOADS_IN_A_LIFE))
            left -= RELOADS_IN_A_LIFE
            # sometimes it is changed while the server is down, with events in the journal that are not stored
            text = versions.write_next() if chance.random() < 0.5 else versions.text()
        server = start_server(configuration=text)
        check(oracle, server, tally)
        check_versions(server)
        close(server)
        check_order(server.data, versions.begun)
    assert tally.acknowledged, "nothing was acknowledged"
    assert versions.begun, "no version was asked for"
