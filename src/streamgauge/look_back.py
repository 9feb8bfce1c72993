"""Before a replay: what the last one died of, if it did, is found and set aside; and the next is told of this one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import structlog

from streamgauge.errors import JournalError
from streamgauge.in_flight import InFlight, SetAside, by_append
from streamgauge.journal import Journal
from streamgauge.suspects import killers_among
from streamgauge.trial import TrialImpossible, TrialProcess

log = structlog.get_logger()


class LookBack:
    """Looks back from one start, in a data folder whose lock the caller holds. Its methods block.

    options: as a mapping, for the process in which events are tried. stopped: whether the start is to be cut short.
    """

    def __init__(self, folder: Path, options: Mapping[str, Any], stopped: Callable[[], bool]) -> None:
        self._in_flight = InFlight(folder)
        self._options, self._stopped = options, stopped
        self._is_noted = False

    def before(self, journal: Journal, stored_seq: int) -> SetAside:
        """Give what is not to be counted of what is behind `stored_seq`, and note that the rest is replayed."""
        if self._in_flight.has_died(stored_seq):
            self._find_killers(journal, stored_seq)
        if not self._stopped():  # else nothing will be replayed, and whoever starts next has to look as well
            self._in_flight.begin(stored_seq, journal.last_seq)
            self._is_noted = True
        return by_append(self._in_flight.killers)

    def after(self, committed_seq: int) -> None:
        """Note an orderly end, of the replay or of the engine; `committed_seq`: what the store has by then."""
        if self._is_noted:
            self._in_flight.end(committed_seq)

    def _find_killers(self, journal: Journal, stored_seq: int) -> None:
        log.warning("the process ended while it replayed the journal; what it had in hand is tried elsewhere")
        known = {(one.seq, one.index) for one in self._in_flight.killers}
        try:
            with TrialProcess(self._options) as trial:
                for killer in killers_among(journal.replay(stored_seq), trial, known, self._stopped):
                    log.error(
                        "an event ends the process that counts it; it is set aside",
                        seq=killer.seq, index=killer.index, reason=killer.reason,
                    )  # fmt: skip
                    self._in_flight.add(killer)
        except (TrialImpossible, OSError) as exc:
            log.warning("what the last replay had in hand cannot be tried", error=str(exc))
        except JournalError as exc:  # the replay meets it too, and ends the start as it should
            log.warning("what the last replay had in hand cannot be read", error=str(exc))
