"""Implementations of the journal contract."""

from streamgauge.journals.file import FileJournal
from streamgauge.journals.lock import FolderLock, lock_folder
from streamgauge.journals.memory import MemoryJournal

__all__ = ["FileJournal", "FolderLock", "MemoryJournal", "lock_folder"]
