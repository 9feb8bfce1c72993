"""From a TOML file and the command line to checked `Options`.

The one way to build options: everything that is wrong stops the start with an OptionError, which says where
(`config.toml: pipeline.aggregator.max_batch`), what was found, what is allowed, and the nearest right name.
Precedence: command line, then file, then default. What the options are is declared in `options`.
"""

import difflib
import ipaddress
import json
import re
import stat
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec
from msgspec import inspect

from streamgauge.errors import InternalError, OptionError
from streamgauge.options import (
    Duration,
    EventOptions,
    MetricOptions,
    Options,
    Secret,
    ServerOptions,
    Size,
    SourceOptions,
    bare_type,
    default_text,
    kinds_of,
    root_section,
    sections,
    what_is_allowed,
    written,
)

RESERVED_METRICS = ("events", "latency")
RESERVED_SOURCES = ("http", "websocket", "python", "replay", "demo", "dead_letters", "rule")

_MOST_FILE_BYTES = 2**20
_MOST_SHOWN = 60
_NEAR = 0.75  # below this, "source" would be taken for a misspelt "store"


class _Place(NamedTuple):
    """A value that was given, with what the option there allows."""

    value: object
    type: inspect.Type
    default: str


class _Conflict(NamedTuple):
    """Two options that do not go together; `path` is where it is reported."""

    path: str
    problem: str
    fix: str


class _Origin(NamedTuple):
    """Where values came from: a file's name, and the paths given on the command line."""

    file: str = ""
    command_line: frozenset[str] = frozenset()

    def refuse(self, path: str, problem: str, fix: str) -> NoReturn:
        given = any(path == key or path.startswith((key + ".", key + "[")) for key in self.command_line)
        source = "command line" if given else self.file
        raise OptionError(f"{source}: {path}" if source else path, problem, fix)


def load(path: Path | None = None, overrides: Mapping[str, object] | None = None) -> Options:
    """Read the configuration.

    path: a TOML file of at most 1 MiB; None for the defaults.
    overrides: options from the command line by dotted path, `{"server.port": 4001}`; None means not given.
    Raises OptionError for the first thing that is wrong.
    """
    given = {key: value for key, value in (overrides or {}).items() if value is not None}
    values = {} if path is None else _read(path)
    for key, value in given.items():
        _put(values, key, value)
    return _checked(values, _Origin("" if path is None else str(path), frozenset(given)))


def from_mapping(mapping: Mapping[str, object]) -> Options:
    """Build options from what a TOML file would hold, for embedding and tests.

    Raises OptionError for the first thing that is wrong; its path is the option's alone.
    """
    return _checked(dict(mapping), _Origin())


def to_mapping(options: Options) -> dict[str, Any]:
    """Give options as a TOML file would hold them, in full; `from_mapping` makes the same options of it."""
    encoded = msgspec.json.encode(options, enc_hook=written)
    mapping: dict[str, Any] = _without_nulls(msgspec.json.decode(encoded))
    return mapping


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [_without_nulls(inner) for inner in value] if isinstance(value, list) else value


def _read(path: Path) -> dict[str, Any]:
    place = str(path)
    try:
        kind = _kind(path)
        content = b"" if kind else _head(path)
    except FileNotFoundError as exc:
        raise OptionError(
            place, "there is no such file", "check the path, or give none for the defaults"
        ) from exc
    except (OSError, ValueError) as exc:
        problem = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise OptionError(place, f"cannot be read: {problem}", "check the path and who may read it") from exc
    if kind:
        raise OptionError(place, f"is {kind}", "give the path of a TOML file")
    if len(content) > _MOST_FILE_BYTES:
        raise OptionError(place, "is larger than 1 MiB", "check that this is the configuration file")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise OptionError(place, f"is not UTF-8 (byte {exc.start})", "save it as UTF-8") from exc
    return _parsed(text, place)


