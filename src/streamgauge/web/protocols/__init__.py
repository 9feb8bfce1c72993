"""How bytes on a socket become requests, frames and refusals: uvicorn's protocols with the limits that they lack.

`HttpProtocol` refuses what is too large, too slow or ambiguous before the application sees it, answering in
turn where earlier requests are still being served. `WebSocketProtocol` lets the application write frames that
were made once for everybody, through a `Viewer`. What an address means, who may use it and what a chunked body
adds up to is the application's business.
"""

from streamgauge.web.protocols.http import HttpProtocol
from streamgauge.web.protocols.viewer import VIEWER_EXTENSION, Viewer, frame_text
from streamgauge.web.protocols.websocket import WebSocketProtocol

__all__ = ["VIEWER_EXTENSION", "HttpProtocol", "Viewer", "WebSocketProtocol", "frame_text"]
