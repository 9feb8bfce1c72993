"""How hard the fault tests try: a few trials in `make test`, many in `make soak`; and where their chance comes from."""

from __future__ import annotations

import os
import random
import secrets


def trials(short: int, long: int) -> int:
    """How many trials to make: STREAMGAUGE_TRIALS, or `long` where STREAMGAUGE_SOAK is set, or `short`."""
    if given := os.environ.get("STREAMGAUGE_TRIALS"):
        return int(given)
    return long if is_soak() else short


def is_soak() -> bool:
    """Whether what has a length and no trials is to be long too."""
    return bool(os.environ.get("STREAMGAUGE_SOAK")) and not os.environ.get("STREAMGAUGE_TRIALS")


def a_seed() -> int:
    """Another seed each time; STREAMGAUGE_SEED repeats one that failed."""
    return int(os.environ.get("STREAMGAUGE_SEED") or secrets.randbelow(10**9))


def chance_of(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311  chance, not secrets
