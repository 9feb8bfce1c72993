"""`python -m benchmarks`: run all or some, print a report, and write it as JSON or as a page."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import NoReturn

import msgspec
from rich.console import Console

from benchmarks import machine
from benchmarks.registry import BENCHMARKS
from benchmarks.report import Report, Section, cells, page, table
from benchmarks.row import Benchmark, BenchmarkFailed, Row, Setting


def arguments(given: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Streamgauge on this machine."
    )
    parser.add_argument(
        "--quick", action="store_true", help="short: shows that it works; the figures mean little"
    )
    names = [benchmark.name for benchmark in BENCHMARKS]
    parser.add_argument(
        "--only", nargs="+", choices=names, default=names, metavar="NAME", help=", ".join(names)
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument(
        "--markdown", type=Path, metavar="FILE", help="write a page there, unless something failed"
    )
    return parser.parse_args(given)


def command_of(given: argparse.Namespace) -> str:
    """Give the command that repeats a run and writes the page."""
    words = ["python", "-m", "benchmarks", *(["--quick"] if given.quick else [])]
    if set(given.only) != {benchmark.name for benchmark in BENCHMARKS}:
        words += ["--only", *given.only]
    return " ".join([*words, "--markdown", "docs/benchmarks.md"])


def measure(benchmark: Benchmark, setting: Setting, console: Console) -> Section:
    """Run one benchmark; what it gave before it failed is kept."""
    console.print(f"[bold]{benchmark.about}")
    rows: list[Row] = []
    failure = None
    try:
        for row in benchmark.run(setting):
            rows.append(row)
            console.print("  " + "  ".join(filter(None, cells(row))), highlight=False)
    except BenchmarkFailed as exc:
        failure = str(exc)
        console.print(f"  FAILED: {failure}", style="red", markup=False)
    return Section(name=benchmark.name, about=benchmark.about, rows=tuple(rows), failure=failure)


def end(_sign: int, _frame: FrameType | None) -> NoReturn:
    """End in good order, so that every process that was started is stopped."""
    raise SystemExit(1)


def main() -> int:
    given = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)
    console, about = Console(stderr=True), machine.describe()
    with tempfile.TemporaryDirectory(prefix="streamgauge-benchmarks-") as folder:
        setting = Setting(quick=given.quick, folder=Path(folder))
        sections = [measure(one, setting, console) for one in BENCHMARKS if one.name in given.only]
    report = Report(
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        command=command_of(given),
        quick=given.quick,
        machine=about,
        sections=sections,
    )
    Console().print(table(sections))
    if given.json:
        given.json.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    if given.markdown and not report.failures:
        given.markdown.write_text(page(report))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
