"""The overview on a real server: every state that it can be in, everything that a viewer can do with it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal
from urllib.parse import parse_qs, urlparse

import pytest
from overview import (
    MARKUP,
    REGIONS,
    THEMES,
    WIDTHS,
    Overview,
    axe_faults,
    history,
    lines,
    region,
    rows,
    send,
    tile,
)
from playwright.sync_api import Browser, Page, WebSocketRoute, expect

from server_process import ServerProcess
from soak import trials

Theme = Literal["light", "dark"]
HARNESS = Path(__file__).parent / "leak_harness.js"
MOST_TRANSFERRED = 400_000
MOST_GROWTH = 2_000_000
WARM_UP = 500
EIGHT_HOURS = 8 * 3600 * 4  # of updates, four a second
UPDATES = trials(5_000, EIGHT_HOURS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with some minutes of history, shared by the tests that only look or add to it."""
    server = ServerProcess(tmp_path_factory.mktemp("shop") / "data")
    assert server.post(history()).status_code == 202
    yield server
    server.kill()


@pytest.fixture
def overview(browser: Browser) -> Iterator[Overview]:
    opened = Overview(browser)
    yield opened
    opened.close()


@pytest.fixture
def page(overview: Overview, shop: ServerProcess) -> Page:
    return overview.open(shop)


