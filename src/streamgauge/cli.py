"""The command line."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table as RichTable

from streamgauge import config, demo, logs, settings
from streamgauge import replay as replaying
from streamgauge.app import App, Running, table_csv
from streamgauge.commands.dead_letters import Letters, RemoteLetters, StoredLetters
from streamgauge.commands.dead_letters import register as register_dead_letters
from streamgauge.commands.reload import register as register_reload
from streamgauge.commands.verify import register as register_verify
from streamgauge.config_lines import place_of
from streamgauge.errors import (
    InternalError,
    JournalError,
    OptionError,
    ServerFailed,
    StoreError,
    StreamgaugeError,
)
from streamgauge.event import FieldMapping
from streamgauge.event_files import FORMATS, bytes_of, format_of
from streamgauge.journals.lock import lock_folder
from streamgauge.opening import verify_folder
from streamgauge.options import Options
from streamgauge.reloading import ConfigurationFile, Reloaded
from streamgauge.remote import INSTANCE_FILE, Remote, RemoteError
from streamgauge.sources.registry import check_sources
from streamgauge.store import Table
from streamgauge.stores.registry import open_store
from streamgauge.verify import Report
from streamgauge.version import __version__
from streamgauge.web.configuration import PATH as RELOAD_PATH
from streamgauge.web.sql import check_select
from streamgauge.web.verify import PATH as VERIFY_PATH
from streamgauge.web.verify import WITHIN_S

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
DEFAULT_URL = "http://localhost:4000"
FAILED = 70  # EX_SOFTWARE: a supervisor should start it again
FAILED_WITHIN_S = 4.5
INTERRUPTED = 130  # as shells say of what was ended by Ctrl-C
START_S = 5.0  # that a start which is to end gets to come to its end
M_ARENA_MAX = -8  # of glibc's malloc.h
SWITCH_S = 0.0001  # after which the store's thread hands the interpreter to the loop: requests wait for it several times each


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
        except (StoreError, ServerFailed) as exc:
            _complain(str(exc))
            raise typer.Exit(FAILED) from exc
        except StreamgaugeError as exc:
            _complain(str(exc))
            raise typer.Exit(2) from exc
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
Data = Annotated[
    str | None, typer.Option(help="The folder for everything that is kept.", show_default="data")
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
    options = _load(config_file, given)
    file = None
    if config_file is not None:
        file = ConfigurationFile(path=config_file, read=lambda: config.load(config_file, given))
    _run(_serve(options, demo_name=None, rebuild=rebuild, file=file))


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
    options = _load(None, _listening(host, port, insecure=insecure) | {"data": data})
    _run(_serve(options, demo_name=name))


def _listening(host: str | None, port: int | None, *, insecure: bool) -> dict[str, object]:
    return {"server.host": host, "server.port": port, "server.insecure": insecure or None}


def _load(file: Path | None, overrides: Mapping[str, object]) -> Options:
    """Read and check the configuration, its expressions too, and name the file where something is wrong."""
    prefix = f"{file}: "
    try:
        options = config.load(file, overrides)
        settings.check(options)
    except OptionError as exc:
        if file is None or exc.path.startswith("command line: ") or exc.path == str(file):
            raise
        option = exc.path.removeprefix(prefix)
        raise OptionError(f"{prefix}{option}{place_of(option, file)}", exc.problem, exc.fix) from exc
    return options


def _allow_open_files() -> None:
    """Raise the limit on open files as far as the system lets us: every viewer and every sender has one."""
    if sys.platform != "win32":
        import resource  # noqa: PLC0415  not there on Windows

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        with suppress(ValueError, OSError):  # macOS says "infinite" and means less
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _run(main: Coroutine[Any, Any, None]) -> None:
    logs.configure()
    _allow_open_files()
    gc.freeze()  # what is loaded now stays; collections look at less
    gc.set_threshold(50_000, 20, 50)
    sys.setswitchinterval(SWITCH_S)
    _share_arenas()
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(main)
    finally:
        gc.unfreeze()  # or extension modules report leaks when the process ends


def _share_arenas() -> None:
    """Have all threads use two arenas of glibc's: with one for each thread, what one frees the others cannot use."""
    with suppress(OSError, AttributeError):  # another C library
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 2)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if sys.platform == "win32":
        return None
    import uvloop  # noqa: PLC0415  not there on Windows

    return uvloop.new_event_loop


