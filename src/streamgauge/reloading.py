"""Reading the configuration again while the server runs: checked whole first, then put in force, or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog

from streamgauge.config import to_mapping
from streamgauge.engine import EngineSettings
from streamgauge.errors import NotReloadable, OptionError, RestartNeeded, Saturated, StreamgaugeError
from streamgauge.options import Options

log = structlog.get_logger()

# what may change while the server runs; everything else needs a restart
RELOADABLE: Final = (
    "events.type", "events.timestamp", "events.value", "events.user_id", "events.event_id", "events.max_ahead",
    "metric", "transform", "live", "query",
    "store.retention", "store.raw_retention",
    "store.dead_letter_retention", "store.dead_letters", "store.dead_letter_bytes",
)  # fmt: skip
MAPPING: Final = frozenset(RELOADABLE[:5])
MODULE: Final = "transform.module"
DERIVE: Final = "transform.derive"
WATCH_S: Final = 1.0
LAST_S: Final = 5.0  # for reloads under way when the server stops
MOST_WAITING: Final = 32
NOTHING: Final = "nothing in the configuration changed"
RELOADED: Final = "the configuration was reloaded"
REFUSED: Final = "the configuration was not reloaded; nothing has changed"

Stamp = tuple[int, int, int]


class Reloaded(msgspec.Struct):
    """What a reload has changed. changed: the options' names; a metric that came, went or changed is `metric.<name>`.

    configuration: the hash of what is computed from now on. seq: the place in the journal from which on it is; null where
    nothing changed of what is computed.
    """

    changed: list[str]
    configuration: str
    seq: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationFile:
    """Where the configuration comes from. read: reads it again, with what was given on the command line; blocks."""

    path: Path
    read: Callable[[], Options]


class Reloader:
    """Reloads, one after the other.

    settings_of: works out, and checks, what an engine needs of options; blocks. change: has an engine compute by other
    settings, and gives the place in the journal. apply: puts all the rest in force; must not fail.
    """

    def __init__(
        self,
        options: Options,
        settings: EngineSettings,
        *,
        file: ConfigurationFile | None,
        settings_of: Callable[[Options], EngineSettings],
        change: Callable[[Options, EngineSettings], Awaitable[int]],
        apply: Callable[[Options, EngineSettings], None],
    ) -> None:
        self._options, self._settings, self._file = options, settings, file
        self._settings_of, self._change, self._apply = settings_of, change, apply
        self._turn = asyncio.Lock()
        self._under_way: set[asyncio.Task[Reloaded]] = set()
        self._asked = asyncio.Event()
        self._stopped = False

    async def reload(self) -> Reloaded:
        """Read the file again and put in force what changed.

        Raises OptionError where something is wrong with it, RestartNeeded where something changed that cannot while the
        server runs, NotReloadable, Saturated or JournalError; then nothing has changed.
        """
        if self._stopped or len(self._under_way) >= MOST_WAITING:
            raise Saturated(
                "the server is shutting down" if self._stopped else "many reloads wait already", 1.0
            )
        task = asyncio.create_task(self._in_turn(), name="reload")
        self._under_way.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)  # whoever asked may go; what was begun is finished

    def _finished(self, task: asyncio.Task[Reloaded]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved here, in case that whoever asked has gone

    def ask(self) -> None:
        """Have `run` reload soon; asked several times before it begins, it is done once."""
        self._asked.set()

    async def run(self) -> None:
        """Reload when asked, and log what comes of it. Runs until it is cancelled."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self._and_tell()

    async def _and_tell(self, *, is_asked: bool = True) -> None:
        try:
            found = await self.reload()
        except Saturated as exc:
            log.warning(REFUSED, problem=str(exc))
            asyncio.get_running_loop().call_later(exc.retry_after_s, self.ask)
        except StreamgaugeError as exc:
            log.warning(REFUSED, problem=str(exc))
        except Exception:  # a bug of ours; the server goes on by what was in force
            log.exception(REFUSED)
        else:
            if found.changed or is_asked:
                log.info(RELOADED if found.changed else NOTHING, changed=found.changed, seq=found.seq)

    async def _in_turn(self) -> Reloaded:
        async with self._turn:
            return await self._reload()

    async def _reload(self) -> Reloaded:
        if self._file is None:
            raise NotReloadable
        options, settings = await asyncio.to_thread(self._read, self._file)
        changed = changes(self._options, options)
        if _digest(settings) != _digest(self._settings):
            changed = sorted({*changed, MODULE})
        if not changed:
            return Reloaded([], self._settings.configuration)
        needing = [name for name in changed if not _is_reloadable(name)]
        if options.source:  # sources are told once how their events are to be read
            needing += [name for name in changed if name in MAPPING]
        if needing:
            raise RestartNeeded(str(self._file.path), needing)
        seq = None
        if settings.configuration != self._settings.configuration:
            seq = await self._change(options, settings)
        self._options, self._settings = options, settings
        self._apply(options, settings)
        return Reloaded(changed, settings.configuration, seq)

    def _read(self, file: ConfigurationFile) -> tuple[Options, EngineSettings]:
        options = file.read()
        try:
            return options, self._settings_of(options)
        except OptionError as exc:
            raise OptionError(f"{file.path}: {exc.path}", exc.problem, exc.fix) from exc

    async def watch(self, every_s: float = WATCH_S) -> None:
        """Reload when the file or the module has changed, and then was still for one look. Runs until it is cancelled."""
        if self._file is None:
            return
        seen: object = None  # it may have changed since it was read at the start
        before: object = None
        while True:
            now = await asyncio.to_thread(self._stamps, self._file)
            if now == before != seen:
                seen = now
                await self._and_tell(is_asked=False)
            before = now
            await asyncio.sleep(every_s)

    def _stamps(self, file: ConfigurationFile) -> list[Stamp | None]:
        module = self._options.transform.module
        return [_stamp(path) for path in (file.path, *([Path(module)] if module else []))]

    async def stop(self) -> None:
        """Begin with no other reload, and end those under way: what is being written is finished, a module's start is not."""
        self._stopped = True
        if self._under_way:
            _, late = await asyncio.wait(tuple(self._under_way), timeout=LAST_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)


def changes(before: Options, after: Options) -> list[str]:
    """Name the options in which two configurations differ."""
    old, new = _flat(to_mapping(before)), _flat(to_mapping(after))
    changed = {name for name in old.keys() | new.keys() if old.get(name) != new.get(name)}
    if list(before.transform.derive) != list(after.transform.derive):
        changed.add(DERIVE)  # a field may be derived of those before it
    metrics = {name for name in changed if name.startswith("metric.")}
    names = {".".join(name.split(".")[:2]) for name in metrics}
    derived = {DERIVE for name in changed if name.startswith(f"{DERIVE}.")}
    return sorted(
        (changed - metrics - {name for name in changed if name.startswith(f"{DERIVE}.")}) | names | derived
    )


def _flat(mapping: Mapping[str, Any]) -> dict[str, Any]:
    return dict(_leaves("", mapping))


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _leaves(f"{path}.{name}".lstrip("."), inner)
    elif path == "metric":
        for one in value:
            yield f"{path}.{one['name']}", one
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for place, one in enumerate(value):
            yield f"{path}[{place}]", one
    else:
        yield path, value


def _is_reloadable(name: str) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in RELOADABLE)


def _digest(settings: EngineSettings) -> str | None:
    return None if settings.program is None else settings.program.digest


def _stamp(file: Path) -> Stamp | None:
    """Tell one state of a file from another, behind links too; None where it is not there."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
