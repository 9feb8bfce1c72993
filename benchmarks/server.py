"""The servers that are measured: a Streamgauge as `streamgauge serve` starts it, and the decode-only application."""

from __future__ import annotations

import http.client
import re
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.request import urlopen

import msgspec

from benchmarks.children import Child, program, running
from benchmarks.row import BenchmarkFailed, Setting

COMMAND: Final = str(Path(sys.executable).with_name("streamgauge"))
LIFE_S: Final = 1800.0
SETTLE_S: Final = 120.0
POLL_S: Final = 0.02
REQUEST_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Settled:
    """When, on the monotonic clock, all that was sent was aggregated, and when it was committed."""

    aggregated: float
    committed: float


@dataclass(frozen=True, slots=True)
class Gauge:
    """A running server. child: its process."""

    child: Child
    port: int

    def ask(self, path: str, question: Any = None) -> dict[str, Any]:
        """Ask its API; with a question, by POST."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_S)
        try:
            body = None if question is None else msgspec.json.encode(question)
            connection.request(
                "GET" if body is None else "POST", path, body, {"Content-Type": "application/json"}
            )
            answer = connection.getresponse()
            content = answer.read()
        except OSError as exc:
            raise BenchmarkFailed(f"{path} was not answered: {exc}") from exc
        finally:
            connection.close()
        if answer.status >= http.HTTPStatus.BAD_REQUEST:
            raise BenchmarkFailed(f"{path} answered {answer.status}: {content[:500]!r}")
        return msgspec.json.decode(content, type=dict[str, Any])

    def metric(self, name: str) -> float:
        """Read a figure without labels off its `/metrics`."""
        with urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=REQUEST_S) as answer:
            found = re.search(rb"^%s ([\d.e+-]+)$" % name.encode(), answer.read(), re.MULTILINE)
        if found is None:
            raise BenchmarkFailed(f"/metrics has no {name}")
        return float(found[1])

    def counted(self) -> int:
        """How many events the metric `events` has."""
        series = self.ask("/api/metrics/events?from=all&aggregates=count")["series"]
        return sum(one["totals"]["count"] for one in series)

    def latency_ms(self, from_ms: int, to_ms: int) -> dict[str, float]:
        """Give p50, p99 and max of the time from received to aggregated, as the server itself measures it."""
        path = f"/api/metrics/latency?from={from_ms}&to={to_ms}&aggregates=p50,p99,max"
        series = self.ask(path)["series"]
        if not series:
            raise BenchmarkFailed(f"{path}: no events in this range")
        totals: dict[str, float] = series[0]["totals"]
        return totals

    def settle(self, accepted: int) -> Settled:
        """Wait until everything is aggregated and committed; raises BenchmarkFailed when it takes too long."""
        deadline = time.monotonic() + SETTLE_S
        while self.counted() < accepted and time.monotonic() < deadline:
            time.sleep(POLL_S)
        aggregated = time.monotonic()
        while self.ask("/api/ledger")["pending"]:
            if time.monotonic() > deadline:
                raise BenchmarkFailed(f"not committed after {SETTLE_S:g} s: {self.ask('/api/ledger')}")
            time.sleep(POLL_S)
        return Settled(aggregated, time.monotonic())

    def check(self, accepted: int, *, raw_events: bool) -> None:
        """Raise BenchmarkFailed unless every place that counts has as many events as the sender was told."""
        ledger = self.ask("/api/ledger")
        counts = {"received": ledger["received"], "stored": ledger["stored"], "metric": self.counted()}
        if raw_events:
            counts["table"] = self.ask("/api/query", {"sql": "SELECT count(*) FROM events"})["rows"][0][0]
        check_counts(accepted, counts)


def check_counts(accepted: int, counts: Mapping[str, int]) -> None:
    """Raise BenchmarkFailed, with all counts, unless each is what was accepted."""
    if any(count != accepted for count in counts.values()):
        found = ", ".join(f"{place} {count:,}" for place, count in counts.items())
        raise BenchmarkFailed(f"the counts differ: the sender was told {accepted:,} accepted, but {found}")


@contextmanager
def gauge(setting: Setting, options: str = "") -> Iterator[Gauge]:
    """Run a server with an empty data folder. options: a configuration file's text."""
    with tempfile.TemporaryDirectory(dir=setting.folder) as folder:
        config = Path(folder, "streamgauge.toml")
        config.write_text(options)
        command = [COMMAND, "serve", str(config), "--data", str(Path(folder, "data")), "--port", "0"]
        with running(command, log=Path(folder, "server.log"), timeout_s=LIFE_S) as child:
            yield Gauge(child, _port(child))


def _port(child: Child) -> int:
    """Read the port off the first address that the server prints."""
    while (found := re.search(rb"http://[^\s/]+:(\d+)", child.line())) is None:
        pass
    return int(found[1])


@contextmanager
def decode_only(setting: Setting) -> Iterator[Gauge]:
    """Run the decode-only application, which has no API."""
    with program("decode_only", {}, folder=setting.folder, timeout_s=LIFE_S) as child:
        yield Gauge(child, child.result(int))
