"""The journal over files of which any call can fail, once or from then on: what is refused leaves no trace."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from errno import EAGAIN, EFBIG, EINTR, EIO, ENOSPC
from pathlib import Path

import pytest
from effort import is_soak
from hypothesis import given, settings
from hypothesis import strategies as st

from journal_tools import SHORT, TestFiles, entry, expected, ignore, kept, open_journal
from streamgauge.errors import JournalError, StorageFull
from streamgauge.journals.file import FileJournal

GROUPS = [1, 3, 1, 2, 4, 1]
CALLS = ("write", "fsync", "ftruncate", "open", "replace", "fsync_folder", "unlink")
FAULTS = (ENOSPC, EIO, EINTR, EAGAIN, EFBIG)


class Watched(TestFiles):
    """Files that note what is done with an open file after an fsync of it has failed."""

    def __init__(self) -> None:
        super().__init__()
        self.distrusted: list[str] = []
        self._broken: set[int] = set()

    def open(self, path: Path) -> int:
        descriptor = super().open(path)
        self._broken.discard(descriptor)
        return descriptor

    def write(self, descriptor: int, buffers: Sequence[bytes]) -> int:
        if descriptor in self._broken:
            self.distrusted.append("write")
        return super().write(descriptor, buffers)

    def fsync(self, descriptor: int) -> None:
        if descriptor in self._broken:
            self.distrusted.append("fsync")
        try:
            super().fsync(descriptor)
        except OSError:
            self._broken.add(descriptor)
            raise


async def send_groups(journal: FileJournal, prefix: str) -> list[str]:
    """Append groups at the same time; give the texts that were accepted, in order of seq."""
    accepted: dict[int, str] = {}
    for number, size in enumerate(GROUPS):
        texts = [f"{prefix}-{number}-{place}" for place in range(size)]
        sent = [journal.append(entry(text), ignore) for text in texts]
        for text, outcome in zip(texts, await asyncio.gather(*sent, return_exceptions=True), strict=True):
            if isinstance(outcome, int):
                accepted[outcome] = text
            else:
                assert isinstance(outcome, StorageFull | JournalError), outcome
    return [accepted[seq] for seq in sorted(accepted)]


async def close_quietly(journal: FileJournal) -> None:
    try:
        await journal.close()
    except JournalError:
        return  # said, as it should be; what matters is what the next start finds


async def check_exactly(folder: Path, accepted: list[str]) -> None:
    """Two starts later there is what was accepted, and nothing else."""
    for _ in range(2):
        journal = open_journal(folder)
        assert kept(journal) == expected(accepted)
        assert journal.report.damaged == []
        await journal.close()


@pytest.mark.parametrize("fsync", ["always", "never"])
@pytest.mark.parametrize("fault", [*FAULTS, SHORT])
@pytest.mark.parametrize("lasting", [True, False], ids=["from then on", "once"])
@pytest.mark.parametrize("at", range(1, 9))
async def test_a_write_that_fails_refuses_its_group_and_no_other(
    tmp_path: Path, fault: int, at: int, fsync: str, *, lasting: bool
) -> None:
    files = Watched()
    journal = open_journal(tmp_path, files=files, fsync=fsync, segment_bytes=700)
    files.plan["write"] = [0] * (at - 1) + [fault] * (100 if lasting else 1)
    accepted = await send_groups(journal, "during")
    assert len(accepted) < sum(GROUPS) or not lasting
    files.plan.clear()
    accepted += await send_groups(journal, "after")
    assert kept(journal) == expected(accepted)
    await journal.close()
    await check_exactly(tmp_path, accepted)


@pytest.mark.parametrize("lasting", [True, False], ids=["from then on", "once"])
@pytest.mark.parametrize("fault", [EIO, ENOSPC, EINTR])
@pytest.mark.parametrize("at", range(1, 9))
async def test_after_a_failed_fsync_nothing_is_written_to_that_file_again(
    tmp_path: Path, fault: int, at: int, *, lasting: bool
) -> None:
    files = Watched()
    journal = open_journal(tmp_path, files=files, fsync="always", segment_bytes=700)
    files.plan["fsync"] = [0] * (at - 1) + [fault] * (100 if lasting else 1)
    accepted = await send_groups(journal, "during")
    files.plan.clear()
    accepted += await send_groups(journal, "after")
    assert files.failed_sync
    assert files.distrusted == []
    assert kept(journal) == expected(accepted)
    await journal.close()
    await check_exactly(tmp_path, accepted)


@settings(max_examples=2_000 if is_soak() else 60, deadline=None)
@given(
    fsync=st.sampled_from(["always", "interval", "never"]),
    plan=st.dictionaries(
        st.sampled_from(CALLS),
        st.lists(st.sampled_from([0, 0, 0, 0, *FAULTS, SHORT]), max_size=14),
        max_size=4,
    ),
)
async def test_however_the_calls_fail_what_was_accepted_is_there_and_nothing_else(
    fsync: str, plan: dict[str, list[int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("journal")
    files = Watched()
    journal = open_journal(folder, files=files, fsync=fsync, segment_bytes=700, interval_s=3600.0)
    files.plan = {
        call: [EIO if fault == SHORT and call != "write" else fault for fault in faults]
        for call, faults in plan.items()
    }
    accepted = await send_groups(journal, "during")
    files.plan.clear()
    accepted += await send_groups(journal, "after")
    assert files.distrusted == []
    assert kept(journal) == expected(accepted)
    await close_quietly(journal)
    await check_exactly(folder, accepted)
