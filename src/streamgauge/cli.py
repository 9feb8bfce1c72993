"""The command line."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table as RichTable

from streamgauge import app as application
from streamgauge import config, demo, logs
from streamgauge import replay as replaying
from streamgauge.errors import StoreError, StreamgaugeError
from streamgauge.event import FieldMapping
from streamgauge.journals.lock import lock_folder
from streamgauge.options import Options
from streamgauge.remote import Remote
from streamgauge.store import Table
from streamgauge.stores.registry import open_store
from streamgauge.version import __version__
from streamgauge.web.sql import check_select

P = ParamSpec("P")
cli = typer.Typer(
    name="streamgauge",
    help="Real-time analytics: events in over HTTP, exact numbers out, live in the browser.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()
DEFAULT_URL = "http://localhost:4000"
FAILED = 70  # EX_SOFTWARE: a supervisor should start it again


def _plain_errors(command: Callable[P, None]) -> Callable[P, None]:
    """End with one line and exit code 2 where the user can mend it."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            command(*args, **kwargs)
        except StoreError as exc:
            print(f"streamgauge: {exc}", file=sys.stderr)
            raise typer.Exit(FAILED) from exc
        except StreamgaugeError as exc:
            print(f"streamgauge: {exc}", file=sys.stderr)
            raise typer.Exit(2) from exc
        except BrokenPipeError:  # `streamgauge query ... | head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    return run


ConfigFile = Annotated[
    Path | None, typer.Argument(help="A TOML file; see docs/options.md.", show_default=False)
]
Host = Annotated[str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")]
Port = Annotated[int | None, typer.Option(help="The port; 0 takes any free one.", show_default="4000")]
Data = Annotated[
    str | None, typer.Option(help="The folder for everything that is kept.", show_default="data")
]
Url = Annotated[str, typer.Option(help="The server's address.")]


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
    insecure: Annotated[bool, typer.Option("--insecure", help="Let others in without API keys.")] = False,
) -> None:
    """Start a server. It starts empty and keeps what it is sent in its data folder."""
    overrides = {"server.host": host, "server.port": port, "data": data, "server.insecure": insecure or None}
    options = config.load(config_file, overrides)
    _run(_serve(options, demo_name=None))


@cli.command("demo", epilog="Example: streamgauge demo --port 4000")
@_plain_errors
def demo_command(
    name: Annotated[str, typer.Argument(help="Which demo.")] = demo.NAME,
    *,
    host: Host = None,
    port: Port = None,
    data: Annotated[str, typer.Option(help="The demo's own folder.")] = "demo-data",
) -> None:
    """Start a server with a stream of made-up events of its own, in a folder of its own."""
    if name != demo.NAME:
        raise typer.BadParameter(f"there is the demo {demo.NAME!r}, not {name!r}")
    options = config.load(None, {"server.host": host, "server.port": port, "data": data})
    _run(_serve(options, demo_name=name))


def _run(main: Coroutine[Any, Any, None]) -> None:
    logs.configure()
    gc.freeze()  # what is loaded now stays; collections look at less
    gc.set_threshold(50_000, 20, 50)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main)
    finally:
        gc.unfreeze()  # or extension modules report leaks when the process ends


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415  not there on Windows

    return uvloop.new_event_loop


async def _serve(options: Options, *, demo_name: str | None) -> None:
    server = application.App(options, demo=demo_name)
    running = await server.start()
    _greet(options, running, demo_name)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stopping.set)
    if server.failure is not None:
        server.failure.add_done_callback(lambda _: stopping.set())
    made_up = asyncio.create_task(_make_up_events(server)) if demo_name else None
    await stopping.wait()
    if made_up is not None:
        made_up.cancel()
        await asyncio.gather(made_up, return_exceptions=True)
    await server.stop()
    server.raise_failure()


async def _make_up_events(server: application.App) -> None:
    intake = server.engine.intake
    await demo.run(
        lambda payload: intake.accept(payload, "demo", FieldMapping()),
        time.time,
        history=server.engine.ledger.total().received == 0,
    )


def _greet(options: Options, running: application.Running, demo_name: str | None) -> None:
    """Say in six lines where everything is and what to do next."""
    page, data = running.url, Path(options.data).resolve()
    what = f"demo {demo_name!r}, made-up events" if demo_name else "ready"
    example = '{"type": "page_view", "user_id": "user_123", "page": "/products", "value": 1}'
    print(f"Streamgauge {__version__}: {what}")
    print(f"  dashboard  {page}")
    print(f"  data       {data}")
    print(f"  API        {page}/docs")
    print(f"  try        curl -X POST {page}/api/events -H 'Content-Type: application/json' -d '{example}'")
    print(f"  or         streamgauge replay events.ndjson --url {page}", flush=True)


