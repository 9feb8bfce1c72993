"""A user's module as it was when the server started, and what running it may cost."""

from __future__ import annotations

import ast
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from streamgauge.errors import OptionError

OPTION: Final = "transform.module"
MOST_SOURCE: Final = 2**20


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What a worker process runs. deadline_s: for one slice; memory_bytes: of address space; event_bytes: of one event."""

    path: str
    source: bytes
    deadline_s: float
    memory_bytes: int
    event_bytes: int

    @classmethod
    def read(cls, path: str, *, deadline_s: float, memory_bytes: int, event_bytes: int) -> Self:
        """Read a module. Raises OptionError where there is none, or it is no Python."""
        file = Path(path)
        try:
            with file.open("rb") as opened:
                source = opened.read(MOST_SOURCE + 1)
        except OSError as exc:
            raise OptionError(
                OPTION, f"{path}: {exc.strerror or exc}", "name a Python file that is there"
            ) from exc
        if len(source) > MOST_SOURCE:
            raise OptionError(OPTION, f"{path}: more than {MOST_SOURCE} bytes", "import the rest of it")
        try:
            ast.parse(source, path)
        except (SyntaxError, ValueError, RecursionError) as exc:
            raise broken(
                path, getattr(exc, "lineno", 0) or 0, f"{type(exc).__name__}: {getattr(exc, 'msg', exc)}"
            ) from exc
        return cls(
            path=str(file.resolve()),
            source=source,
            deadline_s=deadline_s,
            memory_bytes=memory_bytes,
            event_bytes=event_bytes,
        )

    @property
    def digest(self) -> str:
        """Names the text of the module."""
        return hashlib.sha256(self.source).hexdigest()


def broken(path: str, line: int, problem: str) -> OptionError:
    """Say that a module cannot be used, where and why."""
    place = f"{path}, line {line}" if line else path
    return OptionError(
        OPTION, f"{place}: {problem}", "mend it: `def transform(event): ...` takes and gives a dict"
    )
