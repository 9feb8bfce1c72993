"""What is answered to a request that the application never sees."""

from dataclasses import dataclass
from http import HTTPStatus

import msgspec


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused, as RFC 9457 has it."""

    status: HTTPStatus
    code: str
    detail: str

    def response(self, headers: list[tuple[bytes, bytes]]) -> bytes:
        """Write the answer, after which the connection is closed."""
        body = msgspec.json.encode(
            {
                "title": self.status.phrase,
                "status": int(self.status),
                "code": self.code,
                "detail": self.detail,
            }
        )
        lines = [
            f"HTTP/1.1 {int(self.status)} {self.status.phrase}".encode(),
            *(name + b": " + value for name, value in headers),
            b"content-type: application/problem+json",
            b"content-length: %d" % len(body),
            b"connection: close",
            b"",
            body,
        ]
        return b"\r\n".join(lines)


def malformed(problem: str) -> Refusal:
    """Refuse what cannot be read, or could be read in two ways."""
    return Refusal(HTTPStatus.BAD_REQUEST, "malformed", problem)


def late(part: str, timeout_s: float) -> Refusal:
    """Refuse a request whose header or body takes too long."""
    return Refusal(
        HTTPStatus.REQUEST_TIMEOUT, f"{part}_timeout", f"the {part} was not complete within {timeout_s:g} s"
    )


def too_many_connections() -> Refusal:
    """Refuse a connection for which there is no room."""
    return Refusal(
        HTTPStatus.SERVICE_UNAVAILABLE, "connections", "there are too many connections; try again later"
    )
