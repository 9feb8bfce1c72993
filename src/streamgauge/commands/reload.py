"""`streamgauge reload`: has a running server read its configuration again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from streamgauge.commands.where import Config, Data, Url
from streamgauge.reloading import Reloaded

Reload = Callable[[str | None, str | None, Path | None], Reloaded]


def register(cli: typer.Typer, reloaded: Reload, plain_errors: Callable[[Any], Any]) -> None:
    """Add the command to the command line. reloaded: asks the server that --url, --data and --config name."""

    @cli.command(epilog="Example: streamgauge reload --data ./data")
    @plain_errors
    def reload(
        *,
        url: Url = None,
        data: Data = None,
        config_file: Config = None,
    ) -> None:
        """Have the running server read its configuration file again. What is wrong with it changes nothing."""
        tell(reloaded(url, data, config_file))


def tell(found: Reloaded) -> None:
    """Say in words what a reload has changed."""
    if not found.changed:
        print("nothing has changed")
        return
    where = "" if found.seq is None else f", from journal record {found.seq:,} on"
    print(f"in force now{where}:")
    for name in found.changed:
        print(f"  {name}")
