"""Streamgauge: real-time analytics. Events in over HTTP, exact numbers out, live in the browser."""

from typing import TYPE_CHECKING, Any

from streamgauge.errors import StreamgaugeError
from streamgauge.version import __version__

if TYPE_CHECKING:
    from streamgauge.client import AsyncClient, Client
    from streamgauge.embedded import Streamgauge

__all__ = ["AsyncClient", "Client", "Streamgauge", "StreamgaugeError", "__version__"]


def __getattr__(name: str) -> Any:
    """Import what is asked for: a program that only sends needs no engine, and one with an engine no client."""
    if name == "Streamgauge":
        from streamgauge.embedded import Streamgauge  # noqa: PLC0415  takes most of a second

        return Streamgauge
    if name in {"Client", "AsyncClient"}:
        from streamgauge import client  # noqa: PLC0415  as above

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