@cli.command(epilog="Example: streamgauge replay events.ndjson.gz --type event --timestamp ts")
@_plain_errors
def replay(
    files: Annotated[
        list[str], typer.Argument(help="NDJSON or CSV, plain, .gz or .zst; - is standard input.")
    ],
    *,
    url: Url = DEFAULT_URL,
    type: Annotated[str, typer.Option(help="The field that says what happened.")] = "type",  # noqa: A002
    timestamp: Annotated[str, typer.Option(help="The field that says when.")] = "timestamp",
    value: Annotated[str, typer.Option(help="The field with the number to measure.")] = "value",
    user_id: Annotated[str, typer.Option(help="The field that says who.")] = "user_id",
    event_id: Annotated[str, typer.Option(help="The field with the event's id.")] = "event_id",
    speed: Annotated[float, typer.Option(help="1: as fast as it happened; 0: as fast as possible.")] = 0.0,
    shift_to_now: Annotated[
        bool, typer.Option("--shift-to-now", help="Move times so that the last event is now.")
    ] = False,
) -> None:
    """Send files of events to a server."""
    mapping = FieldMapping(type=type, timestamp=timestamp, value=value, user_id=user_id, event_id=event_id)
    pace = replaying.Pace(speed=speed, shift_to_now=shift_to_now)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("sending", total=None)
        outcome = replaying.replay(
            files, url, mapping=mapping, pace=pace, progress=lambda sent: progress.update(task, advance=sent)
        )
    print(
        f"{outcome.accepted:,} events accepted, {outcome.rejected:,} rejected; {replaying.describe_range(outcome)}"
    )
    for problem in outcome.errors:
        print(f"  {problem}")
    print(f"See them at {replaying.page_address(url, outcome)}")


@cli.command(epilog='Example: streamgauge query "SELECT type, count(*) FROM events GROUP BY type"')
@_plain_errors
def query(
    sql: Annotated[str, typer.Argument(help="One SELECT over the views events and rollups.")],
    *,
    url: Annotated[
        str | None, typer.Option(help="A server's address; default: whoever owns the data folder.")
    ] = None,
    data: Annotated[str, typer.Option(help="The data folder.")] = "data",
    config_file: Annotated[Path | None, typer.Option("--config", help="The server's configuration.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask a question in SQL: of the server that owns the data folder, or of the folder itself."""
    check_select(sql)
    options = config.load(config_file, {"data": data})
    table = Remote(url).query(sql) if url else _query_folder(sql, options)
    _print_table(table, as_csv=as_csv)


def _query_folder(sql: str, options: Options) -> Table:
    owner = Remote.owner_of(Path(options.data))
    if owner is not None:
        return owner.query(sql)
    if not Path(options.data).is_dir():
        raise StreamgaugeError(
            f"{options.data}: there is no such data folder; name it with --data, or a server with --url"
        )
    with lock_folder(Path(options.data)):
        store = open_store(options.store_url(), memory_limit_bytes=options.store.memory_limit)
        try:
            return store.query(sql, [], timeout_s=options.query.timeout, max_rows=options.query.max_rows)
        finally:
            store.close()


def _print_table(table: Table, *, as_csv: bool) -> None:
    if as_csv or not sys.stdout.isatty():
        print(application.table_csv(table), end="")
    else:
        shown = RichTable(*map(str, table.columns), header_style="bold", box=None)
        for row in table.rows:
            shown.add_row(*("-" if cell is None else str(cell) for cell in row))
        console.print(shown)
    if table.truncated:
        print(f"only the first {len(table.rows):,} rows; add LIMIT, or raise query.max_rows", file=sys.stderr)


@cli.command(epilog="Example: streamgauge check streamgauge.toml")
@_plain_errors
def check(config_file: Annotated[Path, typer.Argument(help="The TOML file to check.")]) -> None:
    """Check a configuration, expressions included, without starting anything."""
    options = config.load(config_file)
    metrics = application.metrics_of(options)
    if options.transform.keep is not None:
        application.parse_expression(options.transform.keep, "transform.keep")
    own = [metric for metric in metrics.values() if not metric.built_in]
    print(f"{config_file}: good; {len(own)} metrics of its own")
    for metric in own:
        by = f" by {', '.join(metric.by)}" if metric.by else ""
        where = f" where {metric.where.text}" if metric.where else ""
        print(f"  {metric.name}: {', '.join(metric.aggregates)} of {metric.value.text}{where}{by}")


def main() -> None:
    """Run the command line."""
    cli()


__all__ = ["cli", "main"]
