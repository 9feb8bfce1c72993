"""What all tests share: profiles of hypothesis, a running server, a browser."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from playwright.sync_api import Browser, sync_playwright

from server_process import ServerProcess
from soak import SOAK
from wire import OURS, PLAIN, Target, ours, plain

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", settings.get_profile("default"), max_examples=1000)
settings.load_profile("soak" if SOAK else "default")

TALLY = re.compile(
    r"^.*, (\d+) trials, (\d+) faults, ([\d,]+) events acknowledged, (\d+) lost, (\d+) doubled$", re.MULTILINE
)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER_ARGUMENTS = [
    "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--no-first-run", "--disable-quic",
]  # fmt: skip
DATA = Path(os.environ.get("STREAMGAUGE_DATA", Path(__file__).parent.parent.parent / "shared" / "data"))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Names cases by what does not change from run to run: compressed bytes hold the time of day.

    Processes that run the tests side by side must collect the same names.
    """
    if isinstance(val, bytes) and not (len(val) < 60 and val.isascii() and val.decode().isprintable()):
        return argname
    return None


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the fault tests tried and found, also those that passed and whose output was caught."""
    reports = [*terminalreporter.stats.get("passed", ()), *terminalreporter.stats.get("failed", ())]
    found = [line for report in reports for line in TALLY.finditer(report.capstdout)]
    if found:
        terminalreporter.section("faults")
        terminalreporter.write_line("\n".join(line[0] for line in found))
        sums = [sum(int(line[part].replace(",", "")) for line in found) for part in range(1, 6)]
        terminalreporter.write_line(
            "in all: {} trials, {} faults, {:,} events acknowledged, {} lost, {} doubled".format(*sums)
        )


@pytest.fixture
def start_server(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """Starts servers, by default all on the same data folder; stops them at the end."""
    started: list[ServerProcess] = []

    def start(*arguments: str, data: Path | None = None, **options: Any) -> ServerProcess:
        server = ServerProcess(data or tmp_path / "data", *arguments, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.kill()


@pytest.fixture(scope="module")
def our_target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """A server for all bad inputs of a module, with the module's CONFIGURATION if it has one."""
    with ours(tmp_path_factory.mktemp("ours"), getattr(request.module, "CONFIGURATION", "")) as target:
        yield target


@pytest.fixture(scope="module", params=[OURS, PLAIN])
def target(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """The same, and once more behind uvicorn's own protocols, where the answers must be the same."""
    start = ours if request.param == OURS else plain
    with start(tmp_path_factory.mktemp("inputs"), getattr(request.module, "CONFIGURATION", "")) as target:
        yield target


@pytest.fixture(
    scope="module"
)  # while it is open, Playwright's own event loop runs: no other test may need one
def browser() -> Iterator[Browser]:
    """A real Chromium."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=_chromium(), args=BROWSER_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def misled_browser(browser: Browser) -> Iterator[Browser]:
    """Another one, which takes every name that ends in .test for this machine, as after DNS rebinding."""
    arguments = [*BROWSER_ARGUMENTS, "--host-resolver-rules=MAP *.test 127.0.0.1"]
    chromium = browser.browser_type.launch(executable_path=_chromium(), args=arguments)
    yield chromium
    chromium.close()


def _chromium() -> str:
    path = next((found for name in BROWSERS if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail("no Chromium; `make setup` installs it")
    return path


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder of real event sets; skips where it is not there."""
    if not (DATA / "truth").is_dir():
        pytest.skip(f"no event data at {DATA}; STREAMGAUGE_DATA names another folder")
    return DATA
