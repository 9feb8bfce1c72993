"""The commands of docs/exactly_once.md, docs/metrics.md and docs/sql.md answer what the pages show, as they stand."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from server_process import ServerProcess
from streamgauge.events.clock import parse_timestamp
from streamgauge.metrics.expression import Expression
from streamgauge.stores.duckdb import DuckDBStore

DOCS = Path(__file__).parent.parent / "docs"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`]+)`")
PAGES = ("exactly_once", "metrics", "sql")


class Step(NamedTuple):
    """A command and what the page says that it answers."""

    command: str
    answer: str


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    return [text for found, text in FENCE.findall(text_of(page)) if found == language]


def steps(page: str) -> list[Step]:
    """Each line of a console with what stands below it, and each shell block with the block below that."""
    found: list[Step] = []
    fences = FENCE.findall(text_of(page))
    for place, (language, text) in enumerate(fences):
        if language == "console":
            parts = re.split(r"^\$ ", text, flags=re.MULTILINE)[1:]
            found += [Step(*part.split("\n", 1)) for part in parts]
        elif language == "sh":
            assert fences[place + 1][0] in {"json", "csv"}, f"{page}: no answer is shown to {text}"
            found.append(Step(text, fences[place + 1][1]))
    return found


def part_of(text: str, heading: str) -> str:
    """What stands below a heading."""
    return text.split(f"\n## {heading}\n", 1)[1].split("\n## ", 1)[0]


@pytest.fixture(scope="module", params=PAGES)
def page(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, ServerProcess]]:
    """The name of a page, and a server that was started as it says."""
    folder = tmp_path_factory.mktemp(request.param)
    server = ServerProcess(folder / "data", configuration="".join(blocks(request.param, "toml")))
    yield request.param, server
    server.kill()


def output(command: str, server: ServerProcess) -> str:
    """What a command prints, in the folder in which the server was started."""
    done = subprocess.run(
        ["sh", "-c", command.replace("localhost:4000", server.url.removeprefix("http://"))],
        cwd=server.data.parent,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def read(text: str) -> Any:
    """JSON without the moment at which it was answered; anything else line by line."""
    try:
        found = json.loads(text)
    except ValueError:
        return [line for line in text.splitlines() if line]
    return {name: value for name, value in found.items() if name != "as_of"}


def test_every_command_answers_what_the_page_shows(page: tuple[str, ServerProcess]) -> None:
    name, server = page
    assert steps(name)
    for command, shown in steps(name):
        server.wait_until_committed()
        said = output(command, server)
        if "curl -i" in command:
            lines = said.splitlines()
            assert [line for line in read(shown) if line not in lines] == [], said
        else:
            assert read(said) == read(shown), f"{command}\n{said}"


def test_every_query_of_the_page_finds_something(page: tuple[str, ServerProcess]) -> None:
    name, server = page
    server.wait_until_committed()
    for query in blocks(name, "sql"):
        assert server.ask(query), query


def test_every_column_of_the_views_is_in_the_tables() -> None:
    tables = dict(
        re.findall(r"^\| `(events|rollups)` \|.*\n\| ---.*\n((?:\|.*\n)+)", text_of("sql"), re.MULTILINE)
    )
    store = DuckDBStore.open(None)
    for view, table in tables.items():
        shown: dict[str, str] = {}
        for row in table.splitlines():
            names, kinds = row.split("|")[1:3]
            columns, types = CODE.findall(names), kinds.strip().split(", ")
            shown.update(zip(columns, types * len(columns) if len(types) == 1 else types, strict=True))
        described = store.query(f"DESCRIBE {view}", [], timeout_s=10.0, max_rows=100).rows
        assert shown == {row[0]: row[1] for row in described}
    store.close()
    assert tables.keys() == {"events", "rollups"}


def test_what_an_expression_may_use_can_be_used() -> None:
    rows = part_of(text_of("metrics"), "What an expression may use").split("\n\n")[1]
    examples = [
        code
        for code in CODE.findall(rows)
        if re.search(r"\w", code) and code not in {"_", "AND", "OR", "NOT"}
    ]
    assert len(examples) > 10
    for example in examples:
        Expression.parse(f"x = {example}" if example.startswith("'") else example)


def test_the_times_of_files_are_read_or_not_as_it_says() -> None:
    times = part_of(text_of("files"), "Times")
    texts, numbers, more = times.split("\n\n")[1:4]
    for text in re.findall(r"`(\d[^`]+)`", texts):
        assert parse_timestamp(text)
    for number in re.findall(r"`(\d[^`]+)`", numbers):
        assert parse_timestamp(float(number))
    for text in re.findall(r'`"?(\d{10}|31/[^`"]+|Jan[^`"]+)"?`', more):
        with pytest.raises(ValueError, match="ISO 8601"):
            parse_timestamp(text)
