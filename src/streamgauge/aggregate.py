"""The contract of an aggregate: what it keeps for a group of events, and the figure that it shows.

What is kept is made of *states*: named columns with one row per group, which merge. Several aggregates share one
state (`sum` and `avg`), and a metric keeps only the states that its aggregates need. A state's rows merge by an
operation that is associative and commutative, and a merge of states is a state again; everything that scales,
scales because of this.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from streamgauge.partials import Partials

Column = NDArray[Any]
Columns = dict[str, Column]


class Grouped(NamedTuple):
    """The events of one batch, ordered so that those of a group stand together.

    starts: int64[groups], where each group begins among the events that have a value. groups: which group each of
    those ranges is (a group without any value has none). values, time_us, order: one for each event with a value;
    order tells arrival (shard-local append and line). n_groups: how many groups there are. counts: events per group.
    """

    n_groups: int
    counts: NDArray[np.int64]
    groups: NDArray[np.int64]
    starts: NDArray[np.int64]
    group_of: NDArray[np.int64]
    values: NDArray[np.float64]
    time_us: NDArray[np.int64]
    order: NDArray[np.int64]


class State(Protocol):
    """What is kept for a group of events, as columns with one row per group."""

    columns: Mapping[str, np.dtype[Any]]

    def observe(self, events: Grouped) -> Columns:
        """Give the state of each group of a batch; every column has `events.n_groups` rows."""

    def merge(self, columns: Columns, starts: NDArray[np.int64]) -> Columns:
        """Merge runs of rows: run i goes from starts[i] up to starts[i + 1]; no run is empty."""


@dataclass(frozen=True, slots=True)
class Aggregate:
    """A figure of a metric: the states it needs, and how it is read from them.

    finish: gives float64[rows], NaN where a group has no value.
    """

    name: str
    states: tuple[str, ...]
    finish: Callable[[Partials], NDArray[np.float64]]


def spread(events: Grouped, values: NDArray[Any], missing: float = np.nan) -> NDArray[Any]:
    """Put one value per range of `events.groups` into a column with a row for every group."""
    column = np.full(events.n_groups, missing, values.dtype)
    column[events.groups] = values
    return column
