"""The change from one ruleset to the next, at a place in the journal, while events flow or while they are replayed.

A control record stands for it: what was appended before is computed by the old rules, what comes after by the new ones.
The processes of the old module end when the store holds all that they were needed for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import structlog

from streamgauge.epoch import EpochBook
from streamgauge.errors import OptionError, Saturated
from streamgauge.journal import Control, Journal
from streamgauge.ruleset import Ruleset
from streamgauge.term import Term, TermMaker

log = structlog.get_logger()

KIND: Final = "configuration"
MOST_LEAVING: Final = 8  # terms whose events are not all committed yet; each may have processes of a module
PATIENCE_S: Final = 10.0  # for the events of an earlier term to be committed
RETRY_S: Final = 1.0
UNUSABLE: Final = "an earlier configuration cannot be used; today's is used in its place"

Recall = Callable[[str], Ruleset | None]


class Terms:
    """The term in force, and those before it that are still needed.

    today: the ruleset that is wanted when the replay is over. enact: told of each new term, in the order of the journal,
    and must not raise. recall: gives the ruleset of an earlier configuration by its hash, None where it is lost; blocks.
    """

    def __init__(
        self,
        first: Term,
        *,
        today: Ruleset,
        maker: TermMaker,
        book: EpochBook,
        committed: asyncio.Condition,
        journal: Journal,
        enact: Callable[[Term], None],
        recall: Recall,
    ) -> None:
        self.current = first
        self._today, self._maker, self._recall = today, maker, recall
        self._book, self._committed, self._journal, self._enact = book, committed, journal, enact
        self._open = [first]
        self._leaving: dict[asyncio.Task[None], Term] = {}
        self._restarts = 0
        self.changes = 0

    @property
    def restarts(self) -> int:
        """How often a process of a user's module had to be replaced."""
        return self._restarts + sum(term.restarts for term in self._open)

    async def try_out(self, ruleset: Ruleset) -> None:
        """Raise OptionError where a ruleset's module cannot be used."""
        term = self._maker.make(ruleset)
        await term.open()
        await term.close()

    async def open(self) -> None:
        """Begin with the first term. Raises OptionError where the module of today cannot be used."""
        try:
            await self.current.open()
        except OptionError as exc:
            if self.current.ruleset is self._today:
                raise
            log.warning(UNUSABLE, problem=str(exc))
            term = self._maker.make(self._today)
            await term.open()
            self._open = [term]
            self._take_up(term)

    async def obey(self, record: Control) -> None:
        """Take a control record into the book, and do what it says. Raises OptionError as `open` does."""
        while not await self._is_one_left(PATIENCE_S):
            log.warning("the replay waits until the events of earlier configurations are committed")
        term = await self._next(record) if record.kind == KIND else None
        if term is None:
            self._book.admit(record.seq, 0)
        else:
            self._change_to(term, record.seq)

    async def _next(self, record: Control) -> Term | None:
        wanted = str(record.data.get("hash", ""))
        if wanted == self.current.ruleset.configuration:
            return None
        ruleset: Ruleset | None = self._today
        if wanted != self._today.configuration:
            ruleset = await asyncio.get_running_loop().run_in_executor(None, self._recall, wanted)
        if ruleset is not None and ruleset is not self._today:
            term = self._maker.make(ruleset, self.current)
            try:
                await term.open()
            except OptionError as exc:
                log.warning(UNUSABLE, problem=str(exc))
            else:
                return term
        if self.current.ruleset is self._today:
            return None
        term = self._maker.make(self._today, self.current)
        await term.open()
        return term

    async def change(self, ruleset: Ruleset) -> int:
        """Put another ruleset in force while events flow; give the seq of the control record.

        Raises OptionError where its module cannot be used; Saturated, StorageFull or JournalError where the change cannot
        be written now; then nothing has changed. Cancelled only when nothing is accepted any more: it may be written all the
        same.
        """
        if not await self._is_one_left(PATIENCE_S):
            raise Saturated("what came before the last changes is not committed yet", RETRY_S)
        term = self._maker.make(ruleset, self.current)
        await term.open()
        try:
            seq = await self._journal.append_control(
                KIND, {"hash": ruleset.configuration}, lambda seq: self._change_to(term, seq)
            )
        except BaseException:
            if term not in self._open:  # what was written is in force, even where its durability is in doubt
                await term.close()
            raise
        self.changes += 1
        return seq

    async def _is_one_left(self, within_s: float) -> bool:
        """Wait until one term more may be open; tell whether it may."""
        if len(self._leaving) >= MOST_LEAVING:
            await asyncio.wait(self._leaving, timeout=within_s, return_when=asyncio.FIRST_COMPLETED)
        return sum(not task.done() for task in self._leaving) < MOST_LEAVING

    def _change_to(self, term: Term, seq: int) -> None:
        before, last_seq = self.current, self._book.open.last_seq
        self._open.append(term)
        self._take_up(term)
        self._book.admit(seq, 0)
        leaving = asyncio.create_task(self._let_go(before, last_seq), name="end of a term")
        self._leaving[leaving] = before
        leaving.add_done_callback(self._leaving.pop)

    def _take_up(self, term: Term) -> None:
        self._book.begin_term(term, time.monotonic())
        self.current = term
        self._enact(term)

    async def _let_go(self, term: Term, last_seq: int) -> None:
        async with self._committed:
            await self._committed.wait_for(lambda: self._book.committed_seq >= last_seq)
        self._restarts += term.restarts
        self._open.remove(term)
        await term.close()

    async def close(self) -> None:
        """End all that was started; nothing may be computed any more."""
        for task, term in self._leaving.items():
            if term in self._open:  # those that are being closed already are left to finish that
                task.cancel()
        await asyncio.gather(*self._leaving, return_exceptions=True)
        for term in self._open:
            await term.close()
