"""The process in which events are counted for trial."""

from __future__ import annotations

import os
import signal

import pytest

from streamgauge import config
from streamgauge.config import to_mapping
from streamgauge.journal import Entry
from streamgauge.trial import TrialImpossible, TrialProcess

ENTRIES = [
    Entry(payload=b'{"type":"a","value":1}\n' * 10, count=10, at_us=1_700_000_000_000_000, source="http")
]


def test_harmless_events_are_survived_and_a_death_is_told_with_its_way() -> None:
    with TrialProcess(to_mapping(config.from_mapping({}))) as trial:
        assert trial.ends_by(ENTRIES) is None
        assert trial.ends_by(ENTRIES) is None
        process = trial._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        assert trial.ends_by(ENTRIES) == "its process was killed by SIGKILL"
        assert trial.ends_by(ENTRIES) is None, "another is started"
        again = trial._process
        assert again is not None
        os.kill(again.pid, signal.SIGTERM)
        again.wait()
        with pytest.raises(TrialImpossible, match="SIGTERM by somebody"):
            trial.ends_by(ENTRIES)


def test_a_process_that_does_not_start_is_no_death_of_an_event() -> None:
    with TrialProcess({"no": "such option"}) as trial, pytest.raises(TrialImpossible, match="did not start"):
        trial.ends_by(ENTRIES)
