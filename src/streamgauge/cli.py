"""The command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from pathlib import Path
from typing import Annotated, Final, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table as RichTable

from streamgauge import config, demo, settings
from streamgauge import replay as replaying
from streamgauge.app import table_csv
from streamgauge.commands.backup import register as register_backup
from streamgauge.commands.dead_letters import register as register_dead_letters
from streamgauge.commands.reload import register as register_reload
from streamgauge.commands.verify import register as register_verify
from streamgauge.commands.where import Config, Data, Url
from streamgauge.errors import InternalError, ServerFailed, StoreError, StoreRefused, StreamgaugeError
from streamgauge.event_files import FORMATS, bytes_of, format_of
from streamgauge.holder import DEFAULT_URL, answer, backup, letters, load, receiver, reloaded, verified
from streamgauge.reloading import ConfigurationFile
from streamgauge.serving import FAILED, run
from streamgauge.serving import serve as serving
from streamgauge.sources.registry import check_sources
from streamgauge.store import Table
from streamgauge.version import __version__
from streamgauge.web.sql import check_select

P = ParamSpec("P")
cli = typer.Typer(
    name="streamgauge",
    help="Real-time analytics: events in over HTTP, exact numbers out, live in the browser.",
    epilog="Example: streamgauge demo, and then open http://localhost:4000",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
console = Console()
Field = str | None
INTERRUPTED: Final = 130  # as shells say of what was ended by Ctrl-C


def _complain(problem: str) -> None:
    """Say what is wrong. Where that cannot be written, the exit code says it."""
    try:
        print(f"streamgauge: {problem}", file=sys.stderr, flush=True)
    except OSError:
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115  or Python ends with a code of its own


def _plain_errors(command: Callable[P, None]) -> Callable[P, None]:
    """End with a message and exit code 2 where the user can mend it."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except InternalError:  # a bug: whoever reports it needs the traceback
            raise
        except StreamgaugeError as exc:
            _complain(str(exc))
            again = isinstance(exc, StoreError | ServerFailed) and not isinstance(exc, StoreRefused)
            raise typer.Exit(FAILED if again else 2) from exc
        except BrokenPipeError:  # `streamgauge query ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return run


def _whole_number(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise typer.BadParameter(f"expected a whole number, got {text[:60]!r}")
    return int(text)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"expected a number, got {text[:60]!r}") from None


ConfigFile = Annotated[
    Path | None,
    typer.Argument(help="A TOML file; see docs/options.md.", metavar="CONFIG", show_default=False),
]
Host = Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")]
Port = Annotated[
    int | None,
    typer.Option(
        help="The port; 0 takes any free one.", show_default="4000", parser=_whole_number, metavar="<int>"
    ),
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Let other machines in, without API keys.")]


@cli.callback(invoke_without_command=True)
def main_options(
    *, version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False
) -> None:
    """Real-time analytics: events in over HTTP, exact numbers out, live in the browser."""
    if version:
        print(f"streamgauge {__version__}")
        raise typer.Exit


@cli.command(epilog="Example: streamgauge serve --port 4000 --data ./data")
@_plain_errors
def serve(
    config_file: ConfigFile = None,
    *,
    host: Host = None,
    port: Port = None,
    data: Data = None,
    insecure: Insecure = False,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Go on though the store is lost, with what the journal still has."),
    ] = False,
) -> None:
    """Start a server. It starts empty and keeps what it is sent in its data folder."""
    given = _listening(host, port, insecure=insecure) | {"data": data}
    options = load(config_file, given)
    file = None
    if config_file is not None:
        file = ConfigurationFile(path=config_file, read=lambda: config.load(config_file, given))
    run(serving(options, demo_name=None, rebuild=rebuild, file=file))


@cli.command("demo", epilog="Example: streamgauge demo --port 4000")
@_plain_errors
def demo_command(
    name: Annotated[str, typer.Argument(help="Which demo.")] = demo.NAME,
    *,
    host: Host = None,
    port: Port = None,
    data: Annotated[str, typer.Option(help="The demo's own folder.")] = "demo-data",
    insecure: Insecure = False,
) -> None:
    """Start a server with a stream of made-up events of its own, in a folder of its own."""
    if name != demo.NAME:
        raise StreamgaugeError(f"no demo {name[:60]!r}; there is {demo.NAME!r}")
    options = load(None, _listening(host, port, insecure=insecure) | {"data": data})
    run(serving(options, demo_name=name))


def _listening(host: str | None, port: int | None, *, insecure: bool) -> dict[str, object]:
    return {"server.host": host, "server.port": port, "server.insecure": insecure or None}