async def _serve(
    options: Options,
    *,
    demo_name: str | None,
    rebuild: bool = False,
    file: ConfigurationFile | None = None,
) -> None:
    server = App(options, demo=demo_name, rebuild=rebuild, file=file)
    stopping = _stopped_by_signals()
    if file is not None and hasattr(signal, "SIGHUP"):  # there is none on Windows
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, server.reloader.ask)
    with _usable_folder(options.data):
        running = await _start(server, stopping)
    if running is None:
        return
    if not stopping.is_set():
        _greet(options, running, demo_name)
    if server.failure is not None:
        server.failure.add_done_callback(lambda _: _end_soon(stopping))
    made_up = asyncio.create_task(_make_up_events(server)) if demo_name else None
    if made_up is not None:
        made_up.add_done_callback(lambda _: stopping.set())
    await stopping.wait()
    if made_up is not None:
        made_up.cancel()
    try:
        try:
            await server.stop()
            _say_what_is_stored(server.engine.ledger.total().pending)
        except (JournalError, StoreError) as exc:
            raise ServerFailed(f"the server could not end in good order: {exc}") from exc
        finally:
            server.raise_failure()
    finally:
        if made_up is not None:
            await _ended(made_up)


def _say_what_is_stored(pending: int) -> None:
    rest = f"{pending:,} accepted events are in the journal, and are stored at the next start"
    print(f"stopped; {rest if pending else 'every accepted event is stored'}", flush=True)


