"""`/metrics` as Prometheus reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from itertools import accumulate

import pytest
from prometheus_client.parser import text_string_to_metric_families as plain

from server_process import ServerProcess

EVENT = b'{"type":"page_view","timestamp":"2026-01-31T12:00:00Z","value":1}'
NAMED = {
    "streamgauge_events_received": "counter",
    "streamgauge_events": "counter",
    "streamgauge_ingest_requests": "counter",
    "streamgauge_dashboard_mounts": "counter",
    "streamgauge_ingest_duration_seconds": "histogram",
    "streamgauge_processing_duration_seconds": "histogram",
    "streamgauge_end_to_end_seconds": "histogram",
    "streamgauge_store_write_seconds": "histogram",
    "streamgauge_stage_buffer_events": "gauge",
    "streamgauge_stage_demand_events": "gauge",
    "streamgauge_stage_events": "counter",
    "streamgauge_stage_busy_seconds": "counter",
    "streamgauge_watermark_timestamp_seconds": "gauge",
    "streamgauge_series": "gauge",
    "streamgauge_series_limit": "gauge",
    "streamgauge_store_bytes": "gauge",
    "streamgauge_journal_bytes": "gauge",
    "streamgauge_journal_unsynced_seconds": "gauge",
    "streamgauge_viewers": "gauge",
    "streamgauge_viewer_bytes_sent": "counter",
}


@pytest.fixture
def server(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    started = start_server()
    for _ in range(3):
        assert started.post(EVENT, "application/json").status_code == 202
    assert started.post(b'{"typ":"a"}', "application/json").status_code == 422
    assert started.post(b"{", "application/json").status_code == 400
    started.wait_until_committed()
    return started


def test_promtool_finds_nothing_to_complain_about(server: ServerProcess) -> None:
    promtool = shutil.which("promtool")
    assert promtool, "`make setup` installs promtool"
    text = server.client.get("/metrics").content
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_every_metric_is_there_with_its_type_and_the_counts_are_right(server: ServerProcess) -> None:
    families = {family.name: family for family in plain(server.client.get("/metrics").text)}
    assert {name: families[name].type for name in NAMED} == NAMED
    counts = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in families.values()
        for sample in family.samples
    }
    assert counts["streamgauge_events_received_total", "http"] == 4
    assert counts["streamgauge_events_total", "http", "stored"] == 3
    assert counts["streamgauge_events_total", "http", "rejected"] == 1
    assert counts["streamgauge_ingest_requests_total", "202", "http"] == 3
    assert counts["streamgauge_ingest_requests_total", "400", "http"] == 1
    assert counts["streamgauge_ingest_requests_total", "422", "http"] == 1
    assert counts["streamgauge_processing_duration_seconds_count",] == 3
    assert counts["streamgauge_ingest_duration_seconds_count",] == 5
    assert counts["streamgauge_watermark_timestamp_seconds", "http"] == 1_769_860_800


def test_native_histograms_are_given_to_those_who_can_read_them(server: ServerProcess) -> None:
    accept = {"Accept": "application/openmetrics-text; version=2.0.0"}
    response = server.client.get("/metrics", headers=accept)
    line = next(
        x for x in response.text.splitlines() if x.startswith("streamgauge_processing_duration_seconds {")
    )
    assert line.startswith("streamgauge_processing_duration_seconds {count:3,sum:")
    assert "schema:5" in line
    spans = re.search(r"positive_spans:\[([-0-9:,]+)\]", line)
    deltas = re.search(r"positive_deltas:\[([-0-9,]+)\]", line)
    assert spans
    assert deltas
    buckets = sum(int(span.split(":")[1]) for span in spans[1].split(","))
    counts = list(accumulate(int(delta) for delta in deltas[1].split(",")))
    assert buckets == len(counts)
    assert sum(counts) == 3
