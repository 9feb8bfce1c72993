"""Who answers for a data folder: the server at an address, the one that owns the folder, or else the folder itself.

In what takes them, url, data and config_file are the options --url, --data and --config of the command line.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from streamgauge import config, settings
from streamgauge.backup import JOURNAL, STORE, Part, open_part, small_parts, tar_of
from streamgauge.commands.dead_letters import Letters, RemoteLetters, StoredLetters
from streamgauge.config_lines import place_of
from streamgauge.errors import OptionError, StreamgaugeError
from streamgauge.journals.lock import lock_folder
from streamgauge.opening import verify_folder
from streamgauge.options import Options
from streamgauge.reloading import Reloaded
from streamgauge.remote import INSTANCE_FILE, Remote, RemoteError
from streamgauge.store import Store, Table
from streamgauge.stores.registry import file_of, open_store
from streamgauge.verify import Report
from streamgauge.web.backup import PATH as BACKUP_PATH
from streamgauge.web.configuration import PATH as RELOAD_PATH
from streamgauge.web.verify import PATH as VERIFY_PATH
from streamgauge.web.verify import WITHIN_S

DEFAULT_URL: Final = "http://localhost:4000"


def load(file: Path | None, overrides: Mapping[str, object]) -> Options:
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


@contextmanager
def usable_folder(data: str) -> Iterator[None]:
    """Say what is wrong with a data folder in the words of its option. Raises OptionError."""
    try:
        yield
    except OSError as exc:
        fix = "choose another with --data"
        where = f" ({exc.filename})" if exc.filename not in (None, data) else ""
        problem = f"cannot keep anything in {data}: {exc.strerror or exc}{where}"
        raise OptionError("data", problem, fix) from exc


def receiver(data: str | None) -> tuple[str, str]:
    """Give the address of the server that owns a data folder, and words that say so; or the default one."""
    folder = config.load(None, {"data": data}).data
    with usable_folder(folder):
        owner = Remote.owner_of(Path(folder))
    if owner is None and data is not None:
        raise _no_server(data)
    if owner is None:
        return DEFAULT_URL, ""
    return owner.url, f", which owns the data folder {folder}"


def _no_data(data: str) -> StreamgaugeError:
    """Say that a folder holds nothing, and where there is a server that could be asked instead."""
    fix = "name the folder with --data, or a server with --url"
    with suppress(RemoteError):
        Remote(DEFAULT_URL).call("GET", "/healthz", dict[str, Any], timeout_s=1.0)
        fix = f"a server answers at {DEFAULT_URL}: add --url {DEFAULT_URL}, or name a folder with --data"
    return StreamgaugeError(f"{data}: there is no data here; {fix}")


@contextmanager
def _holder(url: str | None, options: Options) -> Iterator[Remote | None]:
    """Give the server to ask. None: no server owns the folder, and its lock is held here meanwhile."""
    folder = Path(options.data)
    with usable_folder(options.data):
        remote = Remote(url) if url else Remote.owner_of(folder)
        if remote is not None:
            yield remote
            return
        if not (folder / INSTANCE_FILE).exists():
            raise _no_data(options.data)
        with lock_folder(folder):
            yield None


@contextmanager
def _opened(options: Options) -> Iterator[Store]:
    store = open_store(options.store_url(), memory_limit_bytes=options.store.memory_limit)
    try:
        yield store
    finally:
        store.close()


def answer(sql: str, url: str | None, data: str | None, config_file: Path | None) -> Table:
    """Answer a question in SQL."""
    options = config.load(config_file, {"data": data})
    with _holder(url, options) as remote:
        if remote is not None:
            return remote.query(sql)
        with _opened(options) as store:
            return store.query(sql, [], timeout_s=options.query.timeout, max_rows=options.query.max_rows)


@contextmanager
def letters(url: str | None, data: str | None, config_file: Path | None) -> Iterator[Letters]:
    """Give the dead letters."""
    options = config.load(config_file, {"data": data})
    with _holder(url, options) as remote:
        if remote is not None:
            yield RemoteLetters(remote)
            return
        with _opened(options) as store:
            yield StoredLetters(store)


def verified(url: str | None, data: str | None, config_file: Path | None) -> Report:
    """Verify what is stored."""
    options = load(config_file, {"data": data})
    with _holder(url, options) as remote:
        if remote is not None:
            return remote.call("POST", VERIFY_PATH, Report, {}, timeout_s=2 * WITHIN_S)
        return verify_folder(options)


@contextmanager
def backup(url: str | None, data: str | None, config_file: Path | None) -> Iterator[Iterator[bytes]]:
    """Give the bytes of a backup."""
    options = config.load(config_file, {"data": data})
    with _holder(url, options) as remote:
        if remote is not None:
            yield remote.download(BACKUP_PATH)
            return
        yield tar_of(list(_parts(options)), int(time.time()))


def _parts(options: Options) -> Iterator[Part]:
    """Open all that there is of a folder that nobody writes to."""
    store = file_of(options.store_url())
    if not options.has_journal:  # then what the store's log has is nowhere else
        with _opened(options) as opened:
            opened.checkpoint()
    yield from small_parts(Path(options.data))
    if store is not None and store.exists():
        yield open_part(STORE, store)
    for path in sorted(options.journal_folder().glob("*.ndjson")):
        yield open_part(f"{JOURNAL}/{path.name}", path)


def _no_server(data: str) -> StreamgaugeError:
    return StreamgaugeError(
        f"{data}: no server is running on this data folder; name the folder with --data, or a server with --url"
    )


def reloaded(url: str | None, data: str | None, config_file: Path | None) -> Reloaded:
    """Have a server reload its configuration; a folder alone has nothing to reload."""
    options = config.load(config_file, {"data": data})
    with usable_folder(options.data):
        remote = Remote(url) if url else Remote.owner_of(Path(options.data))
    if remote is None:
        raise _no_server(options.data)
    return remote.call("POST", RELOAD_PATH, Reloaded, {})