# What is there


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_every_panel_is_there_accessible_and_within_the_width(
    width: int, theme: Theme, browser: Browser, shop: ServerProcess
) -> None:
    overview = Overview(browser, width, theme)
    page = overview.open(shop)
    for name in REGIONS:
        expect(region(page, name)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe_faults(page) == []
    page.keyboard.press("t")
    expect(page.get_by_role("table")).to_have_count(6)
    assert axe_faults(page) == []
    page.keyboard.press("t")
    page.keyboard.press("?")
    assert axe_faults(page) == []
    page.keyboard.press("Escape")
    page.locator("button.tail-row").first.click()
    assert axe_faults(page) == []
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Choose from and to").click()
    assert axe_faults(page) == []
    overview.close()


def test_the_pipeline_is_in_one_row_and_in_sight_without_scrolling(page: Page) -> None:
    stages = page.locator(".stage")
    assert stages.locator(".stage-name").all_inner_texts() == [
        "receive", "transform", "aggregate", "commit", "viewers",
    ]  # fmt: skip
    boxes = [box for stage in stages.all() if (box := stage.bounding_box())]
    assert len({round(box["y"]) for box in boxes}) == 1
    assert max(box["y"] + box["height"] for box in boxes) <= 900


def test_tiles_compare_with_the_same_span_before(
    overview: Overview, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    server.post(history())
    page = overview.open(server, "?range=5m")
    expect(tile(page, "Events").last.locator(".delta")).to_have_text(re.compile(r"[▲▼±].*\d"))
    page.keyboard.press("2")  # there was nothing yet for a part of the quarter of an hour before
    expect(page.get_by_role("button", name="15m", exact=True)).to_have_attribute("aria-pressed", "true")
    expect(tile(page, "Events").last.locator(".delta")).to_have_count(0)


def test_names_that_are_markup_stay_text(page: Page) -> None:
    assert MARKUP in rows(page)
    assert page.locator("#app img").count() == 0


def test_a_source_tells_what_was_wrong_with_the_last_event_that_it_turned_away(
    page: Page, shop: ServerProcess
) -> None:
    shop.post(lines([{"type": "page_view", "value": "twelve"}, {"type": "page_view"}]))
    problem = region(page, "Sources").locator(".problem")
    expect(problem).to_contain_text('value: expected a number, got "twelve"')
    expect(tile(page, "Errors")).to_contain_text("✓ all accounted for")


@pytest.mark.parametrize("width", WIDTHS)
def test_a_filter_takes_no_page_out_of_the_navigation(
    width: int, browser: Browser, shop: ServerProcess
) -> None:
    overview = Overview(browser, width)
    page = overview.open(shop, "?type=add_to_cart")
    expect(page.locator(".chip")).to_be_visible()
    assert page.locator(".chip-value").evaluate("e => e.scrollWidth <= e.clientWidth"), "its name is cut off"
    for name in ("Overview", "Sources", "Dead letters"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    bar = [page.locator(f".{name}").bounding_box() for name in ("chip", "pages", "status")]
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in bar if box)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    overview.close()


def test_demand_is_in_sight_and_not_only_in_a_tooltip(page: Page) -> None:
    expect(page.locator(".stage-demand").first).to_have_text(re.compile(r"^[\d.]+k? asked for$"))


def test_the_overview_has_a_heading_and_nothing_outside_of_landmarks(page: Page) -> None:
    expect(page.get_by_role("heading", level=1, name="Overview")).to_have_count(1)
    expect(page.get_by_role("region", name="State and range")).to_contain_text("Last 15 minutes")


def test_no_label_of_an_axis_is_cut_off(overview: Overview, shop: ServerProcess) -> None:
    overview.page.add_init_script(
        """window.cut = []; window.written = 0;
        const write = CanvasRenderingContext2D.prototype.fillText;
        CanvasRenderingContext2D.prototype.fillText = function (text, x, ...rest) {
            const half = this.textAlign === "center" ? this.measureText(text).width / 2 : 0;
            window.written += 1;
            if (text && x + half + this.getTransform().e > this.canvas.width) window.cut.push(text);
            return write.call(this, text, x, ...rest);
        }"""
    )
    page = overview.open(shop)
    # whole minutes at both ends, so that a tick is at the very edge
    for query in ("?from=2026-03-12T10:00:00Z&to=2026-03-12T11:00:00Z", "?range=24h", "?range=1h"):
        overview.open(shop, query)
        page.wait_for_function("window.written > 20")
        assert page.evaluate("window.cut") == []


# What a viewer does


def test_a_click_on_a_type_filters_everything_but_the_list(page: Page) -> None:
    before = rows(page)
    page.locator(".top-list button", has_text="purchase").click()
    expect(page.locator(".chip")).to_contain_text("purchase")
    expect(region(page, "Events per second").locator(".legend-name")).to_have_text(["purchase"])
    assert rows(page) == before
    assert parse_qs(urlparse(page.url).query)["type"] == ["purchase"]
    page.reload()
    expect(page.locator(".chip")).to_contain_text("purchase")
    page.keyboard.press("Escape")
    expect(page.locator(".chip")).to_have_count(0)
    page.go_back()
    expect(page.locator(".chip")).to_contain_text("purchase")
    page.locator(".chip").click()
    expect(region(page, "Events per second").locator(".legend-name").first).to_have_text("page_view")


def test_space_pauses_the_picture_and_counts_what_is_new(page: Page, shop: ServerProcess) -> None:
    page.keyboard.press("Space")
    expect(page.get_by_text("Paused at")).to_be_visible()
    shown = tile(page, "Events").last.inner_text()
    send(shop, count=3)
    expect(page.locator(".strip")).to_contain_text("+3 new")
    assert tile(page, "Events").last.inner_text() == shown
    assert axe_faults(page) == []
    page.keyboard.press("Space")
    expect(page.locator(".link")).to_contain_text("Live")


def test_pointing_at_a_chart_holds_the_picture(page: Page, shop: ServerProcess) -> None:
    page.locator(".plot").first.hover()
    expect(page.locator(".link")).to_contain_text("Held")
    send(shop, count=2)
    expect(page.locator(".link")).to_contain_text("+2")
    page.mouse.move(5, 5)
    expect(page.locator(".link")).to_contain_text("Live")


def test_selecting_text_holds_the_picture(page: Page) -> None:
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.tile-value'))")
    expect(page.locator(".link")).to_contain_text("Held")
    page.evaluate("getSelection().removeAllRanges()")
    expect(page.locator(".link")).to_contain_text("Live")


def test_a_row_of_the_tail_opens_the_whole_event_as_text_and_holds_the_picture(
    page: Page, shop: ServerProcess
) -> None:
    send(shop, "note", text="<b>bold</b>", deep={"list": [1, None]})
    row = page.locator("button.tail-row", has_text="note").first
    row.click()
    dialog = page.get_by_role("dialog", name="Event")
    expect(dialog).to_contain_text('"text": "<b>bold</b>"')
    assert dialog.locator("pre b").count() == 0
    send(shop, "after", count=8)
    expect(page.locator(".link")).to_contain_text("+8")
    expect(row).to_have_count(1)
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    page.mouse.move(5, 5)
    expect(page.locator("button.tail-row", has_text="after")).to_have_count(8)


def test_from_and_to_are_taken_in_the_zone_that_is_chosen(page: Page) -> None:
    page.get_by_role("button", name="Choose from and to").click()
    page.get_by_label("From", exact=True).fill("2026-03-12T10:00:00")
    page.get_by_label("To", exact=True).fill("2026-03-12T09:00:00")
    page.get_by_role("button", name="Show this time").click()
    expect(page.get_by_text("The first time must be before the second")).to_be_visible()
    page.get_by_label("To", exact=True).fill("2026-03-12T11:30:00")
    page.get_by_role("button", name="UTC", exact=True).click()
    expect(page.get_by_label("From", exact=True)).to_have_value(re.compile("^2026-03-12T04:30"))
    page.get_by_role("button", name="Show this time").click()
    query = parse_qs(urlparse(page.url).query)
    assert query == {
        "from": ["2026-03-12T04:30:00.000Z"], "to": ["2026-03-12T06:00:00.000Z"], "tz": ["utc"],
    }  # fmt: skip
    expect(page.locator(".line-range")).to_contain_text(re.compile("12 Mar 04:30 . 06:00"))
    expect(page.locator(".fixed-range")).to_be_visible()


def test_keys_move_and_zoom_the_range(page: Page) -> None:
    def asked() -> dict[str, list[str]]:
        return parse_qs(urlparse(page.url).query)

    page.keyboard.press("-")
    assert asked() == {"range": ["1h"]}
    expect(page.locator(".line-range")).to_contain_text("Last hour")
    page.keyboard.press("+")
    expect(page.locator(".line-range")).to_contain_text("Last 15 minutes")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".link")).to_contain_text("Fixed range")
    assert "from" in asked()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".link")).to_contain_text("Live")
    assert asked() == {"range": ["15m"]}
    page.keyboard.press("4")
    assert asked() == {"range": ["6h"]}


