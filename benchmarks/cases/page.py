"""The page in a real browser: how soon it shows what came in, how soon it shows anything, and what it costs idle."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page

from benchmarks.browser import chromium, fresh_page
from benchmarks.children import program
from benchmarks.data import make_events
from benchmarks.percentiles import percentiles
from benchmarks.plans import JSON, LINES, SendPlan, Sent, WatchPlan
from benchmarks.row import BenchmarkFailed, Row, Setting, measured
from benchmarks.sending import check_sent, send, sending
from benchmarks.server import Gauge, gauge

RATE = 1000.0
CONNECTIONS = 32
LOADS = (("single", 1, JSON), ("bodies of 100", 100, LINES))
WARM_UP_S = 2.0
DRAWN_S = 10.0  # until the last event must be on the page
FIGURES = ((50, "P50"), (95, "P95"), (99, "P99"))
HISTORY_S = 900
HISTORY_EVENTS = 90_000
HISTORY_BODY = 10_000
JOIN_S = 30.0

# In each frame, before it is painted, the number that the page had at the end of the frame before: that one has been
# painted. The tile's title has every digit of what the tile shows.
NOTE_FRAMES = """() => {
    window.frames_seen = [];
    let last = "";
    const look = () => {
        const title = document.querySelector('.tile-value[title*="in the range"]')?.title ?? "";
        if (title !== last) {
            last = title;
            window.frames_seen.push([Date.now(), Number(title.split(" ")[0].replace(/\\D/g, ""))]);
        }
        requestAnimationFrame(look);
    };
    look();
}"""
SHOWS = "count => (window.frames_seen.at(-1)?.[1] ?? 0) >= count"

# When the first area that is filled on the canvas of the first chart has been painted: painting follows the callbacks of
# a frame, and what is set to run then comes after it.
NOTE_FIRST_CHART = """
    const { fill } = CanvasRenderingContext2D.prototype;
    const onFrame = window.requestAnimationFrame;
    let inFrame = false;
    window.requestAnimationFrame = callback => onFrame(now => {
        inFrame = true;
        setTimeout(() => { inFrame = false; });
        callback(now);
    });
    const painted = () => setTimeout(() => { window.chart_ms = performance.now(); });
    CanvasRenderingContext2D.prototype.fill = function (...given) {
        if (window.chart_ms === undefined && given[0] instanceof Path2D && this.canvas.closest(".at-rate")) {
            window.chart_ms = 0;
            if (inFrame) painted(); else onFrame(painted);
        }
        return fill.apply(this, given);
    };
