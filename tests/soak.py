"""How long the tests take: short as `make test` runs them, or long where STREAMGAUGE_SOAK=1 is set."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import settings

SOAK: Final = os.environ.get("STREAMGAUGE_SOAK", "") not in {"", "0"}


def trials(short: int, soak: int) -> int:
    """Choose a number of trials, connections or rounds."""
    return soak if SOAK else short


def examples(short: int, soak: int) -> settings:
    """Choose how many examples hypothesis makes up for a test, which this decorates."""
    return settings(max_examples=trials(short, soak))
