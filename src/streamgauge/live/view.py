"""One view of the overview: a range of time, kept up to date partial by partial.

A view starts from everything that is stored and open at one instant, and from then on takes in what each batch adds;
so it shows what a query would answer, without asking again. Pure: time and partials are handed in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.aggregates import AGGREGATES
from streamgauge.aggregates.quantiles import estimates_of
from streamgauge.metric import Metric
from streamgauge.metrics.query import natural_step, plain
from streamgauge.partials import ALL_TIME, OTHER, Partials, Series, empty, identity, merge

EVENTS: Final = "events"
LATENCY: Final = "latency"
PRESETS_S: Final[Mapping[str, int]] = {
    "5m": 300, "15m": 900, "1h": 3600, "6h": 21_600, "24h": 86_400, "7d": 604_800,
}  # fmt: skip
MOST_TYPES: Final = 100
CHARTED_TYPES: Final = 6
DIGITS: Final = 6  # of a figure in a chart; totals are sent in full
FIGURES: Final = ("count", "sum", "avg", "min", "max", "p50", "p95", "p99")
OTHER_NAME: Final = "(other)"
HEATMAP_BOUNDS_MS: Final = [0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 5000.0]


@dataclass(frozen=True, slots=True)
class Range:
    """What a view shows. A preset moves with time; otherwise start and end, in seconds since 1970, stand.

    type: only the events of this type, where one is named.
    """

    preset: str | None
    start: int = 0
    end: int = 0
    type: str | None = None

    @property
    def step(self) -> int:
        """Seconds between two points."""
        return natural_step(PRESETS_S[self.preset] if self.preset else self.end - self.start)

    def at(self, now_s: float) -> tuple[int, int]:
        """Give start and end of the points that are shown now; whole steps."""
        step = self.step
        if self.preset is None:
            return self.start // step * step, -(-self.end // step) * step
        end = (int(now_s) // step + 1) * step
        return end - PRESETS_S[self.preset] // step * step, end

    def earliest(self, now_s: float) -> int:
        """Give the start of the span before, with which this one is compared."""
        start, end = self.at(now_s)
        return 2 * start - end


class View:
    """The figures of one range. `absorb` takes in what batches add; `figures` gives what is to be shown."""

    def __init__(self, wanted: Range, metrics: Mapping[str, Metric]) -> None:
        self.range = wanted
        self._metrics = {name: metrics[name] for name in (EVENTS, LATENCY)}
        self._points = {name: empty(metric.states, wanted.step) for name, metric in self._metrics.items()}

    def absorb(self, name: str, parts: Sequence[Partials]) -> None:
        """Take in partials of a metric."""
        states = self._metrics[name].states
        self._points[name] = merge([self._points[name], *parts], states, self.range.step)

    def figures(self, now_s: float) -> dict[str, Any]:
        """Give the part of the dashboard's state that comes from the metrics; times in milliseconds."""
        start, end = self.range.at(now_s)
        step, earliest = self.range.step, self.range.earliest(now_s)
        self._forget(earliest, end)
        events, latency = (self._between(name, start, end) for name in (EVENTS, LATENCY))
        before = _totals(_of_type(self._between(EVENTS, earliest, start), self.range.type))
        times = np.arange(start, end, step)
        chosen = _of_type(events, self.range.type)
        overall = merge([chosen.regroup([()] * len(chosen.series))], chosen.states, step)
        by_type = merge([events], events.states, ALL_TIME)
        return {
            "range": {
                "preset": self.range.preset, "from": start * 1000, "to": end * 1000, "step_ms": step * 1000,
                "live": self.range.preset is not None,
            },
            **({"filter": {"type": self.range.type}} if self.range.type is not None else {}),
            "previous": {
                EVENTS: {name: before[name] for name in ("count", "avg", "p50", "p95", "p99")},
                "rate": _short((before["count"] or 0) / (start - earliest)),
            },
            "heatmap": _heatmap(latency, times, step),
            "time": (times * 1000).tolist(),
            "totals": {EVENTS: _totals(overall), LATENCY: _totals(latency)},
            "series": {
                **_series(overall, ("count", "avg", "p50", "p95", "p99"), times, step),
                **{f"latency_{name}": c for name, c in _series(latency, ("p50", "p95", "p99"), times, step).items()},
            },
            "types": _types(by_type),
            "type_series": _type_series(chosen, merge([chosen], chosen.states, ALL_TIME), times, step),
        }  # fmt: skip

    def _forget(self, start: int, end: int) -> None:
        """Let go of points that will never be shown: a window that moves may still come to those ahead of it."""
        for name, points in self._points.items():
            kept = points.bucket >= start
            self._points[name] = points.select(kept if self.range.preset else kept & (points.bucket < end))

    def _between(self, name: str, start: int, end: int) -> Partials:
        points = self._points[name]
        return points.select((points.bucket >= start) & (points.bucket < end))


