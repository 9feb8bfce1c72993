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
TRANSLATED = (ROOT / "README.pt-BR.md").read_text()
ADDRESS = "localhost:4000"
ACTIVATE = ". .venv/bin/activate"
SERVE = "streamgauge serve"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(language: str, page: str = README) -> list[str]:
    return [text for found, text in FENCE.findall(page) if found == language]


def lines(page: str) -> list[str]:
    """The lines of the shell blocks, without their comments."""
    found = [line.split("    #")[0].strip() for block in blocks("sh", page) for line in block.splitlines()]
    return [line for line in found if line]


LINES = lines(README)
MAKE = [line for line in LINES if line.startswith("make ")]
COMMANDS = [line for line in LINES if line not in (*MAKE, ACTIVATE, SERVE)]
LINKS = set(re.findall(r"\]\(([^)#]+)\)", README))


class Readme(NamedTuple):
    """A folder in which a reader follows the README, with a server that has been started there."""

    folder: Path
    server: ServerProcess

    def line(self, line: str) -> str:
        """The line as it has to be here, at another address."""
        if " replay " in line:
            line += f" --url {self.server.url}"
        return line.replace(ADDRESS, self.server.url.removeprefix("http://"))

    def run(self, line: str) -> str:
        """What it prints."""
        done = subprocess.run(
            ["sh", "-c", self.line(line)],
            cwd=self.folder,
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
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
    [configuration] = blocks("toml")
    server = ServerProcess(folder / "data", configuration=configuration)
    yield Readme(folder, server)
    server.kill()


def test_every_line_of_the_shell_blocks_is_covered_here() -> None:
    covered = ("/api/events", " replay ", "/api/metrics/", "/api/query", "/api/ledger", " query ")
    assert [line for line in COMMANDS if not any(part in line for part in covered)] == []


def test_the_program_is_put_on_the_path_once_before_it_is_used() -> None:
    """So that every line can be pasted into the terminal in which it was done."""
    assert LINES.count(ACTIVATE) == 1
    assert LINES.index("make install") < LINES.index(ACTIVATE) < LINES.index(SERVE)
    assert not [line for line in LINES[: LINES.index(ACTIVATE)] if line.startswith("streamgauge")]
    assert "bin/streamgauge" not in README


def test_the_translation_has_the_same_lines_and_files() -> None:
    assert lines(TRANSLATED) == LINES
    for language in ("toml", "python"):
        assert blocks(language, TRANSLATED) == blocks(language)
    assert set(re.findall(r"\]\(([^)#]+)\)", TRANSLATED)) <= LINKS


def test_the_targets_that_it_names_are_in_the_makefile() -> None:
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = [line.split()[1] for line in MAKE] + re.findall(r"`make (\w+)`", README)
    assert named
    assert set(named) <= set(targets)


def test_the_commands_that_it_names_are_there() -> None:
    named = set(re.findall(r"(?:^|`)streamgauge (\w+)", README, re.MULTILINE))
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
    ndjson, table = readme.run_all(" replay ")
    assert "50 events accepted, 0 rejected" in ndjson
    assert "40 events accepted, 0 rejected" in table
    assert all(f"{readme.server.url}/?from=" in said for said in (ndjson, table))
    readme.server.wait_until_committed()
    [metric] = readme.run_all("/api/metrics/events")
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


def test_a_metric_of_ones_own_is_read_as_it_says(readme: Readme) -> None:
    purchase = {"type": "purchase", "currency": "EUR", "country": "PT", "amount": 12.5}
    sent = [purchase, {**purchase, "amount": 7.5}, {**purchase, "currency": "USD"}]
    assert readme.server.post("\n".join(map(json.dumps, sent)).encode()).status_code == 202
    [answer] = readme.run_all("/api/metrics/revenue")
    [series] = json.loads(answer)["series"]
    assert series["by"] == {"country": "PT"}
    assert (series["totals"]["count"], series["totals"]["sum"]) == (2, 20.0)


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
    said = readme.run("streamgauge check streamgauge.toml")
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
