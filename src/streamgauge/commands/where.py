"""The options that say of which server, or of which data folder, a command speaks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Url = Annotated[str | None, typer.Option(help="A server's address; default: whoever owns the data folder.")]
Data = Annotated[
    str | None, typer.Option(help="The folder for everything that is kept.", show_default="data")
]
Config = Annotated[Path | None, typer.Option("--config", help="The server's configuration.")]