def _kind(path: Path) -> str:
    """Say what stands there if it is no regular file; it is not opened, since opening a FIFO would wait."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return ""
    return "a folder" if stat.S_ISDIR(mode) else "not a regular file"


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_MOST_FILE_BYTES + 1)


def _parsed(text: str, place: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except RecursionError as exc:
        raise OptionError(place, "brackets are nested too deeply", "options nest three deep at most") from exc
    except ValueError as exc:  # the syntax, or a number too long to be one
        problem, _, position = str(exc).removesuffix(")").partition(" (at ")
        where = f"{place}: {position}" if position else place
        raise OptionError(where, f"not valid TOML: {problem}", "correct the syntax there") from exc


def _put(values: dict[str, Any], key: str, value: object) -> None:
    """Set a dotted path; where the file has something else than a table on the way, the check will say so."""
    *tables, name = key.split(".")
    for table in tables:
        inner = values.get(table, {})
        if not isinstance(inner, dict):
            return
        values[table] = dict(inner)
        values = values[table]
    values[name] = value


def _checked(values: dict[str, Any], origin: _Origin) -> Options:
    places = dict(_places(values, root_section(), "", origin))
    try:
        options = msgspec.convert(values, Options, dec_hook=_from_text)
    except msgspec.ValidationError as exc:
        _refuse_value(str(exc), places, origin)
    for path, place in places.items():
        if not _within(place):
            _refuse_place(path, place, origin)
    for conflict in _conflicts(options):
        origin.refuse(*conflict)
    return options


def _from_text(kind: type, value: object) -> object:
    """Build a Duration, a Size or a Secret from what TOML gave."""
    if kind is Duration and not isinstance(value, str | Duration):
        raise ValueError("a duration needs a unit")
    return kind(value)


def _places(
    values: Mapping[str, Any], section: inspect.StructType, path: str, origin: _Origin
) -> Iterator[tuple[str, _Place]]:
    """Give every value with its path, inner ones too; refuse names that the section does not have."""
    options = {option.encode_name: option for option in section.fields}
    for name in values:
        if name not in options and name != section.tag_field:
            _refuse_name(name, list(options), path, origin)
    for name, option in options.items():
        here = f"{path}.{name}".lstrip(".")
        if name in values:
            yield from _inside(here, _Place(values[name], option.type, default_text(option)), origin)
        elif option.required:
            origin.refuse(here, "is missing", f"add {name} = ...")


def _inside(path: str, place: _Place, origin: _Origin) -> Iterator[tuple[str, _Place]]:
    yield path, place
    bare, _ = bare_type(place.type)
    if (kinds := kinds_of(bare)) and isinstance(place.value, Mapping):
        yield from _places(place.value, _kind_wanted(kinds, place.value, path, origin), path, origin)
    elif isinstance(bare, inspect.VarTupleType) and isinstance(place.value, list | tuple):
        for index, item in enumerate(place.value):
            yield from _inside(f"{path}[{index}]", _Place(item, bare.item_type, ""), origin)
    elif isinstance(bare, inspect.DictType) and isinstance(place.value, Mapping):
        for name, item in place.value.items():
            yield from _inside(f"{path}.{name}", _Place(item, bare.value_type, ""), origin)


def _kind_wanted(
    kinds: tuple[inspect.StructType, ...], values: Mapping[str, Any], path: str, origin: _Origin
) -> inspect.StructType:
    """Give the section that `kind` names, where a section has kinds."""
    field = kinds[0].tag_field
    if field is None:
        return kinds[0]
    named = {str(kind.tag): kind for kind in kinds}
    allowed = ", ".join(f'"{name}"' for name in named)
    if field not in values:
        origin.refuse(f"{path}.{field}", "is missing", f"add {field} = ..., one of {allowed}")
    wanted = values[field]
    if not isinstance(wanted, str) or wanted not in named:
        near = difflib.get_close_matches(str(wanted)[:_MOST_SHOWN].lower(), named, n=1)
        fix = f'did you mean "{near[0]}"?' if near else "change it"
        origin.refuse(f"{path}.{field}", f"expected one of {allowed}, got {_shown(wanted)}", fix)
    return named[wanted]


def _refuse_name(name: object, siblings: list[str], path: str, origin: _Origin) -> NoReturn:
    """Refuse an unknown option, and name the nearest right one, here or in another section."""
    shown = name if isinstance(name, str) and re.fullmatch(r"[\w-]{1,60}", name) else _shown(name)
    wanted = str(name)[:_MOST_SHOWN].lower().replace("-", "_")
    elsewhere = [
        f"{section_path}.{option.encode_name}".lstrip(".")
        for section_path, section in sections(root_section())
        for option in section.fields
        if option.encode_name == wanted
    ]
    near = difflib.get_close_matches(wanted, siblings, n=1, cutoff=_NEAR)
    fix = f"allowed here: {', '.join(siblings)}"
    if near or elsewhere:
        fix = f"did you mean {' or '.join(f'`{option}`' for option in near or elsewhere)}?"
    if not near and wanted in elsewhere:  # in TOML whatever follows a section's heading belongs to it
        fix = f"did you mean `{wanted}` at the top of the file, before the first section?"
    origin.refuse(f"{path}.{shown}".lstrip("."), "unknown option", fix)


def _refuse_value(message: str, places: dict[str, _Place], origin: _Origin) -> NoReturn:
    """Say in our words what msgspec found, whose message ends with the path as in "... - at `$.server.port`"."""
    path = message.rpartition(" - at `$.")[2].removesuffix("`")
    if path.endswith("[...]"):  # an entry of a table, which msgspec does not name
        inner = path.removesuffix("[...]") + "."
        wrong = (p for p, place in places.items() if p.startswith(inner) and not _is_text(place.value))
        path = next(wrong, path)
    if path not in places:
        raise InternalError(f"no option at {path!r}, of which it was said: {message}")
    _refuse_place(path, places[path], origin)


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != "" and "\0" not in value


def _refuse_place(path: str, place: _Place, origin: _Origin) -> NoReturn:
    kind, allowed = what_is_allowed(place.type)
    article = "" if kind in {"one of", "true or false"} else "an " if kind[0] in "aeio" else "a "
    expected = f"{article}{kind} {allowed}".strip()
    found = "something else" if _is_secret(place.type) else _shown(place.value)
    origin.refuse(path, f"expected {expected}, got {found}", _way_out(place))


def _is_secret(option: inspect.Type) -> bool:
    bare, _ = bare_type(option)
    return isinstance(bare, inspect.CustomType) and bare.cls is Secret


def _way_out(place: _Place) -> str:
    """Give the nearest allowed value where one can be told, else how to write one, and the default."""
    bare, _ = bare_type(place.type)
    hint = "change it"
    if isinstance(bare, inspect.LiteralType):
        wanted = str(place.value)[:_MOST_SHOWN].lower()
        near = difflib.get_close_matches(wanted, [str(value) for value in bare.values], n=1)
        if near:
            return f'did you mean "{near[0]}"?'
    elif isinstance(bare, inspect.VarTupleType) and isinstance(place.value, Mapping):
        return "write the section's name in two pairs of brackets, [[...]]"
    elif isinstance(bare, inspect.CustomType) and bare.cls is not Secret:
        hint = _unit_hint(bare.cls, place.value)
    return f"{hint}, or leave it out for the default {place.default}" if place.default else hint


def _unit_hint(kind: type, value: object) -> str:
    number = _shown(value).strip('"')
    if kind is Duration and re.fullmatch(r"[0-9]{1,20}(\.[0-9]{1,20})?", number):
        return f'add a unit, as in "{number}s" or "{number}ms"'
    return 'write it as in "200ms", "5s" or "7d"' if kind is Duration else 'write it as in "64KiB" or "10MB"'


def _shown(value: object) -> str:
    """Show a found value as TOML has it, never at length and never with a password in a URL."""
    match value:
        case str():
            text = json.dumps(
                re.sub(r"(://[^/@]*:)[^/@]*@", r"\1***@", value[: 4 * _MOST_SHOWN]), ensure_ascii=False
            )
        case bool():
            text = "true" if value else "false"
        case int() if value.bit_length() > 64:
            text = "a number of more than 64 bits"
        case Mapping():
            text = "a table"
        case list() | tuple():
            text = f"a list of {len(value)}"
        case Duration() | Size():
            text = written(value)
        case _:
            text = str(value)
    return text if len(text) <= _MOST_SHOWN else text[:_MOST_SHOWN] + "..."


def _within(place: _Place) -> bool:
    """Tell whether a Duration or a Size keeps its limits; of other types msgspec has checked them."""
    bare, facts = bare_type(place.type)
    if not isinstance(bare, inspect.CustomType) or bare.cls is Secret:
        return True
    kind = bare.cls
    return bool(kind(facts["least"]) <= kind(place.value) <= kind(facts["most"]))


def _conflicts(options: Options) -> Iterator[_Conflict]:
    """Find options that are right alone but not together."""
    yield from _out_of_order(options)
    yield from _open_to_others(options.server)
    yield from _shared_fields(options.events)
    yield from _source_conflicts(options.source)
    yield from _metric_conflicts(options.metric)


def _out_of_order(options: Options) -> Iterator[_Conflict]:
    producer, limits, journal = options.pipeline.producer, options.limits, options.journal
    retention = options.store.retention
    below: list[tuple[str, float, str, float]] = [
        (
            "pipeline.producer.min_demand",
            producer.min_demand,
            "pipeline.producer.max_demand",
            producer.max_demand,
        ),
        ("store.retention.1s", retention.seconds, "store.retention.1m", retention.minutes),
        ("store.retention.1m", retention.minutes, "store.retention.1h", retention.hours),
    ]
    at_most: list[tuple[str, float, str, float]] = [
        ("limits.body_bytes", limits.body_bytes, "limits.decoded_bytes", limits.decoded_bytes),
        ("limits.decoded_bytes", limits.decoded_bytes, "limits.bodies_bytes", limits.bodies_bytes),
        ("journal.segment_bytes", journal.segment_bytes, "journal.max_bytes", journal.max_bytes),
    ]
    fix = "lower the first or raise the second"
    for path, low, high_path, high in below:
        if low >= high:
            yield _Conflict(path, f"{_plain(low)} must be less than {high_path} ({_plain(high)})", fix)
    for path, low, high_path, high in at_most:
        if low > high:
            yield _Conflict(path, f"{_plain(low)} must not be more than {high_path} ({_plain(high)})", fix)


def _plain(value: float) -> str:
    return written(value) if isinstance(value, Duration | Size) else str(value)


def _open_to_others(server: ServerOptions) -> Iterator[_Conflict]:
    """There are no API keys yet, so other machines are kept out unless somebody insists."""
    if not server.insecure and not is_loopback(server.host):
        yield _Conflict(
            "server.host",
            f"{_shown(server.host)} can be reached from other machines, and API keys are not available yet",
            'use "127.0.0.1", or accept that anyone can read and write with server.insecure = true (--insecure)',
        )


def is_loopback(host: str) -> bool:
    """Tell whether an address or name (without brackets) is this machine's alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may resolve to anything
        return False