@cli.command(epilog="Example: streamgauge replay events.ndjson.gz --type event --timestamp ts")
@_plain_errors
def replay(
    files: Annotated[
        list[str],
        typer.Argument(
            help="NDJSON, a JSON array, CSV, Parquet, logs; plain, .gz or .zst; - is standard input.",
            metavar="FILE",
        ),
    ],
    *,
    url: Annotated[
        str | None,
        typer.Option(
            help="The server's address; default: whoever owns the data folder, and where nobody does, "
            f"{DEFAULT_URL}."
        ),
    ] = None,
    data: Data = None,
    type: Annotated[Field, typer.Option(help="The field that says what happened.")] = None,  # noqa: A002
    timestamp: Annotated[Field, typer.Option(help="The field that says when.")] = None,
    value: Annotated[Field, typer.Option(help="The field with the number to measure.")] = None,
    user_id: Annotated[Field, typer.Option(help="The field that says who.")] = None,
    event_id: Annotated[Field, typer.Option(help="The field with the event's id.")] = None,
    format: Annotated[  # noqa: A002
        str, typer.Option(help=f"How the files are written: {', '.join(FORMATS)}.", metavar="<format>")
    ] = "auto",
    speed: Annotated[
        float,
        typer.Option(
            help="1: as fast as it happened; 10: ten times that; 0: as fast as possible.",
            parser=_number,
            metavar="<float>",
        ),
    ] = 0.0,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move times so that the last event is now.")
    ] = False,
    trust_fields: Annotated[
        bool,
        typer.Option("--trust-fields", help="Send even where the first events lack a field that was named."),
    ] = False,
) -> None:
    """Send files of events to a server. Fields that are not named are those that the server expects."""
    announced: Iterator[str] = iter(())
    if url is None:
        url, whose = receiver(data)
        announced = iter([f"sending to {url}{whose}"])
    given = {"type": type, "timestamp": timestamp, "value": value, "user_id": user_id, "event_id": event_id}
    pace = replaying.Pace(speed=speed, shift_to_now=shift_to_now)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    errors = Console(stderr=True)

    def note(read: int) -> None:
        for line in announced:  # once, and only when there is something to send
            errors.print(line, highlight=False, soft_wrap=True)
        progress.update(task, advance=read)

    with Progress(*columns, console=errors, transient=True, disable=not errors.is_terminal) as progress:
        task = progress.add_task("sending", total=bytes_of(files))
        outcome = replaying.replay(
            files,
            url,
            fields={part: name for part, name in given.items() if name is not None},
            form=format_of(format),
            pace=pace,
            progress=note,
            trusted=trust_fields,
        )
    _tell(outcome, url)
    if outcome.was_interrupted:
        raise typer.Exit(INTERRUPTED)


def _tell(outcome: replaying.Outcome, url: str) -> None:
    if outcome.was_interrupted:
        again = "" if outcome.has_ids or not outcome.accepted else "; they count again if they are sent again"
        print(f"stopped; {outcome.accepted:,} events were accepted so far{again}")
    if outcome.unknown:
        print(f"whether the last {outcome.unknown:,} events were accepted is not known")
    if not outcome.sent and not outcome.rejected:
        if not outcome.was_interrupted:
            print("there are no events in it; nothing was sent")
        return
    span = replaying.describe_range(outcome)
    again = f", {outcome.duplicates:,} had come before" if outcome.duplicates else ""
    print(
        f"{outcome.accepted:,} events accepted, {outcome.rejected:,} rejected{again}"
        + (f"; {span}" if span else "")
    )
    for problem in outcome.errors:
        print(f"  {problem}")
    if outcome.rejected > len(outcome.errors):
        print(f"  (the first {len(outcome.errors)} of {outcome.rejected:,})")
    print(f"See them at {replaying.page_address(url, outcome)}")


@cli.command(epilog='Example: streamgauge query "SELECT type, count(*) FROM events GROUP BY type"')
@_plain_errors
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the views events and rollups.", metavar="SQL")],
    *,
    url: Url = None,
    data: Data = None,
    config_file: Config = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask a question in SQL: of the server that owns the data folder, or of the folder itself."""
    check_select(sql)
    _print_table(answer(sql, url, data, config_file), as_csv=as_csv)


register_dead_letters(cli, letters, _plain_errors)


register_verify(cli, verified, _plain_errors)
register_backup(cli, backup, _plain_errors)


register_reload(cli, reloaded, _plain_errors)


def _print_table(table: Table, *, as_csv: bool) -> None:
    if as_csv or not sys.stdout.isatty():
        print(table_csv(table), end="")
    else:
        shown = RichTable(*map(str, table.columns), header_style="bold", box=None)
        for row in table.rows:
            shown.add_row(*("-" if cell is None else str(cell) for cell in row))
        console.print(shown)
    if table.truncated:
        print(f"only the first {len(table.rows):,} rows; add LIMIT, or raise query.max_rows", file=sys.stderr)


@cli.command(epilog="Example: streamgauge check streamgauge.toml")
@_plain_errors
def check(
    config_file: Annotated[Path, typer.Argument(help="The TOML file to check.", metavar="CONFIG")],
) -> None:
    """Check a configuration, expressions included, without starting anything."""
    options = load(config_file, {})
    own = [metric for metric in settings.metrics_of(options).values() if not metric.built_in]
    check_sources(options.source, mapping=settings.mapping_of(options))
    print(f"{config_file}: good; {len(own)} metric{'' if len(own) == 1 else 's'} of its own")
    for metric in own:
        by = f" by {', '.join(metric.by)}" if metric.by else ""
        where = f" where {metric.where.text}" if metric.where else ""
        print(f"  {metric.name}: {', '.join(metric.aggregates)} of {metric.value.text}{where}{by}")
    for doubt in settings.doubts_of(options):
        print(f"  doubtful: {doubt}")


def main() -> None:
    """Run the command line."""
    try:
        sys.exit(cli(standalone_mode=False))
    except typer.TyperException as exc:
        if exc.format_message():  # without any words the help was printed instead
            _complain(_misuse(exc))
        sys.exit(exc.exit_code)


def _misuse(error: typer.TyperException) -> str:
    """Say in one line what is wrong with the words of the command line."""
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "streamgauge"
    message = " ".join(error.format_message().split())
    return f"{message} (`{command} --help` shows what there is)"


__all__ = ["cli", "main"]
