"""All that changes events before they are filtered and counted, in its order: the user's module, then derived fields."""

from __future__ import annotations

from streamgauge.errors import InternalError
from streamgauge.event import EventBatch
from streamgauge.events.decode import EventDecoder
from streamgauge.events.limits import UNLIMITED
from streamgauge.transform.derive import Derivation
from streamgauge.transform.module import Failure, ModuleRunner
from streamgauge.transform.program import Program
from streamgauge.transform.rebuild import Rebuilt, rebuild


class Change:
    """Changes batches, one at a time. decoder: reads what the module gives, as at the door."""

    def __init__(
        self, *, program: Program | None, derivation: Derivation | None, decoder: EventDecoder
    ) -> None:
        self.module = None if program is None else ModuleRunner(program)
        self._derivation, self._decoder = derivation, decoder
        self._derived_decoder = EventDecoder(decoder.properties, UNLIMITED)  # what we add may exceed a limit

    async def open(self) -> None:
        """Get ready. Raises OptionError where the module cannot be used."""
        if self.module is not None:
            await self.module.open()

    async def close(self) -> None:
        """End what was started."""
        if self.module is not None:
            await self.module.close()

    async def apply(self, events: EventBatch) -> Rebuilt:
        """Give the events as they are now. Positions of failures are those in `events`."""
        positions: list[int] = list(range(len(events)))
        current, failures = events, list[Failure]()
        if self.module is not None:
            found, positions, failures = await self._by_module(self.module, events)
            if found is None:
                return Rebuilt(None, failures)
            current = found
        if self._derivation is None:
            return Rebuilt(current, failures)
        lines = self._derivation.lines(current)
        derived = await rebuild(current, range(len(current)), lines, self._derived_decoder)
        failures += [failed._replace(position=positions[failed.position]) for failed in derived.failures]
        return Rebuilt(derived.events, failures)

    async def _by_module(
        self, module: ModuleRunner, events: EventBatch
    ) -> tuple[EventBatch | None, list[int], list[Failure]]:
        """Give the events that the module left, their positions, and its failures."""
        if events.lines is None:
            raise InternalError("events without their text cannot be given to a module")
        outcome = await module.run([events.lines.line(place) for place in range(len(events))])
        kept = [place for place, line in enumerate(outcome.lines) if line is not None]
        lines = [line for line in outcome.lines if line is not None]
        rebuilt = await rebuild(events, kept, lines, self._decoder)
        refused = {failed.position for failed in rebuilt.failures}
        left = [place for place in kept if place not in refused]
        return rebuilt.events, left, [*outcome.failures, *rebuilt.failures]
