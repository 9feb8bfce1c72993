"""`streamgauge dead-letters`: through the server where one runs, and without it on the folder itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from command_line import run
from server_process import ServerProcess
from transform_tools import write_module

T0 = 1_700_000_000
MODULE = """
def transform(event):
    if event["type"] == "bad":
        raise ValueError("no such thing")
    return event
"""
Start = Callable[..., ServerProcess]


@pytest.fixture
def letters(start_server: Start, tmp_path: Path) -> ServerProcess:
    """A server with two dead letters, 0:1:1 and 0:1:2."""
    module = write_module(tmp_path, MODULE)
    server = start_server(configuration=f'[transform]\nmodule = "{module}"\n')
    kinds = ("good", "bad", "bad")
    server.post(b"\n".join(json.dumps({"type": kind, "timestamp": T0}).encode() for kind in kinds))
    server.wait_until_committed()
    return server


def listed(out: str) -> list[str]:
    return [json.loads(line)["name"] for line in out.splitlines()]


def test_letters_are_listed_shown_replayed_and_discarded_through_the_server(
    letters: ServerProcess, tmp_path: Path
) -> None:
    place = ("--url", letters.url)
    done = run("dead-letters", "list", *place, folder=tmp_path)
    assert done.code == 0, done.err
    assert listed(done.out) == ["0:1:2", "0:1:1"]
    assert listed(run("dead-letters", "list", "--limit", "1", *place, folder=tmp_path).out) == ["0:1:2"]
    done = run("dead-letters", "show", "0:1:1", "--data", str(letters.data), folder=tmp_path)
    assert "ValueError: no such thing" in done.out
    assert done.out.splitlines()[-1] == json.dumps({"type": "bad", "timestamp": T0})
    event = json.dumps({"type": "mended", "timestamp": T0})
    done = run("dead-letters", "replay", "0:1:1", "--event", event, *place, folder=tmp_path)
    assert done.out == "1 sent again, 0 had been before, 0 rejected\n"
    done = run("dead-letters", "discard", "--all", *place, folder=tmp_path)
    assert done.out == "1 discarded\n"
    assert run("dead-letters", "list", *place, folder=tmp_path).out == ""
    assert len(listed(run("dead-letters", "list", "--all", *place, folder=tmp_path).out)) == 2
    assert letters.ask("SELECT type FROM events ORDER BY 1") == [["good"], ["mended"]]


def test_without_a_server_they_can_be_looked_at_and_discarded_but_not_sent_again(
    letters: ServerProcess, tmp_path: Path
) -> None:
    assert letters.stop() == 0
    place = ("--data", str(letters.data))
    assert listed(run("dead-letters", "list", *place, folder=tmp_path).out) == ["0:1:2", "0:1:1"]
    assert "no such thing" in run("dead-letters", "show", "0:1:1", *place, folder=tmp_path).out
    done = run("dead-letters", "replay", "--all", *place, folder=tmp_path)
    assert done.code == 2
    assert "no server is running on this data folder" in done.line
    assert run("dead-letters", "discard", "0:1:1", *place, folder=tmp_path).out == "1 discarded\n"
    assert run("dead-letters", "discard", "--all", *place, folder=tmp_path).out == "1 discarded\n"
    assert run("dead-letters", "list", *place, folder=tmp_path).out == ""


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("replay",), "give names, or --all"),
        (("discard", "0:1:1", "--all"), "give names, or --all"),
        (("show", "first"), "name: expected shard:append:line"),
        (("replay", "0:1:1", "--event", "[]"), "--event: expected a JSON object"),
        (("list",), "there is no data here"),
    ],
)
def test_words_that_make_no_sense_are_told_what_does(
    tmp_path: Path, words: tuple[str, ...], said: str
) -> None:
    done = run("dead-letters", *words, folder=tmp_path)
    assert done.code == 2
    assert said in done.line
