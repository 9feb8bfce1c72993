"""What a journal promises: accepted means written, in one order, and readable again after a crash.

The implementations are in `journals/`. A journal numbers what it takes: the first append is seq 1 and every
append and control record uses up one number, without gaps. The number is the name of an append for ever.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from streamgauge.errors import JournalError


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What a source hands over: accepted events, and all that replay needs besides them.

    payload: one JSON object a line, each line ending with a newline; `count` lines.
    at_us: arrival, microseconds since 1970 UTC.
    context: the sender's part of the meaning (field mapping, topic parts ...), as JSON values.
    ledger: cumulative counts of rejected and duplicate events by source, as JSON values.
    idempotency: hash of the request's `Idempotency-Key`, where it had one.
    """

    payload: bytes
    count: int
    at_us: int
    source: str
    context: Mapping[str, object] = field(default_factory=dict)
    ledger: Mapping[str, object] = field(default_factory=dict)
    idempotency: str | None = None


@dataclass(frozen=True, slots=True)
class Record:
    """One append, as replay gives it back."""

    seq: int
    entry: Entry


@dataclass(frozen=True, slots=True)
class Control:
    """A control record in the stream: what changed between the appends before it and those after it."""

    seq: int
    kind: str
    data: Mapping[str, object]


class Journal(Protocol):
    """The append-only record of accepted payloads of one shard.

    `append` and `append_control` are called on the event loop, any number at a time. `replay` and `release`
    block, so they are called from a thread. `close` is called once, after the last append.
    """

    @property
    def shard(self) -> str:
        """The name of the shard whose events these are."""
        ...

    @property
    def keeps_text(self) -> bool:
        """Whether what is appended can be read back; where it cannot, an entry's payload may be left empty."""
        ...

    @property
    def last_seq(self) -> int:
        """The greatest seq that was written and handed on; 0 while there is none."""
        ...

    @property
    def size_bytes(self) -> int:
        """What the journal occupies on disk."""
        ...

    @property
    def unsynced_s(self) -> float:
        """For how many seconds something acknowledged has not been known to be on the disk; 0 where all of it is."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why entries are likely to be refused now; None where they are not."""
        ...

    @property
    def failed(self) -> JournalError | None:
        """Why nothing is accepted any more until the process is started again; None while all is well."""
        ...

    def check_files(self) -> None:
        """See that its files are still where they were; where they are not, that stands in `failed` from then on."""
        ...

    def append(self, entry: Entry, written: Callable[[int], None]) -> asyncio.Future[int]:
        """Write one entry; the future gives its seq once it has the durability that was configured.

        `written(seq)` is called on the loop, in the order of seq, exactly once for each entry that was
        written, before the future resolves, and also when the future was cancelled: the entry is in the
        journal, so it must flow on. It must not raise.

        A refused entry sets StorageFull (try later) or JournalError on the future, leaves no trace in the
        journal, uses up no seq, and `written` is never called for it.
        """
        ...

    def append_control(
        self, kind: str, data: Mapping[str, object], written: Callable[[int], None] = lambda seq: None
    ) -> asyncio.Future[int]:
        """Write a control record into the stream; the future gives its seq, or is refused as in `append`.

        `written(seq)` is called as in `append`: in the order of seq, among those of the entries around it.
        """
        ...

    def replay(self, after_seq: int) -> Iterator[Record | Control]:
        """Give what was written with a greater seq, up to `last_seq` at the time of the call, one at a time.

        Raises JournalError where the journal no longer, or not yet, reaches to `after_seq`.
        """
        ...

    def release(self, upto_seq: int) -> None:
        """Let go of what has seq <= `upto_seq`: the store has proved to hold it. May keep some of it."""
        ...

    async def close(self) -> None:
        """Write what is pending and make it durable. Later appends are refused; closing twice is harmless."""
        ...
