"""Asking a server that runs: the one at an address, or the one that owns a data folder."""

from __future__ import annotations

import http.client
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import msgspec

from streamgauge.errors import DataFolderInUse, StreamgaugeError
from streamgauge.journals.lock import lock_folder
from streamgauge.store import Table

ADDRESS_FILE: Final = "address"
TIMEOUT_S: Final = 30.0


class RemoteError(StreamgaugeError):
    """A server could not be asked, or would not answer."""


class Remote:
    """A running server's API."""

    def __init__(self, url: str) -> None:
        self._url = url if "//" in url else f"http://{url}"

    @classmethod
    def owner_of(cls, data: Path) -> Self | None:
        """Give the server that owns a data folder; None where none does."""
        if not data.is_dir():
            return None
        try:
            lock_folder(data).release()
        except DataFolderInUse as exc:
            file = data / ADDRESS_FILE
            if not file.exists():
                raise RemoteError(f"{data}: in use by a program that is not listening (yet)") from exc
            return cls(file.read_text().strip())
        return None

    def query(self, sql: str) -> Table:
        """Answer one SELECT."""
        answer = self._post("/api/query", {"sql": sql})
        return Table(columns=answer["columns"], rows=answer["rows"], truncated=answer["truncated"])

    def _post(self, path: str, body: object) -> Any:
        parts = urlsplit(self._url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        connection = kind(parts.hostname or "localhost", parts.port, timeout=TIMEOUT_S)
        try:
            connection.request("POST", path, msgspec.json.encode(body), {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = msgspec.json.decode(response.read())
        except (OSError, http.client.HTTPException, msgspec.DecodeError) as exc:
            raise RemoteError(f"{self._url} cannot be asked: {exc}") from exc
        finally:
            connection.close()
        if response.status != 200:
            raise RemoteError(f"{self._url} answered {response.status}: {answer.get('detail', answer)}")
        return answer
