"""The server's own metrics, as Prometheus asks for them. What is counted elsewhere is read when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from streamgauge.epoch import EpochBook
from streamgauge.ledger import Ledger
from streamgauge.live.hub import Hub
from streamgauge.metric import SeriesLimit
from streamgauge.pipeline import Consumer, Producer, ProducerConsumer

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
    ) -> None:
        self._version, self._ledger, self._book, self._stages = version, ledger, book, stages
        self._limits, self._hub = limits, hub
        self._store_bytes, self._journal_bytes = store_bytes, journal_bytes

    def collect(self) -> Iterable[Metric]:
        """Give every metric."""
        yield InfoMetricFamily("streamgauge_build", "The version that runs.", {"version": self._version})
        yield from self._events()
        yield from self._pipeline()
        yield _gauge("streamgauge_store_bytes", "Room that the store takes on disk.", self._store_bytes())
        yield _gauge(
            "streamgauge_journal_bytes", "Room that the journal takes on disk.", self._journal_bytes()
        )
        yield _gauge("streamgauge_viewers", "Dashboards that are open.", self._hub.viewers)
        yield _counter("streamgauge_dashboard_mounts", "Dashboards that were opened.", self._hub.joins)
        yield _counter(
            "streamgauge_diffs_encoded", "Diffs encoded, each once for all of its viewers.", self._hub.encoded
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

    def _pipeline(self) -> Iterable[Metric]:
        kinds: list[tuple[Any, Callable[[Any], float]]] = [
            (GaugeMetricFamily("streamgauge_stage_buffer_events", "Events that wait in a stage.", labels=["stage"]), lambda s: s.buffered),
            (GaugeMetricFamily("streamgauge_stage_demand_events", "Events that consumers want.", labels=["stage"]), lambda s: s.demand),
            (CounterMetricFamily("streamgauge_stage_events", "Events handled.", labels=["stage"]), lambda s: max(s.events_in, s.events_out)),
            (CounterMetricFamily("streamgauge_stage_busy_seconds", "Time spent handling.", labels=["stage"]), lambda s: s.busy_seconds),
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


class Exposition:
    """A registry of the server's own, and the text of it."""

    def __init__(self, collector: Collector) -> None:
        self.registry = CollectorRegistry(auto_describe=False)
        self.registry.register(collector)

    def __call__(self, accept: str) -> tuple[bytes, str]:
        """Give the text in the format that is accepted, and its content type."""
        encoder, kind = choose_encoder(accept)
        return encoder(self.registry), kind