@pytest.mark.parametrize("chart", ["Events per second", "Latency heatmap"])
def test_dragging_across_a_chart_zooms_and_escape_leaves(chart: str, page: Page) -> None:
    box = region(page, chart).locator(".u-over").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * 0.5, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.75, middle, steps=4)
    page.mouse.up()
    expect(page.locator(".link")).to_contain_text("Fixed range")
    page.keyboard.press("Escape")
    expect(page.locator(".link")).to_contain_text(re.compile("Live|Held"))


def test_arrows_in_a_chart_read_out_what_is_under_the_cursor(page: Page) -> None:
    address = page.url
    chart = region(page, "Events per second")
    chart.locator(".plot").focus()
    assert chart.locator(".plot").evaluate("e => getComputedStyle(e).outlineStyle") == "solid"
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(chart.get_by_role("status")).to_have_text(re.compile(r"^\d\d:\d\d:\d\d, page_view [\d.]+, "))
    heat = region(page, "Latency heatmap")
    heat.locator(".plot").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowUp")
    expect(heat.get_by_role("status")).to_have_text(
        re.compile(r"^[\d:]+, (still filling, )?(up to|over|[\d.]+ .s to) .*: ([\d,]+|no data)$")
    )
    assert page.url == address, "arrows in a chart must not move the range"


