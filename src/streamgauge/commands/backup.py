"""`streamgauge backup` and `streamgauge restore`: everything in one file, and a data folder made of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from streamgauge.backup import Manifest, restore, write_backup
from streamgauge.commands.where import Config, Data, Url
from streamgauge.errors import BackupError

Backup = Callable[[str | None, str | None, Path | None], AbstractContextManager[Iterator[bytes]]]


def register(cli: typer.Typer, backup: Backup, plain_errors: Callable[[Any], Any]) -> None:
    """Add both commands to the command line. backup: gives that of what --url, --data and --config name."""

    @cli.command("backup", epilog="Example: streamgauge backup monday.tar --data ./data")
    @plain_errors
    def backup_command(
        file: Annotated[Path, typer.Argument(help="The file to write.", metavar="FILE")],
        *,
        url: Url = None,
        data: Data = None,
        config_file: Config = None,
    ) -> None:
        """Write everything that was accepted by now into one file; a running server goes on meanwhile."""
        with _usable(file), backup(url, data, config_file) as chunks:
            tell(file, write_backup(chunks, file))

    @cli.command("restore", epilog="Example: streamgauge restore monday.tar --data ./restored")
    @plain_errors
    def restore_command(
        file: Annotated[Path, typer.Argument(help="A file that `streamgauge backup` wrote.", metavar="FILE")],
        *,
        data: Annotated[Path, typer.Option(help="The folder to make.")],
    ) -> None:
        """Make a data folder of a backup. It changes no folder that has anything in it."""
        with _usable(file):
            tell(data, restore(file, data))
        print(f"start it with: streamgauge serve --data {data}")


@contextmanager
def _usable(file: Path) -> Iterator[None]:
    """Say what is wrong with files in a line."""
    try:
        yield
    except OSError as exc:
        raise BackupError(f"{exc.filename or file}: {exc.strerror or exc}") from exc


def tell(what: Path, manifest: Manifest) -> None:
    """Say what was written."""
    made = datetime.fromtimestamp(manifest.made_at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    print(f"{what}: {len(manifest.files)} files, {manifest.size:,} bytes, as of {made} UTC")
