"""MQTT topics: filters with wildcards, and templates whose parts become fields of the event. Pure, without a broker.

    fleet/{site}/{device}/{kind}    subscribes to fleet/+/+/+, and fleet/oslo/t17/status brings
                                    {"site": "oslo", "device": "t17", "kind": "status"}

A part fills a whole level; `+` and `#` mean what they mean in MQTT (5.0, section 4.7).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from streamgauge.errors import OptionError
from streamgauge.event import check_name

TYPE_PART: Final = "type"
MOST_KNOWN: Final = 16_384  # topics whose fields are remembered: more devices than one server usually hears
LONGEST_KNOWN: Final = 512
_PART = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True, slots=True)
class TopicTemplate:
    """What to subscribe to (`filter`), and how to take the parts from a topic: made with `parse`."""

    filter: str
    parts: tuple[str, ...]
    _pattern: re.Pattern[str] = field(repr=False)

    @classmethod
    def parse(cls, text: str, path: str) -> TopicTemplate:
        """Read a filter or template; raises OptionError, which names `path`, where it is none."""
        levels = text.split("/")
        parts = tuple(name for level in levels for name in _PART.findall(level))
        for number, level in enumerate(levels):
            _check_level(level, path, is_last=number == len(levels) - 1)
        for name in parts:
            check_name(path, name)
        if len(set(parts)) < len(parts):
            raise OptionError(path, f"a part has the same name as another, in {text!r}", "name each once")
        if levels[0] == "$share":
            raise OptionError(path, "a shared subscription is asked for with `group`", 'write group = "..."')
        wanted = "/".join("+" if _PART.fullmatch(level) else level for level in levels)
        return cls(wanted, parts, re.compile(_pattern_of(levels), re.DOTALL))

    def match(self, topic: str) -> tuple[str, ...] | None:
        """Give the parts' texts in the order of `parts`; None where the topic does not fit."""
        if topic.startswith("$") and not self.filter.startswith("$"):
            return None
        found = self._pattern.fullmatch(topic)
        return None if found is None else found.groups()


def example_of(template: str) -> str:
    """Give a topic that a template or filter takes: fleet/{site}/+ takes fleet/site1/1."""
    levels = [_PART.sub(r"\g<1>1", level) for level in template.split("/")]
    return "/".join("1" if level in {"+", "#"} else level for level in levels)


def _check_level(level: str, path: str, *, is_last: bool) -> None:
    if "#" in level and (level != "#" or not is_last):
        raise OptionError(path, f"`#` stands alone at the end, got {level!r}", "as in sensors/#")
    if "+" in level and level != "+":
        raise OptionError(path, f"`+` stands for a whole level, got {level!r}", "as in sensors/+/telemetry")
    if ("{" in level or "}" in level) and not _PART.fullmatch(level):
        raise OptionError(path, f"a part in braces fills a whole level, got {level!r}", "as in fleet/{site}")


def _pattern_of(levels: Sequence[str]) -> str:
    pattern = ""
    for number, level in enumerate(levels):
        slash = "/" if number else ""
        if level == "#":
            pattern += f"(?:{slash}.*)?"  # it includes the level above
        elif level == "+":
            pattern += f"{slash}[^/]*"
        elif _PART.fullmatch(level):
            pattern += f"{slash}([^/]*)"
        else:
            pattern += slash + re.escape(level)
    return pattern


class TopicFields:
    """What a topic adds to its events.

    type_field: the field that plays the type; a part named `type` goes there. whole: the topic itself goes there.
    """

    def __init__(self, templates: Sequence[TopicTemplate], *, type_field: str, whole: bool) -> None:
        self._type_field, self._whole = type_field, whole
        self._templates = [
            (template, [type_field if part == TYPE_PART else part for part in template.parts])
            for template in templates
        ]
        self._known = lru_cache(maxsize=MOST_KNOWN)(self._find)

    def of(self, topic: str) -> Mapping[str, str] | None:
        """Give the fields; None where the topic fits none of the templates."""
        return self._known(topic) if len(topic) <= LONGEST_KNOWN else self._find(topic)

    def _find(self, topic: str) -> Mapping[str, str] | None:
        for template, names in self._templates:
            texts = template.match(topic)
            if texts is not None:
                fields = {self._type_field: topic} if self._whole else {}
                return {**fields, **dict(zip(names, texts, strict=True))}
        return None
