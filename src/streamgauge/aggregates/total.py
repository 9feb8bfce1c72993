"""Sums that do not depend on the order of their terms.

A sum is kept as two doubles, `sum` and `sum_low`, whose exact total is meant. Terms are cut at a common bit, so that
the upper parts add without any rounding; what is cut off is cut once more, and what is left then is some 2^80 times
smaller than the terms (error-free extraction: S. M. Rump, T. Ogita, S. Oishi (2008), Accurate floating-point summation,
SIAM J. Sci. Comput. 31(1), 189-224). Integers up to 2^53 therefore add exactly to totals beyond 64 bits, and what terms
of both signs leave of each other is right as well. A total beyond the range of a double is infinite, and stays so.
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
# Runs whose largest terms differ by less, the less the more terms there are, are cut at one bit, which is quicker.
ALIKE_BITS: Final = 80


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
    if lows is not None:
        values, starts = np.stack([values, lows], axis=1).ravel(), starts * 2
    sizes = np.abs(values)
    largest = float(sizes.max())
    if not largest <= LARGEST:
        return _add_one_by_one(values, starts)
    length = len(values).bit_length()
    cut: float | NDArray[np.float64] = math.ldexp(1.5, math.frexp(largest)[1] + length) if largest else 0.0
    if len(starts) > 1:
        of_run = np.maximum.reduceat(sizes, starts)
        if float(of_run.min()) < math.ldexp(largest, 4 * length - ALIKE_BITS):
            cut = _cuts(of_run, starts, len(values))
    upper = (values + cut) - cut
    rest = values - upper
    cut *= 2.0 ** (length - 53)  # what is left of a term is smaller than its cut by 53 bits
    middle = (rest + cut) - cut
    total, left = _two_sum(np.add.reduceat(upper, starts), np.add.reduceat(middle, starts))
    return _two_sum(total, left + np.add.reduceat(rest - middle, starts))


def _cuts(of_run: NDArray[np.float64], starts: NDArray[np.int64], n: int) -> NDArray[np.float64]:
    """Give each term the cut of its run, whose largest term is in `of_run`."""
    cuts = np.ldexp(1.5, np.frexp(of_run)[1] + n.bit_length())
    return np.repeat(np.where(of_run > 0.0, cuts, 0.0), np.diff(starts, append=n))


def _two_sum(
    one: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Add, and give what the rounding of the sum left behind. Source: D. E. Knuth, TAOCP 2, 4.2.2, theorem B."""
    total = one + other
    added = total - one
    return total, (one - (total - added)) + (other - added)


def _add_one_by_one(
    values: NDArray[np.float64], starts: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    ends = np.append(starts[1:], len(values))
    terms = [values[start:end].tolist() for start, end in zip(starts, ends, strict=True)]
    totals = [_exact_sum(run) for run in terms]
    lows = [
        _exact_sum([*run, -total]) if math.isfinite(total) else 0.0
        for run, total in zip(terms, totals, strict=True)
    ]
    return np.array(totals), np.array(lows)


def _exact_sum(terms: list[float]) -> float:
    try:
        return math.fsum(terms)
    except OverflowError:  # beyond a double on the way, though perhaps not in the end
        return math.fsum(math.ldexp(term, -64) for term in terms) * 2.0**64
    except ValueError:  # totals beyond a double, of both signs: what they would have left is not known
        return math.inf


def _total(partials: Partials) -> NDArray[np.float64]:
    return np.where(partials.columns["n_values"] > 0, partials.columns["sum"], np.nan)


def _average(partials: Partials) -> NDArray[np.float64]:
    n_values = partials.columns["n_values"]
    return _total(partials) / np.maximum(n_values, 1)


SUM: Final = Aggregate("sum", ("count", "sum"), _total)
AVERAGE: Final = Aggregate("avg", ("count", "sum"), _average)
