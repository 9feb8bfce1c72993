"""Events to count, and what they add up to according to plain Python."""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Any, Final

import msgspec
import numpy as np
from hypothesis import strategies as st

from streamgauge.aggregates import AGGREGATES
from streamgauge.event import EventBatch, FieldMapping, Origin
from streamgauge.events.decode import EventDecoder
from streamgauge.metric import Metric, SeriesLimit, compute
from streamgauge.metrics.query import plain
from streamgauge.partials import OTHER, Partials, identity, merge

NOW_S: Final = 1_700_000_000
NOW_US: Final = NOW_S * 1_000_000
EVERYTHING: Final = ("count", "sum", "avg", "min", "max", "last", "p50", "p90", "p95", "p99")
PROPERTIES: Final = ("shop", "kind", "amount")
DECODER: Final = EventDecoder(PROPERTIES)
EVENTS: Final = Metric(name="events", by=("type",), aggregates=EVERYTHING)

Event = Mapping[str, Any]
Key = tuple[object, int]


def batch(
    events: Sequence[Event],
    *,
    seq: int = 1,
    epoch: int = 1,
    source: str = "http",
    decoder: EventDecoder = DECODER,
) -> EventBatch:
    """Decode events as a source would, and give them the place that the journal would."""
    payload = msgspec.json.Encoder().encode_lines(events)
    decoded = decoder.decode(payload, Origin(source, NOW_US, FieldMapping()), now_us=NOW_US + 10**13)
    assert not decoded.refused, decoded.refused
    assert decoded.batch is not None
    decoded.batch.seq, decoded.batch.epoch = seq, epoch
    return decoded.batch


def count(
    metric: Metric, events: Sequence[Event], *, seq: int = 1, limit: SeriesLimit | None = None
) -> Partials:
    """Give what events add to a metric."""
    found = compute(
        metric, batch(events, seq=seq), SeriesLimit(10_000) if limit is None else limit, now_s=0.0
    )
    assert found is not None
    return found


def tick(name: str = "tick", /, second: int = 0, **fields: Any) -> Event:
    """Make an event so many seconds after the beginning."""
    return {"type": name, "timestamp": (NOW_S + second) * 1_000_000, **fields}


def table(partials: Partials, names: Iterable[str] = EVERYTHING) -> dict[Key, dict[str, int | float | None]]:
    """Give the figures of each (series, bucket)."""
    columns = {name: plain(AGGREGATES[name].finish(partials), name) for name in names}
    keys = row_keys(partials)
    assert len(set(keys)) == len(keys), "a series stands twice in one bucket"
    return {key: {name: column[row] for name, column in columns.items()} for row, key in enumerate(keys)}


def row_keys(partials: Partials) -> list[Key]:
    """Give the (series, bucket) of each row."""
    names = [identity(one) for one in partials.series]
    return [
        (names[code], bucket)
        for code, bucket in zip(partials.code.tolist(), partials.bucket.tolist(), strict=True)
    ]


def histogram(partials: Partials) -> dict[Key, dict[int, int]]:
    """Give the cells of each (series, bucket)."""
    keys = row_keys(partials)
    found: dict[Key, dict[int, int]] = {}
    for row, key, number in zip(*(part.tolist() for part in partials.cells), strict=True):
        cells = found.setdefault(keys[row], {})
        assert key not in cells, "a cell stands twice in one row"
        cells[key] = number
    return found


def assert_same(one: Partials, other: Partials) -> None:
    """Hold that two partials stand for the same events: the same figures and the same cells."""
    assert close(table(one, figures_of(one)), table(other, figures_of(other)))
    assert histogram(one) == histogram(other)


def figures_of(partials: Partials) -> list[str]:
    """Give the aggregates that can be read from what partials keep."""
    return [name for name in EVERYTHING if set(AGGREGATES[name].states) <= set(partials.states)]


def close(one: Mapping[Key, Mapping[str, Any]], other: Mapping[Key, Mapping[str, Any]]) -> bool:
    """Tell whether figures are equal; sums and what is made of them may differ in the last bit."""
    return one.keys() == other.keys() and all(
        row.keys() == other[key].keys()
        and all(_near(value, other[key][name], name) for name, value in row.items())
        for key, row in one.items()
    )


def _near(one: float | None, other: float | None, name: str) -> bool:
    if one is None or other is None or name not in {"sum", "avg"}:
        return one == other
    return abs(one - other) <= 2 * math.ulp(max(abs(one), abs(other)))


