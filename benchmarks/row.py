"""The contract of a benchmark: it is handed a `Setting` and gives `Row`s."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

T = TypeVar("T")


class BenchmarkFailed(Exception):
    """A benchmark has no figure to give: a count was wrong, a process ended early or took too long."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One figure. reference: what was measured beside it in the same run; ratio: figure / reference_figure."""

    name: str
    what: str
    figure: float
    unit: str
    reference: str | None
    reference_figure: float | None
    ratio: float | None
    notes: str


def measured(
    name: str,
    what: str,
    figure: float,
    unit: str,
    *,
    reference: tuple[str, float] | None = None,
    notes: str = "",
) -> Row:
    """Make a row. reference: what it is compared with and its figure, in the same unit."""
    beside, beside_figure = reference or (None, None)
    return Row(
        name=name,
        what=what,
        figure=figure,
        unit=unit,
        reference=beside,
        reference_figure=beside_figure,
        ratio=figure / beside_figure if beside_figure else None,
        notes=notes,
    )


@dataclass(frozen=True, slots=True)
class Setting:
    """How a benchmark is run. quick: short, to see that it works; folder: where it may write, removed afterwards."""

    quick: bool
    folder: Path

    def choose(self, *, full: T, quick: T) -> T:
        """Give the one of two values that fits the length of the run."""
        return quick if self.quick else full


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One entry of the registry. run: gives its rows as they are measured; raises BenchmarkFailed."""

    name: str
    about: str
    run: Callable[[Setting], Iterator[Row]]
