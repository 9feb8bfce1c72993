"""A data folder as a release leaves it behind after a crash, kept so that later ones can be tried on it.

`python tests/golden_folder.py` makes the one of the version that is installed; every release adds its own, once.
"""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Final

from server_process import ServerProcess
from streamgauge.holder import backup
from streamgauge.version import __version__

FOLDER: Final = Path(__file__).parent / "golden"
STORED, ALL = 600, 1000  # events that were committed, and those that the journal has besides
METRIC: Final = """
[[metric]]
name = "large"
where = "value > 500"
by = ["type"]
aggregates = ["count", "sum", "max", "p99"]
"""


def events(first: int, end: int) -> bytes:
    """Events by number: their value is their number."""
    return b"\n".join(
        json.dumps(
            {
                "type": f"kind_{number % 5}",
                "timestamp": 1_700_000_000_000 + number * 1000,
                "value": number,
                "user_id": f"user_{number % 7}",
                "event_id": f"event {number}",
                "note": "é",
            }
        ).encode()
        for number in range(first, end)
    )


def make(folder: Path) -> bytes:
    """Give a backup of a folder whose server was killed twice, compressed."""
    soon, late = (f'[store]\ncommit_interval = "{interval}"\n' for interval in ("50ms", "1m"))
    server = ServerProcess(folder / "data", configuration=soon + METRIC)
    assert server.post(events(0, STORED)).status_code == 202
    server.wait_until_committed()
    server.kill()
    server = ServerProcess(folder / "data", configuration=late + METRIC)
    assert server.post(events(STORED, ALL)).status_code == 202
    server.kill()
    with backup(None, str(folder / "data"), None) as chunks:
        return gzip.compress(b"".join(chunks), mtime=0)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        file = FOLDER / f"{__version__}.tar.gz"
        file.write_bytes(make(Path(made)))
        print(file)
