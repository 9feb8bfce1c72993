"""Real event sets, replayed over HTTP, must give their independently computed truths, after a restart too."""

from __future__ import annotations

import gzip
import json
import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from server_process import ServerProcess

SETS = [
    "air_quality", "earthquakes", "football_events", "github_events",
    "monitored_metrics", "retail_orders", "taxi_payments", "web_requests",
]  # fmt: skip
STEPS = {"minute": 60, "hour": 3600, "day": 86_400}
LINES = 1000


def bodies(file: Path) -> Iterator[bytes]:
    lines = gzip.decompress(file.read_bytes()).splitlines(keepends=True)
    for start in range(0, len(lines), LINES):
        yield b"".join(lines[start : start + LINES])


def close(figure: float | None, truth: float, tolerance: float) -> bool:
    return figure is not None and math.isclose(figure, truth, rel_tol=tolerance, abs_tol=1e-12)


def check_figures(totals: dict[str, Any], truth: dict[str, Any]) -> None:
    for name in ("min", "max"):
        assert totals[name] == truth[name], name
    for name in ("sum", "avg"):
        assert close(totals[name], truth[name], 1e-9), (name, totals[name], truth[name])
    for name in ("p50", "p95", "p99"):
        assert close(totals[name], truth[name], 0.011), (name, totals[name], truth[name])


def check_types(server: ServerProcess, truth: dict[str, Any]) -> None:
    answer = server.get("/api/metrics/events", **{"from": "all", "step": 31_536_000})
    totals = {series["by"]["type"]: series["totals"] for series in answer["series"]}
    assert {name: figures["count"] for name, figures in totals.items()} == truth["count_by_type"]
    for name, figures in truth["value"]["by_type"].items():
        if figures["count"]:
            check_figures(totals[name], figures)
    overall = server.get("/api/metrics/events", **{"from": "all", "step": 31_536_000, "by": ""})["series"][0]
    assert overall["totals"]["count"] == truth["events"]
    check_figures(overall["totals"], truth["value"]["overall"])


def check_buckets(server: ServerProcess, truth: dict[str, Any]) -> None:
    for size, buckets in truth["buckets"].items():
        for sample in buckets["sample"]:
            check_bucket(server, STEPS[size], sample)


def check_bucket(server: ServerProcess, step: int, sample: dict[str, Any]) -> None:
    span = {"from": sample["start"], "to": end_of(sample["start"], step), "step": step, "by": ""}
    series = server.get("/api/metrics/events", **span)["series"]
    totals = series[0]["totals"] if series else {"count": 0}
    assert totals["count"] == sample["count"], sample
    if sample["value_count"]:
        assert totals["min"] == sample["value_min"]
        assert totals["max"] == sample["value_max"]
        assert close(totals["sum"], sample["value_sum"], 1e-9)
        assert close(totals["avg"], sample["value_avg"], 1e-9)


def end_of(start: str, step: int) -> str:
    return (datetime.fromisoformat(start) + timedelta(seconds=step)).isoformat().replace("+00:00", "Z")


def check_raw(server: ServerProcess, truth: dict[str, Any]) -> None:
    [[events, users, valued]] = server.ask(
        "SELECT count(*), count(DISTINCT user_id), count(value) FROM events"
    )
    assert events == truth["events"]
    assert users == truth["distinct_user_id"]
    assert valued == truth["events"] - truth["events_without_value"]
    [[rollups]] = server.ask("SELECT sum(count) FROM rollups WHERE metric = 'events'")
    assert rollups == truth["events"]


def check_verified(server: ServerProcess, truth: dict[str, Any]) -> None:
    response = server.client.post("/api/verify")
    assert response.status_code == 200, response.text
    report = response.json()
    assert report["ok"], report["differences"][:5]
    assert report["complete"]
    assert report["checked"]["events"] == truth["events"]
    assert report["not_checked"] == []


@pytest.mark.parametrize("name", SETS)
def test_a_real_event_set_gives_its_truth_before_and_after_a_restart(
    name: str, data_folder: Path, start_server: Callable[..., ServerProcess]
) -> None:
    truth = json.loads((data_folder / "truth" / f"{name}.json").read_text())
    server = start_server()
    for body in bodies(data_folder / f"{name}.ndjson.gz"):
        answer = server.post(body)
        assert answer.status_code == 202, answer.text
        assert "rejected" not in answer.json()
    check_types(server, truth)
    ledger = server.wait_until_committed()
    assert ledger["stored"] == ledger["received"] == truth["events"]
    assert server.stop() == 0
    restarted = start_server()
    check_types(restarted, truth)
    check_buckets(restarted, truth)
    check_raw(restarted, truth)
    check_verified(restarted, truth)
    assert restarted.get("/api/ledger")["stored"] == truth["events"]
