"""Raw events held against what the epochs say of them: how many there are, and that each is there once."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from streamgauge.audit import RawEvents
from streamgauge.event import LINE_BITS
from streamgauge.verification.findings import Findings
from streamgauge.verification.positions import UNKNOWN, Epochs


def check_events(
    raw: RawEvents,
    places: NDArray[np.int64],
    epochs: Epochs,
    span: tuple[int, int],
    *,
    letters: NDArray[np.int64],
    findings: Findings,
) -> None:
    """Check the events of a run of epochs. places: the epoch of each event; letters: names of events set aside."""
    _check_counts(places, epochs, span, findings)
    if not len(raw):
        return
    names = (raw.seq << LINE_BITS) + raw.index
    twice = np.flatnonzero(names[1:] == names[:-1]) + 1
    for row in twice.tolist():
        findings.differ("raw", _name(raw, row), "row", "once", "more than once")
    for row in np.flatnonzero(np.isin(names, letters)).tolist():
        findings.differ("dead_letter", _name(raw, row), "row", "stored or set aside", "both")
    apart = (raw.seq[1:] == raw.seq[:-1]) & (raw.received_us[1:] != raw.received_us[:-1])
    for row in (np.flatnonzero(apart) + 1).tolist():
        before, after = raw.received_us[row - 1], raw.received_us[row]
        findings.differ(
            "raw", _name(raw, row), "received_at", f"{before}, as of its whole append", int(after)
        )
    _check_lines(raw, places, epochs, findings)


def _check_counts(
    places: NDArray[np.int64], epochs: Epochs, span: tuple[int, int], findings: Findings
) -> None:
    first, end = span
    there = np.bincount(places - first, minlength=end - first)
    stored = epochs.added["stored"][first:end]
    for place in np.flatnonzero((there != stored) & (stored != UNKNOWN)).tolist():
        findings.differ(
            "ledger",
            f"epoch {epochs.number[first + place]}",
            "stored",
            f"{there[place]}, as there are raw events",
            int(stored[place]),
        )


def _check_lines(raw: RawEvents, places: NDArray[np.int64], epochs: Epochs, findings: Findings) -> None:
    """Where nothing of an epoch was left out, the lines of each of its appends are 0, 1, 2 ..."""
    left_out = epochs.added["filtered"] + epochs.added["dead_lettered"] + epochs.added["duplicate"]
    new = np.concatenate([[True], raw.seq[1:] != raw.seq[:-1]])
    starts = np.flatnonzero(new)
    expected = np.arange(len(raw)) - np.repeat(starts, np.diff(starts, append=len(raw)))
    wrong = (raw.index != expected) & (left_out[places] == 0)
    seen: set[int] = set()
    for row in np.flatnonzero(wrong).tolist():
        if raw.seq[row] not in seen:  # the lines behind it are wrong for the same reason
            seen.add(int(raw.seq[row]))
            findings.differ("raw", _name(raw, row), "index", int(expected[row]), int(raw.index[row]))


def _name(raw: RawEvents, row: int) -> str:
    return f"append {raw.seq[row]}, line {raw.index[row]}"
