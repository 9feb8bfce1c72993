"""Asking a server that runs: the one at an address, or the one that owns a data folder."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import urlsplit

import msgspec

from streamgauge.errors import DataFolderInUse, StreamgaugeError
from streamgauge.journals.lock import LOCK_FILE, lock_folder
from streamgauge.store import Table

T = TypeVar("T")

ADDRESS_FILE: Final = "address"
INSTANCE_FILE: Final = "instance"  # every data folder that was ever opened has it
TIMEOUT_S: Final = 30.0


class RemoteError(StreamgaugeError):
    """A server could not be asked, or would not answer."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is: `http://host:port`, or what stands before `/api` where it is behind a proxy."""

    url: str

    @classmethod
    def read(cls, text: str) -> Self:
        """Read an address as people write it, `localhost:4000` too. Raises RemoteError."""
        url = (text if "://" in text else f"http://{text}").rstrip("/")
        try:
            parts = urlsplit(url)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, or brackets that do not close
            usable = False
        if not usable or parts.query or parts.fragment or " " in url:
            raise RemoteError(f"--url: expected something like http://localhost:4000, got {text[:200]!r}")
        return cls(url)

    @property
    def path(self) -> str:
        """What stands before the API's own paths."""
        return urlsplit(self.url).path

    def connect(self, timeout_s: float) -> http.client.HTTPConnection:
        """Give a connection, which opens when it is used."""
        parts = urlsplit(self.url)
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        return kind(parts.hostname or "", parts.port, timeout=timeout_s)


class _Rows(msgspec.Struct):
    columns: list[str]
    rows: list[list[Any]]
    truncated: bool = False


class Remote:
    """A running server's API."""

    def __init__(self, url: str) -> None:
        self._address = Address.read(url)

    @property
    def url(self) -> str:
        """Where it is."""
        return self._address.url

    @classmethod
    def owner_of(cls, data: Path) -> Self | None:
        """Give the server that owns a data folder; None where none does."""
        if not (data / LOCK_FILE).exists():  # taking the lock would make the file, in whatever folder that is
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
        status, text = self._post("/api/query", {"sql": sql})
        try:
            if status == http.client.OK:
                answer = msgspec.json.decode(text, type=_Rows)
                return Table(columns=answer.columns, rows=answer.rows, truncated=answer.truncated)
        except msgspec.DecodeError as exc:
            raise RemoteError(f"{self._address.url} is no Streamgauge server: {exc}") from exc
        raise RemoteError(f"{self._address.url} answered {status}: {detail_of(text)}")

    def call(
        self, method: str, path: str, kind: type[T], body: object = None, *, timeout_s: float = TIMEOUT_S
    ) -> T:
        """Give what a path of the API answers, as `kind`. Raises RemoteError for anything but success."""
        status, text = self._ask(method, path, body, timeout_s)
        if not http.client.OK <= status < http.client.MULTIPLE_CHOICES:
            raise RemoteError(f"{self._address.url} answered {status}: {detail_of(text)}")
        try:
            return msgspec.json.decode(text, type=kind)
        except msgspec.DecodeError as exc:
            raise RemoteError(f"{self._address.url} is no Streamgauge server: {exc}") from exc

    def download(self, path: str) -> Iterator[bytes]:
        """Give what a path answers, in pieces, however long it is. Raises RemoteError."""
        connection = self._address.connect(TIMEOUT_S)
        try:
            connection.request("GET", self._address.path + path)
            response = connection.getresponse()
            if response.status != http.client.OK:
                problem = detail_of(response.read())
                raise RemoteError(f"{self._address.url} answered {response.status}: {problem}")
            while chunk := response.read(1 << 20):
                yield chunk
        except (OSError, http.client.HTTPException) as exc:
            raise RemoteError(unreachable(self._address, exc)) from exc
        finally:
            connection.close()

    def _post(self, path: str, body: object) -> tuple[int, bytes]:
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: object, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
        connection = self._address.connect(timeout_s)
        headers = {} if body is None else {"Content-Type": "application/json"}
        content = None if body is None else msgspec.json.encode(body)
        try:
            connection.request(method, self._address.path + path, content, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException) as exc:
            raise RemoteError(unreachable(self._address, exc)) from exc
        finally:
            connection.close()


def unreachable(address: Address, error: Exception) -> str:
    """Say that a server cannot be talked to, and why."""
    why = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return f"{address.url} cannot be reached: {why}; is a server running there?"


def detail_of(text: bytes) -> str:
    """Give what an answer that is an error says, in one line, whoever sent it."""
    try:
        answer = msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError):
        answer = None
    detail = answer.get("detail") if isinstance(answer, dict) else None
    return " ".join(str(detail or text[:200].decode(errors="replace")).split())
