"""Which source a `[[source]]` section asks for: a new kind is one file, its options, and one line here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from streamgauge.event import FieldMapping
from streamgauge.options import MqttOptions, SourceOptions
from streamgauge.source import RejectingDoor, RunningSource
from streamgauge.sources.mqtt import MqttSource
from streamgauge.sources.mqtt_settings import settings_of


class Kind(NamedTuple):
    """How a kind of source is made. settings: of (options, path of the section, mapping=, instance=)."""

    settings: Callable[..., Any]
    source: Callable[[Any, RejectingDoor], RunningSource]


KINDS: Final[dict[type, Kind]] = {MqttOptions: Kind(settings_of, MqttSource)}


def check_sources(options: Sequence[SourceOptions], *, mapping: FieldMapping) -> None:
    """Raise OptionError where a section cannot be used; opens nothing."""
    for place, one in enumerate(options):
        KINDS[type(one)].settings(one, f"source[{place}]", mapping=mapping, instance=None)


def make_sources(
    options: Sequence[SourceOptions], *, door: RejectingDoor, mapping: FieldMapping, instance: str | None
) -> list[RunningSource]:
    """Give the sources that the configuration names, not started yet; raises OptionError as `check_sources` does.

    mapping: which fields play which parts. instance: the data folder's name, None where nothing is kept.
    """
    sources = []
    for place, one in enumerate(options):
        kind = KINDS[type(one)]
        settings = kind.settings(one, f"source[{place}]", mapping=mapping, instance=instance)
        sources.append(kind.source(settings, door))
    return sources
