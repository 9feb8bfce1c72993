"""The snippets of docs/python.md and docs/files.md do what the pages say, pasted as they stand."""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from server_process import ServerProcess
from streamgauge.client.base import ClientBase
from streamgauge.event_files import FORMATS

ROOT = Path(__file__).parent.parent
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = (ROOT / "docs" / "python.md").read_text()
FILES = (ROOT / "docs" / "files.md").read_text()
INSIDE, AWAITED, MOUNTED, SENT, REJECTED, SENT_ASYNC = [
    text for kind, text in FENCE.findall(PYTHON) if kind == "python"
]
[SHELL] = [text for kind, text in FENCE.findall(FILES) if kind == "sh"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    started = ServerProcess(tmp_path_factory.mktemp("reader") / "data")
    yield started
    started.kill()


def output(text: str, server: ServerProcess | None = None, folder: Path | None = None) -> str:
    if server is not None:
        assert "localhost:4000" in text
        text = text.replace("localhost:4000", server.url.removeprefix("http://"))
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text],
        cwd=folder, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_events_pushed_inside_a_program_are_counted(tmp_path: Path) -> None:
    said = output(INSIDE, folder=tmp_path)
    assert "1 accepted, 1 rejected: [(1, 'no `type`')]" in said
    assert "{'type': 'conversion'} {'count': 2, 'p99': " in said
    assert list(tmp_path.iterdir()) == []


def test_it_can_be_awaited() -> None:
    assert "'totals': {'count': 2, 'sum': 0.0}" in output(AWAITED)


def test_a_web_application_has_it_below_a_path(tmp_path: Path) -> None:
    asked = """
from starlette.testclient import TestClient
with TestClient(app) as http:
    assert http.post("/orders", json={"value": 12.5}).json() == {"ok": True}
    assert http.get("/analytics/").status_code == 200
    print(http.get("/analytics/api/metrics/events?from=all&aggregates=sum").json()["series"][0]["totals"])
gauge.close()
"""
    done = subprocess.run(  # the test client has warnings of its own, so without -W error
        [sys.executable, "-c", MOUNTED + asked],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert "{'sum': 12.5}" in done.stdout


@pytest.mark.parametrize(("snippet", "count"), [(SENT, 1001), (SENT_ASYNC, 1)], ids=["Client", "AsyncClient"])
def test_what_a_client_sends_is_accepted_and_counted(snippet: str, count: int, server: ServerProcess) -> None:
    before = server.wait_until_committed()["stored"]
    assert output(snippet, server) == f"{count} accepted\n"
    assert server.wait_until_committed()["stored"] - before == count


def test_a_rejected_event_comes_back_with_the_reason(server: ServerProcess) -> None:
    before = server.wait_until_committed()["stored"]
    said = output(REJECTED, server)
    assert said == (
        "{'type': 'page_view', 'value': 'much'} was rejected: value: expected a number, got \"much\"\n"
    )
    assert server.wait_until_committed()["stored"] - before == 1


def test_the_table_of_choices_has_them_all_with_their_defaults() -> None:
    defaults = ClientBase.__init__.__kwdefaults__ or {}
    named = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (`.*?) \|", PYTHON, re.MULTILINE))))
    assert named == {*defaults, "key"}
    for name in ("wait_s", "timeout_s", "retry_s", "exit_s"):
        [said] = re.findall(rf"^\| `{name}` \| ([\d,]+) \|", PYTHON, re.MULTILINE)
        assert float(said.replace(",", "")) == defaults[name]


def test_every_format_is_in_the_table() -> None:
    assert set(re.findall(r"^\| `([\w-]+)` \|", FILES, re.MULTILINE)) == {"--format", *FORMATS} - {"auto"}


def test_every_line_of_files_sends_what_it_names(server: ServerProcess, tmp_path: Path) -> None:
    lines = [json.dumps({"type": "a", "value": i}) for i in range(10)]
    (tmp_path / "events.ndjson").write_text("\n".join(lines))
    (tmp_path / "orders.csv.gz").write_bytes(gzip.compress(b"type,value\norder,1\norder,2\n"))
    (tmp_path / "app.log.gz").write_bytes(gzip.compress("".join(f"INFO {line}\n" for line in lines).encode()))
    now = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime())
    (tmp_path / "access.log").write_text(f'1.2.3.4 - - [{now}] "GET / HTTP/1.1" 200 10 "-" "curl"\nwords\n')
    with duckdb.connect() as connection:
        rows = "SELECT 'order' AS kind, now() AS created_at, 2.5 AS amount FROM range(3)"
        connection.execute(f"COPY ({rows}) TO '{tmp_path / 'orders.parquet'}' (FORMAT parquet)")
    program = str(Path(sys.executable).parent / "streamgauge")
    for line, accepted in zip(SHELL.splitlines(), (12, 3, 1, 10), strict=True):
        command = line.replace("streamgauge", program).replace("replay", f"replay --url {server.url}")
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert f"{accepted} events accepted" in done.stdout, line
        if "access.log" in line:
            assert "access.log, line 2: not of the combined log format: 'words'" in done.stdout


def test_a_format_that_is_none_is_told(tmp_path: Path) -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "streamgauge", "replay", "a.log", "--format", "xml"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert answer.returncode == 2
    assert (
        "--format: expected one of auto, json, csv, parquet, json-logs, combined, got 'xml'" in answer.stderr
    )
