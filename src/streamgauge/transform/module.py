"""Runs a user's module over events and finds out which of them it cannot bear, however it fails.

A slice goes to a worker process. Events that raise are tried once more. When the process dies or a deadline passes, the
event that was in hand is tried alone in a new process, and what stood before and after it goes on as slices of their own;
where nobody knows which it was, the slice is halved. Only what fails alone has failed; it costs two processes at most.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Final, NamedTuple

import structlog

from streamgauge.errors import InternalError
from streamgauge.transform.process import WorkerLost, WorkerProcess
from streamgauge.transform.program import Program, broken
from streamgauge.transform.worker import KEPT, MOST_TRACEBACK, OURS, Loaded, Result

log = structlog.get_logger()

FIRST_SLICE: Final = 128  # events
MOST_SLICE: Final = 1024
SLICE_BYTES: Final = 2**20
SHORT_SHARE, LONG_SHARE = (
    0.02,
    0.2,
)  # of the deadline: slices that take less grow, those that take more shrink
LOG_EVERY_S: Final = 1.0
FRESH_EVERY_S: Final = 1.0  # a worker in which most events fail is replaced as often as this
WAITS_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # between starts that fail


class Failure(NamedTuple):
    """An event that failed alone. position: among the events that were given."""

    position: int
    reason: str
    traceback: str


@dataclass(slots=True)
class Outcome:
    """What became of each event: its new line, or None where it was left out or has failed."""

    lines: list[bytes | None]
    failures: list[Failure] = field(default_factory=list)


@dataclass(slots=True)
class _Piece:
    """Events on their way to a worker. last: those that raise have failed. fresh: only a new process will do."""

    positions: Sequence[int]
    last: bool = False
    fresh: bool = False

    @property
    def is_alone(self) -> bool:
        return self.last and len(self.positions) == 1


class ModuleRunner:
    """Runs one module in one worker process at a time; `run` is not called again before it returned.

    restarts: how many workers have been started after the first.
    """

    def __init__(self, program: Program) -> None:
        self._program = program
        self._worker: WorkerProcess | None = None
        self._slice = FIRST_SLICE
        self._lost, self._noted_at = 0, -math.inf
        self.restarts = 0

    async def open(self) -> None:
        """Start the worker. Raises OptionError, with file and line, where the module cannot be used."""
        try:
            worker, loaded = await WorkerProcess.start(self._program)
        except WorkerLost as lost:
            raise broken(
                self._program.path, 0, f"while it was loaded, {lost.reason}\n{lost.output}".rstrip()
            ) from lost
        if loaded.problem:
            raise broken(self._program.path, loaded.line, loaded.problem)
        self._worker = worker

    async def close(self) -> None:
        """End the worker."""
        worker, self._worker = self._worker, None
        if worker is not None:
            await worker.end()

    async def run(self, events: Sequence[bytes]) -> Outcome:
        """Transform events, one JSON object each. Nothing that the module does makes it raise."""
        outcome = Outcome([None] * len(events))
        pieces = [_Piece(range(len(events)))] if len(events) else []
        while pieces:
            piece = self._cut(pieces.pop(), pieces, events)
            try:
                result = await self._ask(piece, events)
            except WorkerLost as lost:
                self._worker = None
                pieces += reversed(self._divide(piece, lost, outcome))
            else:
                self._take(piece, result, outcome, pieces)
        return outcome

    def _cut(self, piece: _Piece, pieces: list[_Piece], events: Sequence[bytes]) -> _Piece:
        """Give as much of a piece as makes a slice; the rest goes back."""
        size = end = 0
        for position in piece.positions[: self._slice]:
            size += len(events[position])
            end += 1
            if size > SLICE_BYTES:
                break
        if end == len(piece.positions):
            return piece
        pieces.append(_Piece(piece.positions[end:], piece.last))
        return _Piece(piece.positions[:end], piece.last, piece.fresh)

    async def _ask(self, piece: _Piece, events: Sequence[bytes]) -> Result:
        worker = self._worker
        if worker is not None and piece.fresh and worker.asked:
            await self.close()
        worker = self._worker or await self._start()
        started = perf_counter()
        try:
            result = await worker.ask(b"\n".join([events[position] for position in piece.positions]))
        except WorkerLost:
            self._slice = max(1, self._slice // 4)
            raise
        except asyncio.CancelledError:
            self._worker = None
            raise
        share = (perf_counter() - started) / self._program.deadline_s
        if share > LONG_SHARE:
            self._slice = max(1, self._slice // 2)
        elif share < SHORT_SHARE and len(piece.positions) >= self._slice:
            self._slice = min(MOST_SLICE, self._slice * 2)
        return result

    async def _start(self) -> WorkerProcess:
        """Start another worker, however long that takes: what is accepted has to go through it."""
        attempt = 0
        while True:
            try:
                self._worker, loaded = await WorkerProcess.start(self._program)
            except WorkerLost as lost:
                loaded = Loaded(lost.reason, 0, lost.output)
            except OSError as exc:
                loaded = Loaded(f"no process can be started: {exc}")
            self.restarts += 1
            if not loaded.problem and self._worker is not None:
                return self._worker
            self._worker = None
            wait = WAITS_S[min(attempt, len(WAITS_S) - 1)]
            log.error(
                "the transform's module does not load any more", problem=loaded.problem, again_in_s=wait
            )
            await asyncio.sleep(wait)
            attempt += 1

    def _divide(self, piece: _Piece, lost: WorkerLost, outcome: Outcome) -> list[_Piece]:
        """Give what to do next with a piece that cost its worker, in that order."""
        positions, last = piece.positions, piece.last
        self._note_loss(lost)
        if piece.is_alone:
            traceback = _without_ours(lost.output)[-MOST_TRACEBACK:]
            outcome.failures.append(Failure(positions[0], f"transform failed: {lost.reason}", traceback))
            return []
        suspect = lost.position
        if suspect is None or suspect >= len(positions):
            middle = len(positions) // 2
            parts = [_Piece(positions[:middle], last), _Piece(positions[middle:], last)]
            return [_alone(positions)] if not middle else parts
        others = [positions[:suspect], positions[suspect + 1 :]]
        return [
            _alone(positions[suspect : suspect + 1]),
            *(_Piece(part, last) for part in others if len(part)),
        ]

    def _note_loss(self, lost: WorkerLost) -> None:
        self._lost += 1
        if perf_counter() - self._noted_at >= LOG_EVERY_S:
            log.warning("a transform's worker was lost", times=self._lost, reason=lost.reason)
            self._lost, self._noted_at = 0, perf_counter()

    def _take(self, piece: _Piece, result: Result, outcome: Outcome, pieces: list[_Piece]) -> None:
        """Book a result, and add what is still to be done."""
        positions, fates = piece.positions, result.fates
        kept = [position for position, fate in zip(positions, fates, strict=False) if fate == KEPT]
        lines = result.lines.split(b"\n") if kept else []
        if len(lines) != len(kept) or not 0 < len(fates) <= len(positions):
            raise InternalError(f"{len(lines)} lines for {len(kept)} of {len(positions)} events")
        for position, line in zip(kept, lines, strict=True):
            outcome.lines[position] = line
        if len(fates) < len(positions):
            pieces.append(_Piece(positions[len(fates) :], piece.last))
        again, starved = [], []
        for failed in result.failures:
            position = positions[failed.position]
            if failed.memory and not (piece.fresh and failed.position == 0):
                starved.append(position)  # for want of memory that others may have used up
            elif piece.last or failed.memory:
                outcome.failures.append(Failure(position, failed.reason, failed.traceback))
            else:
                again.append(position)
        if starved:
            pieces.append(_Piece(starved, fresh=True))
        if again:
            pieces.append(_Piece(again, last=True, fresh=self._is_spoilt(len(again), len(fates))))

    def _is_spoilt(self, failed: int, events: int) -> bool:
        """Tell whether so many events fail that perhaps one of them has broken the module for all others."""
        worker = self._worker
        return (
            worker is not None
            and 2 * failed > events > 1
            and perf_counter() - worker.started_at > FRESH_EVERY_S
        )


def _without_ours(output: str) -> str:
    """Leave out what the user's module is not to blame for."""
    ours = (OURS, "Extension modules: ")
    return "".join(line for line in output.splitlines(keepends=True) if not any(one in line for one in ours))


def _alone(positions: Sequence[int]) -> _Piece:
    return _Piece(positions, last=True, fresh=True)
