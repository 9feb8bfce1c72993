"""Who may ask: the names that the server answers to, and the web pages that may use it.

A browser reaches what listens on loopback for any page that it shows. Two of its headers tell: `Host`, the name that the
page used (a foreign one resolves to this machine only where somebody made it do so: DNS rebinding), and `Origin`, the
page's own address (where that is missing, `Sec-Fetch-Site`). Programs send neither `Origin` nor `Sec-Fetch-Site`.
"""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from streamgauge.config import is_loopback
from streamgauge.options import ServerOptions
from streamgauge.web.protocols.refusal import Refusal

API: Final = "/api/"
EVENTS_PATH: Final = "/api/events"
LOCAL_NAMES: Final = ("localhost", "127.0.0.1", "[::1]")
LONGEST_SHOWN: Final = 200

Fields = Mapping[bytes, bytes]
Header = tuple[bytes, bytes]

_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^:\[\]]+)(?::[0-9]*)?")
_READING: Final = frozenset({"GET", "HEAD"})
_SENDING: Final = frozenset({"POST", "OPTIONS"})
_OTHER_SITES: Final = frozenset({b"cross-site"})  # may not read
_OTHER_ORIGINS: Final = _OTHER_SITES | {b"same-site"}  # may not write
_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Access:
    """Which names the server answers to (None: to any), and which other origins' pages may send events."""

    hosts: frozenset[str] | None = None
    origins: frozenset[str] = frozenset()

    def answers_to(self, host: bytes) -> bool:
        """Tell whether a `Host` header names this server. Without one it does: every browser sends it."""
        if self.hosts is None or not host:
            return True
        found = _HOST.fullmatch(host.decode("latin-1").lower())
        if found is None:
            return False
        name = found[1].removesuffix(".")
        return name in self.hosts or is_loopback(name.strip("[]"))

    def sender(self, fields: Fields) -> bytes | None:
        """Give the origin of a page whose events are taken although it is another one's; None for everybody else."""
        origin = fields.get(b"origin", b"")
        return origin if origin.decode("latin-1") in self.origins else None


def access_of(server: ServerOptions, *, mounted: bool = False) -> Access:
    """Give what the options say. mounted: inside another application, whose business the names are."""
    origins = frozenset(map(_without_default_port, server.allowed_origins))
    if mounted or not (server.allowed_hosts or is_loopback(server.host)):
        return Access(None, origins)
    names = (*LOCAL_NAMES, server.host, *server.allowed_hosts)
    return Access(frozenset(name.lower().removesuffix(".") for name in names), origins)


def refusal(
    access: Access, method: str, path: str, fields: Fields, doors: Container[str] = ()
) -> Refusal | None:
    """Say why a request is refused, from its header alone; None where it may be served.

    doors: further addresses that take events.
    """
    host = fields.get(b"host", b"")
    if not access.answers_to(host):
        return _unknown_host(host)
    is_door = path == EVENTS_PATH or path in doors
    if not is_door and not path.startswith(API):
        return None
    origin = fields.get(b"origin", b"")
    if origin:
        may_send = is_door and method in _SENDING and access.sender(fields) is not None
        return None if may_send or is_own(origin, host) else _foreign_origin(origin, host)
    others = _OTHER_SITES if method in _READING else _OTHER_ORIGINS
    return _foreign_site() if fields.get(b"sec-fetch-site", b"") in others else None


def socket_refusal(access: Access, fields: Fields) -> Refusal | None:
    """Say why a WebSocket is refused; None where it may be opened."""
    host, origin = fields.get(b"host", b""), fields.get(b"origin", b"")
    if not access.answers_to(host):
        return _unknown_host(host)
    return None if not origin or is_own(origin, host) else _foreign_origin(origin, host)


def is_own(origin: bytes, host: bytes) -> bool:
    """Tell whether an `Origin` is that of the server's own pages: its host and port are those of the `Host` header.

    The scheme may be any: a proxy that speaks HTTPS may stand before the server.
    """
    try:
        place = urlsplit(origin.decode("latin-1")).netloc.lower()
    except ValueError:
        return False  # an address that cannot be one is none of ours
    return bool(place) and place == host.decode("latin-1").lower()


def preflight_headers(origin: bytes) -> list[Header]:
    """Answer a browser that asks whether a page of an allowed origin may send events. Never with credentials."""
    return [
        *shared_headers(origin),
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-allow-headers", b"*"),
        (b"access-control-max-age", b"600"),
    ]


def shared_headers(origin: bytes) -> list[Header]:
    """Let a page of an allowed origin read the answer to its events."""
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-expose-headers", b"retry-after, idempotency-replayed"),
        (b"vary", b"origin"),
    ]


def _without_default_port(origin: str) -> str:
    """Write an origin as browsers do."""
    lowered = origin.lower()
    return lowered.removesuffix(_DEFAULT_PORTS.get(lowered.partition(":")[0], ""))


def _unknown_host(host: bytes) -> Refusal:
    # 421 and not 400: the request is well-formed, but meant for a server that this one is not (RFC 9110, 15.5.20)
    found = _shown(host)
    detail = (
        f'Host: found "{found}", but this server answers to localhost, 127.0.0.1, [::1] and the names in [server]'
        " allowed_hosts; if it is a name of yours (for instance a proxy's), add it there, without its port"
    )
    return Refusal(HTTPStatus.MISDIRECTED_REQUEST, "unknown_host", detail)


def _foreign_origin(origin: bytes, host: bytes) -> Refusal:
    detail = (
        f'Origin: found "{_shown(origin)}", a page of another origin than this server\'s ("{_shown(host)}", by Host);'
        f" to let pages of yours send events to {EVENTS_PATH}, add their origin to [server] allowed_origins; if it is"
        " the dashboard behind a proxy, have the proxy pass the Host header on"
    )
    return Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", detail)


def _foreign_site() -> Refusal:
    detail = (
        "Sec-Fetch-Site: a page of another site asks for this; only the server's own pages may use its API from a"
        " browser. Open the address by hand, or ask from a program"
    )
    return Refusal(HTTPStatus.FORBIDDEN, "foreign_origin", detail)


def _shown(value: bytes) -> str:
    return value[:LONGEST_SHOWN].decode("latin-1")
