"""A real server, as its user starts it: a process of its own, with a port and a data folder."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import httpx

START_S = 60.0
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


class NoStart(RuntimeError):
    """A server ended before it could be reached. code: how."""

    def __init__(self, code: int, errors: str) -> None:
        super().__init__(f"the server did not start:\n{errors}")
        self.code = code


class ServerProcess:
    """`streamgauge serve` (or another command) on a free port. url: its address; environment: variables besides ours."""

    def __init__(
        self,
        data: Path,
        *arguments: str,
        configuration: str = "",
        command: str = "serve",
        environment: Mapping[str, str] = NOTHING,
    ) -> None:
        self.data = data
        data.parent.mkdir(parents=True, exist_ok=True)
        self.log = data.parent / f"{data.name}.log"
        words = [sys.executable, "-m", "streamgauge", command, "--port", "0", "--data", str(data), *arguments]
        if configuration:
            file = data.parent / f"{data.name}.toml"
            file.write_text(configuration)
            words.insert(4, str(file))
        self._log = self.log.open("ab")
        self.process = subprocess.Popen(
            words,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        self.client = httpx.Client(timeout=60.0)
        try:
            self.greeting = self._read_greeting()
        except BaseException:
            self.kill()
            raise
        self.url = next(line.split()[1] for line in self.greeting if "dashboard" in line)
        self.client.base_url = httpx.URL(self.url.replace("localhost", "127.0.0.1"))

    def _read_greeting(self) -> list[str]:
        assert self.process.stdout is not None
        lines: list[str] = []
        while len(lines) < 6:
            line = self.process.stdout.readline().decode()
            if not line:
                raise NoStart(self.process.wait(START_S), self.errors())
            lines.append(line.rstrip())
        return lines

    def errors(self) -> str:
        """What it logged."""
        return self.log.read_text()

    def kill(self) -> None:
        """End it as a crash would."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        self.client.close()
        self._log.close()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def stop(self) -> int:
        """Ask it to end, and give its exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(60)
        self.kill()
        return code

    def post(
        self, body: bytes, content_type: str = "application/x-ndjson", query: str = ""
    ) -> httpx.Response:
        """Send events."""
        return self.client.post(f"/api/events{query}", content=body, headers={"Content-Type": content_type})

    def get(self, path: str, **params: Any) -> Any:
        """Give the JSON at a path."""
        response = self.client.get(path, params=params)
        assert response.status_code == 200, response.text
        return response.json()

    def ask(self, sql: str, *params: Any) -> list[list[Any]]:
        """Give the rows of a SELECT."""
        response = self.client.post("/api/query", json={"sql": sql, "params": list(params)})
        assert response.status_code == 200, response.text
        rows: list[list[Any]] = response.json()["rows"]
        return rows

    def wait_until_committed(self, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until nothing is pending, and give the ledger."""
        deadline = time.monotonic() + seconds
        while True:
            ledger: dict[str, Any] = self.get("/api/ledger")
            if ledger["pending"] == 0:
                return ledger
            if time.monotonic() > deadline:
                raise AssertionError(f"still pending after {seconds} s: {ledger}")
            time.sleep(0.05)
