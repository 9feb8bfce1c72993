"""A data folder opened: its lock, its journal and its store, and an engine that runs on them."""

from __future__ import annotations

import asyncio
import re
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Final

import msgspec
import structlog

from streamgauge.changeover import Changeover
from streamgauge.config import from_mapping, to_mapping
from streamgauge.configurations import FOLDER, Configurations, Kept
from streamgauge.durable import write_file
from streamgauge.engine import Engine, EngineSettings
from streamgauge.errors import OptionError, StoreBehind
from streamgauge.event import FieldMapping
from streamgauge.in_flight import SetAside
from streamgauge.in_place import InPlace
from streamgauge.journal import Journal
from streamgauge.journals.file import FileJournal
from streamgauge.journals.lock import LOCK_FILE, lock_folder
from streamgauge.journals.memory import MemoryJournal
from streamgauge.journals.reading import FolderReading
from streamgauge.journals.recovery import Report as Recovered
from streamgauge.journals.recovery import instance_in, oldest_seq
from streamgauge.look_back import LookBack
from streamgauge.options import Options
from streamgauge.remote import INSTANCE_FILE
from streamgauge.ruleset import Ruleset
from streamgauge.settings import IN_MEMORY, SHARD, kept_of, mapping_of, metrics_of, rules_of, settings_of
from streamgauge.store import Position, Store
from streamgauge.stores.registry import file_of, open_audit, open_store
from streamgauge.verify import Report, Rules, verify

log = structlog.get_logger()

