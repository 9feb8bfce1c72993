"""The aggregates, one file each, and their registry: a new one is one file and one line here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from streamgauge.aggregate import Aggregate, State
from streamgauge.aggregates import quantiles
from streamgauge.aggregates.count import COUNT, Count
from streamgauge.aggregates.extremes import MAX, MIN, Extremes
from streamgauge.aggregates.last import LAST, Last
from streamgauge.aggregates.total import AVERAGE, SUM, Sum

STATES: Final[Mapping[str, State]] = {"count": Count(), "sum": Sum(), "extremes": Extremes(), "last": Last()}
HISTOGRAM: Final = "histogram"  # kept as sparse cells beside the columns

AGGREGATES: Final[Mapping[str, Aggregate]] = {
    aggregate.name: aggregate
    for aggregate in (COUNT, SUM, AVERAGE, MIN, MAX, LAST, *map(quantiles.make, quantiles.QUANTILES))
}


@lru_cache(maxsize=256)
def states_of(aggregates: tuple[str, ...]) -> tuple[str, ...]:
    """Give the states that these aggregates need, in a fixed order; quantiles keep the extremes too."""
    needed = {"count"} | {state for name in aggregates for state in AGGREGATES[name].states}
    if HISTOGRAM in needed:
        needed.add("extremes")
    return tuple(name for name in (*STATES, HISTOGRAM) if name in needed)


__all__ = ["AGGREGATES", "HISTOGRAM", "STATES", "states_of"]
