"""Quantiles from exponential histograms, as OpenTelemetry defines them.

Scale 5: the bucket with index i holds the values in (base^i, base^(i+1)], base = 2^(2^-5) = 1.0219, so a value's
bucket tells it to within 1.083 %. Source: OpenTelemetry metrics data model, "Exponential histogram". Sparse: only the
cells that hold something are kept, each as a key and a count. Keys order the cells by value: zero is 0, a positive
value's key is its index + OFFSET, a negative value's is minus that of its opposite.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregate import Aggregate

if TYPE_CHECKING:
    from streamgauge.partials import Partials

SCALE: Final = 5
BUCKETS_PER_DOUBLING: Final = 2**SCALE
OFFSET: Final = 40_000  # greater than 1,074 * 32, so that every key of a positive double is positive
ABOVE_HALF: Final = 0.5 + 2.0**-30
BASE: Final = 2.0 ** (1 / BUCKETS_PER_DOUBLING)
QUANTILES: Final = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}


def keys_of(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the key of each value's cell."""
    sizes = np.abs(values)
    zero = sizes == 0.0
    if zero.any():
        sizes = np.where(zero, 1.0, sizes)
    places = np.log2(sizes) * BUCKETS_PER_DOUBLING
    keys: NDArray[np.int64] = np.ceil(places).astype(np.int64)
    edge = np.flatnonzero(keys == places)
    if len(
        edge
    ):  # a power of two ends its cell; what is a little greater has the same logarithm, but not the same cell
        fraction = np.frexp(sizes[edge])[0]
        keys[edge] += (fraction > 0.5) & (fraction < ABOVE_HALF)
    keys += OFFSET - 1
    negative = values < 0.0
    if negative.any():
        keys = np.where(negative, -keys, keys)
    if zero.any():
        keys[zero] = 0
    return keys


def estimates_of(keys: NDArray[np.int64]) -> NDArray[np.float64]:
    """Give the value that stands for each cell: the one whose relative error to both bounds is equal."""
    index = np.abs(keys) - OFFSET
    whole, part = np.divmod(index, BUCKETS_PER_DOUBLING)
    lower = np.ldexp(np.exp2(part / BUCKETS_PER_DOUBLING), whole)
    estimates: NDArray[np.float64] = np.sign(keys) * lower * (2.0 * BASE / (1.0 + BASE))
    return estimates


def quantile(partials: Partials, q: float) -> NDArray[np.float64]:
    """Give the q-quantile of each row, NaN where it has no value.

    With n values and h = (n - 1) q it interpolates between the estimates of the order statistics floor(h) and
    floor(h) + 1 (type 7 of R. J. Hyndman and Y. Fan (1996), The American Statistician 50(4), 361-365), and keeps
    within the smallest and largest value where they are known.
    """
    cells = partials.cells
    n_values = partials.columns["n_values"]
    result = np.full(len(n_values), np.nan)
    rows = np.flatnonzero(n_values > 0)
    if not len(rows):
        return result
    running = np.cumsum(cells.counts)
    before = np.zeros(len(n_values) + 1, np.int64)
    np.cumsum(n_values, out=before[1:])
    h = (n_values[rows] - 1) * q
    lower = np.floor(h).astype(np.int64)
    upper = np.minimum(lower + 1, n_values[rows] - 1)
    first = _order_statistic(partials, running, before, rows, lower)
    second = _order_statistic(partials, running, before, rows, upper)
    part = h - lower
    # not first + part * (second - first): the difference of two large values can be beyond a double
    result[rows] = np.clip((1.0 - part) * first + part * second, first, second)
    return result


def _order_statistic(
    partials: Partials,
    running: NDArray[np.int64],
    before: NDArray[np.int64],
    rows: NDArray[np.int64],
    rank: NDArray[np.int64],
) -> NDArray[np.float64]:
    cell = np.searchsorted(running, before[rows] + rank, side="right")
    found = estimates_of(partials.cells.keys[cell])
    if "min" not in partials.columns:
        return found
    smallest, largest = partials.columns["min"][rows], partials.columns["max"][rows]
    last = partials.columns["n_values"][rows] - 1
    found = np.clip(found, smallest, largest)
    return np.where(rank == 0, smallest, np.where(rank == last, largest, found))


def make(name: str) -> Aggregate:
    """Make the aggregate of one quantile."""
    q = QUANTILES[name]
    return Aggregate(name, ("count", "histogram"), lambda partials: quantile(partials, q))
