"""What a data folder's journal and the configuration of today have to do with each other.

At a start: by which rules that was accepted which the store does not hold, and the note in the journal that the
configuration was changed meanwhile. Later: the texts of what is put in force, kept before the journal speaks of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Protocol

import structlog

from streamgauge.configurations import Configurations, Kept
from streamgauge.engine import Engine, EngineSettings
from streamgauge.errors import JournalError, OptionError, Saturated
from streamgauge.journal import Journal
from streamgauge.ruleset import Ruleset
from streamgauge.terms import KIND

log = structlog.get_logger()

LATE_S: Final = 5.0  # between attempts to write a change that found no room


class ConfiguredJournal(Journal, Protocol):
    """A journal that knows which configuration was in force where."""

    @property
    def configuration(self) -> str | None:
        """The hash of the one at its end, when it was opened; None where it holds nothing."""
        ...

    def configuration_after(self, seq: int) -> str | None:
        """Give the hash of the one right behind an append; None where that is not known. Blocks."""
        ...


class Changeover:
    """Sees to it that journal and engine agree on the rules.

    settings, kept: those of today, and their text. settings_of: works out what an engine needs of an earlier text; raises
    OptionError where it is of no use any more.
    """

    def __init__(
        self,
        settings: EngineSettings,
        kept: Kept,
        *,
        configurations: Configurations,
        settings_of: Callable[[Kept], EngineSettings],
    ) -> None:
        self._today, self._kept = settings, kept
        self._configurations, self._settings_of = configurations, settings_of
        self._turn = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._is_outdated = False  # what was to come into force at the start: something else has, since
        self._late: asyncio.Task[None] | None = None

    def beginning(self, journal: ConfiguredJournal, stored_seq: int) -> Ruleset | None:
        """Give the rules by which that was accepted which the store does not hold; None: those of today. Blocks.

        Keeps the text of today. Raises OSError.
        """
        self._configurations.keep(self._kept)
        if journal.last_seq <= stored_seq:
            return None
        began = journal.configuration_after(stored_seq)
        return None if began in {None, self._today.configuration} else self.recall(str(began))

    def recall(self, configuration: str) -> Ruleset | None:
        """Give the rules of an earlier configuration; None where its text is lost, or is of no use. Blocks."""
        kept = self._configurations.find(configuration)
        if kept is None:
            log.warning(
                "events were accepted under a configuration whose text is lost; today's is used in its place",
                configuration=configuration,
            )
            return None
        try:
            settings = self._settings_of(kept)
        except OptionError as exc:
            log.warning(
                "events were accepted under a configuration that is of no use any more; today's takes its place",
                configuration=configuration,
                problem=str(exc),
            )
            return None
        return replace(settings, configuration=configuration).ruleset

    async def start(self, engine: Engine, journal: ConfiguredJournal) -> None:
        """Start an engine; before it replays, note in the journal what was changed while the server was stopped.

        Raises OptionError where the module cannot be used; then nothing was noted.
        """
        is_noted = True
        if journal.configuration not in {None, self._today.configuration}:
            await engine.terms.try_out(self._today.ruleset)
            is_noted = await self._note(journal)
        await engine.start()
        if not is_noted:
            self._late = asyncio.create_task(self._change_late(engine), name="late change of configuration")

    async def _note(self, journal: Journal) -> bool:
        try:
            await journal.append_control(KIND, {"hash": self._today.configuration})
        except (Saturated, JournalError) as exc:
            log.warning(
                "the changed configuration comes into force when the journal has room", problem=str(exc)
            )
            return False
        return True

    async def _change_late(self, engine: Engine) -> None:
        while not self._stopping.is_set():
            async with self._turn:
                if self._is_outdated or await self._has_changed(engine):
                    return
            await asyncio.wait([asyncio.ensure_future(self._stopping.wait())], timeout=LATE_S)

    async def _has_changed(self, engine: Engine) -> bool:
        try:
            await engine.change(self._today.ruleset)
        except (Saturated, JournalError, OptionError) as exc:
            log.warning("the changed configuration is not in force yet", problem=str(exc))
            return False
        return True

    async def change(self, engine: Engine, settings: EngineSettings, kept: Kept) -> int:
        """Compute by other settings from here on; give the place in the journal. Raises as `Engine.change` does."""
        async with self._turn:
            try:
                await asyncio.to_thread(self._configurations.keep, kept)
            except OSError as exc:
                raise JournalError(f"the configuration cannot be kept: {exc}") from exc
            seq = await engine.change(settings.ruleset)
            self._is_outdated = True
            return seq

    async def stop(self) -> None:
        """Change nothing any more; what is under way is finished."""
        self._stopping.set()
        if self._late is not None:
            await self._late