"""
FIRST_PAINT = "() => performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0"


def run(setting: Setting) -> Iterator[Row]:
    with chromium() as browser:
        for name, events, media_type in LOADS[: setting.choose(full=len(LOADS), quick=1)]:
            yield from _received_to_drawn(setting, browser, name, events, media_type)
        yield from _first_paint(setting, browser)
    yield from _idle(setting)


# received to drawn


def drawn_delays_ms(
    written_ms: Sequence[float], events: int, frames: Sequence[tuple[float, float]]
) -> NDArray[np.float64]:
    """Give for each request how long after it was written a painted frame had counted all events up to it.

    written_ms: in order. events: in each request. frames: (when, events counted) of each frame that showed something new.
    Events that overtake each other on their way to the server are taken for each other.
    Raises BenchmarkFailed where the page never counted them all.
    """
    times, counts = np.array(frames, np.float64).reshape(-1, 2).T
    written = np.asarray(written_ms, np.float64)
    wanted = np.arange(1, len(written) + 1) * events
    places = np.searchsorted(counts, wanted)
    if len(wanted) and (not len(counts) or places[-1] == len(counts)):
        shown = int(counts[-1]) if len(counts) else 0
        raise BenchmarkFailed(f"the page showed {shown:,} of {int(wanted[-1]):,} events")
    delays: NDArray[np.float64] = times[places] - written
    return delays


def _received_to_drawn(
    setting: Setting, browser: Browser, name: str, events: int, media_type: str
) -> Iterator[Row]:
    seconds = setting.choose(full=30.0, quick=2.0)
    with gauge(setting) as server, fresh_page(browser) as page:
        warm_up = _plan(server, events, media_type, WARM_UP_S)
        send(setting, warm_up, server)
        before = server.counted()
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.evaluate(NOTE_FRAMES)
        page.wait_for_function(SHOWS, arg=before)
        plan = _plan(server, events, media_type, seconds)
        cost = send(setting, plan, server)
        delays = _delays(page, cost.sent, events, before)
    found = percentiles(delays, [figure for figure, _ in FIGURES])
    reached = cost.sent.accepted / cost.sent.seconds
    what = f"received to drawn at {RATE * events:,.0f} events/s, {events:,} a request"
    notes = f"{reached:,.0f} events/s were reached; at most {delays.max():,.0f} ms; {cost.about}"
    for (_, label), figure in zip(FIGURES, found, strict=True):
        yield measured(
            f"received to drawn {name}, {label}", what, figure, "ms", notes=notes if label == "P50" else ""
        )


def _plan(server: Gauge, events: int, media_type: str, seconds: float) -> SendPlan:
    return SendPlan(
        port=server.port,
        seconds=seconds,
        events=events,
        connections=CONNECTIONS,
        rate=RATE,
        media_type=media_type,
        note_times=True,
    )


def _delays(page: Page, sent: Sent, events: int, before: int) -> NDArray[np.float64]:
    page.wait_for_function(SHOWS, arg=before + sent.accepted, timeout=DRAWN_S * 1000)
    seen: list[tuple[float, float]] = page.evaluate("window.frames_seen")
    frames = [(at, count - before) for at, count in seen if count > before]
    return drawn_delays_ms(sent.written_ms, events, frames)


# first paint


def _first_paint(setting: Setting, browser: Browser) -> Iterator[Row]:
    with gauge(setting) as server:
        _fill(server)
        server.settle(HISTORY_EVENTS)
        loads = [_load(server, browser) for _ in range(setting.choose(full=5, quick=2))]
    paints, charts = zip(*loads, strict=True)
    about = f"{HISTORY_S // 60} minutes of history, {HISTORY_EVENTS:,} events; nothing in the browser's cache"
    notes = f"the median of {len(loads)}; {{}}"
    for name, what, times in (
        ("first paint", f"navigation to first contentful paint, {about}", paints),
        ("first chart", f"navigation to the first chart with its history, {about}", charts),
    ):
        every = ", ".join(f"{one:,.0f}" for one in sorted(times))
        yield measured(name, what, statistics.median(times), "ms", notes=notes.format(f"{every} ms"))


def _fill(server: Gauge) -> None:
    """Send a history that ends now."""
    now_ms = time.time_ns() // 1_000_000
    events = make_events(HISTORY_EVENTS, start_ms=now_ms - HISTORY_S * 1000, span_ms=HISTORY_S * 1000)
    for start in range(0, len(events), HISTORY_BODY):
        server.ask("/api/events", events[start : start + HISTORY_BODY])


def _load(server: Gauge, browser: Browser) -> tuple[float, float]:
    """Open the page as for the first time; give when it showed something, and when a chart, in ms."""
    with fresh_page(browser) as page:
        page.add_init_script(NOTE_FIRST_CHART)
        page.goto(f"http://127.0.0.1:{server.port}/")
        page.wait_for_function("() => window.chart_ms > 0")
        paint: float = page.evaluate(FIRST_PAINT)
        chart: float = page.evaluate("window.chart_ms")
    return paint, chart


# idle


def _idle(setting: Setting) -> Iterator[Row]:
    seconds = setting.choose(full=30.0, quick=2.0)
    with gauge(setting) as server:
        few = SendPlan(port=server.port, seconds=1.0, events=100, connections=1, rate=10.0)
        with sending(setting, few) as sender:
            check_sent(few, sent := sender.result(Sent))
        server.settle(sent.accepted)
        time.sleep(WARM_UP_S)
        alone = _share(server, seconds)
        plan = WatchPlan(port=server.port, viewers=1, seconds=seconds)
        with program("watcher", plan, folder=setting.folder, timeout_s=JOIN_S + seconds) as watcher:
            watcher.line()
            watched = _share(server, seconds)
    yield measured(
        "idle server with one viewer",
        "CPU of the server while nothing comes in and one viewer watches",
        watched,
        "% of a core",
        reference=("without a viewer", alone),
    )


def _share(server: Gauge, seconds: float) -> float:
    """Give how much of a core the server uses from now on for a while, in percent."""
    before, started = server.child.cpu_s, time.monotonic()
    time.sleep(seconds)
    return 100 * (server.child.cpu_s - before) / (time.monotonic() - started)
