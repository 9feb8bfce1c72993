"""A process that is stopped for a while, as by SIGSTOP or a laptop's lid."""

import time
from typing import Final

STILL_S: Final = 1.5


def stand_still() -> None:
    """Let nothing run in this thread, and so in its loop, for longer than a busy loop ever takes."""
    time.sleep(STILL_S)
