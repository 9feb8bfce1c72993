"""Where in a configuration file an option stands: its line, and the name of the metric or source that it belongs to."""

from __future__ import annotations

import re
from pathlib import Path

ENTRY = re.compile(r"(metric|source)\[(\d+)\](?:\.(\w+))?")
SECTION = re.compile(r"([\w.]+)\.(\w+)|(\w+)")


def place_of(option: str, file: Path) -> str:
    """Say where an option stands, as ` (metric "rev", line 3)`; nothing where that cannot be told.

    option: its path, as `metric[0].where`. It is told by the headings of sections, so of inline tables nothing is said.
    """
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    entry, section = ENTRY.match(option), SECTION.match(option)
    if entry is not None:
        return _entry_place(lines, entry[1], int(entry[2]), entry[3] or "")
    if section is None:
        return ""
    table, key = (section[1], section[2]) if section[1] else ("", section[3])
    start = _heading(lines, rf"\[\s*{re.escape(table)}\s*\]", 0) if table else 0
    line = None if start is None else _key(lines, start, key)
    return "" if line is None else f" (line {line})"


def _entry_place(lines: list[str], table: str, index: int, key: str) -> str:
    start = _heading(lines, rf"\[\[\s*{table}\s*\]\]", index)
    if start is None:
        return ""
    named = _key(lines, start, "name")
    name = None if named is None else re.search(r"=\s*([\"'])(.*?)\1", lines[named - 1])
    whose = f'{table} "{name[2]}", ' if name is not None else ""
    return f" ({whose}line {(_key(lines, start, key) if key else None) or start})"


def _heading(lines: list[str], pattern: str, index: int) -> int | None:
    """Give the number of the line with a section's heading, the index-th of those; counted from 1."""
    found = [number for number, line in enumerate(lines, 1) if re.match(rf"\s*{pattern}", line)]
    return found[index] if index < len(found) else None


def _key(lines: list[str], start: int, key: str) -> int | None:
    """Give the number of the line where a key stands, before the next heading."""
    for number, line in enumerate(lines[start:], start + 1):
        if re.match(r"\s*\[", line):
            return None
        if re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
            return number
    return None
