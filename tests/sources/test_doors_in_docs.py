"""The snippets of docs/websocket.md and docs/cloudevents.md do what the pages say, pasted as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from server_process import ServerProcess

ROOT = Path(__file__).parents[2]
NODE = ROOT / "tests" / "node"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SNIPPETS = [
    pytest.param(language, text, id=f"{page}, {language}")
    for page in ("websocket", "cloudevents")
    for language, text in FENCE.findall((ROOT / "docs" / f"{page}.md").read_text())
]
COMMANDS = {
    "sh": ["sh"],
    "python": [sys.executable, "-"],
    "js": [shutil.which("node") or "node", "--input-type=module"],
}
ACCEPTED = re.compile(r'accepted"? ?:? ?(\d+)|\'accepted\': (\d+)')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    started = ServerProcess(tmp_path_factory.mktemp("reader") / "data")
    yield started
    started.kill()


@pytest.mark.parametrize(("language", "text"), SNIPPETS)
def test_a_snippet_sends_events_that_are_accepted_and_counted(
    language: str, text: str, server: ServerProcess
) -> None:
    before = server.get("/api/ledger")["received"]
    address = server.url.removeprefix("http://")
    done = subprocess.run(
        COMMANDS[language],
        input=text.replace("localhost:4000", address),
        cwd=NODE,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    told = [int(one or other) for one, other in ACCEPTED.findall(done.stdout)]
    assert sum(told) == server.wait_until_committed()["received"] - before > 0