STOP_S: Final = 15.0
REPLAYED_S: Final = 3600.0
NAME: Final = re.compile("[0-9a-f]{32}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    """What an engine runs on. began: the rules with which its replay begins; set_aside: what is not to be counted."""

    store: Store
    journal: Journal
    positions: Mapping[str, Position]
    began: Ruleset | None = None
    set_aside: SetAside = field(default_factory=dict)


class OpenEngine:
    """An engine with what it holds open: the data folder's lock, its journal, its store."""

    def __init__(
        self,
        options: Options,
        *,
        failed: Callable[[Exception], None] = lambda error: None,
        rebuild: bool = False,
    ) -> None:
        self._options, self._failed, self._rebuild = options, failed, rebuild
        self._hurried = False
        self._files: InPlace | None = None  # once it is open
        self._held = ExitStack()
        self._look_back: LookBack | None = None
        self._replayed: asyncio.Task[None] | None = None
        self.settings = settings_of(options)
        self.engine: Engine
        self._changeover: Changeover | None = None
        if options.store_url() != IN_MEMORY and options.has_journal:
            self._changeover = Changeover(
                self.settings,
                kept_of(options, self.settings.program),
                configurations=Configurations(Path(options.data) / FOLDER),
                settings_of=self._settings_then,
            )

    async def start(self) -> Engine:
        """Open everything, start, and replay the journal."""
        loop = asyncio.get_running_loop()
        try:
            parts = await loop.run_in_executor(None, self._open)
            self.engine = Engine(
                self.settings,
                store=parts.store,
                journal=parts.journal,
                positions=parts.positions,
                began=parts.began,
                set_aside=parts.set_aside,
                recall=self._recall,
                failed=self._failed,
            )
            self.engine.intake.draining = self._hurried
            await self._start(self.engine)
            self._files = InPlace(_files_of(self._options))
        except BaseException:
            self._held.close()
            raise
        return self.engine

    async def _start(self, engine: Engine) -> None:
        journal = engine.journal
        try:
            if self._changeover is not None and isinstance(journal, FileJournal):
                await self._changeover.start(engine, journal)
            else:
                await engine.start()
        except BaseException:
            await self._stop_engine(STOP_S)
            raise
        self._replayed = asyncio.create_task(self._note_replayed(engine, journal.last_seq))

    def _recall(self, configuration: str) -> Ruleset | None:
        return None if self._changeover is None else self._changeover.recall(configuration)

    def _open(self) -> _Parts:
        options = self._options
        if options.store_url() == IN_MEMORY:
            store = open_store(IN_MEMORY, memory_limit_bytes=options.store.memory_limit)
            return _Parts(store=store, journal=MemoryJournal(shard=SHARD), positions={})
        data = Path(options.data)
        self._held.enter_context(lock_folder(data))
        store = open_store(options.store_url(), memory_limit_bytes=options.store.memory_limit)
        try:
            positions = self._meet(store)
            stored_seq = _stored_seq(positions)
            if options.has_journal:
                return self._with_journal(data, store, positions, stored_seq)
            _refuse_to_pass_over(options.journal_folder())
            journal = MemoryJournal(SHARD, last_seq=stored_seq)
            return _Parts(store=store, journal=journal, positions=positions)
        except BaseException:
            store.close()
            raise

    def _with_journal(
        self, data: Path, store: Store, positions: Mapping[str, Position], stored_seq: int
    ) -> _Parts:
        """Open the journal's files; find out by which rules, and without which events, they are to be replayed."""
        journal = self._open_journal(stored_seq)
        self._look_back = LookBack(data, to_mapping(self._options), lambda: self._hurried)
        return _Parts(
            store=store,
            journal=journal,
            positions=positions,
            began=None if self._changeover is None else self._changeover.beginning(journal, stored_seq),
            set_aside=self._look_back.before(journal, stored_seq),
        )

    def _meet(self, store: Store) -> Mapping[str, Position]:
        """Give the store's positions, once it is sure that the journal reaches back to them."""
        positions = store.positions()
        stored_seq = _stored_seq(positions)
        first_seq = oldest_seq(self._options.journal_folder()) or 1
        if stored_seq >= first_seq - 1:
            return positions
        if not self._rebuild:
            raise StoreBehind(self._options.store_url(), stored_seq, first_seq)
        log.warning("going on without what only the store had", from_seq=stored_seq + 1, to_seq=first_seq - 1)
        store.skip(SHARD, first_seq - 1)
        return store.positions()

    def _settings_then(self, kept: Kept) -> EngineSettings:
        """Work out what an engine needs of an earlier configuration; what it does not say is as today."""
        then = from_mapping(kept.sections)
        options = msgspec.structs.replace(
            self._options, events=then.events, metric=then.metric, transform=then.transform
        )
        return settings_of(options, kept)

    async def change(self, options: Options, settings: EngineSettings) -> int:
        """Compute by other settings from here on; give the place in the journal. Raises as `Engine.change` does."""
        if self._changeover is None:
            return await self.engine.change(settings.ruleset)
        return await self._changeover.change(self.engine, settings, kept_of(options, settings.program))

    def hurry(self) -> None:
        """Take in nothing more, nor from the journal, so that `start` returns soon and `stop` can be called."""
        self._hurried = True
        if hasattr(self, "engine"):
            self.engine.intake.draining = True

    def _open_journal(self, stored_seq: int) -> FileJournal:
        options = self._options.journal
        journal = FileJournal.open(
            self._options.journal_folder(),
            shard=SHARD,
            instance=instance_of(self._options),
            configuration_hash=self.settings.configuration,
            fsync=options.fsync,
            interval_s=options.interval,
            segment_bytes=options.segment_bytes,
            segment_age_s=options.segment_age,
            max_bytes=options.max_bytes,
            stored_seq=stored_seq,
        )
        _tell(journal.report)
        return journal

    def check_files(self) -> None:
        """Raise FilesGone where the lock or the store is not there any more; a journal's trouble stands in its `failed`."""
        if self._files is not None:
            self._files.check()
            self.engine.journal.check_files()

    async def stop(self, timeout_s: float = 25.0) -> None:
        """Drain, commit, and let go of everything."""
        try:
            if self._changeover is not None:
                await self._changeover.stop()
            await self._stop_engine(timeout_s)
        finally:
            self._held.close()

    async def _note_replayed(self, engine: Engine, upto: int) -> None:
        """Wait until the store holds what was in the journal at the start."""
        while not await engine.caught_up(upto, REPLAYED_S):
            pass
        await self._note_end(engine)

    async def _note_end(self, engine: Engine) -> None:
        if self._look_back is not None:
            after, seq = self._look_back.after, engine.book.committed_seq
            await asyncio.get_running_loop().run_in_executor(None, after, seq)

    async def _stop_engine(self, timeout_s: float) -> None:
        if self._replayed is not None:
            self._replayed.cancel()
            await asyncio.wait([self._replayed])
        await self.engine.stop(timeout_s)
        await self._note_end(self.engine)


def _stored_seq(positions: Mapping[str, Position]) -> int:
    return positions[SHARD].last_seq if SHARD in positions else 0


def _files_of(options: Options) -> Iterator[Path]:
    """Give the files that stay the same ones for as long as a data folder is open."""
    if options.store_url() != IN_MEMORY:
        yield Path(options.data) / LOCK_FILE
        if (file := file_of(options.store_url())) is not None:
            yield file


def _tell(report: Recovered) -> None:
    """Log what was wrong with the journal."""
    if report.torn_bytes:
        log.warning("the journal's end was torn, and is cut off", bytes=report.torn_bytes)
    for damage in report.damaged:
        log.error("events are lost: the journal is damaged", **asdict(damage))
    if report.skipped:
        log.warning("the journal's end was lost after the store had it", appends=report.skipped)


def _refuse_to_pass_over(folder: Path) -> None:
    if oldest_seq(folder) is not None:
        raise OptionError(
            "journal.path",
            f"{folder} holds a journal, which would not be read",
            "start once without `:memory:`, stop, and move that folder away; or leave the option out",
        )


def instance_of(options: Options) -> str:
    """Give the name of a data folder, which a new one gets here. Where the file with it is damaged, the journal has it."""
    file, known = Path(options.data) / INSTANCE_FILE, known_instance(Path(options.data))
    if known is not None:
        return known
    found = instance_in(options.journal_folder()) if options.has_journal else None
    if found is not None:
        log.warning("the name of the data folder was lost; it is taken from the journal", file=str(file))
    name = found or uuid.uuid4().hex
    write_file(file, f"{name}\n".encode())
    return name


def known_instance(data: Path) -> str | None:
    """Give the name of a data folder; None where the file with it is not there, or is not what it was."""
    try:
        name = (data / INSTANCE_FILE).read_bytes().decode("ascii", "replace").strip()
    except FileNotFoundError:
        return None
    return name if NAME.fullmatch(name) else None


def verify_folder(options: Options) -> Report:
    """Verify a data folder whose lock the caller holds; blocks. Changes nothing. Raises StoreError, JournalError."""
    audit = open_audit(options.store_url(), memory_limit_bytes=options.store.memory_limit)
    with closing(audit):
        folder, journals = options.journal_folder(), {}
        if folder.is_dir():
            instance = known_instance(Path(options.data)) or instance_in(folder) or ""
            journals[SHARD] = FolderReading(folder, instance=instance, shard=SHARD)
        rules = with_kept(
            rules_of(options, time.time_ns() // 1000), Configurations(Path(options.data) / FOLDER)
        )
        return verify(audit, rules, journals=journals)


def with_kept(rules: Rules, configurations: Configurations) -> Rules:
    """Add the metrics that earlier configurations had, where today's has none of that name; the latest counts.

    Where none is configured at all (nobody named the file), fields play the parts that they played last.
    """
    metrics, mapping = dict(rules.metrics), rules.mapping
    own = any(not metric.built_in for metric in metrics.values())
    for kept in configurations.newest_first():
        try:
            then = from_mapping(kept.sections)
            found = metrics_of(then)
        except OptionError:  # another version of ours has kept it
            continue
        if not own and mapping == FieldMapping():
            mapping = mapping_of(then)
        own = True
        metrics = {**found, **metrics}
    return replace(rules, metrics=metrics, mapping=mapping)
