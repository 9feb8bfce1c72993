"""Applications of other people with a Streamgauge mounted in them, served by uvicorn as they would be."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI
from litestar import Litestar, asgi, get
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Mount, Route

PREFIX = "/analytics"


async def _hello(request: Request) -> Response:
    return PlainTextResponse("hello")


async def _pass_on(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    response.headers["x-host"] = "was here"
    return response


def in_starlette(pages: Any) -> Any:
    return Starlette(routes=[Route("/", _hello), Mount(PREFIX, app=pages)])


def in_fastapi(pages: Any) -> Any:
    application = FastAPI()
    application.add_api_route("/", lambda: "hello")
    application.mount(PREFIX, pages)
    return application


def in_litestar(pages: Any) -> Any:
    @get("/", media_type="text/plain", sync_to_thread=False)
    def hello() -> str:
        return "hello"

    return Litestar([hello, asgi(PREFIX, is_mount=True, copy_scope=True)(pages)])


def behind_middleware(pages: Any) -> Any:
    routes = [Route("/", _hello), Mount(PREFIX, app=pages)]
    return Starlette(routes=routes, middleware=[Middleware(BaseHTTPMiddleware, dispatch=_pass_on)])


def _listen(port: int = 0) -> socket.socket:
    listening = socket.socket(
        proto=socket.IPPROTO_TCP
    )  # asyncio switches Nagle's delay off only where it sees this
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", port))
    listening.listen()  # who connects before the server has started waits
    return listening


def _server(application: Any, lifespan: str) -> uvicorn.Server:
    config = uvicorn.Config(application, lifespan=lifespan, log_level="warning", ws="websockets-sansio")  # type: ignore[arg-type]
    return uvicorn.Server(config)


@asynccontextmanager
async def hosted(application: Any, *, lifespan: str = "off", port: int = 0) -> AsyncIterator[int]:
    """Serve an application in the test's own loop; gives the port, which is any free one unless it is said."""
    listening, server = _listen(port), _server(application, lifespan)
    serving = asyncio.create_task(server.serve(sockets=[listening]))
    async with asyncio.timeout(20):
        while not server.started:
            assert not serving.done(), "the host did not start"
            await asyncio.sleep(0.001)
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        await serving


@contextmanager
def hosted_in_a_thread(application: Any) -> Iterator[int]:
    """Serve an application beside a test that has no loop; gives the port."""
    listening, server = _listen(), _server(application, "off")
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = True
        thread.join()
