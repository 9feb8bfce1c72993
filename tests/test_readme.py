"""What the README says is what the program does: its lines are run as they stand, one after the other."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from server_process import ServerProcess

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
ADDRESS = "localhost:4000"
PROGRAM = ".venv/bin/streamgauge"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str) -> list[str]:
    return [text for found, text in FENCE.findall(README) if found == language]


LINES = [line.strip() for block in blocks("sh") for line in block.splitlines() if line.strip()]
MAKE = [line for line in LINES if line.startswith("make ")]
COMMANDS = [line for line in LINES if line not in MAKE]
LINKS = set(re.findall(r"\]\(([^)#]+)\)", README))


class Readme(NamedTuple):
    """A folder in which a reader follows the README, with a server that has been started there."""

    folder: Path
    server: ServerProcess

    def line(self, line: str) -> str:
        """The line as it has to be here: another address, and the program where it is installed."""
        found = line.replace(PROGRAM, str(Path(sys.executable).parent / "streamgauge"))
        if " replay " in found:
            found += f" --url {self.server.url}"
        return found.replace(ADDRESS, self.server.url.removeprefix("http://"))

    def run(self, line: str) -> str:
        """What it prints."""
        done = subprocess.run(
            ["sh", "-c", self.line(line)],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def run_all(self, part: str) -> list[str]:
        """Run every line that has this in it; there must be one."""
        found = [line for line in COMMANDS if part in line]
        assert found, f"the README has no line with {part!r} any more"
        return [self.run(line) for line in found]


@pytest.fixture(scope="module")
def readme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Readme]:
    folder = tmp_path_factory.mktemp("reader")
    now = time.time()
    events = [{"event": "page_view", "ts": now - i, "value": i, "page": f"/{i % 3}"} for i in range(50)]
    (folder / "events.ndjson").write_text("".join(json.dumps(event) + "\n" for event in events))
    rows = "".join(f"order,{round(now * 1000) - i},{i}.5,{i % 2}\n" for i in range(40))
    (folder / "orders.csv.gz").write_bytes(gzip.compress(f"kind,created_at,amount,shop\n{rows}".encode()))
    server = ServerProcess(folder / "data")
    yield Readme(folder, server)
    server.kill()


def test_every_line_of_the_shell_blocks_is_covered_here() -> None:
    covered = ("/api/events", " replay ", "/api/metrics/", "/api/query", "/api/ledger", " query ")
    assert [line for line in COMMANDS if not any(part in line for part in covered)] == []


def test_the_targets_that_it_names_are_in_the_makefile() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [line.split()[1] for line in MAKE] + re.findall(r"`make (\w+)`", README)
    assert named
    assert set(named) <= set(targets)


def test_the_commands_that_it_names_are_there() -> None:
    named = set(re.findall(r"(?:bin/|`)streamgauge (\w+)", README))
    assert {"serve", "replay", "query", "check"} <= named
    for name in named:
        done = subprocess.run(
            [sys.executable, "-m", "streamgauge", name, "--help"], capture_output=True, check=False
        )
        assert done.returncode == 0, name


def test_the_pages_of_the_server_that_it_links_to_are_there(readme: Readme) -> None:
    paths = [link.removeprefix(f"http://{ADDRESS}") for link in LINKS if ADDRESS in link]
    assert paths
    assert [readme.server.client.get(path).status_code for path in paths] == [200] * len(paths)


@pytest.mark.parametrize(
    "link",
    [link for link in sorted(LINKS) if not link.startswith("http")],
)
def test_a_file_that_it_links_to_is_there(link: str) -> None:
    assert (ROOT / link).exists()


def test_a_reader_who_types_every_line_sees_what_it_promises(readme: Readme) -> None:
    assert readme.server.get("/api/ledger")["received"] == 0, "serve starts empty"
    [answer] = readme.run_all("/api/events")
    assert json.loads(answer) == {"accepted": 1}
    lines, table = readme.run_all(" replay ")
    assert "50 events accepted, 0 rejected" in lines
    assert "40 events accepted, 0 rejected" in table
    assert all(f"{readme.server.url}/?from=" in said for said in (lines, table))
    readme.server.wait_until_committed()
    [metric] = readme.run_all("/api/metrics/")
    totals = {one["by"]["type"]: one["totals"] for one in json.loads(metric)["series"]}
    assert {name: one["count"] for name, one in totals.items()} == {"page_view": 51, "order": 40}
    assert totals["order"]["avg"] == 20.0
    assert set(totals["order"]) == {"count", "avg", "p99"}
    [rows] = readme.run_all("/api/query")
    assert sorted(json.loads(rows)["rows"]) == [["order", 40], ["page_view", 51]]
    [ledger] = readme.run_all("/api/ledger")
    counted = json.loads(ledger)
    parts = ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "pending")
    assert counted["received"] == 91 == sum(counted[part] for part in parts)
    [pages] = readme.run_all(" query ")
    assert dict(line.split(",") for line in pages.split()[1:]) == {
        "": "40", "/0": "17", "/1": "17", "/2": "16", "/products": "1",
    }  # fmt: skip


def test_csv_is_given_to_who_accepts_it(readme: Readme) -> None:
    assert "`Accept: text/csv` gives CSV" in README
    for line in COMMANDS:
        if "/api/metrics/" in line or "/api/query" in line:
            said = readme.run(line.replace("curl ", "curl -s -i -H 'Accept: text/csv' ", 1))
            assert "content-type: text/csv" in said.lower(), line


def test_its_configuration_is_good(readme: Readme) -> None:
    [block] = blocks("toml")
    (readme.folder / "streamgauge.toml").write_text(block)
    assert "streamgauge serve streamgauge.toml" in README
    said = readme.run(f"{PROGRAM} check streamgauge.toml")
    assert "good; 1 metric of its own" in said
    assert tomllib.loads(block)["metric"][0]["name"] in said


def test_its_program_runs_and_says_nothing_it_should_not(tmp_path: Path) -> None:
    [block] = blocks("python")
    asked = re.sub(r"^( *)(gauge\.query\(.*)$", r"\1print(\2)", block, flags=re.MULTILINE)
    assert asked != block
    environment = {**os.environ, "PYTHONWARNINGS": "error"}
    done = subprocess.run(
        [sys.executable, "-c", asked],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "'by': {'type': 'conversion'}" in done.stdout
    assert "'count': 1" in done.stdout
    assert list(tmp_path.iterdir()) == [], "without a folder nothing is written"
