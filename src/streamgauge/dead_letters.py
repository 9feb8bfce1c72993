"""Events that cannot be handled: what is kept of them, so that somebody can see why, mend it and send them again."""

from __future__ import annotations

import re
import traceback
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from streamgauge.commit import DeadLetter, DeadLetterName
from streamgauge.errors import QueryError
from streamgauge.event import EventBatch, FieldMapping
from streamgauge.transform.module import Failure

MOST_REASON: Final = 1024  # bytes
MOST_TRACEBACK: Final = 8192
SOURCE: Final = "dead_letters"  # of those that are sent again

_NAME: Final = re.compile(r"([^:\s]{1,100}):(\d{1,18}):(\d{1,9})")


def letters_of(batch: EventBatch, failures: Iterable[Failure], *, stage: str, at_us: int) -> list[DeadLetter]:
    """Give the dead letters of a batch's events that failed, each as it was accepted."""
    origin = batch.origin
    mapping = "" if origin.mapping == FieldMapping() else msgspec.json.encode(origin.mapping).decode()
    return [
        DeadLetter(
            seq=batch.seq,
            index=int(batch.index[failed.position]),
            at_us=at_us,
            received_us=origin.at_us,
            source=origin.source,
            stage=stage,
            reason=_cut(failed.reason, MOST_REASON),
            traceback=_cut(failed.traceback, MOST_TRACEBACK),
            mapping=mapping,
            payload=_payload(batch, failed.position),
        )
        for failed in failures
    ]


def letters_of_error(batch: EventBatch, error: Exception, *, stage: str, at_us: int) -> list[DeadLetter]:
    """Give the dead letters of a batch whose every event failed with the same error."""
    reason = f"{type(error).__name__}: {error}"
    trace = "".join(traceback.format_exception(error))
    failures = (Failure(position, reason, trace) for position in range(len(batch)))
    return letters_of(batch, failures, stage=stage, at_us=at_us)


def _payload(batch: EventBatch, position: int) -> bytes:
    lines = batch.accepted or batch.lines
    if lines is not None:
        return lines.line(position)
    row = batch.rows[position]  # where nothing keeps the events' text, they are mappings
    return msgspec.json.encode(row) if isinstance(row, Mapping) else b"{}"


def _cut(text: str, most: int) -> str:
    """Shorten a text to so many bytes, in its middle: both what failed first and what came of it tell something."""
    whole = text.encode("utf-8", "replace")
    if len(whole) <= most:
        return whole.decode()
    half = most // 2 - 4
    return f"{whole[:half].decode(errors='ignore')} […] {whole[-half:].decode(errors='ignore')}"


def name_text(name: DeadLetterName) -> str:
    """Write a letter's name as people and the API have it: shard:append:line."""
    return f"{name.shard}:{name.seq}:{name.index}"


def read_name(text: str) -> DeadLetterName:
    """Read a letter's name. Raises QueryError."""
    found = _NAME.fullmatch(text)
    if found is None:
        raise QueryError(f"name: expected shard:append:line, as in 0:12:3, got {text[:60]!r}")
    return DeadLetterName(found[1], int(found[2]), int(found[3]))
