"""One chart: alone on the page, or as a table, by key, by button and by address."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import parse_qs, urlparse

import pytest
from overview import REGIONS, THEMES, WIDTHS, Overview, axe_faults, history, region
from playwright.sync_api import Browser, Page, expect

from server_process import ServerProcess

CHART = "Processing latency"


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with some minutes of history."""
    server = ServerProcess(tmp_path_factory.mktemp("shop") / "data")
    assert server.post(history()).status_code == 202
    yield server
    server.kill()


@pytest.fixture
def page(browser: Browser, shop: ServerProcess) -> Iterator[Page]:
    overview = Overview(browser)
    yield overview.open(shop)
    overview.close()


def expect_alone(page: Page) -> None:
    for name in REGIONS:
        expect(region(page, name)).to_be_visible(visible=name == CHART)


def test_f_shows_the_chart_that_is_pointed_at_alone_and_the_address_keeps_it(page: Page) -> None:
    region(page, CHART).locator(".plot").hover()
    page.keyboard.press("f")
    expect_alone(page)
    box = region(page, CHART).locator("canvas").bounding_box()
    assert box is not None
    assert box["width"] > 1300
    assert box["height"] > 600
    assert parse_qs(urlparse(page.url).query)["panel"] == ["latency"]
    page.reload()
    expect_alone(page)
    page.keyboard.press("f")
    expect(region(page, "Ledger")).to_be_visible()
    page.go_back()
    expect_alone(page)
    page.keyboard.press("Escape")
    expect(region(page, "Ledger")).to_be_visible()


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_a_button_shows_a_chart_alone(theme: str, width: int, browser: Browser, shop: ServerProcess) -> None:
    overview = Overview(browser, width, "dark" if theme == "dark" else "light")
    page = overview.open(shop)
    page.get_by_role("button", name=f"Alone: {CHART}").click()
    expect_alone(page)
    assert axe_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.get_by_role("button", name=f"All panels: {CHART}").click()
    expect(region(page, "Ledger")).to_be_visible()
    overview.close()


def test_t_turns_the_chart_that_the_keyboard_is_in_and_stays_there(page: Page) -> None:
    region(page, CHART).locator(".plot").focus()
    page.keyboard.press("t")
    expect(page.locator(".table-box")).to_have_count(1)
    expect(region(page, CHART).locator(".table-box")).to_be_focused()
    page.keyboard.press("t")
    expect(page.locator(".table-box")).to_have_count(0)
    expect(region(page, CHART).locator(".plot")).to_be_focused()
