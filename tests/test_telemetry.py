"""What `/metrics` tells Prometheus about the running server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as plain

from streamgauge.errors import StoreError
from streamgauge.version import __version__
from web_tools import LONG, Served, ok, serving, talk, until

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
openmetrics: Callable[[str], Iterator[Metric]] = text_string_to_metric_families  # which has no types
Figures = dict[tuple[str, ...], float]


@pytest.fixture
async def server() -> AsyncIterator[Served]:
    """A server with a small metric, which commits nothing while a test looks."""
    pages = {"name": "pages", "by": ["page"], "max_series": 2}
    async with serving(
        metric=[pages], store={"commit_interval": LONG}, transform={"keep": "type <> 'noise'"}
    ) as served:
        yield served


async def figures(server: Served) -> Figures:
    """Give each sample by its name and the values of its labels."""
    text = (await server.http.get("/metrics")).text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in plain(text)
        for sample in family.samples
    }


async def test_the_counts_are_those_of_the_ledger(server: Served) -> None:
    await server.send({"type": "a"}, {"type": "b"}, {"type": "noise"}, {"typ": "c"})
    assert (await server.http.post("/api/events", content=b"{", headers={})).status_code == 400
    found = await figures(server)
    assert found["streamgauge_events_received_total", "http"] == 4
    assert found["streamgauge_events_pending", "http"] == 3
    assert found["streamgauge_events_total", "rejected", "http"] == 1
    assert found["streamgauge_events_total", "stored", "http"] == 0
    await server.commit()
    found = await figures(server)
    ledger = (await server.get("/api/ledger"))["sources"]["http"]
    for outcome in ("stored", "filtered", "duplicate", "dead_lettered", "rejected"):
        assert found["streamgauge_events_total", outcome, "http"] == ledger[outcome]
    assert found["streamgauge_events_total", "stored", "http"] == 2
    assert found["streamgauge_events_total", "filtered", "http"] == 1
    assert found["streamgauge_events_pending", "http"] == 0
    assert found["streamgauge_requests_refused_total", "http"] == ledger["requests_refused"] == 1


async def test_the_stages_tell_how_far_they_are(server: Served) -> None:
    await server.send(*({"type": "a"} for _ in range(10)), {"type": "noise"})
    await server.commit()
    found = await figures(server)
    handled = [
        found["streamgauge_stage_events_total", stage] for stage in ("receive", "transform", "aggregate")
    ]
    assert handled == [11, 11, 10]
    assert found["streamgauge_stage_buffer_events", "receive"] == 0
    assert found["streamgauge_stage_demand_events", "receive"] > 0
    assert found["streamgauge_stage_busy_seconds_total", "aggregate"] > 0
    assert found["streamgauge_stage_failed_events_total", "aggregate"] == 0
    assert found["streamgauge_stage_restarts_total", "transform"] == 0
    assert found["streamgauge_epochs_open",] >= 1


async def test_events_that_a_stage_cannot_handle_are_counted(server: Served) -> None:
    [transformer] = server.app.engine.transformers
    broken: Any = object()
    transformer._steps_of = broken
    await server.send({"type": "a"}, {"type": "b"})
    assert await server.app.engine.flush(10.0)
    found = await figures(server)
    assert found["streamgauge_stage_failed_events_total", "transform"] == 2
    assert found["streamgauge_stage_restarts_total", "transform"] >= 1
    await server.commit()
    assert (await figures(server))["streamgauge_events_total", "dead_lettered", "http"] == 2


async def test_dead_letters_are_told_until_somebody_has_dealt_with_them(server: Served) -> None:
    assert (await figures(server))["streamgauge_dead_letters_open",] == 0
    [transformer] = server.app.engine.transformers
    broken: Any = object()
    transformer._steps_of = broken
    await server.send({"type": "a"}, {"type": "b"})
    assert await server.app.engine.flush(10.0)
    await server.commit()
    assert (await figures(server))["streamgauge_dead_letters_open",] == 2
    [letter, _] = (await server.get("/api/dead-letters"))["dead_letters"]
    await server.http.post("/api/dead-letters/discard", json={"names": [letter["name"]]})
    found = await figures(server)
    assert found["streamgauge_dead_letters_open",] == 1
    assert found["streamgauge_events_total", "dead_lettered", "http"] == 2


async def test_metrics_are_told_also_while_the_store_is_in_trouble(
    server: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise StoreError("no answer")

    monkeypatch.setattr(server.app.engine.store, "open_dead_letters", refuse)
    await server.send({"type": "a"})
    found = await figures(server)
    assert found["streamgauge_events_received_total", "http"] == 1
    assert ("streamgauge_dead_letters_open",) not in found


async def test_series_beyond_the_limit_are_told(server: Served) -> None:
    await server.send(*({"type": "a", "page": str(page)} for page in range(5)))
    assert await server.app.engine.flush(10.0)
    found = await figures(server)
    assert found["streamgauge_series", "pages"] == 2
    assert found["streamgauge_series_limit", "pages"] == 2
    assert found["streamgauge_series_refused_events_total", "pages"] == 3
    assert found["streamgauge_series_refused_events_total", "events"] == 0


async def test_viewers_and_what_they_cost_are_told(server: Served) -> None:
    assert (await figures(server))["streamgauge_viewers",] == 0
    async with server.socket() as socket:
        ok(await talk(socket, "1", "1", "dashboard:overview", "phx_join", {}))
        await server.send({"type": "a"})
        await until(lambda: server.app.hub.encoded > 0)
        found = await figures(server)
        assert found["streamgauge_viewers",] == 1
        assert found["streamgauge_dashboard_mounts_total",] == 1
        assert found["streamgauge_diffs_encoded_total",] >= 1
        assert found["streamgauge_viewer_bytes_sent_total",] > 0
    await until(lambda: server.app.hub.viewers == 0)
    assert (await figures(server))["streamgauge_viewers",] == 0


async def test_the_version_is_told(server: Served) -> None:
    assert (await figures(server))["streamgauge_build_info", __version__] == 1


async def test_both_formats_say_the_same_in_their_own_words(server: Served) -> None:
    await server.send({"type": "a"})
    answer = await server.http.get("/metrics", headers={"Accept": OPENMETRICS})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n")
    names = {family.name: family.type for family in openmetrics(answer.text)}
    answer = await server.http.get("/metrics", headers={"Accept": "text/plain"})
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert {
        family.name: family.type for family in plain(answer.text) if "streamgauge" in family.name
    }.items() <= ({**names, "streamgauge_build_info": "gauge"}).items()


async def test_names_are_ours_and_say_their_unit_and_every_metric_has_a_text(server: Served) -> None:
    answer = await server.http.get("/metrics", headers={"Accept": OPENMETRICS})
    for family in openmetrics(answer.text):
        assert family.name.startswith("streamgauge_")
        assert family.documentation.endswith(".")


async def test_labels_have_few_values_whatever_is_sent(server: Served) -> None:
    before = len(await figures(server))
    await server.send(*({"type": f"type {number}", "page": str(number)} for number in range(500)))
    await server.commit()
    assert len(await figures(server)) < before + 20
