"""The configuration: what is accepted, what stops the start and what it says, and that the reference is true."""

import os
import re
import socket
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import inspect

from streamgauge.config import from_mapping, load, to_mapping
from streamgauge.errors import OptionError
from streamgauge.options import (
    Duration,
    Options,
    Size,
    bare_type,
    options_table,
    root_section,
    sections,
    what_is_allowed,
)

ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - nothing listens here; it is refused
Writer = Callable[[str | bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> Writer:
    def write_file(content: str | bytes) -> Path:
        path = tmp_path / "config.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_file


def refusal(path: Path | None = None, **overrides: object) -> OptionError:
    with pytest.raises(OptionError) as caught:
        load(path, {key.replace("__", "."): value for key, value in overrides.items()})
    return caught.value


def refusal_of(mapping: dict[str, Any]) -> OptionError:
    with pytest.raises(OptionError) as caught:
        from_mapping(mapping)
    return caught.value


def every_option() -> Iterator[tuple[str, inspect.Field]]:
    for path, section in sections(root_section()):
        for option in section.fields:
            if "description" in bare_type(option.type)[1]:
                yield f"{path}.{option.encode_name}".lstrip("."), option


MQTT = {"kind": "mqtt", "url": "mqtt://broker", "topics": ["a"]}


def nested(path: str, value: object) -> dict[str, Any]:
    """Give the mapping that has one option at a path; an option of a metric stands in a metric, of a source in one."""
    if path.startswith("metric."):
        return {"metric": [{"name": "revenue"} | {path.removeprefix("metric."): value}]}
    if path.startswith("source."):
        return {"source": [MQTT | {path.removeprefix("source."): value}]}
    for name in reversed(path.split(".")):
        value = {name: value}
    assert isinstance(value, dict)
    return value


# What is accepted


def test_without_a_file_everything_has_its_default() -> None:
    options = load()
    assert options == Options()
    assert (options.server.host, options.server.port) == ("127.0.0.1", 4000)
    assert options.pipeline.aggregator.max_wait == pytest.approx(0.005)
    assert options.store.retention.hours == 5.0 * 365 * 86_400
    assert options.limits.body_bytes == 32 * 1024 * 1024


def test_every_default_passes_the_check_that_files_pass() -> None:
    mapping = to_mapping(Options())
    assert from_mapping(mapping) == Options()
    assert mapping["journal"]["interval"] == "200ms"
    assert mapping["store"]["retention"] == {"1s": "6h", "1m": "30d", "1h": "5y"}


METRICS = st.lists(st.from_regex(r"\Am[a-z0-9_]{0,63}\Z"), unique=True, max_size=3).map(
    lambda names: [{"name": name, "where": "a = 1"} for name in names]
)
MAPPINGS = st.fixed_dictionaries(
    {},
    optional={
        "data": st.sampled_from(["data", "/srv/data", "my data"]),
        "server": st.fixed_dictionaries({"port": st.integers(0, 65_535)}),
        "journal": st.fixed_dictionaries({"interval": st.integers(1, 60_000).map(lambda ms: f"{ms}ms")}),
        "store": st.fixed_dictionaries(
            {"raw_events": st.booleans(), "memory_limit": st.integers(2**26, 2**50)}
        ),
        "live": st.fixed_dictionaries({"max_rate": st.floats(0.1, 60)}),
        "metric": METRICS,
    },
)


@given(MAPPINGS)
def test_what_options_say_about_themselves_makes_the_same_options_again(mapping: dict[str, Any]) -> None:
    options = from_mapping(mapping)
    assert from_mapping(to_mapping(options)) == options


def test_a_file_replaces_defaults_and_the_command_line_replaces_the_file(write: Writer) -> None:
    path = write('data = "here"\n[server]\nport = 5000\nhost = "localhost"\n')
    options = load(path, {"server.port": 6000, "journal.fsync": "always", "data": None})
    assert (options.server.port, options.server.host, options.data) == (6000, "localhost", "here")
    assert options.journal.fsync == "always"
    assert options.live == Options().live


def test_overrides_leave_the_mappings_that_they_came_from_alone() -> None:
    section = {"port": 5000}
    assert load(None, {"server": section, "server.port": 6000}).server.port == 6000
    assert section == {"port": 5000}


def test_a_whole_file_is_read(write: Writer) -> None:
    options = load(
        write(
            """
            [pipeline]
            producer    = { min_demand = 500, max_demand = 1000 }
            aggregator  = { max_batch = 100, max_wait = "0s" }
            [limits]
            field_name_bytes = 64
            string_bytes = "1.5KiB"
            [[metric]]
            name = "revenue"
            where = "type = 'purchase'"
            value = "amount"
            by = ["country"]
            aggregates = ["sum", "p90", "last"]
            [[metric]]
            name = "visits"
            """
        )
    )
    assert options.pipeline.producer.max_demand == 1000
    assert options.pipeline.aggregator.max_wait == 0.0
    assert (options.limits.field_name_bytes, options.limits.string_bytes) == (64, 1536)
    revenue, visits = options.metric
    assert (revenue.value, revenue.by, revenue.aggregates) == ("amount", ("country",), ("sum", "p90", "last"))
    assert (visits.where, visits.value, visits.max_series) == (None, "value", 10_000)


@pytest.mark.parametrize("content", ["", "# nothing\n", b"\xef\xbb\xbf[server]\r\nport = 4000\r\n"])
def test_an_empty_file_and_a_byte_order_mark_are_fine(write: Writer, content: str | bytes) -> None:
    assert load(write(content)) == Options()


def test_what_has_no_place_of_its_own_is_kept_in_the_data_folder() -> None:
    options = from_mapping({"data": "/srv/gauge"})
    assert options.journal_folder() == Path("/srv/gauge/journal")
    assert options.store_url() == "duckdb:////srv/gauge/streamgauge.duckdb"
    placed = from_mapping({"journal": {"path": "/fast/journal"}, "store": {"url": "duckdb:///other.duckdb"}})
    assert placed.journal_folder() == Path("/fast/journal")
    assert placed.store_url() == "duckdb:///other.duckdb"


def test_durations_and_sizes_may_be_written_in_code_as_in_the_file() -> None:
    assert Duration("1h30m") == 5400.0
    assert Size("64KiB") == 65_536
    assert from_mapping({"journal": {"interval": Duration(0.5)}}).journal.interval == 0.5


def test_any_mapping_serves_and_is_checked_all_the_way_down() -> None:
    assert from_mapping({"server": MappingProxyType({"port": 0})}).server.port == 0
    assert refusal_of({"server": MappingProxyType({"prot": 0})}).path == "server.prot"


# Unknown names


@pytest.mark.parametrize(
    ("mapping", "path", "fix"),
    [
        (
            {"pipeline": {"aggregator": {"max_bach": 1}}},
            "pipeline.aggregator.max_bach",
            "did you mean `max_batch`?",
        ),
        ({"server": {"prot": 1}}, "server.prot", "did you mean `port`?"),
        ({"server": {"Port": 1}}, "server.Port", "did you mean `port`?"),
        ({"limits": {"body-bytes": 1}}, "limits.body-bytes", "did you mean `body_bytes`?"),
        ({"sever": {}}, "sever", "did you mean `server`?"),
        ({"port": 4000}, "port", "did you mean `server.port`?"),
        ({"max_batch": 1}, "max_batch", "did you mean `pipeline.aggregator.max_batch`?"),
        (
            {"pipeline": {"concurrency": 1}},
            "pipeline.concurrency",
            "did you mean `pipeline.transformer.concurrency` or `pipeline.aggregator.concurrency`?",
        ),
        (
            {"live": {"data": "x"}},
            "live.data",
            "did you mean `data` at the top of the file, before the first section?",
        ),
        ({"live": {"zebra": 1}}, "live.zebra", "allowed here: max_rate, history"),
        ({"store": {"retention": {"2s": "1h"}}}, "store.retention.2s", "allowed here: 1s, 1m, 1h"),
        ({"metric": [{"name": "a", "filter": "x"}]}, "metric[0].filter", "allowed here: name, where, value"),
        ({"live": {"a b\n": 1}}, 'live."a b\\n"', "allowed here"),
        ({"live": {"": 1}}, 'live.""', "allowed here"),
        ({"live": {3: 1}}, "live.3", "allowed here"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_right_one(
    mapping: dict[str, Any], path: str, fix: str
) -> None:
    error = refusal_of(mapping)
    assert (error.path, error.problem) == (path, "unknown option")
    assert error.fix.startswith(fix)


@pytest.mark.parametrize("section", ["dashboard", "alert"])
def test_a_section_that_this_version_does_not_have_is_refused(write: Writer, section: str) -> None:
    error = refusal(write(f'[[{section}]]\nname = "x"\n'))
    assert error.problem == "unknown option"
    assert error.fix.startswith("allowed here: data, server, events")


def test_a_very_long_unknown_name_is_not_repeated_in_full(write: Writer) -> None:
    assert len(str(refusal(write("x" * 900_000 + " = 1")))) < 500


# Wrong values


@pytest.mark.parametrize(
    ("toml", "path", "problem", "fix"),
    [
        (
            'pipeline.aggregator.max_batch = "abc"',
            "pipeline.aggregator.max_batch",
            'expected an integer from 1 to 1000000, got "abc"',
            "change it, or leave it out for the default `8192`",
        ),
        ("server.port = 70000", "server.port", "expected an integer from 0 to 65535, got 70000", "change it"),
        ('server.port = "80"', "server.port", 'expected an integer from 0 to 65535, got "80"', "change it"),
        ("server.port = 80.0", "server.port", "expected an integer from 0 to 65535, got 80.0", "change it"),
        ("server.port = true", "server.port", "expected an integer from 0 to 65535, got true", "change it"),
        ("server.workers = 2", "server.workers", "expected an integer equal to 1, got 2", "change it"),
        ('server.host = ""', "server.host", 'expected a text of at least one character, got ""', "change it"),
        ("server = 3", "server", "expected a table of options, got 3", "change it"),
        (
            "query.max_rows = 1180591620717411303424",
            "query.max_rows",
            "a number of more than 64 bits",
            "change it",
        ),
        ("live.max_rate = inf", "live.max_rate", "expected a number from 0.1 to 60, got inf", "change it"),
        ("live.max_rate = nan", "live.max_rate", "expected a number from 0.1 to 60, got nan", "change it"),
        ("data = 1979-05-27", "data", "expected a path written out, without ~, got 1979-05-27", "change it"),
        ('data = "~/data"', "data", 'without ~, got "~/data"', "change it"),
        ("store.raw_events = 1", "store.raw_events", "expected true or false, got 1", "change it"),
        (
            "journal.interval = 5",
            "journal.interval",
            "expected a duration from 1ms to 1m, got 5",
            'add a unit, as in "5s" or "5ms", or leave it out for the default `"200ms"`',
        ),
        ('journal.interval = "5"', "journal.interval", 'got "5"', 'add a unit, as in "5s" or "5ms"'),
        ("journal.interval = 0", "journal.interval", "got 0", 'add a unit, as in "0s" or "0ms"'),
        ('journal.interval = "-5s"', "journal.interval", 'got "-5s"', 'write it as in "200ms"'),
        ('journal.interval = "1e9d"', "journal.interval", 'got "1e9d"', 'write it as in "200ms"'),
        (
            'journal.interval = "2m"',
            "journal.interval",
            "expected a duration from 1ms to 1m, got",
            "write it",
        ),
        (
            'limits.body_bytes = "1"',
            "limits.body_bytes",
            "expected a size from 1B to 1GiB",
            'write it as in "64KiB"',
        ),
        ("limits.body_bytes = 0", "limits.body_bytes", "expected a size from 1B to 1GiB, got 0", "write it"),
        (
            "limits.body_bytes = true",
            "limits.body_bytes",
            "expected a size from 1B to 1GiB, got true",
            "write it",
        ),
        (
            'journal.fsync = "alway"',
            "journal.fsync",
            'expected one of "always", "interval", "never", got "alway"',
            'did you mean "always"?',
        ),
        ("metric = 3", "metric", "expected a list of any number, each table of options, got 3", "change it"),
        (
            '[metric]\nname = "a"',
            "metric",
            "got a table",
            "write the section's name in two pairs of brackets",
        ),
        ("[transform]\nderive = { a = 1 }", "transform.derive.a", "expected a text", "change it"),
        ('[transform]\nderive = { a = "1", b = "" }', "transform.derive.b", 'got ""', "change it"),
        ("[[metric]]", "metric[0].name", "is missing", "add name = ..."),
        ('[[metric]]\nname = "Revenue"', "metric[0].name", 'got "Revenue"', "change it"),
        ('[[metric]]\nname = "a\\n"', "metric[0].name", 'got "a\\n"', "change it"),
        ('[[metric]]\nname = "a"\naggregates = []', "metric[0].aggregates", "got a list of 0", "change it"),
        (
            '[[metric]]\nname = "a"\naggregates = ["sum", "P95x"]',
            "metric[0].aggregates[1]",
            'got "P95x"',
            'did you mean "p95"?',
        ),
        (
            '[[metric]]\nname = "a"\nby = [""]',
            "metric[0].by[0]",
            'expected a field name of 1 to 128 characters, got ""',
            "",
        ),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_found_and_what_is_allowed(
    write: Writer, toml: str, path: str, problem: str, fix: str
) -> None:
    file = write(toml)
    error = refusal(file)
    assert error.path == f"{file}: {path}"
    assert problem in error.problem
    assert error.fix.startswith(fix)


@pytest.mark.parametrize(
    ("path", "option"), [pytest.param(path, option, id=path) for path, option in every_option()]
)
def test_every_option_refuses_what_it_does_not_allow_in_the_words_of_the_reference(
    path: str, option: inspect.Field
) -> None:
    kind, allowed = what_is_allowed(option.type)
    values: list[object] = [{}, [[]], -1e300, 2**70, "\0", None]
    for wrong in values:
        if (wrong is None and option.default is None) or (wrong == {} and kind == "table"):
            continue
        error = refusal_of(nested(path, wrong))
        assert error.path.startswith(path.replace("metric.", "metric[0].").replace("source.", "source[0]."))
        assert f"{kind} {allowed}".strip() in error.problem or error.path.endswith("[0]")


def test_a_password_in_a_url_is_not_shown() -> None:
    error = refusal_of({"store": {"url": "POSTGRES://me:hunter2@db/events"}})
    assert "hunter2" not in str(error)
    assert "me:***@db" in str(error)


def test_a_secret_is_shown_nowhere_but_kept() -> None:
    options = from_mapping({"source": [MQTT | {"username": "me", "password": "hunter2"}]})
    assert "hunter2" not in repr(options)
    assert options.source[0].password == "hunter2"  # noqa: S105  made up
    assert "hunter2" not in str(refusal_of({"source": [MQTT | {"password": ["hunter2"]}]}))
    assert "hunter2" not in str(refusal_of({"source": [MQTT | {"url": "mqt://me:hunter2@broker"}]}))


# Sections of several kinds


@pytest.mark.parametrize(
    ("section", "path", "problem", "fix"),
    [
        ({}, "source[0].kind", "is missing", 'add kind = ..., one of "mqtt"'),
        (
            {"kind": "mqt"},
            "source[0].kind",
            'expected one of "mqtt", got "mqt"',
            'did you mean "mqtt"?',
        ),
        ({"kind": 3}, "source[0].kind", 'expected one of "mqtt", got 3', "change it"),
        (MQTT | {"topic": "x"}, "source[0].topic", "unknown option", "did you mean `topics`?"),
        ({"kind": "mqtt", "topics": ["a"]}, "source[0].url", "is missing", "add url = ..."),
        (MQTT | {"topics": []}, "source[0].topics", "expected a list of 1 or more", "change it"),
        (MQTT | {"name": "http"}, "source[0].name", "`http` is the name of events", "choose another name"),
    ],
)
def test_a_source_of_no_known_kind_or_with_what_its_kind_does_not_have_is_refused(
    section: dict[str, Any], path: str, problem: str, fix: str
) -> None:
    error = refusal_of({"source": [section]})
    assert error.path == path
    assert error.problem.startswith(problem)
    assert error.fix.startswith(fix)


def test_two_sources_of_one_name_are_refused() -> None:
    error = refusal_of({"source": [MQTT, MQTT]})
    assert error.path == "source[1].name"
    assert error.problem == "`mqtt` is also the name of source[0]"


def test_what_came_from_the_command_line_is_said_to_come_from_there(write: Writer) -> None:
    file = write("[server]\nport = 1\nhost = 3\n")
    assert refusal(None, server__port="x").path == "command line: server.port"
    assert refusal(None, server__prot=1).path == "command line: server.prot"
    assert refusal(file, server__port=5).path == f"{file}: server.host"
    assert refusal(write("server = 3"), server__port=5).path == f"{file}: server"


# Options that do not go together


@pytest.mark.parametrize(
    ("mapping", "path", "other"),
    [
        (
            {"pipeline": {"producer": {"min_demand": 1000, "max_demand": 1000}}},
            "pipeline.producer.min_demand",
            "1000 must be less than pipeline.producer.max_demand (1000)",
        ),
        (
            {"store": {"retention": {"1s": "31d"}}},
            "store.retention.1s",
            "31d must be less than store.retention.1m (30d)",
        ),
        (
            {"store": {"retention": {"1h": "1d"}}},
            "store.retention.1m",
            "30d must be less than store.retention.1h (1d)",
        ),
        (
            {"limits": {"body_bytes": "2MiB", "decoded_bytes": "1MiB"}},
            "limits.body_bytes",
            "2MiB must not be more than limits.decoded_bytes (1MiB)",
        ),
        (
            {"journal": {"max_bytes": "1MiB"}},
            "journal.segment_bytes",
            "64MiB must not be more than journal.max_bytes (1MiB)",
        ),
        ({"events": {"type": "value"}}, "events.value", '"value" is also the field of events.type'),
        (
            {"metric": [{"name": "a"}, {"name": "b"}, {"name": "a"}]},
            "metric[2].name",
            "`a` is also the name of metric[0]",
        ),
        ({"metric": [{"name": "events"}]}, "metric[0].name", "`events` is reserved for the built-in metric"),
        (
            {"metric": [{"name": "latency"}]},
            "metric[0].name",
            "`latency` is reserved for the built-in metric",
        ),
        ({"metric": [{"name": "a", "by": ["x", "y", "x"]}]}, "metric[0].by", '"x" is listed 2 times'),
        (
            {"metric": [{"name": "a", "aggregates": ["sum", "sum"]}]},
            "metric[0].aggregates",
            '"sum" is listed 2 times',
        ),
    ],
)
def test_options_that_contradict_each_other_are_refused_by_both_names(
    mapping: dict[str, Any], path: str, other: str
) -> None:
    error = refusal_of(mapping)
    assert error.path == path
    assert error.problem.startswith(other)


def test_limits_that_meet_are_allowed() -> None:
    options = from_mapping({"limits": {"body_bytes": "1MiB", "decoded_bytes": "1MiB"}})
    assert options.limits.body_bytes == options.limits.decoded_bytes


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.53", "localhost", "LOCALHOST", "::1"])
def test_a_host_of_this_machine_alone_is_allowed(host: str) -> None:
    assert from_mapping({"server": {"host": host}}).server.host == host


@pytest.mark.parametrize(
    "host", [ANY_ADDRESS, "::", "192.0.2.7", "example.com", "127.1", "localhost.example.com"]
)
def test_a_host_that_others_can_reach_needs_an_explicit_yes(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: ["an address"])
    error = refusal_of({"server": {"host": host}})
    assert error.path == "server.host"
    assert "API keys are not available yet" in error.problem
    assert "server.insecure = true" in error.fix
    assert from_mapping({"server": {"host": host, "insecure": True}}).server.host == host
    assert load(None, {"server.host": host, "server.insecure": True}).server.host == host


def test_a_host_that_nobody_knows_is_not_said_to_be_open_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr("socket.getaddrinfo", unknown)
    error = refusal_of({"server": {"host": "nosuch.host"}})
    assert error.path == "server.host"
    assert '"nosuch.host" is neither an address nor a name that this machine can look up' in error.problem
    assert "reached" not in str(error)


# Files that are no configuration


@pytest.mark.parametrize(
    ("content", "place", "problem"),
    [
        ("a = 1\nb =\n", ": line 2, column 4", "not valid TOML: Invalid value"),
        ("[server]\n[server]\n", ": line 2, column 8", "not valid TOML"),
        ("server.port = 1\n[server]\nhost = 'a'\n", ": line 2, column 8", "not valid TOML"),
        ("server: {port: 1}", ": line 1, column 7", "not valid TOML"),
        ("a = [", ": end of document", "not valid TOML"),
        ("a = " + "[" * 100_000, "", "brackets are nested too deeply"),
        ("a = " + "9" * 5000, "", "not valid TOML"),
        ("port = 4000\n".encode("utf-16"), "", "is not UTF-8 (byte 0)"),
        (b"\x7fELF\x02\x00", ": line 1, column 1", "not valid TOML"),
        (b"#" * (2**20 + 1), "", "is larger than 1 MiB"),
    ],
)
def test_a_file_that_is_no_toml_is_refused_with_the_line(
    write: Writer, content: str | bytes, place: str, problem: str
) -> None:
    file = write(content)
    error = refusal(file)
    assert error.path == f"{file}{place}"
    assert error.problem.startswith(problem)
    assert len(str(error)) < 500


def test_a_path_that_is_no_readable_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    assert refusal(tmp_path / "none.toml").problem == "there is no such file"
    assert refusal(tmp_path).problem == "is a folder"
    assert refusal(tmp_path / "fifo").problem == "is not a regular file"
    assert refusal(Path("/dev/zero")).problem == "is not a regular file"
    assert "symbolic links" in refusal(tmp_path / "loop").problem
    assert refusal(Path("a\0b")).problem.startswith("cannot be read")


def accepted(mapping: dict[str, Any]) -> Options | None:
    try:
        return from_mapping(mapping)
    except OptionError:
        return None


TOML_VALUES = st.recursive(st.booleans() | st.integers() | st.floats() | st.text(), st.lists)


@given(st.sampled_from([path for path, _ in every_option()]), TOML_VALUES)
def test_any_value_of_any_option_is_kept_as_it_is_or_refused_as_an_option_error(
    path: str, value: object
) -> None:
    options = accepted(nested(path, value))
    assert options is None or from_mapping(to_mapping(options)) == options


# The reference


def test_the_reference_is_what_the_declarations_say() -> None:
    reference = Path(__file__).parents[1] / "docs" / "options.md"
    assert reference.read_text(encoding="utf-8") == options_table(), (
        "run: python -m streamgauge.options > docs/options.md"
    )


def test_the_reference_names_every_option_with_a_text_and_a_default_that_can_be_pasted() -> None:
    rows = re.findall(r"^\| `(\w+)` \| .+ \| (.+) \| .* \| .+ \|$", options_table(), re.MULTILINE)
    assert [name for name, _ in rows] == [path.rpartition(".")[2] for path, _ in every_option()]
    for _, default in rows:
        if default.startswith("`") and "<data>" not in default:
            tomllib.loads(f"x = {default.strip('`')}")
