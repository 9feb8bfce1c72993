"""The chain of epochs: whether each follows the one before, and what the ledger says that it settled."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streamgauge.audit import PositionRow
from streamgauge.incarnation import SKIPPED, Incarnation, read
from streamgauge.verification.findings import Findings

DAY_US: Final = 86_400_000_000
COUNTS: Final = ("stored", "filtered", "duplicate", "dead_lettered", "rejected", "requests_refused")
AT_THE_DOOR: Final = frozenset({"rejected", "duplicate"})
UNKNOWN: Final = -1
PLAIN_LENGTH: Final = 32  # of the names that lives had before they were described


@dataclass(frozen=True, slots=True, kw_only=True)
class Epochs:
    """A shard's epochs in columns, in order. added: what the ledger says that each settled; UNKNOWN for the first one.

    life: which of `lives` committed it; None there where it is not described.
    """

    number: NDArray[np.int64]
    previous_seq: NDArray[np.int64]
    last_seq: NDArray[np.int64]
    day: NDArray[np.int64]
    life: NDArray[np.int64]
    lives: list[Incarnation | None]
    skipped: NDArray[np.bool_]
    added: Mapping[str, NDArray[np.int64]]

    def __len__(self) -> int:
        return len(self.number)

    def of(self, seq: NDArray[np.int64]) -> NDArray[np.int64]:
        """Give the place of the epoch that each append is in."""
        return np.searchsorted(self.last_seq, seq)

    def runs(self) -> Iterator[tuple[int, int, int]]:
        """Give runs of epochs of one day and one life: (day, first place, place after the last)."""
        keys = zip(self.day.tolist(), self.life.tolist(), strict=True)
        start = 0
        for (day, _), run in groupby(keys):
            end = start + sum(1 for _ in run)
            yield day, start, end
            start = end


def load(rows: Iterable[PositionRow], findings: Findings) -> Epochs:
    """Read a shard's positions, and hold each against the one before."""
    columns: list[tuple[int, int, int, int, int]] = []
    added: list[list[int]] = []
    texts: dict[str, int] = {}
    skipped: list[bool] = []
    before: PositionRow | None = None
    for row in rows:
        _check_follows(before, row, findings)
        life = texts.setdefault(row.incarnation, len(texts))
        if before is not None and before.incarnation != row.incarnation and life < len(texts) - 1:
            findings.differ(
                "position", f"epoch {row.epoch}", "incarnation", "one that is new", "an earlier one"
            )
        columns.append((row.epoch, row.previous_seq, row.last_seq, row.at_us // DAY_US, life))
        added.append(_added(before, row, findings))
        skipped.append(row.incarnation == SKIPPED)
        before = row
    table = np.array(columns, np.int64).reshape(-1, 5)
    counts = np.array(added, np.int64).reshape(-1, len(COUNTS))
    return Epochs(
        number=table[:, 0],
        previous_seq=table[:, 1],
        last_seq=table[:, 2],
        day=table[:, 3],
        life=table[:, 4],
        lives=[_life(text, findings) for text in texts],
        skipped=np.array(skipped, bool),
        added={name: counts[:, place] for place, name in enumerate(COUNTS)},
    )


def _life(text: str, findings: Findings) -> Incarnation | None:
    life = read(text)
    if life is None and text != SKIPPED and len(text) != PLAIN_LENGTH:
        findings.differ("position", "incarnation", "incarnation", "the description of a life", text[:200])
    return life


def _check_follows(before: PositionRow | None, row: PositionRow, findings: Findings) -> None:
    place = f"epoch {row.epoch}"
    if before is None:
        if row.epoch == 1 and row.previous_seq != 0:
            findings.differ("position", place, "previous_seq", 0, row.previous_seq)
    elif row.epoch != before.epoch + 1:
        findings.differ("position", place, "epoch", before.epoch + 1, row.epoch)
    if before is not None and row.previous_seq != before.last_seq:
        findings.differ("position", place, "previous_seq", before.last_seq, row.previous_seq)
    if row.last_seq < row.previous_seq:
        findings.differ("position", place, "last_seq", f"at least {row.previous_seq}", row.last_seq)


def _added(before: PositionRow | None, row: PositionRow, findings: Findings) -> list[int]:
    """Give what an epoch added to the ledger, which never falls."""
    place = f"epoch {row.epoch}"
    earlier: Mapping[str, Mapping[str, int]] = (before.ledger or {}) if before is not None else {}
    ledger = row.ledger or {}  # there are no counts where nothing has come yet, perhaps but a control record
    lacks_ledger = row.ledger is None or (earlier and not ledger)
    if lacks_ledger and row.incarnation != SKIPPED:  # nothing was known where nothing was left
        findings.differ("ledger", place, "ledger", "counts by source", "nothing that can be read")
    if before is None and row.epoch != 1:
        return [UNKNOWN] * len(COUNTS)
    totals = dict.fromkeys(COUNTS, 0)
    for source in {**earlier, **ledger}:
        old, new = earlier.get(source, {}), ledger.get(source, {})
        for name in COUNTS:
            more = new.get(name, 0) - old.get(name, 0)
            if more < 0:
                findings.differ(
                    "ledger", place, f"{name} of {source}", f"at least {old.get(name, 0)}", new.get(name, 0)
                )
            totals[name] += more
    return list(totals.values())
