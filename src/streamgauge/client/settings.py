"""How a client behaves, with the limits of what may be chosen."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from streamgauge.errors import OptionError

WhenFull = Literal["wait", "drop"]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(ge=0, le=86_400)]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The choices of a client; `Client` says what they mean."""

    batch_events: Count
    batch_bytes: Count
    linger_s: Seconds
    buffer_events: Count
    buffer_bytes: Count
    when_full: WhenFull
    wait_s: Seconds
    timeout_s: Annotated[float, Meta(gt=0, le=3600)]
    retry_s: Seconds
    exit_s: Seconds
    compress: bool

    @classmethod
    def read(cls, **choices: Any) -> Settings:
        """Check choices. Raises OptionError."""
        try:
            return msgspec.convert(choices, cls)
        except msgspec.ValidationError as exc:
            problem, _, path = str(exc).partition(" - at `$.")
            name = path.rstrip("`")
            raise OptionError(name, f"{problem}, got {choices.get(name)!r}", "see docs/python.md") from exc
