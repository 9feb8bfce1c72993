"""Sums that do not depend on the order of their terms.

A sum is kept as two doubles, `sum` and `sum_low`, whose exact total is meant. Terms are first cut at a common bit, so
that the upper parts add without any rounding and the lower parts are some 2^40 times smaller (error-free extraction:
S. M. Rump, T. Ogita, S. Oishi (2008), Accurate floating-point summation, SIAM J. Sci. Comput. 31(1), 189-224). Integers
up to 2^53 therefore add exactly to totals beyond 64 bits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregate import Aggregate, Columns, Grouped, spread

if TYPE_CHECKING:
    from streamgauge.partials import Partials

LARGEST: Final = 2.0**960  # beyond, the cut itself could overflow; such values are added one by one


class Sum:
    """`sum`, `sum_low`: the total of the values, as the exact sum of two doubles."""

    columns: Mapping[str, np.dtype[Any]] = {"sum": np.dtype(np.float64), "sum_low": np.dtype(np.float64)}

    def observe(self, events: Grouped) -> Columns:
        """Add the values of each group."""
        high, low = add_runs(events.values, None, events.starts)
        return {"sum": spread(events, high, 0.0), "sum_low": spread(events, low, 0.0)}

    def merge(self, columns: Columns, starts: NDArray[np.int64]) -> Columns:
        """Add both parts."""
        high, low = add_runs(columns["sum"], columns["sum_low"], starts)
        return {"sum": high, "sum_low": low}


def add_runs(
    values: NDArray[np.float64], lows: NDArray[np.float64] | None, starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add runs of numbers (run i from starts[i] to starts[i + 1]); give each total as a double and what it leaves.

    values: float64[n]; lows: the lower parts of values that are themselves totals.
    """
    if not len(values):
        return np.zeros(0), np.zeros(0)
    largest = float(np.abs(values).max())
    if largest > LARGEST:
        return _add_one_by_one(values, lows, starts)
    bits = math.frexp(largest)[1] + int(len(values)).bit_length()
    cut = math.ldexp(1.5, bits) if largest else 0.0
    upper = (values + cut) - cut
    rest = values - upper if lows is None else (values - upper) + lows
    high, low = np.add.reduceat(upper, starts), np.add.reduceat(rest, starts)
    total = high + low
    carried = total - high  # Knuth's two-sum: what the rounding of `total` left behind
    return total, (high - (total - carried)) + (low - carried)


def _add_one_by_one(
    values: NDArray[np.float64], lows: NDArray[np.float64] | None, starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ends = np.append(starts[1:], len(values))
    terms = values if lows is None else np.stack([values, lows], axis=1)
    totals = [_clamped_sum(terms[start:end].ravel().tolist()) for start, end in zip(starts, ends, strict=True)]
    return np.array(totals), np.zeros(len(totals))


def _clamped_sum(terms: list[float]) -> float:
    try:
        return math.fsum(terms)
    except (OverflowError, ValueError):  # beyond a double, or infinities of both signs
        return math.copysign(math.inf, sum(math.copysign(1.0, term) for term in terms if abs(term) > LARGEST) or 1.0)


def _total(partials: Partials) -> NDArray[np.float64]:
    return np.where(partials.columns["n_values"] > 0, partials.columns["sum"], np.nan)


def _average(partials: Partials) -> NDArray[np.float64]:
    n_values = partials.columns["n_values"]
    return _total(partials) / np.maximum(n_values, 1)


SUM: Final = Aggregate("sum", ("count", "sum"), _total)
AVERAGE: Final = Aggregate("avg", ("count", "sum"), _average)
