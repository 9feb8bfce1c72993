"""Sending events to a server. Knows nothing of the engine, so that importing it is light."""

from streamgauge.client.aio import AsyncClient
from streamgauge.client.courier import Counts, Undelivered
from streamgauge.client.sync import Client

__all__ = ["AsyncClient", "Client", "Counts", "Undelivered"]
