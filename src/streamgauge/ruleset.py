"""What one configuration has computed of events: all that decides what becomes of an event that was accepted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from streamgauge.events.limits import EventLimits
from streamgauge.metric import Metric
from streamgauge.metrics.expression import Expression
from streamgauge.transform.derive import Derivation
from streamgauge.transform.program import Program


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruleset:
    """A configuration's rules. configuration: its hash; latency: the name of the metric of the pipeline's own latency.

    limits: what an event may be, at the door and after the module has changed it.
    """

    configuration: str
    metrics: Mapping[str, Metric]
    latency: str
    keep: Expression | None
    derive: Mapping[str, Expression]
    program: Program | None
    limits: EventLimits

    @property
    def fields(self) -> set[str]:
        """The fields that have to be decoded: those that anything refers to."""
        fields = {name for metric in self.metrics.values() for name in metric.fields}
        fields |= Derivation(self.derive).fields
        return fields if self.keep is None else fields | self.keep.fields

    @property
    def changes_events(self) -> bool:
        """Whether events are stored otherwise than they were accepted."""
        return self.program is not None or bool(self.derive)
