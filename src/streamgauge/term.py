"""A term: the run of epochs for which one ruleset is in force, with all that is needed to compute by it.

What is in the pipeline when a term ends belongs to that term's epochs, and is still computed by its rules.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from streamgauge.events.decode import EventDecoder
from streamgauge.incarnation import begin
from streamgauge.metric import Metric, SeriesLimit
from streamgauge.ruleset import Ruleset
from streamgauge.stages.aggregator import AggregatorSettings
from streamgauge.stages.transformer import Steps
from streamgauge.transform.change import Change
from streamgauge.transform.derive import Derivation


@dataclass(slots=True, kw_only=True, eq=False)
class Term:
    """A ruleset in force. incarnation: what the positions of its epochs say. steps: one for each transformer.

    definitions: what each metric's stored rows are marked with. counting: what aggregators do.
    """

    ruleset: Ruleset
    incarnation: str
    decoder: EventDecoder
    series_limits: dict[str, SeriesLimit]
    counting: AggregatorSettings
    steps: list[Steps]
    definitions: Mapping[str, str] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """The metrics that are computed, by name."""
        return self.ruleset.metrics

    @property
    def changes(self) -> list[Change]:
        """All that changes events."""
        return [steps.change for steps in self.steps if steps.change is not None]

    @property
    def restarts(self) -> int:
        """How often a process of the user's module had to be replaced."""
        return sum(change.module.restarts for change in self.changes if change.module is not None)

    async def open(self) -> None:
        """Start what changes events. Raises OptionError where the module cannot be used, and then nothing is started."""
        try:
            for change in self.changes:
                await change.open()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """End what was started; harmless where nothing was."""
        for change in self.changes:
            await change.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class TermMaker:
    """What terms of one engine have in common. replayed_to: appends up to this one came back from the journal.

    transformers: how many there are, each of which changes events beside the others.
    """

    raw_events: bool
    max_batch: int
    max_wait_s: float
    transformers: int
    replayed_to: int

    def make(self, ruleset: Ruleset, before: Term | None = None) -> Term:
        """Make a term; the live series of metrics that go on from the term before stay what they are."""
        decoder = EventDecoder(ruleset.fields, ruleset.limits)
        definitions = {name: metric.definition for name, metric in ruleset.metrics.items()}
        limits = _series_limits(ruleset, definitions, before)
        life = begin(
            replayed_to=self.replayed_to,
            raw_events=self.raw_events,
            rewritten=ruleset.changes_events,
            metrics=definitions,
        )
        return Term(
            ruleset=ruleset,
            incarnation=life.text,
            decoder=decoder,
            series_limits=limits,
            counting=AggregatorSettings(
                metrics=[metric for metric in ruleset.metrics.values() if metric.name != ruleset.latency],
                limits=limits,
                latency=ruleset.metrics.get(ruleset.latency),
                raw_events=self.raw_events,
                max_batch=self.max_batch,
                max_wait_s=self.max_wait_s,
            ),
            steps=[
                Steps(ruleset.keep, _change_of(ruleset, decoder), decoder) for _ in range(self.transformers)
            ],
            definitions=definitions,
        )


def _change_of(ruleset: Ruleset, decoder: EventDecoder) -> Change | None:
    if not ruleset.changes_events:
        return None
    derivation = Derivation(ruleset.derive) if ruleset.derive else None
    return Change(program=ruleset.program, derivation=derivation, decoder=decoder)


def _series_limits(
    ruleset: Ruleset, definitions: Mapping[str, str], before: Term | None
) -> dict[str, SeriesLimit]:
    limits: dict[str, SeriesLimit] = {}
    for name, metric in ruleset.metrics.items():
        goes_on = before is not None and before.definitions.get(name) == definitions[name]
        limit = before.series_limits[name] if before is not None and goes_on else None
        if limit is None or limit.most != metric.max_series:
            limit = SeriesLimit(metric.max_series)
        limits[name] = limit
    return limits
