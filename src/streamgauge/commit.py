"""What one epoch adds to the store, and how it travels: `EpochCommit` and its codec.

An epoch's commit is all that a worker ever tells the owner of the store. It is encoded as a list of frames: one header
(msgpack) and one frame for each array, which is the array's own memory, so that handing it over inside one process
copies nothing and sending it elsewhere needs nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamgauge.columns import MISSING, Coded, Numbers
from streamgauge.errors import InternalError
from streamgauge.event import JsonText
from streamgauge.partials import OTHER, Cells, Partials

Frame = bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """A column of strings as Arrow lays it out: text i is data[offsets[i]:offsets[i + 1]]; `valid` None: all are there."""

    offsets: NDArray[np.int32]
    data: bytes
    valid: NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RawRows:
    """Events as they left the Transformer, in columns, for the table of raw events. Times in microseconds."""

    seq: NDArray[np.int64]
    index: NDArray[np.int32]
    time_us: NDArray[np.int64]
    received_us: NDArray[np.int64]
    processed_us: NDArray[np.int64]
    type: Coded
    user_id: Texts | None
    event_id: Texts | None
    value: Numbers
    event: Texts

    def __len__(self) -> int:
        return len(self.time_us)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricPartials:
    """A metric's partials of one epoch; `by` names what the values of a series are."""

    name: str
    definition: str
    by: tuple[str, ...]
    partials: Partials


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenIds:
    """Ids that counted for the first time, in columns: of events, or of whole requests.

    hashes: 16 bytes each, one behind the other (`identity.hash_of`). at_us, seq: int64[n], when and in which append.
    bodies: 16 bytes each, of the requests' bodies, and answers: what became of their events, as JSON; both are empty
    where these are ids of events.
    """

    scope: str
    hashes: Frame
    at_us: NDArray[np.int64]
    seq: NDArray[np.int64]
    bodies: Frame = b""
    answers: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.seq)


@dataclass(frozen=True, slots=True, order=True)
class DeadLetterName:
    """The name of an event that was set aside: where it stands in the journal."""

    shard: str
    seq: int
    index: int

    @property
    def id(self) -> str:
        """The id under which it is replayed, in the scope `identity.DEAD_LETTERS`."""
        return f"dlq:{self.shard}:{self.seq}:{self.index}"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that could not be handled, with why. Times in microseconds.

    seq, index: its name within the shard. at_us: when it was set aside. received_us: when it arrived.
    stage, reason, traceback: where and why it failed. mapping: which fields played which parts (JSON of the
    `FieldMapping`), "" for the default. payload: the event as it was journaled, without its newline.
    """

    seq: int
    index: int
    at_us: int
    received_us: int
    source: str
    stage: str
    reason: str
    traceback: str = ""
    mapping: str = ""
    payload: Frame


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochCommit:
    """One epoch of one shard, to be committed whole. `previous_seq` fences: the store must stand just there."""

    shard: str
    epoch: int
    previous_seq: int
    last_seq: int
    incarnation: str
    at_us: int
    ledger: Mapping[str, Mapping[str, int]]
    metrics: Sequence[MetricPartials] = ()
    raw: Sequence[RawRows] = field(default=())
    seen: Sequence[SeenIds] = ()
    dead_letters: Sequence[DeadLetter] = ()


VERSION: Final = 2
_TYPES: Final[Mapping[str, Any]] = {
    kind.__name__: kind
    for kind in (
        EpochCommit,
        MetricPartials,
        RawRows,
        Texts,
        Partials,
        Coded,
        Numbers,
        Cells,
        SeenIds,
        DeadLetter,
    )
}


def encode_commit(commit: EpochCommit) -> list[Frame]:
    """Turn a commit into frames; arrays are not copied, so they must not change any more."""
    arrays: list[Frame] = []
    header = msgspec.msgpack.encode({"version": VERSION, "commit": _flatten(commit, arrays)})
    return [header, *arrays]


def decode_commit(frames: Sequence[Frame]) -> EpochCommit:
    """Turn frames back into the commit they were; raises InternalError for another version."""
    header = msgspec.msgpack.decode(frames[0])
    if header.get("version") != VERSION:
        raise InternalError(f"a commit of version {header.get('version')!r}; this program speaks {VERSION}")
    commit = _restore(header["commit"], frames[1:])
    if not isinstance(commit, EpochCommit):
        raise InternalError(f"expected an epoch's commit, got {type(commit).__name__}")
    return commit


def _flatten(value: Any, arrays: list[Frame]) -> Any:
    if isinstance(value, np.ndarray):
        arrays.append(np.ascontiguousarray(value).view(np.uint8).reshape(-1).data)
        return {"array": value.dtype.str, "frame": len(arrays) - 1}
    if isinstance(value, (bytes, memoryview)):
        arrays.append(value)
        return {"bytes": len(arrays) - 1}
    if value is OTHER:
        return {"other": True}
    if is_dataclass(value):
        parts = {part.name: _flatten(getattr(value, part.name), arrays) for part in fields(value)}
        return {"type": type(value).__name__, "parts": parts}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        parts = {name: _flatten(getattr(value, name), arrays) for name in value._fields}
        return {"type": type(value).__name__, "parts": parts}
    return _flatten_plain(value, arrays)


def _flatten_plain(value: Any, arrays: list[Frame]) -> Any:
    if isinstance(value, Mapping):
        return {"map": {name: _flatten(item, arrays) for name, item in value.items()}}
    if isinstance(value, tuple):
        return {"tuple": [_flatten(item, arrays) for item in value]}
    if isinstance(value, list):
        return {"list": [_flatten(item, arrays) for item in value]}
    if isinstance(value, JsonText):
        return {"json": str(value)}
    return {"missing": True} if value is MISSING else value


def _restore(value: Any, arrays: Sequence[Frame]) -> Any:
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return np.frombuffer(arrays[value["frame"]], dtype=np.dtype(value["array"]))
    if "bytes" in value:
        return arrays[value["bytes"]]
    if "other" in value:
        return OTHER
    if "type" in value:
        return _TYPES[value["type"]](
            **{name: _restore(part, arrays) for name, part in value["parts"].items()}
        )
    return _restore_plain(value, arrays)


def _restore_plain(value: dict[str, Any], arrays: Sequence[Frame]) -> Any:
    if "map" in value:
        return {name: _restore(item, arrays) for name, item in value["map"].items()}
    if "tuple" in value:
        return tuple(_restore(item, arrays) for item in value["tuple"])
    if "list" in value:
        return [_restore(item, arrays) for item in value["list"]]
    return JsonText(value["json"]) if "json" in value else MISSING
