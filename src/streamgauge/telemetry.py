"""The server's own metrics, as Prometheus asks for them. What is counted elsewhere is read when it is asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    BucketSpan,
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    NativeHistogram,
    Sample,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamgauge.aggregates.quantiles import OFFSET, SCALE
from streamgauge.distribution import BOUNDS_S, Distribution
from streamgauge.epoch import EpochBook
from streamgauge.ledger import Ledger
from streamgauge.live.hub import Hub
from streamgauge.live.pulse import SourceNote
from streamgauge.metric import SeriesLimit
from streamgauge.pipeline import Consumer, Producer, ProducerConsumer

OPENMETRICS_WITH_NATIVE: Final = 2
DURATIONS: Final[Mapping[str, str]] = {
    "streamgauge_ingest_duration_seconds": "From a request's first byte to its answer.",
    "streamgauge_processing_duration_seconds": "From an event's arrival until it is counted.",
    "streamgauge_end_to_end_seconds": "From the arrival of an update's oldest event until it was sent to viewers.",
    "streamgauge_store_write_seconds": "Committing one epoch.",
}
OUTCOMES = ("stored", "filtered", "duplicate", "dead_lettered", "rejected")


class ServerCollector(Collector):
    """Reads the running server's counts."""

    def __init__(
        self,
        *,
        version: str,
        ledger: Ledger,
        book: EpochBook,
        stages: Sequence[Producer | ProducerConsumer | Consumer],
        limits: Callable[[], dict[str, SeriesLimit]],
        hub: Hub,
        store_bytes: Callable[[], int],
        journal_bytes: Callable[[], int],
        unsynced_s: Callable[[], float],
        notes: Mapping[str, SourceNote],
        answers: Mapping[str, Mapping[int, int]],
        connected: Callable[[], Mapping[str, bool]] = dict,
        refused: Callable[[], Mapping[str, int]] = dict,
        durations: Mapping[str, Callable[[], Iterable[Distribution]]],
        once: Callable[[], Mapping[str, int]] = dict,
        restarts: Callable[[], int] = lambda: 0,
        open_letters: Callable[[], int | None] = lambda: None,
        body_bytes: Callable[[], int] = lambda: 0,
        changes: Callable[[], int] = lambda: 0,
        native: bool = False,
    ) -> None:
        self._once, self._restarts, self._changes, self._open_letters = once, restarts, changes, open_letters
        self._notes, self._answers, self._durations, self._native = notes, answers, durations, native
        self._version, self._ledger, self._book, self._stages = version, ledger, book, stages
        self._limits, self._hub = limits, hub
        self._store_bytes, self._journal_bytes = store_bytes, journal_bytes
        self._unsynced_s = unsynced_s
        self._connected, self._refused, self._body_bytes = connected, refused, body_bytes

    def collect(self) -> Iterable[Metric]:
        """Give every metric."""
        yield InfoMetricFamily("streamgauge_build", "The version that runs.", {"version": self._version})
        yield from self._events()
        yield from self._sources()
        yield from self._remembered()
        for name, distributions in self._durations.items():
            yield _histogram(name, DURATIONS[name], distributions(), native=self._native)
        yield from self._pipeline()
        yield _counter(
            "streamgauge_transform_restarts",
            "Processes of the transform's module started after the first.",
            self._restarts(),
        )
        yield _counter(
            "streamgauge_configuration_changes",
            "Changes of the configuration, or of the transform's module, while running.",
            self._changes(),
        )
        yield _gauge("streamgauge_store_bytes", "Room that the store takes on disk.", self._store_bytes())
        yield _gauge(
            "streamgauge_journal_bytes", "Room that the journal takes on disk.", self._journal_bytes()
        )
        yield _gauge(
            "streamgauge_journal_unsynced_seconds",
            "Age of the oldest acknowledged append that a power cut could take.",
            self._unsynced_s(),
        )
        yield _gauge("streamgauge_viewers", "Dashboards that are open.", self._hub.viewers)
        yield _counter("streamgauge_dashboard_mounts", "Dashboards that were opened.", self._hub.joins)
        yield _counter(
            "streamgauge_diffs_encoded", "Diffs encoded, each once for all of its viewers.", self._hub.encoded
        )
        yield _counter(
            "streamgauge_viewer_bytes_sent", "Bytes of diffs sent to viewers.", self._hub.bytes_sent
        )
        yield _counter("streamgauge_viewers_skipped", "Diffs a viewer was too slow for.", self._hub.skipped)
        series = GaugeMetricFamily("streamgauge_series", "Series that are live.", labels=["metric"])
        most = GaugeMetricFamily("streamgauge_series_limit", "Series that may be live.", labels=["metric"])
        beyond = CounterMetricFamily(
            "streamgauge_series_refused_events", "Events counted under (other).", labels=["metric"]
        )
        for name, limit in self._limits().items():
            series.add_metric([name], len(limit))
            most.add_metric([name], limit.most)
            beyond.add_metric([name], limit.refused_events)
        yield from (series, most, beyond)

    def _events(self) -> Iterable[Metric]:
        received = CounterMetricFamily("streamgauge_events_received", "Events decoded.", labels=["source"])
        outcome = CounterMetricFamily(
            "streamgauge_events", "What became of events.", labels=["source", "outcome"]
        )
        pending = GaugeMetricFamily(
            "streamgauge_events_pending", "Events accepted, not committed yet.", labels=["source"]
        )
        refused = CounterMetricFamily(
            "streamgauge_requests_refused", "Requests refused unread.", labels=["source"]
        )
        for source, counts in self._ledger.sources.items():
            received.add_metric([source], counts.received)
            pending.add_metric([source], counts.pending)
            refused.add_metric([source], counts.requests_refused)
            for name in OUTCOMES:
                outcome.add_metric([source, name], getattr(counts, name))
        yield from (received, outcome, pending, refused)
        protocol = CounterMetricFamily(
            "streamgauge_protocol_refusals",
            "Requests refused before anything looked at what they ask for: headers too large, too late, not HTTP.",
            labels=["code"],
        )
        for code, count in sorted(self._refused().items()):
            protocol.add_metric([code], count)
        yield protocol
        letters = self._open_letters()
        if letters is not None:
            text = "Events that could not be handled, neither replayed nor discarded yet."
            yield _gauge("streamgauge_dead_letters_open", text, letters)
        yield _gauge(
            "streamgauge_ledger_imbalance",
            "Events by which the ledger's equation does not hold; anything but 0 is a bug.",
            self._ledger.imbalance,
        )

    def _sources(self) -> Iterable[Metric]:
        requests = CounterMetricFamily(
            "streamgauge_ingest_requests", "Requests answered.", labels=["source", "code"]
        )
        for source, codes in self._answers.items():
            for code, count in sorted(codes.items()):
                requests.add_metric([source, str(code)], count)
        watermark = GaugeMetricFamily(
            "streamgauge_watermark_timestamp_seconds", "The latest event time received.", labels=["source"]
        )
        for source, note in self._notes.items():
            if note.watermark_us:
                watermark.add_metric([source], note.watermark_us / 1e6)
        connected = GaugeMetricFamily(
            "streamgauge_source_connected", "Whether a source has its connection.", labels=["source"]
        )
        for source, whether in self._connected().items():
            connected.add_metric([source], whether)
        yield from (requests, watermark, connected)
        text = "What large request bodies hold until their events are accepted."
        yield _gauge("streamgauge_request_body_bytes", text, self._body_bytes())

    def _remembered(self) -> Iterable[Metric]:
        status = self._once()
        if status:
            ids, horizon_s = status["ids"], status["horizon_s"]
            yield _gauge("streamgauge_once_ids", "Ids that are remembered.", ids)
            text = "How far back certainly every id is remembered."
            yield _gauge("streamgauge_once_horizon_seconds", text, horizon_s)

    def _pipeline(self) -> Iterable[Metric]:
        kinds: list[tuple[Any, Callable[[Any], float]]] = [
            (GaugeMetricFamily("streamgauge_stage_buffer_events", "Events that wait in a stage.", labels=["stage"]), lambda s: s.buffered),
            (GaugeMetricFamily("streamgauge_stage_demand_events", "Events that consumers want.", labels=["stage"]), lambda s: s.demand),
            (CounterMetricFamily("streamgauge_stage_events", "Events handled.", labels=["stage"]), lambda s: max(s.events_in, s.events_out)),
            (CounterMetricFamily("streamgauge_stage_busy_seconds", "Time spent handling.", labels=["stage"]), lambda s: s.busy_seconds),
            (CounterMetricFamily("streamgauge_stage_failed_events", "Events that a stage could not handle.", labels=["stage"]), lambda s: s.events_failed),
            (CounterMetricFamily("streamgauge_stage_restarts", "Restarts after a failure.", labels=["stage"]), lambda s: s.restarts),
        ]  # fmt: skip
        for family, figure in kinds:
            totals: dict[str, float] = {}
            for stage in self._stages:
                totals[stage.name] = totals.get(stage.name, 0.0) + figure(stage)
            for name, value in totals.items():
                family.add_metric([name], value)
            yield family
        yield _gauge("streamgauge_epochs_open", "Epochs that the store does not hold yet.", len(self._book))


