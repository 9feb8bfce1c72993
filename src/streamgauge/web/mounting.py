"""Below which path an application is mounted, where its host does not say so.

ASGI has `path` begin with `root_path`. Litestar instead hands on the rest of the path with a slash at its end, and no
`root_path`; but the path as it was requested is in `raw_path`.
"""

from __future__ import annotations

from urllib.parse import unquote

from streamgauge.web.problem import Scope


def in_place(scope: Scope) -> Scope:
    """Give a scope whose `path` begins with its `root_path`; the same one where that is so, or nothing tells."""
    path, requested = scope.get("path", ""), unquote((scope.get("raw_path") or b"").decode("latin-1"))
    rest, whole = path.rstrip("/"), requested.rstrip("/")
    if scope.get("root_path") or requested == path or not whole.endswith(rest):
        return scope
    prefix = whole.removesuffix(rest).strip("/")
    if not prefix:
        return scope
    root = f"/{prefix}"  # one slash, however many were sent: two would name another host in a redirect
    end = "/" if requested.endswith("/") else ""
    return {**scope, "root_path": root, "path": f"{root}{rest}{end}"}
