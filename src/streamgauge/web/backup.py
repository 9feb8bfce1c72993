"""`GET /api/backup`: a backup of the running server, beside its work."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from streamgauge.backup import JOURNAL, STORE, Part, open_part, small_parts, tar_of
from streamgauge.errors import BackupError, Saturated, StreamgaugeError
from streamgauge.web import problem

PATH: Final = "/api/backup"
RETRY_S: Final = 10.0


class Backup:
    """A backup of one moment. Whoever has it closes it, whether its chunks were taken or not."""

    def __init__(self, parts: Sequence[Part], closed: Callable[[], None]) -> None:
        self._parts, self._closed = parts, closed
        self.is_broken_off = False

    def chunks(self) -> Iterator[bytes]:
        """Give its bytes; not its end where it was broken off, as whoever reads it will see. Blocks; raises OSError."""
        for chunk in tar_of(self._parts, int(time.time())):
            if self.is_broken_off:
                return
            yield chunk

    def close(self) -> None:
        """Let go of its files."""
        _close(self._parts)
        self._closed()


class BackupDesk:
    """Makes one backup at a time.

    data: the data folder; store: the store's file; None: nothing is kept on the disk. segments: the journal's files, and
    how much of each counts. at_rest: keeps the store's file as it is, and the journal behind it.
    """

    def __init__(
        self,
        data: Path,
        store: Path | None,
        *,
        segments: Callable[[], Sequence[tuple[Path, int]]],
        at_rest: Callable[[], AbstractAsyncContextManager[None]],
    ) -> None:
        self._data, self._store = data, store
        self._segments, self._at_rest = segments, at_rest
        self._begun = False
        self._under_way: Backup | None = None
        self._stopping = False

    async def begin(self) -> Backup:
        """Give a backup of this moment.

        Raises BackupError where nothing is on the disk, Saturated while another one is taken, OSError.
        """
        if self._store is None:
            raise BackupError("everything is in memory here: there is nothing to make a backup of")
        if self._begun or self._stopping:
            why = "the server is shutting down" if self._stopping else "another backup is under way already"
            raise Saturated(why, RETRY_S)
        self._begun = True
        try:
            self._under_way = Backup(await self._parts(self._store), self._end)
        except BaseException:
            self._begun = False
            raise
        return self._under_way

    def _end(self) -> None:
        self._begun, self._under_way = False, None

    async def _parts(self, store: Path) -> list[Part]:
        """Open everything while the store's file rests. It is copied, since it changes in place; nothing else is."""
        parts: list[Part] = []
        try:
            async with self._at_rest():
                parts += await asyncio.to_thread(lambda: list(small_parts(self._data)))
                parts.append(await asyncio.to_thread(_copied, store, self._data))
                for path, size in self._segments():
                    parts.append(open_part(f"{JOURNAL}/{path.name}", path, size))
        except BaseException:
            _close(parts)
            raise
        return parts

    def stop(self) -> None:
        """Begin no backup any more, and break off the one that is under way."""
        self._stopping = True
        if self._under_way is not None:
            self._under_way.is_broken_off = True


class BackupResponse(StreamingResponse):
    """Sends a backup, and closes it however that ends."""

    def __init__(self, backup: Backup) -> None:
        name = time.strftime("streamgauge-%Y%m%dT%H%M%SZ.tar", time.gmtime())
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Encoding": "identity",  # what is in it is compressed already
        }
        super().__init__(backup.chunks(), media_type="application/x-tar", headers=headers)
        self._backup = backup

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._backup.close()


def _copied(store: Path, folder: Path) -> Part:
    """Copy the store's file into one without a name, which is gone when it is closed. Raises OSError."""
    copy = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  whoever has the part closes it
    try:
        with store.open("rb") as file:
            shutil.copyfileobj(file, copy, 8 << 20)
        return Part(STORE, copy, copy.tell())
    except BaseException:
        copy.close()
        raise


def _close(parts: Sequence[Part]) -> None:
    for part in parts:
        part.file.close()


def routes(desk: BackupDesk) -> list[Route]:
    """Give the route of backups."""

    async def run(request: Request) -> Response:  # noqa: ARG001  a route's handler takes the request
        try:
            return BackupResponse(await desk.begin())
        except BackupError as exc:
            return problem.response(HTTPStatus.CONFLICT, "no_backup", str(exc))
        except OSError as exc:
            detail = f"no backup could be made: {exc.strerror or exc}"
            later = {"Retry-After": str(round(RETRY_S))}
            return problem.response(HTTPStatus.SERVICE_UNAVAILABLE, "storage_error", detail, headers=later)
        except StreamgaugeError as exc:
            return problem.response_to(exc)

    return [Route(PATH, run, methods=["GET"])]
