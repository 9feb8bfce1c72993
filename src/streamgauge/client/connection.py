"""One HTTP connection to a server, kept open: the client's only socket."""

from __future__ import annotations

import gzip
import http.client
import re
import socket
import time
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from streamgauge.client.buffer import Batch
from streamgauge.errors import OptionError

IDLE_S: Final = 4.0  # a connection unused for longer may have been closed by the server, which waits for 5 s
MOST_ANSWER_BYTES: Final = 2**20
VISIBLE: Final = re.compile(r"[!-~]+")
BROKEN: Final = (OSError, http.client.HTTPException)
CLOSED_ON_US: Final = (ConnectionResetError, BrokenPipeError, http.client.RemoteDisconnected)

Answer = tuple[int, str, bytes]  # status, `Retry-After` or "", body


class Target:
    """Where events are sent: an address as people write it, `localhost:4000` too, and what the requests say.

    Raises OptionError for what is no address, or a key that cannot stand in a header.
    """

    def __init__(self, url: str, key: str | None) -> None:
        text = (url if "://" in url else f"http://{url}").rstrip("/")
        try:
            parts = urlsplit(text)
            usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:  # a port that is no number, or brackets that do not close
            usable = False
        if not usable or parts.query or parts.fragment or not VISIBLE.fullmatch(text):
            raise OptionError("url", f"no server's address: {url[:200]!r}", "as http://localhost:4000")
        if key is not None and not VISIBLE.fullmatch(key):
            raise OptionError("key", "has characters that a header cannot carry", "give it as it was made")
        self.url, self.path = text, f"{parts.path}/api/events"
        self.secure, self.host, self.port = parts.scheme == "https", parts.hostname or "", parts.port
        self.headers = {"Content-Type": "application/x-ndjson", "Streamgauge-Door": "python"}
        if key is not None:
            self.headers["Authorization"] = f"Bearer {key}"


class Connection:
    """Posts batches, one at a time. Opens when it is needed."""

    def __init__(self, target: Target, *, timeout_s: float, compress: bool) -> None:
        self._target, self._compress = target, compress
        kind = http.client.HTTPSConnection if target.secure else http.client.HTTPConnection
        self._http = kind(target.host, target.port, timeout=timeout_s)
        self._used_at = 0.0

    def post(self, batch: Batch) -> Answer:
        """Send a batch and wait for the answer. Raises BROKEN; whether it was accepted is then not known."""
        reused = self._http.sock is not None and time.monotonic() - self._used_at <= IDLE_S
        if not reused:
            self.close()
        body = gzip.compress(batch.body, 6) if self._compress else batch.body
        headers = {**self._target.headers, "Idempotency-Key": batch.key}
        if self._compress:
            headers["Content-Encoding"] = "gzip"
        try:
            return self._post(body, headers)
        except (
            CLOSED_ON_US
        ):  # a server may close what is idle at any moment; the key makes it safe to ask again
            self.close()
            if not reused:
                raise
        except BROKEN:
            self.close()
            raise
        try:
            return self._post(body, headers)
        except BROKEN:
            self.close()
            raise

    def _post(self, body: bytes, headers: dict[str, str]) -> Answer:
        self._http.request("POST", self._target.path, body, headers)
        response = self._http.getresponse()
        text = response.read(MOST_ANSWER_BYTES)
        if not response.isclosed():  # there is more, which nobody wants
            self.close()
        self._used_at = time.monotonic()
        return response.status, response.getheader("Retry-After") or "", text

    def abort(self) -> None:
        """End what is under way, from another thread."""
        sock = self._http.sock
        if sock is not None:
            with suppress(OSError):  # it has ended in the meantime
                sock.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let go of the socket."""
        self._http.close()