def test_tables_have_every_bucket_with_every_digit(page: Page) -> None:
    page.keyboard.press("t")
    table = region(page, "Events per second").get_by_role("table")
    expect(table.locator("tbody tr")).to_have_count(180)
    assert table.locator("th").all_inner_texts()[:2] == ["Time", "page_view"]
    heat = region(page, "Latency heatmap").get_by_role("table")
    expect(heat.locator("tbody tr")).to_have_count(180)


def test_single_keys_can_be_switched_off_for_good(page: Page) -> None:
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_contain_text("pause and resume the picture")
    page.get_by_role("checkbox").uncheck()
    page.keyboard.press("Escape")
    page.reload()
    expect(page.locator(".link")).to_contain_text("Live")
    page.keyboard.press("Space")
    page.keyboard.press("t")
    page.keyboard.press("Tab")
    expect(page.locator(".link")).to_contain_text("Live")
    expect(page.locator(".plot").first).to_be_visible()


def test_the_theme_is_kept_and_shown_before_the_first_paint(page: Page) -> None:
    button = page.get_by_role("button", name=re.compile("^Theme"))
    button.click()
    button.click()
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(17, 18, 23)"
    page.reload(wait_until="commit")
    page.wait_for_selector("body", state="attached")
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


# States


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("way", ["From a terminal", "From Python"])
def test_the_first_event_turns_the_page_green_within_a_second(
    way: str, theme: Theme, browser: Browser, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    overview = Overview(browser, 1440 if theme == "light" else 390, theme)
    page = overview.open(server)
    expect(page.get_by_text("Waiting for the first event")).to_be_visible()
    expect(region(page, "A demo")).to_contain_text("streamgauge demo")
    expect(region(page, "From an MQTT broker")).to_contain_text('kind = "mqtt"')
    if theme == "light":  # wide enough for every line that is to be copied
        unbroken = "e => { e.style.whiteSpace = 'pre'; return e.scrollWidth <= e.clientWidth; }"
        assert all(text.evaluate(unbroken) for text in page.locator(".ways pre").all())
    assert axe_faults(page) == []
    text = region(page, way).locator("code").inner_text()
    assert f"{server.url}/api/events" in text
    command = ["sh", "-c", text] if way == "From a terminal" else [sys.executable, "-c", text]
    subprocess.run(command, check=True, capture_output=True, timeout=30)
    expect(page.locator(".strip.is-good")).to_contain_text(
        "The first event is here: page_view", timeout=1_000
    )
    assert axe_faults(page) == []
    expect(region(page, "Live tail")).to_contain_text("ada")
    overview.close()


@pytest.mark.parametrize("theme", THEMES)
def test_an_empty_range_says_what_removed_the_data_and_leads_back(
    theme: Theme, browser: Browser, shop: ServerProcess
) -> None:
    overview = Overview(browser, 1440, theme)
    page = overview.open(shop, "?from=2020-01-01T00:00:00Z&to=2020-01-02T00:00:00Z")
    expect(page.get_by_text("No events in this range")).to_be_visible()
    assert axe_faults(page) == []
    page.get_by_role("button", name="Jump to the data").click()
    expect(page.get_by_text("No events in this range")).to_have_count(0)
    expect(page.locator(".top-type", has_text="page_view")).to_be_visible()
    overview.open(shop, "?type=no_such_type")
    expect(page.locator(".nothing")).to_contain_text("No no_such_type events in this range")
    page.get_by_role("button", name="Clear the filter", exact=True).click()
    expect(page.locator(".nothing")).to_have_count(0)
    overview.close()


def test_a_view_that_the_server_refuses_says_why_and_offers_another(
    overview: Overview, shop: ServerProcess
) -> None:
    page = overview.open(shop, "?from=-8000000000000&to=8000000000000")
    expect(page.get_by_role("alert")).to_contain_text("from, to:")
    expect(page.get_by_role("button", name="Retry")).to_be_visible()
    assert axe_faults(page) == []
    page.get_by_role("button", name="Show the last 15 minutes").click()
    # where the button was there may be a chart now, and pointing at one holds the picture
    page.mouse.move(5, 5)
    expect(page.locator(".link")).to_contain_text("Live")


@pytest.mark.parametrize("theme", THEMES)
def test_a_lost_link_is_told_with_the_age_of_the_data_and_what_was_missed_is_marked(
    theme: Theme, browser: Browser, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    server.post(history())
    server.wait_until_committed()  # or the charts of latency, which a replay does not bring back, would be empty
    overview = Overview(browser, 1440, theme)
    page = overview.open(server)
    server.kill()
    strip = page.locator(".strip")
    expect(strip).to_contain_text(re.compile(r"Reconnecting…\s*data as of \d\d:\d\d:\d\d\s*\(attempt \d"))
    expect(page.locator(".is-stale")).to_have_count(1)
    assert axe_faults(page) == []
    start_server("--port", server.url.rsplit(":", 1)[1])
    expect(strip).to_contain_text("Connected again", timeout=30_000)
    expect(page.locator(".gap-mark:visible")).to_have_count(4)
    assert axe_faults(page) == []
    expect(page.locator(".gap-mark:visible")).to_have_count(0, timeout=15_000)
    overview.close()


def test_a_restart_on_purpose_is_announced_with_a_countdown(
    overview: Overview, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    send(server)
    page = overview.open(server)
    assert server.stop() == 0
    expect(page.locator(".strip.is-calm")).to_contain_text("Server restarting")
    expect(page.locator(".strip.is-calm")).to_contain_text("your view will resume")
    assert axe_faults(page) == []


def test_the_title_of_a_tab_in_the_background_goes_on(
    overview: Overview, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    send(server)
    overview.page.add_init_script(
        "const next = requestAnimationFrame; requestAnimationFrame = then => window.hiddenTab ? 0 : next(then)"
    )
    page = overview.open(server)
    page.evaluate("window.hiddenTab = true")
    send(server, count=500)
    expect(page).to_have_title(re.compile(r"^\d{2,}[.\d]*/s · "))
    server.kill()
    expect(page).to_have_title(re.compile("^▲ Reconnecting"))


def test_what_has_not_been_heard_of_for_long_shows_its_age_and_then_greys(
    overview: Overview, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    send(server)
    overview.page.add_init_script("const now = Date.now; Date.now = () => now() + (window.later ?? 0)")
    page = overview.open(server)
    server.process.send_signal(signal.SIGSTOP)
    page.evaluate("window.later = 15_000")
    expect(page.locator(".panel-head .age")).to_have_count(9)
    expect(page.locator(".age").first).to_contain_text(re.compile(r"\d+ s ago"))
    expect(page.locator(".link")).to_contain_text("Quiet")
    expect(page.get_by_text(re.compile("no bottleneck|nothing lost"))).to_have_count(0)
    expect(tile(page, "Errors")).to_contain_text("◌ not known now")
    expect(page).to_have_title(re.compile("^Quiet"))
    assert axe_faults(page) == []
    page.evaluate("window.later = 70_000")
    expect(page.locator(".is-old .tile-value").first).to_have_css("color", "rgb(111, 119, 135)")
    assert axe_faults(page) == []
    page.evaluate("window.later = 0")
    server.process.send_signal(signal.SIGCONT)
    expect(page.locator(".age")).to_have_count(0)
    expect(page.locator(".is-old")).to_have_count(0)


def test_before_the_first_numbers_their_places_are_already_there(
    overview: Overview, shop: ServerProcess
) -> None:
    page = overview.page
    held: list[WebSocketRoute] = []

    def hold(route: WebSocketRoute) -> None:
        held.append(route)

    page.route_web_socket(re.compile("/socket/"), hold)
    page.goto(shop.url)
    expect(page.locator(".skeleton .tile")).to_have_count(6)
    expect(page.locator(".skeleton")).to_have_css("opacity", "1")
    places = [page.locator(f".{name}").bounding_box() for name in ("tiles", "at-rate", "at-heat")]
    assert axe_faults(page) == []
    page.unroute_all()
    fresh = Overview(overview.context.browser or pytest.fail("no browser"))
    shown = fresh.open(shop)
    assert [shown.locator(f".{name}").bounding_box() for name in ("tiles", "at-rate", "at-heat")] == places
    fresh.close()


@pytest.mark.parametrize("theme", THEMES)
def test_while_another_range_loads_the_old_picture_stays_dimmed(
    theme: Theme, browser: Browser, shop: ServerProcess
) -> None:
    overview = Overview(browser, 1440, theme)
    page = overview.page
    waiting: list[str | bytes] = []
    gate = {"open": True}
    routes: list[WebSocketRoute] = []

    def through(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        routes.append(route)
        route.on_message(server.send)
        server.on_message(lambda message: route.send(message) if gate["open"] else waiting.append(message))

    page.route_web_socket(re.compile("/socket/"), through)
    overview.open(shop)
    gate["open"] = False
    page.keyboard.press("4")
    expect(page.locator(".is-loading .plot").first).to_have_css("opacity", "0.45")
    assert axe_faults(page) == [], "words must be readable for as long as it takes"
    expect(page.locator(".line-range")).to_contain_text("Last 15 minutes")
    expect(tile(page, "Value P50").locator(".tile-value")).to_have_text(re.compile(r"^\d"))
    gate["open"] = True
    for message in waiting:
        routes[-1].send(message)
    expect(page.locator(".line-range")).to_contain_text("Last 6 hours")
    expect(page.locator(".is-loading")).to_have_count(0)
    overview.close()


@pytest.mark.parametrize("width", WIDTHS)
def test_a_demo_says_that_it_is_one_and_how_to_leave_it(width: int, browser: Browser, tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "demo", command="demo")
    try:
        overview = Overview(browser, width)
        page = overview.open(server)
        page.get_by_role("button", name="Stop and use my own data").click()
        dialog = page.get_by_role("dialog", name="Stop and use your own data")
        expect(dialog.get_by_text("curl http")).to_be_visible()
        assert [text.split()[0] for text in dialog.locator("code").all_inner_texts()] == [
            "streamgauge",
            "curl",
        ]
        assert axe_faults(page) == []
        overview.close()
    finally:
        server.kill()


def test_the_bucket_that_is_still_filling_is_drawn_lighter_and_named(page: Page) -> None:
    expect(page.locator(".open-mark:visible")).to_have_count(4)
    page.keyboard.press("t")
    table = region(page, "Events per second").get_by_role("table")
    expect(table.locator("tbody th").first).to_contain_text("still filling")
    expect(table.get_by_text("still filling")).to_have_count(1)
    page.keyboard.press("t")
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".link")).to_contain_text("Fixed range")
    expect(page.locator(".open-mark:visible")).to_have_count(0)


def test_a_page_that_takes_updates_too_slowly_says_how_many_were_left_out(
    overview: Overview, shop: ServerProcess
) -> None:
    told: dict[str, Any] = {}

    def through(route: WebSocketRoute) -> None:
        server = route.connect_to_server()
        route.on_message(server.send)

        def pass_on(message: str | bytes) -> None:
            _, _, topic, event, payload = json.loads(message)
            if event == "phx_reply" and "state" in payload["response"]:
                told.setdefault("snapshot", payload["response"])
            if event != "diff" or told.get("skipped"):
                route.send(message)
                return
            told["skipped"] = True
            later = {**told["snapshot"], "version": told["snapshot"]["version"] + 7}
            route.send(json.dumps([None, None, topic, "snapshot", later]))

        server.on_message(pass_on)

    overview.page.route_web_socket(re.compile("/socket/"), through)
    page = overview.open(shop)
    send(shop)
    expect(page.locator(".link")).to_contain_text("Thinned")
    expect(page.locator(".link")).to_have_attribute("title", re.compile(r": 7 were left out"))
    assert axe_faults(page) == []
    expect(page.locator(".link")).to_contain_text("Live", timeout=20_000)


def swipe(overview: Overview, y: int) -> None:
    """Draw a finger across the page, from right to left."""
    touch = overview.cdp()
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": 360, "y": y}]})
    for x in range(345, 30, -15):
        touch.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": x, "y": y}]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


@pytest.mark.parametrize("theme", THEMES)
def test_on_a_phone_the_tiles_are_one_row_that_is_swiped(
    theme: Theme, browser: Browser, shop: ServerProcess
) -> None:
    overview = Overview(browser, 390, theme, touch=True)
    page = overview.open(shop)
    tiles = page.locator(".tile")
    boxes = [box for one in tiles.all() if (box := one.bounding_box())]
    assert len({round(box["y"]) for box in boxes}) == 1
    assert boxes[2]["x"] < 390 < boxes[2]["x"] + boxes[2]["width"], (
        "a part of the third shows that there is more"
    )
    expect(tiles.last).not_to_be_in_viewport()
    for _ in range(3):
        swipe(overview, round(boxes[0]["y"]) + 40)
    expect(tiles.last).to_be_in_viewport(ratio=0.99)
    assert axe_faults(page) == []
    overview.close()


def test_on_a_phone_a_hint_is_wholly_in_sight(browser: Browser, shop: ServerProcess) -> None:
    overview = Overview(browser, 390)
    page = overview.open(shop)
    for name in ("Events/s", "Value P50", "Processing latency"):
        page.get_by_role("button", name=f"What is {name}?").focus()
        words = page.locator(".hint-words:visible")
        expect(words).to_have_count(1)
        expect(words).to_be_in_viewport(ratio=1)
    overview.close()


# What it costs


def test_the_page_is_small_local_and_still_while_it_loads(overview: Overview, shop: ServerProcess) -> None:
    session = overview.cdp()
    session.send("Network.enable")
    received: list[float] = []
    session.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    addresses: list[str] = []
    overview.page.on("request", lambda request: addresses.append(request.url))
    overview.page.add_init_script(
        """window.shift = 0; new PerformanceObserver(list => {
            for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shift += entry.value;
        }).observe({type: "layout-shift", buffered: true})"""
    )
    page = overview.open(shop)
    send(shop)
    page.wait_for_load_state("networkidle")
    assert {urlparse(address).netloc for address in addresses} == {urlparse(shop.url).netloc}
    assert len(received) > 20
    assert sum(received) < MOST_TRANSFERRED
    assert page.evaluate("window.shift") < 0.01


def test_hours_of_updates_leave_nothing_behind(overview: Overview, shop: ServerProcess) -> None:
    page = overview.page
    harness = HARNESS.read_text(encoding="utf-8")
    page.route(
        "**/dashboard/main.js", lambda route: route.fulfill(body=harness, content_type="text/javascript")
    )
    page.goto(shop.url)
    page.wait_for_function("() => window.update")
    session = overview.cdp()

    def used_after(updates: int) -> float:
        page.evaluate("many => window.update(many)", updates)
        for _ in range(2):
            session.send("HeapProfiler.collectGarbage")
        return float(session.send("Runtime.getHeapUsage")["usedSize"])

    before = used_after(WARM_UP)
    after = used_after(UPDATES)
    expect(page.locator(".tail-row", has_text=f"user_{WARM_UP + UPDATES - 1}")).to_have_count(1)
    assert after - before < MOST_GROWTH