def _shared_fields(events: EventOptions) -> Iterator[_Conflict]:
    parts: dict[str, str] = {}
    for part in ("type", "timestamp", "event_id", "user_id", "value"):
        field = getattr(events, part)
        if field in parts:
            problem = f"{_shown(field)} is also the field of events.{parts[field]}"
            yield _Conflict(f"events.{part}", problem, "give each part a field of its own")
        parts[field] = part


def _source_conflicts(sources: tuple[SourceOptions, ...]) -> Iterator[_Conflict]:
    seen: dict[str, int] = {}
    for index, source in enumerate(sources):
        path = f"source[{index}]"
        if source.name in RESERVED_SOURCES:
            problem = f"`{source.name}` is the name of events that come in another way"
            yield _Conflict(f"{path}.name", problem, f'choose another name, such as "my_{source.name}"')
        if source.name in seen:
            problem = f"`{source.name}` is also the name of source[{seen[source.name]}]"
            yield _Conflict(f"{path}.name", problem, "give each source a name of its own, name = ...")
        seen[source.name] = index


def _metric_conflicts(metrics: tuple[MetricOptions, ...]) -> Iterator[_Conflict]:
    seen: dict[str, int] = {}
    for index, metric in enumerate(metrics):
        path = f"metric[{index}]"
        if metric.name in RESERVED_METRICS:
            problem = f"`{metric.name}` is reserved for the built-in metric, which cannot be replaced"
            yield _Conflict(f"{path}.name", problem, f'choose another name, such as "my_{metric.name}"')
        if metric.name in seen:
            problem = f"`{metric.name}` is also the name of metric[{seen[metric.name]}]"
            yield _Conflict(f"{path}.name", problem, "give each metric a name of its own")
        seen[metric.name] = index
        for name, items in (("by", metric.by), ("aggregates", metric.aggregates)):
            item, times = max(Counter(items).items(), key=lambda counted: counted[1], default=("", 0))
            if times > 1:
                yield _Conflict(f"{path}.{name}", f"{_shown(item)} is listed {times} times", "list it once")
