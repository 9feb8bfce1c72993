"""The overview over history: slow data, data of other years, charts that have nothing to show."""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import parse_qs, urlparse

import pytest
from overview import THEMES, Overview, axe_faults, lines, region, tile
from playwright.sync_api import Browser, Page, expect

from server_process import ServerProcess

HOUR_MS = 3_600_000
START_MS = 1_609_459_200_000  # 2021-01-01T00:00:00Z
EVENTS = 400


@pytest.fixture(scope="module")
def quakes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with an event every six hours of a hundred days, years ago; half of them with a value."""
    server = ServerProcess(tmp_path_factory.mktemp("quakes") / "data")
    events = [
        {"type": "quake" if i % 4 else "blast", "timestamp": START_MS + i * 6 * HOUR_MS}
        | ({"value": 2} if i < EVENTS / 2 else {})
        for i in range(EVENTS)
    ]
    assert server.post(lines(events)).status_code == 202
    yield server
    server.kill()


@pytest.fixture
def page(browser: Browser, quakes: ServerProcess) -> Iterator[Page]:
    overview = Overview(browser)
    yield overview.open(quakes, "?range=all&tz=utc")
    overview.close()


def test_slow_data_is_told_in_a_unit_that_can_be_read(page: Page) -> None:
    expect(tile(page, "Events/day").locator(".tile-value")).to_have_text(re.compile(r"^[34]\.\d\d$"))
    chart = region(page, "Events per day")
    expect(chart.locator(".legend li").first).to_contain_text(re.compile(r"quake\s*[23]\.\d"))
    expect(page.locator(".line-range")).to_contain_text(re.compile(r"steps of \d+ [hd]$"))
    page.keyboard.press("t")
    expect(chart.get_by_role("table")).to_contain_text("4.000")


def test_a_fixed_range_tells_of_all_of_it_and_not_of_now(page: Page) -> None:
    for name in ("Events per day", "Value percentiles"):
        expect(region(page, name).locator(".cursor-time")).to_have_text("over the range")
    expect(tile(page, "Value P99").locator(".tile-note")).to_have_text(re.compile("^peak"))
    assert "now" not in page.locator(".tiles").inner_text()
    # no event after the middle has a value, so the newest would be nothing
    values = region(page, "Value percentiles").locator(".legend b")
    expect(values).to_have_text([re.compile(r"^[12]")] * 3)


def test_the_live_tail_dates_events_of_other_days(page: Page) -> None:
    expect(page.locator("button.tail-row").first).to_contain_text("10 Apr 2021 18:00")


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", [1440, 390])
def test_charts_without_latency_say_why_and_lead_to_the_arrivals(
    width: int, theme: str, browser: Browser, quakes: ServerProcess
) -> None:
    overview = Overview(browser, width, "dark" if theme == "dark" else "light")
    page = overview.open(quakes, "?range=all&tz=utc")
    for name in ("Processing latency", "Latency heatmap"):
        expect(region(page, name)).to_contain_text("Nothing was received in this time")
        expect(region(page, name).locator(".legend")).not_to_be_visible()
    assert axe_faults(page) == []
    region(page, "Processing latency").get_by_role("button", name="Show the last arrivals").click()
    expect(region(page, "Processing latency").locator(".legend")).to_be_visible()
    expect(region(page, "Latency heatmap")).not_to_contain_text("Nothing was received")
    # nothing happened then, which only the charts of what happened say
    expect(page.locator(".at-rate")).to_contain_text("No events in this range")
    expect(region(page, "Value percentiles")).to_contain_text("No event in this range has a number")
    assert axe_faults(page) == []
    overview.close()


def test_how_long_ago_is_told_in_years(page: Page) -> None:
    page.keyboard.press("2")
    expect(page.locator(".nothing")).to_contain_text(re.compile(r"the last one \d+ (years|months) ago"))
    page.get_by_role("button", name="Jump to the data").click()
    page.mouse.move(5, 5)  # where the button was is a chart now, and pointing at one holds the picture
    expect(page.locator(".link")).to_contain_text("Fixed range")
    assert parse_qs(urlparse(page.url).query)["from"] == ["2021-01-01T00:00:00.000Z"]
