"""A journal whose power is cut at any moment of several lives: what was promised is there, in order, and nothing else."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic_ns
from typing import Any

import pytest
from faulty_calls import Call
from hypothesis import example, given
from hypothesis import strategies as st
from power_cut import Disk

from journal_tools import entry, ignore, kept, open_journal, open_unsynced
from soak import examples
from streamgauge.journals.file import FileJournal
from streamgauge.journals.files import Files

STEPS = ("append", "append", "append", "group", "sync", "store")


class Recorded(Files):
    """Files that write down what is done with them, as `faulty_calls` does, and leave syncing to the system."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._paths: dict[int, Path] = {}

    def _note(
        self, name: str, path: Path, *, offset: int = 0, target: Path = Path(), data: bytes = b""
    ) -> None:
        now = monotonic_ns()
        self.calls.append(Call(name, now, now, offset, path, target, data))

    def make_folder(self, path: Path) -> None:
        if not path.exists():
            path.mkdir()
            self._note("folder", path)
        self._note("sync", path.parent)

    def open(self, path: Path) -> int:
        descriptor = super().open(path)
        self._paths[descriptor] = path
        self._note("open", path)
        return descriptor

    def write(self, descriptor: int, buffers: Sequence[bytes]) -> int:
        offset = os.fstat(descriptor).st_size
        written = super().write(descriptor, buffers)
        self._note("write", self._paths[descriptor], offset=offset, data=b"".join(buffers))
        return written

    def fsync(self, descriptor: int) -> None:
        self._note("sync", Path(f"/proc/self/fd/{descriptor}").readlink())

    def ftruncate(self, descriptor: int, length: int) -> None:
        super().ftruncate(descriptor, length)
        self._note("cut", Path(f"/proc/self/fd/{descriptor}").readlink(), offset=length)

    def replace(self, source: Path, target: Path) -> None:
        super().replace(source, target)
        self._paths = {one: target if path == source else path for one, path in self._paths.items()}
        self._note("rename", source, target=target)

    def unlink(self, path: Path) -> None:
        super().unlink(path)
        self._note("delete", path)

    def fsync_folder(self, folder: Path) -> None:
        self._note("sync", folder)


@dataclass
class Life:
    """One life of a journal. answered, synced, stored: (calls made until then, last seq of which it holds).

    texts: of each seq; began: the last one of those that were there before, which are on the disk. ended: how many calls
    had been made when it was told to end.
    """

    fsync: str
    texts: dict[int, str]
    files: Recorded = field(default_factory=Recorded)
    began: int = 0
    answered: list[tuple[int, int]] = field(default_factory=list)
    synced: list[tuple[int, int]] = field(default_factory=list)
    stored: list[tuple[int, int]] = field(default_factory=list)
    ended: int = 0

    async def live(self, folder: Path, plan: Sequence[str], stored_seq: int) -> FileJournal:
        options: dict[str, Any] = {"segment_bytes": 700, "interval_s": 3600.0, "stored_seq": stored_seq}
        journal = open_journal(folder, files=self.files, fsync=self.fsync, **options)
        self.stored.append((0, stored_seq))
        for number, step in enumerate(plan):
            if step == "sync":
                journal._log.sync()
                self.synced.append((len(self.files.calls), journal.last_seq))
            elif step == "store":  # the store has proved to hold everything, on the disk
                self.stored.append((len(self.files.calls), journal.last_seq))
                journal.release(journal.last_seq)
            else:
                await self._append(journal, [f"{number}"] * (1 if step == "append" else 3))
        self.ended = len(self.files.calls)
        return journal

    async def _append(self, journal: FileJournal, texts: list[str]) -> None:
        for sent, text in [(journal.append(entry(text), ignore), text) for text in texts]:
            self.texts[await sent] = text
        self.answered.append((len(self.files.calls), journal.last_seq))

    def promised(self, made: int) -> int:
        """The last seq that must have survived when the power failed after so many calls."""
        marks = {"always": self.answered, "interval": self.synced, "never": []}[self.fsync]
        return max((seq for calls, seq in marks if calls <= made), default=self.began)

    def stored_at(self, made: int) -> int:
        return max(seq for calls, seq in self.stored if calls <= made)


@examples(150, 20_000)
@given(
    fsync=st.sampled_from(["always", "interval", "never"]),
    plans=st.lists(st.lists(st.sampled_from(STEPS), min_size=4, max_size=14), min_size=1, max_size=3),
    seed=st.integers(0, 2**32),
)
@example(fsync="interval", plans=[["append"] * 8 + ["sync"]], seed=0)
@example(fsync="interval", plans=[["append"] * 8 + ["sync"]], seed=4)
async def test_what_was_promised_survives_the_power_being_cut_at_any_moment_of_any_life(
    fsync: str, plans: list[list[str]], seed: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    chance = random.Random(seed)  # noqa: S311  chance, not secrets
    place = tmp_path_factory.mktemp("disks")
    disk, texts, stored, folder = Disk(place / "0"), dict[int, str](), 0, place / "0"
    folder.mkdir()
    for number, plan in enumerate(plans, 1):
        life = Life(fsync, texts, began=max(texts, default=0))
        journal = await life.live(folder / "journal", plan, stored)
        await journal.close()
        made = chance.choice((chance.randrange(len(life.files.calls) + 1), life.ended))
        for call in life.files.calls[:made]:
            disk.do(call)
        folder, stored = place / str(number), life.stored_at(made)
        disk.after_a_cut(folder, chance)
        texts = await check(folder / "journal", life, made, stored)
        disk = Disk.holding(folder)


async def check(folder: Path, life: Life, made: int, stored: int) -> dict[int, str]:
    """Open a copy of what is left, so that the next life meets it as it is; give what it has."""
    copy = folder.with_name("copy")
    with suppress(FileNotFoundError):
        shutil.copytree(folder, copy)
    journal = open_unsynced(copy, stored_seq=stored)
    await journal.close()
    found = dict(kept(journal))
    expected = {seq: entry(text).payload for seq, text in life.texts.items()}
    assert found == {seq: expected[seq] for seq in found}
    missing = {seq for seq in life.texts if stored < seq <= life.promised(made)} - set(found)
    assert not missing, f"{missing} were promised; the power failed after call {made}"
    holes = {seq for damage in journal.report.damaged for seq in range(damage.first_seq, damage.last_seq + 1)}
    assert set(range(stored + 1, max(found, default=0) + 1)) - set(found) <= holes
    shutil.rmtree(copy)
    return {seq: life.texts[seq] for seq in found}