def _of_type(points: Partials, wanted: str | None) -> Partials:
    if wanted is None:
        return points
    codes = [place for place, one in enumerate(points.series) if one is not OTHER and one == (wanted,)]
    return points.select(np.isin(points.code, codes))


def _heatmap(points: Partials, times: NDArray[np.int64], step: int) -> dict[str, Any]:
    """Give how many events took how long: a column for each point in time, a count for each bound (at most so long)."""
    rows, keys, counts = points.cells
    bound = np.minimum(np.searchsorted(HEATMAP_BOUNDS_MS, estimates_of(keys)), len(HEATMAP_BOUNDS_MS) - 1)
    place = (points.bucket[rows] - times[0]) // step
    grid = np.zeros((len(times), len(HEATMAP_BOUNDS_MS)), np.int64)
    np.add.at(grid, (place, bound), counts)
    columns = [column if any(column) else None for column in grid.tolist()]
    return {"bounds_ms": HEATMAP_BOUNDS_MS, "columns": columns}


def _totals(points: Partials) -> dict[str, int | float | None]:
    """Give the figures of everything that is shown, over all series together."""
    together = merge([points.regroup([()] * len(points.series))], points.states, ALL_TIME)
    if not len(together):
        return {"count": 0, **dict.fromkeys(FIGURES[1:])}
    return {name: plain(AGGREGATES[name].finish(together), name)[0] for name in FIGURES}


def _series(
    points: Partials, names: Sequence[str], times: NDArray[np.int64], step: int
) -> dict[str, list[int | float | None]]:
    """Give figures on the shared axis of time, null (a count: 0) where nothing was."""
    places = (points.bucket - times[0]) // step
    columns: dict[str, list[int | float | None]] = {}
    for name in names:
        column: list[int | float | None] = [0 if name == "count" else None] * len(times)
        for place, value in zip(places.tolist(), plain(AGGREGATES[name].finish(points), name), strict=True):
            column[place] = _short(value)
        columns[name] = column
    return columns


def _short(value: float | None) -> int | float | None:
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def _types(by_type: Partials) -> dict[str, dict[str, Any]]:
    """Give the commonest types with their figures."""
    columns = {name: plain(AGGREGATES[name].finish(by_type), name) for name in ("count", "avg", "p95")}
    names = _names(by_type.series)
    types = {}
    for row in _commonest(by_type, names, MOST_TYPES):
        code = by_type.code[row]
        figures: dict[str, Any] = {name: column[row] for name, column in columns.items()}
        types[names[code]] = {**figures, "other": True} if by_type.series[code] is OTHER else figures
    return types


def _commonest(by_type: Partials, names: Sequence[str], most: int) -> list[int]:
    """Give the rows with the greatest counts; equal ones by name, so that every page shows the same."""
    counts = by_type.columns["count"]
    least = np.partition(counts, -most)[-most] if len(counts) > most else 0
    near = np.flatnonzero(counts >= least).tolist()
    return sorted(near, key=lambda row: (-int(counts[row]), names[int(by_type.code[row])]))[:most]


def _names(series: Sequence[Series]) -> list[str]:
    """Give each series the name it is shown by: its type; what is under (other) gets one that no type has."""
    types = {str(one[0]) for one in series if one is not OTHER}
    other = OTHER_NAME
    while other in types:
        other = f"({other})"
    return [other if one is OTHER else str(one[0]) for one in series]


def _type_series(
    events: Partials, by_type: Partials, times: NDArray[np.int64], step: int
) -> dict[str, list[int | float | None]]:
    """Give the counts over time of the few commonest types."""
    names = _names(by_type.series)
    codes = {identity(one): code for code, one in enumerate(events.series)}
    charted = {}
    for row in _commonest(by_type, names, CHARTED_TYPES):
        place = by_type.code[row]
        rows = events.select(events.code == codes[identity(by_type.series[place])])
        charted[names[place]] = _series(rows, ("count",), times, step)["count"]
    return charted
