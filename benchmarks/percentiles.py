"""Percentiles of measured times."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike


def percentiles(values: ArrayLike, wanted: Sequence[float]) -> list[float]:
    """Give for each wanted p (0 to 100) the smallest value that at least p percent of the values do not exceed.

    Always one of the values, so that a P99 was really seen; NaN where there are no values.
    """
    array = np.asarray(values, np.float64)
    if not array.size:
        return [float("nan")] * len(wanted)
    found: list[float] = np.percentile(array, wanted, method="inverted_cdf").tolist()
    return found
