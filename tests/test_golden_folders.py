"""Data folders of every release so far: this version goes on with them, and loses and doubles nothing."""

from __future__ import annotations

import gzip
import hashlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from golden_folder import ALL, FOLDER, METRIC, events
from server_process import NoStart, ServerProcess
from streamgauge.backup import restore

Start = Callable[..., ServerProcess]
GOLDEN = sorted(FOLDER.glob("*.tar.gz"))


@pytest.fixture(params=GOLDEN, ids=lambda file: file.name.removesuffix(".tar.gz"))
def golden(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data folder that a release has left."""
    file = tmp_path / "golden.tar"
    file.write_bytes(gzip.decompress(request.param.read_bytes()))
    restore(file, tmp_path / "data")
    return tmp_path / "data"


def test_there_is_a_folder_of_each_release() -> None:
    assert GOLDEN


def test_this_version_goes_on_where_a_release_was_killed(golden: Path, start_server: Start) -> None:
    server = start_server(data=golden, configuration=METRIC)
    ledger = server.wait_until_committed()
    assert (ledger["received"], ledger["stored"], ledger["imbalance"]) == (ALL, ALL, 0)
    assert server.ask("SELECT count(*), sum(value), count(DISTINCT event_id) FROM events") == [
        [ALL, sum(range(ALL)), ALL]
    ]
    large = server.get("/api/metrics/large", **{"from": "all", "by": "", "step": 86_400})["series"]
    assert [(one["totals"]["count"], one["totals"]["sum"], one["totals"]["max"]) for one in large] == [
        (ALL - 501, sum(range(501, ALL)), ALL - 1)
    ]
    assert server.post(events(ALL - 10, ALL + 10)).json() == {"accepted": 10, "duplicates": 10}
    assert server.wait_until_committed()["stored"] == ALL + 10
    assert server.stop() == 0
    done = subprocess.run(
        [sys.executable, "-m", "streamgauge", "verify", "--data", golden, "--config", f"{golden}.toml"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_folder_of_a_later_version_is_refused_and_not_changed(golden: Path, start_server: Start) -> None:
    with duckdb.connect(str(golden / "streamgauge.duckdb")) as store:
        store.execute("UPDATE about SET format = format + 1")
    before = hashes(golden)
    with pytest.raises(NoStart, match="written in format") as refused:
        start_server(data=golden)
    assert refused.value.code == 2
    assert hashes(golden) == before


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "lock"
    }
