"""`streamgauge verify`: derives everything again from the raw events, and tells what is stored otherwise."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from streamgauge.commands.where import Config, Data, Url
from streamgauge.verify import Difference, Report

DIFFERENT: Final = 1
UNKNOWN: Final = 3  # of some rows nothing says how they were computed
MOST_SHOWN: Final = 50
Verified = Callable[[str | None, str | None, Path | None], Report]


def register(cli: typer.Typer, verified: Verified, plain_errors: Callable[[Any], Any]) -> None:
    """Add the command to the command line. verified: verifies what --url, --data and --config name."""

    @cli.command(epilog="Example: streamgauge verify --data ./data")
    @plain_errors
    def verify(
        *,
        data: Data = None,
        url: Url = None,
        config_file: Config = None,
        as_json: Annotated[bool, typer.Option("--json", help="Print all of it as JSON.")] = False,
    ) -> None:
        """Check that all figures follow from the raw events. Ends with 1 where they do not; changes nothing."""
        report = verified(url, data, config_file)
        if as_json:
            print(msgspec.json.format(msgspec.json.encode(report)).decode())
        else:
            tell(report)
        if not report.ok:
            raise typer.Exit(DIFFERENT)
        if report.unknown_rows:
            raise typer.Exit(UNKNOWN)


def tell(report: Report) -> None:
    """Say in words what a verification found."""
    checked = report.checked
    span = f" ({checked.days[0]} to {checked.days[-1]})" if len(checked.days) > 1 else ""
    print(
        f"verified {_many(checked.events, 'event')} of {_many(len(checked.days), 'day')}{span},"
        f" {_many(checked.rollup_rows, 'rollup row')} of {_many(len(checked.metrics), 'metric')},"
        f" {_many(checked.epochs, 'epoch')}, {_many(checked.appends, 'journal record')},"
        f" {_many(checked.dead_letters, 'dead letter')} in {report.seconds:.1f} s"
    )
    if report.pending_events:
        verb = "is" if report.pending_events == 1 else "are"
        print(f"{_many(report.pending_events, 'event')} of the journal {verb} not committed yet")
    for left_out in report.not_checked:
        print(f"not checked: {left_out}")
    if not report.complete:
        print("not checked: the rest, since the time was up")
    if report.ok:
        print("no differences" + _but_unknown(report))
        return
    print(f"{_many(report.total, 'difference')}:")
    _tell_differences(report)


def _but_unknown(report: Report) -> str:
    if not report.unknown_rows:
        return ""
    rows = _many(report.unknown_rows, "rollup row")
    return f" in what was checked; {rows} could not be, as their metrics are not known: name the configuration with --config"


def _tell_differences(report: Report) -> None:
    shown = Table("kind", "where", "what", "expected", "found", header_style="bold", box=None)
    for one in report.differences[:MOST_SHOWN]:
        shown.add_row(*map(escape, (one.kind, where(one), one.what, one.expected, one.found)))
    console = Console()
    if not console.is_terminal:
        console.width = 200
    console.print(shown)
    if report.total > MOST_SHOWN:
        print(
            f"(the first {min(MOST_SHOWN, report.total)}; --json gives {len(report.differences):,} of them)"
        )


def _many(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def where(one: Difference) -> str:
    """Say where a difference is."""
    if one.metric is None:
        return one.place
    size = f" ({one.resolution} s)" if one.resolution != 1 else ""
    return f"{one.metric} {one.series} at {_moment(one.bucket)}{size}, {one.place}"


def _moment(bucket: int | None) -> str:
    try:
        return datetime.fromtimestamp(bucket or 0, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"second {bucket}"


__all__ = ["register", "tell", "where"]
