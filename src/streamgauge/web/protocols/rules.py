"""What a request's header may say, as a server that others stand behind must read it (RFC 9112).

Each rule gives the refusal, or None. A header is a list of (name in small letters, value), as uvicorn keeps it.
"""

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import httptools

from streamgauge.web.protocols.refusal import Refusal, malformed

if TYPE_CHECKING:
    from streamgauge.web.server import ServerLimits

Headers = Sequence[tuple[bytes, bytes]]

_ONCE: Final = (b"content-type", b"authorization", b"idempotency-key", b"origin")
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{0,5}))?")


def header_bytes(address: bytes, headers: Headers) -> int:
    """Count the bytes of a header as it was sent, but for the method and the version."""
    return len(address) + sum(len(name) + len(value) + 4 for name, value in headers)


def too_much_header(address: bytes, limits: "ServerLimits") -> Refusal:
    """Say whether it is the address or the header that is too large."""
    if len(address) > limits.header_bytes:
        detail = f"the address is longer than {limits.header_bytes} bytes"
        return Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "address_too_long", detail)
    detail = f"more than {limits.header_bytes} bytes or {limits.header_count} lines of header; send fewer"
    return Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "header_too_large", detail)


def field_problem(headers: Headers, version: str) -> Refusal | None:
    """Refuse a version that is not spoken, a Host that is missing or none, and what stands twice but may not.

    Of two values one reader takes the first and another the last (RFC 9110, section 5.3).
    """
    if version not in {"1.1", "1.0"}:
        status = HTTPStatus.BAD_REQUEST if version == "0.9" else HTTPStatus.HTTP_VERSION_NOT_SUPPORTED
        return Refusal(status, "http_version", f"HTTP/{version} is not spoken here; use HTTP/1.1")
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or (not hosts and version == "1.1"):
        return malformed(f"found {len(hosts)} Host headers; HTTP/1.1 has exactly one (RFC 9112, section 3.2)")
    if hosts and not _is_host(hosts[0]):
        return malformed("the Host header is not a host with an optional port")
    names = [name for name, _ in headers if name in _ONCE]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        return malformed(f"found {names.count(twice)} {twice.decode().title()} headers; send one")
    return None


def _is_host(host: bytes) -> bool:
    found = _HOST.fullmatch(host)
    return found is not None and int(found[1] or 0) < 65_536


def body_problem(
    headers: Headers, fields: Mapping[bytes, bytes], version: str, most_bytes: int
) -> Refusal | None:
    """Refuse a body that is announced too large, or whose end could be read in two ways. `fields`: the headers."""
    if int(fields.get(b"content-length", b"0")) > most_bytes:
        detail = f"the body is larger than {most_bytes} bytes; send it in parts"
        return Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "too_large", detail)
    if b"transfer-encoding" in fields:
        if version != "1.1":
            return malformed(f"Transfer-Encoding is not part of HTTP/{version}")
        codings = [value.lower() for name, value in headers if name == b"transfer-encoding"]
        if codings != [b"chunked"]:
            return Refusal(HTTPStatus.BAD_REQUEST, "transfer_coding", "the only Transfer-Encoding is chunked")
    return None


def unknown_expectation() -> Refusal:
    """Refuse any Expect but 100-continue."""
    return Refusal(HTTPStatus.EXPECTATION_FAILED, "expectation", "the only Expect is 100-continue")


def target_in_origin_form(method: bytes, address: bytes, host: bytes) -> bytes | Refusal:
    """Bring an absolute address to the usual form; it must be the Host's. RFC 9112, section 3.2.2."""
    if method == b"CONNECT":
        return Refusal(HTTPStatus.NOT_IMPLEMENTED, "method", "CONNECT is for proxies; this is a server")
    if address == b"*":
        return address
    target = httptools.parse_url(address)
    authority = target.host + (b":%d" % target.port if target.port is not None else b"")
    if host and authority.lower() != host.lower():
        return malformed("the address names another host than the Host header")
    return bytes((target.path or b"/") + (b"?" + target.query if target.query else b""))


def upgrade_problem(headers: Headers, fields: Mapping[bytes, bytes], version: str) -> Refusal | None:
    """Refuse a WebSocket that begins with a body, or in another version."""
    lengths = {value for name, value in headers if name == b"content-length"}
    if version != "1.1" or b"transfer-encoding" in fields or lengths - {b"0"}:
        return malformed("a WebSocket begins with HTTP/1.1 and no body (RFC 6455, section 4.1)")
    return None
