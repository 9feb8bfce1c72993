"""Which names the server answers to, and what the pages of others may do: tables of cases."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from mounted_tools import PREFIX, hosted, in_starlette
from streamgauge import Streamgauge
from streamgauge.config import from_mapping
from streamgauge.errors import OptionError
from streamgauge.web.access import Access, access_of, is_own, refusal, socket_refusal

EVENTS = "/api/events"
QUERY = "/api/query"
LEDGER = "/api/ledger"
OURS = "localhost:4000"
SHOP = "https://shop.example"
EVIL = "https://evil.example"
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens here
FOREIGN, UNKNOWN, SERVED = (403, "foreign_origin"), (421, "unknown_host"), None


def access(**server: Any) -> Access:
    return access_of(from_mapping({"server": server}).server)


NAMED = access(allowed_hosts=["analytics.example"], allowed_origins=[SHOP])


def fields(host: str | None, origin: str | None = None, site: str | None = None) -> dict[bytes, bytes]:
    given = {b"host": host, b"origin": origin, b"sec-fetch-site": site}
    return {name: value.encode("latin-1") for name, value in given.items() if value is not None}


def outcome(one: Access, method: str, path: str, *header: str | None) -> tuple[int, str] | None:
    found = refusal(one, method, path, fields(*header))
    return None if found is None else (int(found.status), found.code)


HOSTS = {
    "localhost": SERVED, "localhost:4000": SERVED, "LocalHost:4000": SERVED, "localhost.:4000": SERVED,
    "localhost:80": SERVED, "localhost:": SERVED, "127.0.0.1": SERVED, "127.0.0.1:4000": SERVED, "127.255.3.4": SERVED,
    "[::1]": SERVED, "[::1]:4000": SERVED, "[0:0:0:0:0:0:0:1]:4000": SERVED, "analytics.example": SERVED,
    "ANALYTICS.example:443": SERVED, None: SERVED,
    "evil.example": UNKNOWN, "evil.example:4000": UNKNOWN, "localhost.evil.example": UNKNOWN, "127.0.0.1.evil.example": UNKNOWN,
    "evil-localhost": UNKNOWN, "x.analytics.example": UNKNOWN, "analytics.example.evil": UNKNOWN, "128.0.0.1": UNKNOWN,
    ANY_ADDRESS: UNKNOWN, "192.0.2.7:4000": UNKNOWN, "[::2]": UNKNOWN, "[::]:4000": UNKNOWN, "2130706433": UNKNOWN,
    "localhost:4000:evil.example": UNKNOWN, "evil.example@localhost": UNKNOWN, "[evil.example]": UNKNOWN, "::1": UNKNOWN,
    "localhost:x": UNKNOWN, "\xff": UNKNOWN, ":4000": UNKNOWN,
}  # fmt: skip


@pytest.mark.parametrize(("host", "expected"), HOSTS.items(), ids=str)
@pytest.mark.parametrize("path", ["/", "/healthz", LEDGER, "/nothing"])
def test_a_server_on_loopback_answers_to_its_own_names_and_those_it_was_given(
    host: str | None, expected: tuple[int, str] | None, path: str
) -> None:
    assert outcome(NAMED, "GET", path, host) == expected


@pytest.mark.parametrize(("host", "expected"), HOSTS.items(), ids=str)
def test_a_socket_is_opened_under_the_same_names(host: str | None, expected: tuple[int, str] | None) -> None:
    found = socket_refusal(NAMED, fields(host))
    assert (None if found is None else (int(found.status), found.code)) == expected


@pytest.mark.parametrize(
    ("server", "host", "expected"),
    [
        ({"host": ANY_ADDRESS, "insecure": True}, "anything.example", SERVED),
        ({"host": "::", "insecure": True}, "anything.example", SERVED),
        ({"host": ANY_ADDRESS, "insecure": True, "allowed_hosts": ["a.example"]}, "a.example", SERVED),
        ({"host": ANY_ADDRESS, "insecure": True, "allowed_hosts": ["a.example"]}, "b.example", UNKNOWN),
        ({"host": ANY_ADDRESS, "insecure": True, "allowed_hosts": ["a.example"]}, "localhost:4000", SERVED),
        ({"host": "192.0.2.7", "insecure": True, "allowed_hosts": ["a.example"]}, "192.0.2.7:4000", SERVED),
        ({"host": "localhost"}, "a.example", UNKNOWN),
        ({"host": "::1"}, "a.example", UNKNOWN),
        ({"host": "127.0.0.53", "insecure": True}, "a.example", UNKNOWN),
        ({"allowed_hosts": ["[fd00::1]", "Proxy.example."]}, "[FD00::1]:80", SERVED),
        ({"allowed_hosts": ["[fd00::1]", "Proxy.example."]}, "proxy.example", SERVED),
    ],
    ids=str,
)
def test_which_names_those_are_follows_from_where_it_listens(
    server: dict[str, Any], host: str, expected: tuple[int, str] | None
) -> None:
    assert outcome(access(**server), "GET", "/", host) == expected


REQUESTS = [
    # programs, and the server's own pages
    ("POST", EVENTS, None, None, SERVED), ("GET", LEDGER, None, None, SERVED), ("DELETE", QUERY, None, None, SERVED),
    ("POST", QUERY, f"http://{OURS}", "same-origin", SERVED), ("POST", EVENTS, f"https://{OURS}", None, SERVED),
    ("POST", QUERY, "http://LOCALHOST:4000", None, SERVED), ("GET", LEDGER, None, "same-origin", SERVED),
    ("GET", LEDGER, None, "none", SERVED), ("GET", LEDGER, None, "same-site", SERVED),
    # pages of others
    *((method, path, origin, None, FOREIGN)
      for method in ("POST", "PUT", "DELETE", "PATCH", "GET", "HEAD", "OPTIONS", "NONSENSE")
      for path in (EVENTS, QUERY, "/api/dead-letters/discard", "/api/configuration/reload", "/api/nothing")
      for origin in (EVIL, "null", "http://localhost", "http://localhost:4001", "http://localhost:4000.evil.example",
                     "http://localhost:4000@evil.example", "http://[", "localhost:4000", f"https://evil.example/{OURS}")),
    ("POST", QUERY, EVIL, "same-origin", FOREIGN), ("GET", LEDGER, None, "cross-site", FOREIGN),
    ("HEAD", LEDGER, None, "cross-site", FOREIGN), ("POST", EVENTS, None, "cross-site", FOREIGN),
    ("POST", EVENTS, None, "same-site", FOREIGN), ("PUT", QUERY, None, "same-site", FOREIGN),
    # of an origin that was allowed
    ("POST", EVENTS, SHOP, "cross-site", SERVED), ("OPTIONS", EVENTS, SHOP, "cross-site", SERVED),
    ("GET", EVENTS, SHOP, "cross-site", FOREIGN), ("POST", QUERY, SHOP, "cross-site", FOREIGN),
    ("OPTIONS", QUERY, SHOP, None, FOREIGN), ("POST", "/api/events/", SHOP, None, FOREIGN),
    ("POST", EVENTS, "http://shop.example", None, FOREIGN), ("POST", EVENTS, f"{SHOP}:8443", None, FOREIGN),
    ("POST", EVENTS, f"{SHOP}.evil.example", None, FOREIGN), ("POST", EVENTS, "https://x.shop.example", None, FOREIGN),
    # what is no API holds nothing of anybody's and changes nothing
    ("GET", "/", EVIL, "cross-site", SERVED), ("GET", "/dashboard/main.js", None, "cross-site", SERVED),
    ("GET", "/healthz", EVIL, "cross-site", SERVED),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "origin", "site", "expected"), REQUESTS)
def test_pages_of_others_can_do_nothing_but_what_was_allowed(
    method: str, path: str, origin: str | None, site: str | None, expected: tuple[int, str] | None
) -> None:
    assert outcome(NAMED, method, path, OURS, origin, site) == expected


@pytest.mark.parametrize("origin", [EVIL, SHOP, "null", "http://localhost"])
def test_no_page_of_another_origin_opens_a_socket(origin: str) -> None:
    found = socket_refusal(NAMED, fields(OURS, origin))
    assert found is not None
    assert found.code == "foreign_origin"


@pytest.mark.parametrize("host", ["", "localhost"])
def test_an_origin_without_a_host_is_nobodys_own(host: str) -> None:
    assert not is_own(b"null", host.encode())
    assert outcome(NAMED, "POST", EVENTS, None, "null") == FOREIGN
    assert outcome(NAMED, "POST", EVENTS, None, f"http://{OURS}") == FOREIGN


def test_a_page_under_a_name_that_was_made_to_resolve_to_this_machine_is_refused_though_it_asks_its_own_origin() -> (
    None
):
    assert outcome(access(), "POST", QUERY, "evil.example:4000", "http://evil.example:4000") == UNKNOWN


@pytest.mark.parametrize(
    ("given", "sent"),
    [("https://shop.example:443", SHOP), ("HTTPS://Shop.example", SHOP), ("http://a:80", "http://a")],
)
def test_an_origin_is_known_as_browsers_write_it(given: str, sent: str) -> None:
    assert outcome(access(allowed_origins=[given]), "POST", EVENTS, OURS, sent) is None


def test_a_refusal_says_what_was_found_and_which_option_to_set() -> None:
    unknown = refusal(NAMED, "GET", "/", fields("stats.example:8080"))
    assert unknown is not None
    assert '"stats.example:8080"' in unknown.detail
    assert "[server] allowed_hosts" in unknown.detail
    foreign = refusal(NAMED, "POST", EVENTS, fields(OURS, EVIL))
    assert foreign is not None
    assert f'"{EVIL}"' in foreign.detail
    assert f'"{OURS}"' in foreign.detail
    assert "[server] allowed_origins" in foreign.detail
    long = refusal(NAMED, "GET", "/", fields("x" * 10_000))
    assert long is not None
    assert len(long.detail) < 1000


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("allowed_origins", "*"), ("allowed_origins", "null"), ("allowed_origins", "https://*.shop.example"),
        ("allowed_origins", "https://shop.example/"), ("allowed_origins", "shop.example"), ("allowed_origins", ""),
        ("allowed_hosts", "*"), ("allowed_hosts", "analytics.example:443"), ("allowed_hosts", "https://analytics.example"),
        ("allowed_hosts", ""), ("allowed_hosts", "::1"),
    ],
)  # fmt: skip
def test_an_option_that_would_let_everybody_in_or_nobody_is_refused(option: str, value: str) -> None:
    with pytest.raises(OptionError) as error:
        from_mapping({"server": {option: [value]}})
    assert error.value.path == f"server.{option}[0]"


async def test_mounted_in_another_application_names_are_its_business_but_pages_of_others_stay_out() -> None:
    options = {"server": {"allowed_hosts": ["only.example"], "allowed_origins": [SHOP]}}
    with Streamgauge(options) as gauge:
        async with (
            hosted(in_starlette(gauge.asgi())) as port,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}{PREFIX}") as http,
        ):
            elsewhere = {"Host": "shop.internal"}
            assert (await http.get("/api/ledger", headers=elsewhere)).status_code == 200
            own = elsewhere | {"Origin": "http://shop.internal"}
            assert (await http.post("/api/events", json={"type": "a"}, headers=own)).status_code == 202
            refused = await http.post("/api/events", json={"type": "a"}, headers=elsewhere | {"Origin": EVIL})
            assert (refused.status_code, refused.json()["code"]) == FOREIGN
            sent = await http.post("/api/events", json={"type": "a"}, headers=elsewhere | {"Origin": SHOP})
            assert sent.status_code == 202
            assert sent.headers["access-control-allow-origin"] == SHOP
            assert (await http.get("/api/ledger")).json()["received"] == 2
