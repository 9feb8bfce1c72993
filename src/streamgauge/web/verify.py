"""`POST /api/verify`: a verification of the running server's store, beside its work."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Final

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from streamgauge.audit import Audit
from streamgauge.errors import Saturated, StreamgaugeError
from streamgauge.verification.day import TimeIsUp
from streamgauge.verification.journal import JournalReading
from streamgauge.verify import Report, Rules, verify
from streamgauge.web import problem

PATH: Final = "/api/verify"
WITHIN_S: Final = 120.0
PAUSE_S: Final = 0.001  # after each few thousand events, so that requests get their turn
RETRY_S: Final = 10.0


class VerifyDesk:
    """Runs one verification at a time, in a thread. Each call gives what is looked at as it is then."""

    def __init__(
        self,
        *,
        audit: Callable[[], Audit],
        rules: Callable[[], Rules],
        journals: Callable[[], Mapping[str, JournalReading]],
        imbalance: Callable[[], int],
        within_s: float = WITHIN_S,
    ) -> None:
        self._audit, self._rules, self._journals = audit, rules, journals
        self._imbalance, self._within_s = imbalance, within_s
        self._running: asyncio.Future[Report] | None = None
        self._stopping = threading.Event()

    async def run(self) -> Report:
        """Verify. Raises Saturated while another verification runs, or the server ends; StoreError."""
        if self._stopping.is_set():
            raise Saturated("the server is shutting down", RETRY_S)
        if self._running is not None and not self._running.done():
            raise Saturated("a verification is under way already", RETRY_S)
        # shielded: a caller who has gone must not make room for another verification beside this one
        self._running = asyncio.ensure_future(asyncio.to_thread(self._verify))
        return await asyncio.shield(self._running)

    def _verify(self) -> Report:
        with closing(self._audit()) as audit:
            return verify(
                audit,
                self._rules(),
                journals=self._journals(),
                within_s=self._within_s,
                pause=self._pause,
                imbalance=self._imbalance(),
            )

    def _pause(self) -> None:
        if self._stopping.is_set():
            raise TimeIsUp
        time.sleep(PAUSE_S)

    async def stop(self) -> None:
        """End a verification that is under way, and wait until it has let go of the store."""
        self._stopping.set()
        if self._running is not None:
            await asyncio.wait([self._running])


def routes(desk: VerifyDesk) -> list[Route]:
    """Give the route of verifications."""

    async def run(request: Request) -> Response:  # noqa: ARG001  a route's handler takes the request
        try:
            report = await desk.run()
        except StreamgaugeError as exc:
            return problem.response_to(exc)
        return Response(msgspec.json.encode(report), media_type="application/json")

    return [Route(PATH, run, methods=["POST"])]
