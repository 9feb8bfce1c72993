"""The configurations of which a data folder's journal speaks: their hashes, and their texts, kept in `configurations/`.

`<hash>.json` holds the sections that decide what is computed of events, `<hash>.py` the module. A replay reads them
where events were accepted under another configuration than today's.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from streamgauge.durable import make_folder, write_file

FOLDER: Final = "configurations"
SECTIONS: Final = ("events", "metric", "transform")
MOST_KEPT: Final = 100  # more than can be in the part of a journal that is not committed


@dataclass(frozen=True, slots=True)
class Kept:
    """A configuration's text. sections: those that decide what is computed; module: the text of the user's module."""

    sections: Mapping[str, Any]
    module: bytes | None = None

    @property
    def hash(self) -> str:
        """Names what decides what is computed: sixteen hexadecimal digits."""
        parts = [self.sections.get(name) for name in SECTIONS]
        derived = list(self.sections.get("transform", {}).get("derive", ()))
        parts += [derived] if len(derived) > 1 else []  # their order matters, and the keys below are sorted
        parts += [] if self.module is None else [hashlib.sha256(self.module).hexdigest()]
        return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()[:16]


class Configurations:
    """Keeps texts in a folder, the newest hundred of them. Blocks."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, kept: Kept) -> None:
        """Keep a text, so that it is on the disk before the journal speaks of it. Raises OSError."""
        make_folder(self._folder)
        text, module = self._files(kept.hash)
        if self.find(kept.hash) is None:
            if kept.module is not None:
                write_file(module, kept.module)
            write_file(text, msgspec.json.format(msgspec.json.encode(kept.sections)))
        else:
            os.utime(text)
        self._tidy()

    def find(self, configuration: str) -> Kept | None:
        """Give the text of that hash; None where it is not there, or is not what it was."""
        text, module = self._files(configuration)
        try:
            sections = msgspec.json.decode(text.read_bytes(), type=dict[str, Any])
            source = module.read_bytes() if module.exists() else None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None
        kept = Kept(sections, source)
        return kept if kept.hash == configuration else None

    def newest_first(self) -> Iterator[Kept]:
        """Give all texts that are there, the one that was in force last before the others."""
        ages = {path: path.stat().st_mtime_ns for path in self._folder.glob("*.json")}
        for path in sorted(ages, key=ages.__getitem__, reverse=True):
            kept = self.find(path.stem)
            if kept is not None:
                yield kept

    def _files(self, configuration: str) -> tuple[Path, Path]:
        return self._folder / f"{configuration}.json", self._folder / f"{configuration}.py"

    def _tidy(self) -> None:
        ages = {path: path.stat().st_mtime_ns for path in self._folder.glob("*.json")}
        for path in sorted(ages, key=ages.__getitem__)[:-MOST_KEPT]:
            with suppress(FileNotFoundError):
                path.unlink()
            path.with_suffix(".py").unlink(missing_ok=True)
