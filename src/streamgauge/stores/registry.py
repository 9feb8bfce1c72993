"""Which store a URL names: a new store is one file and one line here."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from streamgauge.audit import Audit
from streamgauge.errors import OptionError, StoreError
from streamgauge.store import Store
from streamgauge.stores.audit import DuckDBAudit
from streamgauge.stores.duckdb import DuckDBStore


def _duckdb(path: str, memory_limit_bytes: int) -> Store:
    return DuckDBStore.open(None if path == ":memory:" else Path(path), memory_limit_bytes=memory_limit_bytes)


def _duckdb_audit(path: str, memory_limit_bytes: int) -> Audit:
    if not Path(path).is_file():
        raise StoreError(f"{path}: there is no store to look at")
    return DuckDBAudit.open(Path(path), memory_limit_bytes=memory_limit_bytes)


STORES: Final[dict[str, Callable[[str, int], Store]]] = {"duckdb": _duckdb}
IN_FILES: Final = frozenset({"duckdb"})
AUDITS: Final[dict[str, Callable[[str, int], Audit]]] = {"duckdb": _duckdb_audit}


def open_store(url: str, *, memory_limit_bytes: int) -> Store:
    """Open the store that a URL such as `duckdb:///data/streamgauge.duckdb` names; blocks."""
    scheme, path = _parts(url)
    return STORES[scheme](path, memory_limit_bytes)


def open_audit(url: str, *, memory_limit_bytes: int) -> Audit:
    """Look at the store that a URL names and that nobody has open, without changing anything; blocks."""
    scheme, path = _parts(url)
    return AUDITS[scheme](path, memory_limit_bytes)


def file_of(url: str) -> Path | None:
    """Give the file that a URL names; None where the store is none."""
    scheme, path = _parts(url)
    return Path(path) if scheme in IN_FILES and path != ":memory:" else None


def _parts(url: str) -> tuple[str, str]:
    scheme = urlsplit(url).scheme
    if scheme not in STORES:
        near = difflib.get_close_matches(scheme, STORES, 1)
        fix = (
            f"did you mean {near[0]}://?"
            if near
            else f"use one of {', '.join(f'{name}://' for name in STORES)}"
        )
        raise OptionError("store.url", f"no store for {scheme}://", fix)
    return scheme, url.removeprefix(f"{scheme}://").removeprefix("/")
