"""Whether files that are in use still stand under their names: written to behind their back, nothing in them outlives us."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from streamgauge.errors import FilesGone


class InPlace:
    """Remembers which files stand under their names now.

    files: of those, what cannot be looked at is left out.
    """

    def __init__(self, files: Iterable[Path]) -> None:
        self._known = {file: found for file in files if (found := _look(file)) is not None}

    def check(self) -> None:
        """Raise FilesGone where a file was taken away, or another was put in its place.

        Where the system does not tell (no permission, an I/O error), the file is taken to be there: whoever reads or
        writes it will hear more.
        """
        for file, known in self._known.items():
            if not is_same(file, known):
                raise FilesGone(str(file))


def is_same(file: Path, known: os.stat_result) -> bool:
    """Whether a name still leads to a file that is known."""
    try:
        return os.path.samestat(known, file.stat())
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True


def _look(file: Path) -> os.stat_result | None:
    try:
        return file.stat()
    except OSError:
        return None