def _gauge(name: str, text: str, value: float) -> Metric:
    family = GaugeMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _counter(name: str, text: str, value: float) -> Metric:
    family = CounterMetricFamily(name, text)
    family.add_metric([], value)
    return family


def _histogram(name: str, text: str, distributions: Iterable[Distribution], *, native: bool) -> Metric:
    """Give a histogram with classic buckets; with `native`, an exponential one (schema 5) beside them."""
    snapshots = [one.snapshot() for one in distributions]
    counts = [sum(one.cumulative[place] for one in snapshots) for place in range(len(BOUNDS_S))]
    count, total = sum(one.count for one in snapshots), sum(one.total_s for one in snapshots)
    buckets = [(str(bound), float(n)) for bound, n in zip(BOUNDS_S, counts, strict=True)]
    family = HistogramMetricFamily(name, text)
    family.add_metric([], [*buckets, ("+Inf", float(count))], total)
    if native:
        cells: dict[int, int] = {}
        for one in snapshots:
            for key, number in one.cells.items():
                cells[key] = cells.get(key, 0) + number
        family.samples.append(Sample(name, {}, 0.0, native_histogram=_native(cells, count, total)))
    return family


def _native(cells: Mapping[int, int], count: int, total: float) -> NativeHistogram:
    """Give cells as Prometheus lays them out: runs of buckets, each count as the difference to the one before.

    Prometheus numbers a bucket by its upper bound, OpenTelemetry by its lower one: their indexes differ by one.
    """
    indexes = sorted(key - OFFSET + 1 for key in cells if key > 0)
    spans: list[BucketSpan] = []
    deltas: list[int] = []
    before_index, before_count = 0, 0
    for index in indexes:
        number = cells[index + OFFSET - 1]
        if spans and index == before_index + 1:
            spans[-1] = BucketSpan(spans[-1].offset, spans[-1].length + 1)
        else:
            spans.append(BucketSpan(index - (before_index + 1 if spans else 0), 1))
        deltas.append(number - before_count)
        before_index, before_count = index, number
    return NativeHistogram(
        count, total, SCALE, 0.0, cells.get(0, 0), spans or None, None, deltas or None, None
    )


class Exposition:
    """Registries of the server's own, and the text of them. native: a collector that gives native histograms too."""

    def __init__(self, collector: Collector, native: Collector) -> None:
        self._classic, self._native = (CollectorRegistry(auto_describe=False) for _ in range(2))
        self._classic.register(collector)
        self._native.register(native)

    def __call__(self, accept: str) -> tuple[bytes, str]:
        """Give the text in the format that is accepted, and its content type."""
        encoder, kind = choose_encoder(accept)
        version = re.search(r"openmetrics-text; version=(\d+)", kind)
        native = version is not None and int(version[1]) >= OPENMETRICS_WITH_NATIVE
        return encoder(self._native if native else self._classic), kind