async def _start(server: App, stopping: asyncio.Event) -> Running | None:
    """Start the server; None where it was told to stop meanwhile and would not come to the end of it."""
    starting, told = asyncio.create_task(server.start()), asyncio.create_task(stopping.wait())
    await asyncio.wait([starting, told], return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not starting.done():
        server.begin_stop()
        await asyncio.wait([starting], timeout=START_S)
        if not starting.done():
            starting.cancel()
            await asyncio.wait([starting])
            return None
    return await starting


def _end_soon(stopping: asyncio.Event) -> None:
    """End after a failure, in good order if that is possible and without it otherwise: the journal has everything."""
    stopping.set()
    last = threading.Timer(FAILED_WITHIN_S, os._exit, (FAILED,))
    last.daemon = True
    last.start()


async def _ended(task: asyncio.Task[None]) -> None:
    """Wait for a task that was cancelled; raises what it failed with before."""
    await asyncio.wait([task])
    if not task.cancelled():
        task.result()


def _stopped_by_signals() -> asyncio.Event:
    """Give an event that Ctrl-C and SIGTERM set; a second one ends the process there and then."""
    loop, stopping = asyncio.get_running_loop(), asyncio.Event()

    def stop() -> None:
        stopping.set()
        for sign in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(sign)
            signal.signal(sign, signal.SIG_DFL)

    for sign in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(sign, stop)
    return stopping


@contextmanager
def _usable_folder(data: str) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        fix = "choose another with --data"
        where = f" ({exc.filename})" if exc.filename not in (None, data) else ""
        problem = f"cannot keep anything in {data}: {exc.strerror or exc}{where}"
        raise OptionError("data", problem, fix) from exc


async def _make_up_events(server: App) -> None:
    intake = server.engine.intake
    await demo.run(
        lambda payload: intake.accept(payload, "demo", FieldMapping()),
        time.time,
        history=server.engine.ledger.total().received == 0,
    )


def _greet(options: Options, running: Running, demo_name: str | None) -> None:
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
        url, whose = _receiver(data)
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


def _receiver(data: str | None) -> tuple[str, str]:
    """Give the address of the server that owns a data folder, and words that say so; or the default one."""
    folder = config.load(None, {"data": data}).data
    with _usable_folder(folder):
        owner = Remote.owner_of(Path(folder))
    if owner is None and data is not None:
        raise _no_server(data)
    if owner is None:
        return DEFAULT_URL, ""
    return owner.url, f", which owns the data folder {folder}"


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
    url: Annotated[
        str | None, typer.Option(help="A server's address; default: whoever owns the data folder.")
    ] = None,
    data: Data = None,
    config_file: Annotated[Path | None, typer.Option("--config", help="The server's configuration.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Ask a question in SQL: of the server that owns the data folder, or of the folder itself."""
    check_select(sql)
    options = config.load(config_file, {"data": data})
    table = Remote(url).query(sql) if url else _query_folder(sql, options)
    _print_table(table, as_csv=as_csv)


def _query_folder(sql: str, options: Options) -> Table:
    data = Path(options.data)
    with _usable_folder(options.data):
        owner = Remote.owner_of(data)
        if owner is not None:
            return owner.query(sql)
        if not (data / INSTANCE_FILE).exists():
            raise _no_data(options.data)
        with lock_folder(data):
            return _query_store(sql, options)


def _no_data(data: str) -> StreamgaugeError:
    """Say that a folder holds nothing, and where there is a server that could be asked instead."""
    fix = "name the folder with --data, or a server with --url"
    with suppress(RemoteError):
        Remote(DEFAULT_URL).call("GET", "/healthz", dict[str, Any], timeout_s=1.0)
        fix = f"a server answers at {DEFAULT_URL}: add --url {DEFAULT_URL}, or name a folder with --data"
    return StreamgaugeError(f"{data}: there is no data here; {fix}")


@contextmanager
def _letters(url: str | None, data: str | None, config_file: Path | None) -> Iterator[Letters]:
    """Give the dead letters of a server, or of a folder that no server owns."""
    options = config.load(config_file, {"data": data})
    folder = Path(options.data)
    with _usable_folder(options.data):
        remote = Remote(url) if url else Remote.owner_of(folder)
        if remote is not None:
            yield RemoteLetters(remote)
            return
        if not (folder / INSTANCE_FILE).exists():
            raise _no_data(options.data)
        with lock_folder(folder):
            store = open_store(options.store_url(), memory_limit_bytes=options.store.memory_limit)
            try:
                yield StoredLetters(store)
            finally:
                store.close()


register_dead_letters(cli, _letters, _plain_errors)


def _verified(url: str | None, data: str | None, config_file: Path | None) -> Report:
    """Verify what a server holds, or a folder that no server owns."""
    options = _load(config_file, {"data": data})
    folder = Path(options.data)
    with _usable_folder(options.data):
        remote = Remote(url) if url else Remote.owner_of(folder)
        if remote is not None:
            return remote.call("POST", VERIFY_PATH, Report, {}, timeout_s=2 * WITHIN_S)
        if not (folder / INSTANCE_FILE).exists():
            raise _no_data(options.data)
        with lock_folder(folder):
            return verify_folder(options)


register_verify(cli, _verified, _plain_errors)


def _no_server(data: str) -> StreamgaugeError:
    return StreamgaugeError(
        f"{data}: no server is running on this data folder; name the folder with --data, or a server with --url"
    )


def _reloaded(url: str | None, data: str | None, config_file: Path | None) -> Reloaded:
    """Have the server that owns a data folder, or the one at an address, reload."""
    options = config.load(config_file, {"data": data})
    with _usable_folder(options.data):
        remote = Remote(url) if url else Remote.owner_of(Path(options.data))
    if remote is None:
        raise _no_server(options.data)
    return remote.call("POST", RELOAD_PATH, Reloaded, {})


register_reload(cli, _reloaded, _plain_errors)


def _query_store(sql: str, options: Options) -> Table:
    store = open_store(options.store_url(), memory_limit_bytes=options.store.memory_limit)
    try:
        return store.query(sql, [], timeout_s=options.query.timeout, max_rows=options.query.max_rows)
    finally:
        store.close()


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
    options = _load(config_file, {})
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
