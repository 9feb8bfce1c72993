"""The report: on the terminal, as JSON, and as the page `docs/benchmarks.md`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from rich.table import Table

from benchmarks.row import Row

HEADINGS = ("benchmark", "figure", "beside it", "ratio")


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """One benchmark's rows. failure: why there are no more of them."""

    name: str
    about: str
    rows: tuple[Row, ...]
    failure: str | None = None


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run. date: ISO 8601, UTC; command: what repeats it."""

    date: str
    command: str
    quick: bool
    machine: Mapping[str, str]
    sections: Sequence[Section]

    @property
    def failures(self) -> list[str]:
        """Why it failed; [] is how it should be."""
        return [f"{section.name}: {section.failure}" for section in self.sections if section.failure]


def number(value: float) -> str:
    """Write a figure with three digits that matter, or all of its whole ones."""
    if value != value:  # noqa: PLR0124  NaN: nothing was measured
        return "n/a"
    size = abs(value)
    digits = 0 if size >= 100 or size == 0 else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:,.{digits}f}"


def cells(row: Row) -> tuple[str, str, str, str]:
    """Give a row's cells, under `HEADINGS`."""
    beside = "" if row.reference_figure is None else f"{number(row.reference_figure)} ({row.reference})"
    ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
    return row.name, f"{number(row.figure)} {row.unit}", beside, ratio


def table(sections: Sequence[Section]) -> Table:
    """Give the report for a terminal."""
    shown = Table(*HEADINGS, header_style="bold", box=None)
    for section in sections:
        shown.add_section()
        for row in section.rows:
            shown.add_row(*cells(row))
        if section.failure:
            shown.add_row(section.name, "FAILED")
    return shown


def page(report: Report) -> str:
    """Give the report as a page of documentation."""
    parts = [_introduction(report), _markdown_table(("machine", ""), list(report.machine.items()))]
    parts += [_section(section) for section in report.sections]
    parts.append(_repeat(report))
    return "\n\n".join(parts) + "\n"


def _introduction(report: Report) -> str:
    form = "the quick form, which only shows that everything works" if report.quick else "the full form"
    return f"""# Benchmarks

Made by `{report.command}` on {report.date}, {form}. Server, sender and viewers are processes of their own and share
one machine; all traffic is on 127.0.0.1. *Beside it* is what was measured in the same run for comparison, and *ratio*
is the figure divided by it. The *decode-only application* runs on the same server classes, reads each body, decodes the
reserved fields and answers: it keeps, checks and counts nothing.

Figures of another machine differ; ratios less so."""


def _section(section: Section) -> str:
    rows = _markdown_table((*HEADINGS, "what"), [(*cells(row), row.what) for row in section.rows])
    notes = "\n".join(f"- {row.name}: {row.notes}." for row in section.rows if row.notes)
    failure = f"Failed: {section.failure}" if section.failure else ""
    return "\n\n".join(part for part in (f"## {section.about}", rows, notes, failure) if part)


def _markdown_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _repeat(report: Report) -> str:
    return f"""## Repeat it

```sh
{report.command}
```

`--quick` shortens everything to less than two minutes in all, `--only NAME` runs one benchmark, `--json FILE` keeps the
figures. The machine should have nothing else to do. Real events are sent too where a folder with
`retail_orders.ndjson.gz` is named by `STREAMGAUGE_DATA`."""
