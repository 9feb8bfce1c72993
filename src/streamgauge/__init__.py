"""Streamgauge: real-time analytics. Events in over HTTP, exact numbers out, live in the browser."""

from streamgauge.embedded import Streamgauge
from streamgauge.errors import StreamgaugeError
from streamgauge.version import __version__

__all__ = ["Streamgauge", "StreamgaugeError", "__version__"]
