"""A server whose configuration file changes while it runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from textwrap import dedent
from typing import Any, Final

import httpx

from streamgauge import config
from streamgauge.app import App
from streamgauge.reloading import ConfigurationFile
from web_tools import Served

T0: Final = 1_700_000_000
RARELY: Final = '[store]\ncommit_interval = "1m"\n'  # nothing is committed while a test looks
MODULE: Final = """
    def transform(event):
        event["by"] = "{name}"
        return event
"""


class Reloadable(Served):
    """A started server that has a configuration file."""

    def __init__(self, app: App, port: int, http: httpx.AsyncClient, folder: Path) -> None:
        super().__init__(app, port, http)
        self.folder, self.file = folder, folder / "gauge.toml"

    def write(self, text: str) -> None:
        self.file.write_text(text)

    def write_module(self, name: str) -> None:
        """Write a module that stamps every event with a name."""
        write_module(self.folder, name)

    async def reload(self) -> httpx.Response:
        return await self.http.post("/api/configuration/reload")

    async def take_up(self, text: str | None = None) -> dict[str, Any]:
        """Write another configuration, have it read, and give what the server says of it."""
        if text is not None:
            self.write(text)
        answer = await self.reload()
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def count(self, metric: str = "events", **options: Any) -> dict[Any, int]:
        """Give how many events each series of a metric has, by the values of its groups."""
        answer = await self.get(f"/api/metrics/{metric}", **{"from": "all"}, **options)
        return {tuple(one["by"].values()): one["totals"]["count"] for one in answer["series"]}

    async def verified(self) -> dict[str, Any]:
        """Commit everything, have it verified, and give the report, which must be good."""
        await self.commit()
        answer = await self.http.post("/api/verify")
        assert answer.status_code == 200, answer.text
        report: dict[str, Any] = answer.json()
        assert report["ok"], report
        return report


def write_module(folder: Path, name: str) -> None:
    (folder / "module.py").write_text(dedent(MODULE.format(name=name)))


def with_module(folder: Path) -> str:
    return f'[transform]\nmodule = "{folder / "module.py"}"\n'


def app_of(folder: Path) -> App:
    """Make a server of the configuration file and the data in a folder."""
    file, given = folder / "gauge.toml", {"server.port": 0, "data": str(folder / "data")}
    return App(
        config.load(file, given),
        file=ConfigurationFile(path=file, read=lambda: config.load(file, given)),
    )


@asynccontextmanager
async def reloadable(folder: Path, text: str = "") -> AsyncIterator[Reloadable]:
    """Run a server on a folder, whose configuration file begins as `text`."""
    (folder / "gauge.toml").write_text(text)
    app = app_of(folder)
    running = await app.start()
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}", timeout=30.0) as http:
            yield Reloadable(app, running.port, http, folder)
    finally:
        await app.stop()