def merge_at_random(
    data: st.DataObject, parts: Sequence[Partials], states: tuple[str, ...], resolution: int = 1
) -> Partials:
    """Merge partials in any order, as any tree, by way of any finer resolution."""
    left = data.draw(st.permutations(list(parts)))
    finer = [step for step in (1, 5, 60) if resolution % step == 0]
    while len(left) > 1:
        several = data.draw(st.integers(2, len(left)))
        left = [*left[several:], merge(left[:several], states, data.draw(st.sampled_from(finer)))]
    return merge(left, states, resolution)


def split(data: st.DataObject, events: Sequence[Event]) -> list[list[Event]]:
    """Cut a list of events anywhere, any number of times."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    ends = [*cuts, len(events)]
    pieces = [list(events[start:end]) for start, end in zip([0, *cuts], ends, strict=True)]
    return [piece for piece in pieces if piece]


moderate = st.one_of(
    st.integers(-(2**53), 2**53),
    st.integers(-5, 5),
    st.floats(-1e12, 1e12),
    st.sampled_from([0.0, -0.0, 5e-324, -5e-324, 2.0**-1022, 1.0, 1e-300]),
)
extreme = st.one_of(moderate, st.floats(allow_nan=False, allow_infinity=False))
seconds = st.integers(-200, 200) | st.sampled_from([0, 1, 59, 60, 3600, -86_400 * 400])
moments = st.builds(
    lambda second, rest: (NOW_S + second) * 1_000_000 + rest - 10**9, seconds, st.integers(0, 999_999)
)


@st.composite
def events_with(draw: st.DrawFn, values: st.SearchStrategy[float]) -> Event:
    """Draw an event of one of three types, some without a value."""
    event: dict[str, Any] = {"type": draw(st.sampled_from("abc")), "timestamp": draw(moments)}
    value = draw(st.none() | values)
    if value is not None or draw(st.booleans()):
        event["value"] = value
    return event


class Expected:
    """What one series should show in one bucket, from all its events at once."""

    def __init__(self, events: Sequence[tuple[Event, int]]) -> None:
        """Take the events, each with its place in the order of arrival."""
        self.count = len(events)
        self.there = [
            (event["timestamp"], place, event["value"])
            for event, place in events
            if event.get("value") is not None
        ]
        self.values = [float(value) for _, _, value in self.there]

    @property
    def plain(self) -> dict[str, float | None]:
        """The figures that have to be equal to the last bit."""
        last = max(self.there)[2] if self.there else None
        return {
            "count": self.count,
            "min": min(self.values, default=None),
            "max": max(self.values, default=None),
            "last": None if last is None else float(last),
        }

    @property
    def sum(self) -> Fraction:
        """The exact sum."""
        return sum((Fraction(value) for value in self.values), Fraction(0))

    @property
    def cells(self) -> dict[int, int]:
        """The histogram."""
        keys = [cell_of(value) for value in self.values]
        return {key: keys.count(key) for key in set(keys)}

    def quantile(self, q: float) -> tuple[Fraction, float]:
        """Give the exact quantile of type 7, and the greater size of the two values that it lies between."""
        ordered = sorted(self.values)
        h = (len(ordered) - 1) * q
        lower = math.floor(h)
        low, high = ordered[lower], ordered[min(lower + 1, len(ordered) - 1)]
        exact = Fraction(low) + (Fraction(h) - lower) * (Fraction(high) - Fraction(low))
        return exact, max(abs(low), abs(high))


FIRST_BOUNDS: Final = [2.0 ** (place / 32 - 1) for place in range(33)]
CELL_OFFSET: Final = 40_000


def cell_of(value: float) -> int:
    """Give the cell of a value by looking it up among the bounds: (2^(i/32), 2^((i+1)/32)]."""
    if value == 0.0:
        return 0
    fraction, exponent = math.frexp(abs(value))
    index = 32 * (exponent - 1) + bisect.bisect_left(FIRST_BOUNDS, fraction) - 1
    return int(math.copysign(index + CELL_OFFSET, value))


def expected(events: Sequence[Event], resolution: int) -> dict[Key, Expected]:
    """Sort events by type and bucket; `events` stand in the order of arrival."""
    groups: dict[Key, list[tuple[Event, int]]] = {}
    for place, event in enumerate(events):
        second = event["timestamp"] // 1_000_000
        groups.setdefault(((event["type"],), second - second % resolution), []).append((event, place))
    return {key: Expected(group) for key, group in groups.items()}


def other_count(partials: Partials) -> int:
    """How many events are counted under (other)."""
    is_other = np.array([one is OTHER for one in partials.series], bool)
    return int(partials.columns["count"][is_other[partials.code]].sum())
