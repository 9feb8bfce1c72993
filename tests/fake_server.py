"""A server that takes events as ours does, and refuses when it is told to: the edge that replays talk to."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit


@dataclass
class Refusal:
    """One answer that takes nothing. hang_up: break the connection instead."""

    status: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b'{"detail": "no room"}'
    hang_up: bool = False


class FakeServer:
    """Answers every `POST /api/events` with 202, unless the next of `answers` is a refusal; None stands for 202.

    fields: which field it says plays which part. connections: those over which events came.
    """

    def __init__(self, *answers: Refusal | None, fields: dict[str, str] | None = None) -> None:
        self.answers = list(answers)
        self.fields = fields
        self.bodies: list[bytes] = []
        self.queries: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []  # of every request
        self.requests = 0
        self.connections = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def events(self) -> list[Any]:
        """Everything that was accepted, in order."""
        return [json.loads(line) for body in self.bodies for line in body.splitlines()]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 2**16  # one packet for an answer, which is not held back then

            has_sent = False

            def do_GET(self) -> None:
                known = self.path == "/api/sources" and fake.fields is not None
                self._answer(200 if known else 404, {}, json.dumps({"fields": fake.fields}).encode())

            def do_POST(self) -> None:
                fake.connections += not self.has_sent
                self.has_sent = True
                body = self.rfile.read(int(self.headers["Content-Length"]))
                fake.requests += 1
                fake.headers.append({name.lower(): value for name, value in self.headers.items()})
                refusal = fake.answers.pop(0) if fake.answers else None
                if refusal is None:
                    fake.bodies.append(body)
                    fake.queries.append(dict(parse_qsl(urlsplit(self.path).query)))
                    self._answer(202, {}, json.dumps({"accepted": body.count(b"\n")}).encode())
                elif refusal.hang_up:
                    self.close_connection = True
                else:
                    self._answer(refusal.status, refusal.headers, refusal.body)

            def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  the base class's name
                return

        return Handler
