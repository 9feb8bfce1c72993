"""Where an application is mounted, from what its host hands on."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamgauge.web.mounting import in_place

SEGMENTS = st.lists(st.text("ab é%?", min_size=1, max_size=4), min_size=1, max_size=3).map("/".join)


def scope(path: str, requested: str, root: str = "") -> dict[str, Any]:
    return {"path": path, "raw_path": quote(requested).encode(), "root_path": root}


@pytest.mark.parametrize(
    ("path", "requested", "expected"),
    [
        ("/api/events/", "/analytics/api/events", ("/analytics", "/analytics/api/events")),
        ("/docs/", "/analytics/docs/", ("/analytics", "/analytics/docs/")),
        ("/", "/analytics", ("/analytics", "/analytics")),
        ("/", "/analytics/", ("/analytics", "/analytics/")),
        ("/docs/", "//analytics//docs", ("/analytics", "/analytics/docs")),
        ("/api/events", "/api/events", ("", "/api/events")),
        ("/api/events/", "/api/events", ("", "/api/events/")),
        ("/other", "/analytics/docs", ("", "/other")),
    ],
)
def test_the_prefix_is_what_was_requested_before_the_rest(
    path: str, requested: str, expected: tuple[str, str]
) -> None:
    found = in_place(scope(path, requested))
    assert (found["root_path"], found["path"]) == expected


@given(SEGMENTS, SEGMENTS)
def test_what_a_host_says_itself_stands(prefix: str, rest: str) -> None:
    told = scope(f"/{prefix}/{rest}", f"/{prefix}/{rest}", f"/{prefix}")
    assert in_place(told) == told


@given(SEGMENTS, SEGMENTS, st.sampled_from(["", "/"]))
def test_a_host_that_hands_on_the_rest_alone_is_as_one_that_says_all(
    prefix: str, rest: str, end: str
) -> None:
    requested = f"/{prefix}/{rest}{end}"
    found = in_place(scope(f"/{rest}/", requested))
    assert (found["root_path"], found["path"]) == (f"/{prefix}", requested)


@pytest.mark.parametrize("more", [{}, {"raw_path": None}, {"raw_path": b""}])
def test_a_host_without_the_path_as_it_was_requested_is_believed(more: dict[str, Any]) -> None:
    told = {"path": "/docs", "root_path": "", **more}
    assert in_place(told) == told
