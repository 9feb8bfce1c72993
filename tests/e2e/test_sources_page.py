"""The pages of the sources and of the dead letters: what they tell to paste does what they say."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
from overview import THEMES, WIDTHS, Overview, axe_faults, lines, region
from playwright.sync_api import Browser, Locator, Page, Route, expect

from mounted_tools import PREFIX, hosted_in_a_thread, in_starlette
from mqtt_broker import Broker
from server_process import ServerProcess
from streamgauge import Streamgauge
from transform_tools import write_module

Theme = Literal["light", "dark"]
NODE = Path(__file__).parents[1] / "node"
COUNTED = re.compile(r"now|\d+ s ago|min")
PICKY = "def transform(event):\n    if event['type'] == 'bad': raise ValueError('no such thing')\n    return event\n"
MAPPED = '[events]\ntype = "event"\nvalue = "amount"\n'
BIG = 9_007_199_254_740_993  # one more than a number of JavaScript can be


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    started = Broker(tmp_path_factory.mktemp("broker"))
    started.start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, broker: Broker) -> Iterator[ServerProcess]:
    """A server with every door, one of which leads nowhere, whose module cannot bear bad events."""
    folder = tmp_path_factory.mktemp("shop")
    module = write_module(folder, PICKY)
    configuration = f"""
        [transform]
        module = "{module}"
        [[source]]
        kind = "mqtt"
        url = "{broker.url}"
        topics = ["fleet/{{site}}/{{type}}"]
        [[source]]
        kind = "mqtt"
        name = "cellar"
        url = "mqtt://127.0.0.1:1"
        topics = ["cellar/#"]
    """
    server = ServerProcess(folder / "data", configuration=configuration)
    yield server
    server.kill()


@pytest.fixture
def overview(browser: Browser) -> Iterator[Overview]:
    opened = Overview(browser)
    yield opened
    opened.close()


@pytest.fixture
def page(overview: Overview) -> Page:
    return overview.page


def sources(page: Page, server: ServerProcess) -> Page:
    page.goto(f"{server.url}/#/sources")
    expect(page.get_by_role("region", name="HTTP", exact=True)).to_be_visible()
    return page


def letters(page: Page, server: ServerProcess) -> Page:
    page.goto(f"{server.url}/#/dead-letters")
    expect(page.get_by_role("heading", name="Dead letters", level=1)).to_be_visible()
    expect(region(page, "Dead letters")).to_be_visible()
    return page


def fact(card: Locator, name: str) -> Locator:
    """Give one of the figures of a card."""
    return card.locator(".door-facts div", has=card.page.get_by_text(name, exact=True)).locator("dd")


def copied(card: Locator, button: str) -> str:
    """Press a button of a card, and give what is in the clipboard then."""
    card.get_by_role("button", name=button, exact=True).click()
    expect(card.get_by_role("button", name="Copied")).to_have_count(1)
    return str(card.page.evaluate("navigator.clipboard.readText()"))


def run(text: str, folder: Path, *, language: str = "shell") -> str:
    """Run what was pasted, in a folder, where our own commands and packages are found."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    words = ["sh"] if language == "shell" else [sys.executable, "-"]
    done = subprocess.run(
        words,
        input=text,
        cwd=folder,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def send_bad(server: ServerProcess, *events: dict[str, Any]) -> list[str]:
    """Send events that the module cannot bear; give the names of the open dead letters, the newest first."""
    assert server.post(lines({"type": "bad", **event} for event in events)).status_code == 202
    server.wait_until_committed()
    return [str(one["name"]) for one in server.get("/api/dead-letters")["dead_letters"]]


# Sources


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_every_door_is_there_accessible_and_within_the_width(
    width: int, theme: Theme, browser: Browser, shop: ServerProcess
) -> None:
    overview = Overview(browser, width, theme)
    page = sources(overview.page, shop)
    assert page.locator(".door h2").all_inner_texts() == [
        "HTTP", "CloudEvents", "WebSocket", "Python", "MQTT", "MQTT: cellar", "Files",
    ]  # fmt: skip
    expect(page.locator(".pages [aria-current=page]")).to_have_text("Sources")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe_faults(page) == []
    overview.close()


@pytest.mark.parametrize(
    ("name", "button"),
    [
        ("HTTP", "Copy the curl command"),
        ("CloudEvents", "Copy the CloudEvents command"),
        ("WebSocket", "Copy the Phoenix client's lines"),
        ("Python", "Copy the Python client's lines"),
        ("MQTT", "Copy the mosquitto_pub command of mqtt"),
        ("Files", "Copy the replay command"),
    ],
)
def test_what_a_card_tells_to_paste_is_counted_and_its_last_event_is_fresh(
    name: str, button: str, page: Page, shop: ServerProcess, tmp_path: Path
) -> None:
    card = region(sources(page, shop), name)
    if name == "MQTT":
        expect(card.locator(".door-word")).to_have_text(re.compile("connected|active"))
    before, text = shop.wait_until_committed()["received"], fact(card, "received").inner_text()
    folder, language = NODE if name == "WebSocket" else tmp_path, "python" if name == "Python" else "shell"
    run(copied(card, button), folder, language=language)
    expect(fact(card, "received")).to_have_text(str(int(text) + 1))
    expect(fact(card, "last event")).to_have_text(COUNTED)
    expect(card.locator(".door-word")).to_contain_text("active")
    assert shop.wait_until_committed()["received"] == before + 1


def test_the_embedded_lines_count_in_a_program_of_their_own(
    page: Page, shop: ServerProcess, tmp_path: Path
) -> None:
    card = region(sources(page, shop), "Python")
    assert "'count': 1" in run(copied(card, "Copy the embedded lines"), tmp_path, language="python")


def test_a_card_tells_what_was_wrong_with_the_last_event_and_a_broker_that_is_not_there(
    page: Page, shop: ServerProcess
) -> None:
    card = region(sources(page, shop), "HTTP")
    rejected = int(fact(card, "rejected").inner_text())
    shop.post(lines([{"type": "page_view", "value": "twelve"}]))
    expect(card.locator(".door-problem")).to_contain_text('value: expected a number, got "twelve"')
    expect(fact(card, "rejected")).to_have_text(str(rejected + 1))
    cellar = region(page, "MQTT: cellar")
    expect(cellar.locator(".door-word")).to_contain_text("not connected")
    expect(cellar.locator(".door-problem")).to_contain_text("no connection to mqtt://127.0.0.1:1")


def test_the_copy_button_is_reached_and_pressed_by_keyboard_and_says_so(
    page: Page, shop: ServerProcess
) -> None:
    card = region(sources(page, shop), "HTTP")
    card.locator("pre").focus()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(card.locator("[aria-live]")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == card.locator("pre").inner_text()


def test_fields_with_other_names_are_in_what_is_pasted_and_no_broker_says_how_to_get_one(
    page: Page, start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    server = start_server(configuration=MAPPED)
    sources(page, server)
    assert run(copied(region(page, "HTTP"), "Copy the curl command"), tmp_path) == '{"accepted":1}'
    card = region(page, "MQTT")
    expect(card.locator(".door-word")).to_contain_text("not configured")
    file = tmp_path / "streamgauge.toml"
    file.write_text(copied(card, "Copy the configuration of MQTT"))
    run(f"streamgauge check {file}", tmp_path)


@pytest.mark.parametrize(
    "way",
    [("From a terminal", "Copy the command", "shell"), ("From Python", "Copy the Python lines", "python")],
)
def test_the_first_event_that_is_pasted_has_the_names_that_are_configured(
    way: tuple[str, str, str], page: Page, start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    name, button, language = way
    server = start_server(configuration=MAPPED)
    page.goto(server.url)
    expect(page.get_by_text("Any JSON object with a event")).to_be_visible()
    run(copied(region(page, name), button), tmp_path, language=language)
    expect(page.get_by_text("Waiting for the first event")).to_have_count(0)
    server.wait_until_committed()
    assert server.ask("SELECT type, value FROM events") == [["page_view", 12.5]]


def test_whoever_leaves_the_demonstration_pastes_what_the_new_server_understands(
    page: Page, start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    demo = ServerProcess(tmp_path / "demo", command="demo")
    try:
        page.goto(demo.url)
        page.get_by_role("button", name="Stop and use my own data").click()
        dialog = page.get_by_role("dialog", name="Stop and use your own data")
        expect(dialog).to_contain_text('"type": "page_view", "value": 12.5')
    finally:
        demo.kill()
    server = start_server("--port", demo.url.rsplit(":", 1)[1], configuration=MAPPED)
    # the page tries again after 15 s and more by then
    expect(dialog).to_contain_text('"event": "page_view", "amount": 12.5', timeout=90_000)
    assert run(copied(dialog, "Copy the curl line"), tmp_path) == '{"accepted":1}'
    assert server.wait_until_committed()["stored"] == 1


def test_below_a_prefix_the_addresses_have_it_too(page: Page, tmp_path: Path) -> None:
    with Streamgauge() as gauge, hosted_in_a_thread(in_starlette(gauge.asgi())) as port:
        page.goto(f"http://127.0.0.1:{port}{PREFIX}/#/sources")
        card = region(page, "HTTP")
        expect(card.locator(".door-address")).to_have_text(f"POST http://127.0.0.1:{port}{PREFIX}/api/events")
        run(copied(card, "Copy the curl command"), tmp_path)
        expect(fact(card, "received")).to_have_text("1")
        expect(region(page, "WebSocket").locator(".door-address")).to_contain_text(f"{PREFIX}/socket/")


def test_a_list_that_cannot_be_had_says_why_and_can_be_asked_for_again(
    overview: Overview, shop: ServerProcess
) -> None:
    page = overview.page

    def fail(route: Route) -> None:
        route.fulfill(status=500, content_type="application/problem+json", body='{"detail": "a bug of ours"}')

    page.route("**/api/sources", fail)
    page.goto(f"{shop.url}/#/sources")
    expect(page.get_by_role("alert")).to_contain_text("could not be fetched. a bug of ours")
    assert axe_faults(page) == []
    page.unroute("**/api/sources")
    page.get_by_role("button", name="Retry").click()
    expect(region(page, "HTTP")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert all("500" in fault for fault in overview.faults), overview.faults
    overview.faults.clear()


def test_a_page_that_cannot_be_fetched_says_so_and_can_be_asked_for_again(
    overview: Overview, shop: ServerProcess
) -> None:
    page = overview.page
    page.route("**/sources_page.js", lambda route: route.abort())
    page.goto(f"{shop.url}/#/sources")
    expect(page.get_by_role("alert")).to_contain_text("The page of sources could not be fetched.")
    assert axe_faults(page) == []
    page.unroute("**/sources_page.js")
    page.get_by_role("button", name="Retry").click()
    expect(region(page, "HTTP")).to_be_visible()
    expect(page.get_by_role("alert")).to_have_count(0)
    assert all("net::ERR_FAILED" in fault for fault in overview.faults), overview.faults
    overview.faults.clear()


def test_the_pages_are_reached_by_links_keys_and_the_back_button_and_keep_the_range(
    page: Page, shop: ServerProcess
) -> None:
    page.goto(f"{shop.url}/?range=1h")
    page.locator(".pages").get_by_role("link", name="Sources").click()
    expect(page).to_have_title("Sources · Streamgauge")
    expect(page.locator("main")).to_be_focused()
    expect(page.get_by_role("group", name="Range")).to_have_count(0)
    page.keyboard.press("g")
    page.keyboard.press("d")
    expect(page.get_by_role("heading", name="Dead letters", level=1)).to_be_visible()
    page.go_back()
    expect(page.get_by_role("heading", name="Sources", level=1)).to_be_visible()
    page.keyboard.press("Space")
    page.keyboard.press("g")
    page.keyboard.press("o")
    expect(page.locator(".link")).to_contain_text("Live")
    expect(page.get_by_role("button", name="1h")).to_have_attribute("aria-pressed", "true")


def test_while_the_server_is_away_the_page_says_so_and_comes_back(
    page: Page, start_server: Callable[..., ServerProcess]
) -> None:
    server = start_server()
    sources(page, server)
    port = server.url.rsplit(":", 1)[1]
    server.kill()
    expect(page.locator(".strip")).to_contain_text("Reconnecting")
    expect(region(page, "HTTP")).to_be_visible()
    start_server("--port", port)
    expect(page.locator(".link")).to_contain_text("Live", timeout=30_000)
    expect(page.locator(".strip.is-warning")).to_have_count(0)


# Dead letters


def test_without_dead_letters_the_page_says_what_would_be_here(
    page: Page, start_server: Callable[..., ServerProcess]
) -> None:
    letters(page, start_server())
    expect(page.locator(".no-letters")).to_contain_text("your transform raised an error")
    expect(page.get_by_role("button", name="Replay all")).to_have_count(0)
    assert axe_faults(page) == []


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("theme", THEMES)
def test_letters_are_listed_and_one_opens_whole_accessible_and_within_the_width(
    width: int, theme: Theme, browser: Browser, shop: ServerProcess
) -> None:
    name = send_bad(shop, {"n": BIG, "text": "<b>bold</b>"})[0]
    overview = Overview(browser, width, theme)
    page = letters(overview.page, shop)
    row = page.locator("a.letter-row").first
    expect(row).to_contain_text("ValueError: no such thing")
    expect(row).to_contain_text(str(BIG))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert axe_faults(page) == []
    row.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog", name=f"Dead letter {name}")
    expect(dialog).to_contain_text("Traceback (most recent call last)")
    expect(dialog).to_contain_text(f'"n": {BIG}')
    expect(dialog).to_contain_text('"text": "<b>bold</b>"')
    assert axe_faults(page) == []
    dialog.get_by_role("button", name="Discard").click()
    assert axe_faults(page) == []
    dialog.get_by_role("button", name="Keep").click()
    dialog.get_by_role("button", name="Edit and replay").click()
    assert axe_faults(page) == []
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(row).to_be_focused()
    overview.close()


def test_the_ledger_leads_to_the_letters_and_one_is_replayed(page: Page, shop: ServerProcess) -> None:
    name = send_bad(shop, {"n": 1})[0]
    page.goto(shop.url)
    region(page, "Ledger").get_by_role("link", name="dead-lettered").click()
    row = page.locator("a.letter-row").first
    expect(row).to_have_attribute("href", f"#/dead-letters/{name}")
    row.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Replay", exact=True).click()
    dialog.get_by_role("button", name="Replay", exact=True).click()
    expect(page.get_by_role("status").filter(has_text="1 sent again")).to_be_visible()
    assert shop.get(f"/api/dead-letters/{name}")["state"] == "replayed"
    # the module has not been mended, so it is back under another name
    expect(page.locator("a.letter-row").first).to_contain_text("dead_letters")
    expect(page.locator(f'a[href="#/dead-letters/{name}"]')).to_have_count(0)
    page.get_by_role("button", name="All", exact=True).click()
    expect(page.locator(f'a[href="#/dead-letters/{name}"]')).to_contain_text("replayed")


def test_an_event_is_edited_and_counts_with_every_digit(page: Page, shop: ServerProcess) -> None:
    name = send_bad(shop, {"n": BIG})[0]
    page.goto(f"{shop.url}/#/dead-letters/{name}")
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Edit and replay").click()
    field = dialog.get_by_role("textbox")
    text = field.input_value()
    field.fill("{oops")
    dialog.get_by_role("button", name="Replay this").click()
    expect(dialog.get_by_role("alert")).to_contain_text("not JSON yet")
    field.fill('{"no": "type"}')
    dialog.get_by_role("button", name="Replay this").click()
    expect(dialog.get_by_role("alert")).to_contain_text("no `type`")
    field.fill(text.replace('"bad"', '"mended"'))
    dialog.get_by_role("button", name="Replay this").click()
    expect(dialog).to_have_count(0)
    shop.wait_until_committed()
    assert shop.ask("SELECT event->>'n' FROM events WHERE type = 'mended'") == [[str(BIG)]]


def test_discarding_asks_first(page: Page, shop: ServerProcess) -> None:
    names = send_bad(shop, {"n": 1}, {"n": 2})
    letters(page, shop)
    page.locator("a.letter-row").first.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Discard", exact=True).click()
    expect(dialog.get_by_role("group")).to_contain_text("Its event will not be counted")
    expect(dialog.get_by_role("button", name="Discard", exact=True)).to_be_focused()
    dialog.get_by_role("button", name="Keep").click()
    assert shop.get(f"/api/dead-letters/{names[0]}")["state"] == "open"
    dialog.get_by_role("button", name="Discard", exact=True).click()
    dialog.get_by_role("button", name="Discard", exact=True).click()
    expect(page.locator(".notice")).to_have_text(f"{names[0]} discarded.")
    # a question is withdrawn when what it is about changes
    expect(page.locator("a.letter-row")).to_have_count(len(names) - 1)
    page.get_by_role("button", name="Discard all").click()
    page.get_by_role("button", name="Discard", exact=True).click()
    expect(page.locator(".no-letters")).to_be_visible()
    assert shop.get("/api/dead-letters")["open"] == 0


def test_a_new_letter_is_on_the_open_page_by_itself(page: Page, shop: ServerProcess) -> None:
    letters(page, shop)
    before = page.locator("a.letter-row").count()
    name = send_bad(shop, {"n": 3})[0]
    expect(page.locator(f'a[href="#/dead-letters/{name}"]')).to_be_visible()
    expect(page.locator("a.letter-row")).to_have_count(before + 1)


def test_more_letters_than_a_page_are_shown_when_they_are_asked_for(page: Page, shop: ServerProcess) -> None:
    send_bad(shop, *({"n": n} for n in range(60)))
    letters(page, shop)
    expect(page.locator("a.letter-row")).to_have_count(50)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("a.letter-row")).to_have_count(shop.get("/api/dead-letters")["open"])
    expect(page.get_by_role("button", name="Show more")).to_have_count(0)
