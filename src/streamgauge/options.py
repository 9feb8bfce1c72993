"""Every option of the configuration file: its name, type, default, limits and text, declared once.

The reference in `docs/options.md` is made from these declarations (`python -m streamgauge.options`).
`config` reads a file and checks it; options are built through it alone, because constructors check nothing.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, Self, cast

from msgspec import NODEFAULT, Meta, Struct, field, inspect, to_builtins

from streamgauge.units import format_duration, format_size, parse_duration, parse_size


class Duration(float):
    """A duration in seconds; in the file a string with a unit: `"200ms"`."""

    __slots__ = ()

    def __new__(cls, value: str | float) -> Self:
        """Take seconds, or text such as `"200ms"`; ValueError when the text is no duration."""
        return super().__new__(cls, parse_duration(value) if isinstance(value, str) else value)


class Size(int):
    """A size in bytes; in the file a string with a unit, `"64KiB"`, or a whole number of bytes."""

    __slots__ = ()

    def __new__(cls, value: str | int) -> Self:
        """Take bytes, or text such as `"64KiB"`; ValueError when it is no size."""
        return super().__new__(cls, parse_size(value))


class Secret(str):
    """A password or the like: written into the file, or `"${NAME}"` for an environment variable; never shown."""

    __slots__ = ()

    def __new__(cls, value: object) -> Self:
        """Take text of at least one character, without NUL; ValueError for anything else."""
        if not isinstance(value, str) or not value or "\0" in value:
            raise ValueError("expected text of at least one character")
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return "***"


def _about(text: str, *, default: str = "") -> Meta:
    """Describe an option; `default` is shown where the declared one is None."""
    return Meta(description=text, extra={"default": default} if default else {})


def _count(least: int, most: int, text: str) -> Meta:
    return Meta(ge=least, le=most, description=text)


def _span(least: str, most: str, text: str) -> Meta:
    """Limit a Duration or a Size; `config` checks this, since msgspec knows limits for its own numbers only."""
    return Meta(description=text, extra={"least": least, "most": most})


def _text(noun: str, allowed: str, pattern: str) -> Meta:
    """Name a kind of string, and say in words what the pattern allows."""
    return Meta(pattern=pattern, extra={"noun": noun, "allowed": allowed})


_INTRODUCTION = """# Options

Streamgauge reads one TOML file; every option may be left out. What is given on the command line comes first, then
the file, then the defaults below. A duration is a string with a unit (`"5ms"`, `"1h30m"`, `"7d"`), a size a string
with a unit (`"64KiB"`, `"10MB"`) or a number of bytes, a path is relative to where the server is started.
"""

IN_MEMORY = ":memory:"  # as a journal's path: there is none

Aggregate = Literal["count", "sum", "avg", "min", "max", "last", "p50", "p90", "p95", "p99"]
Text = Annotated[str, _text("text", "of at least one character", r"\A[^\0]+\Z")]
FolderPath = Annotated[str, _text("path", "written out, without ~", r"\A[^~\0][^\0]*\Z")]
FieldName = Annotated[str, _text("field name", "of 1 to 128 characters", r"\A[^\0]{1,128}\Z")]
StoreUrl = Annotated[str, _text("URL", "as in duckdb:///folder/file.duckdb", r"\A[a-z][a-z0-9+]*://[^\0]+\Z")]
MqttUrl = Annotated[
    str, _text("URL", "as in mqtt://host:1883 or mqtts://host", r"\Amqtts?://[^\0/?#\s]+/?\Z")
]
TopicFilter = Annotated[
    str, _text("topic", "of 1 to 1024 characters, as in sensors/+/telemetry", r"\A[^\0]{1,1024}\Z")
]
LevelName = Annotated[str, _text("name", "of 1 to 64 characters, without / + and #", r"\A[^\0/+#]{1,64}\Z")]
ClientId = Annotated[str, _text("name", "of 1 to 128 printable ASCII characters", r"\A[!-~]{1,128}\Z")]
SourceName = Annotated[
    str,
    _text(
        "name",
        "of 1 to 64 characters a-z, 0-9, _ and -, beginning with a letter",
        r"\A[a-z][a-z0-9_-]{0,63}\Z",
    ),
]
HostName = Annotated[
    str,
    _text(
        "host name",
        "without a port, as in analytics.example or [fd00::1]",
        r"\A(?:[A-Za-z0-9_-]+(?:\.[A-Za-z0-9_-]+)*\.?|\[[0-9A-Fa-f:.]+\])\Z",
    ),
]
WebOrigin = Annotated[
    str,
    _text(
        "origin",
        "as in https://shop.example, without a path and without *",
        r"\A[A-Za-z][A-Za-z0-9+.-]*://(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?\Z",
    ),
]
MetricName = Annotated[
    str,
    _text(
        "name", "of 1 to 64 characters a-z, 0-9 and _, beginning with a letter", r"\A[a-z][a-z0-9_]{0,63}\Z"
    ),
]


class ServerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the server listens."""

    host: Annotated[Text, _about("The address to listen on.")] = "127.0.0.1"
    port: Annotated[int, _count(0, 65_535, "The port to listen on; 0 takes any free one.")] = 4000
    workers: Annotated[int, _count(1, 1, "Processes that share the port; only 1 for now.")] = 1
    watch: Annotated[
        bool,
        _about("Take up changes of the configuration file and of the module by itself (docs/reload.md)."),
    ] = False
    insecure: Annotated[
        bool, _about("Accept a `host` that others can reach, without API keys (`--insecure`).")
    ] = False
    allowed_hosts: Annotated[
        tuple[HostName, ...],
        Meta(
            max_length=64,
            description="More names that the server answers to, beside this machine's own: those that a proxy passes on in"
            " `Host`. On a `host` that others can reach it answers to any name unless some are given.",
        ),
    ] = ()
    allowed_origins: Annotated[
        tuple[WebOrigin, ...],
        Meta(
            max_length=64,
            description="Whose web pages may send events from a browser (CORS), beside the server's own; they may do"
            " nothing else.",
        ),
    ] = ()


class EventOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which field of an event plays which part."""

    type: Annotated[FieldName, _about("What happened; every event has it.")] = "type"
    timestamp: Annotated[FieldName, _about("When it happened; by default on arrival.")] = "timestamp"
    event_id: Annotated[FieldName, _about("Its id; sent again, it counts once.")] = "event_id"
    user_id: Annotated[FieldName, _about("Whose event it is.")] = "user_id"
    value: Annotated[FieldName, _about("The number that it carries.")] = "value"
    max_ahead: Annotated[Duration, _span("0s", "1y", "Events further ahead are rejected.")] = Duration("10m")
    remember_for: Annotated[
        Duration, _span("1s", "1y", "How long an `event_id` or `Idempotency-Key` is remembered,")
    ] = Duration("24h")
    remember_ids: Annotated[
        int, _count(2, 100_000_000, "and how many ids at most; about 40 bytes of memory each.")
    ] = 1_000_000
    remember_requests: Annotated[
        int, _count(1, 10_000_000, "How many requests with an `Idempotency-Key` are remembered at most.")
    ] = 100_000


class ProducerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How many events are asked of the sources."""

    min_demand: Annotated[int, _count(0, 9_999_999, "Ask again once this few are under way.")] = 25_000
    max_demand: Annotated[int, _count(1, 10_000_000, "The most events under way to a consumer.")] = 50_000
    buffer: Annotated[int, _count(1, 100_000_000, "The most events that wait; then the sources wait.")] = (
        200_000
    )


class TransformerOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How events are changed before they are counted."""

    concurrency: Annotated[
        int, _count(1, 256, "Slices at once; more than 1 is for transforms that wait.")
    ] = 1


class AggregatorOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How metrics are computed."""

    concurrency: Annotated[int, _count(1, 256, "Slices at once.")] = 1
    max_batch: Annotated[int, _count(1, 1_000_000, "Small slices are joined up to this many events.")] = 8192
    max_wait: Annotated[Duration, _span("0s", "10s", "How long a small slice waits for more.")] = Duration(
        "5ms"
    )


class PipelineOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The stages between the sources and the store."""

    producer: ProducerOptions = ProducerOptions()
    transformer: TransformerOptions = TransformerOptions()
    aggregator: AggregatorOptions = AggregatorOptions()


class JournalOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The files that hold accepted events until the store has them."""

    path: Annotated[
        FolderPath | None,
        _about(
            "Its folder. `:memory:`: none, and accepted events that are not in the store yet do not survive a crash.",
            default="`<data>/journal`",
        ),
    ] = None
    fsync: Annotated[
        Literal["interval", "always", "never"],
        _about("When it is forced to disk: every `interval`, before each answer, or when the system likes."),
    ] = "interval"
    interval: Annotated[Duration, _span("1ms", "1m", "How often, where `fsync` is `interval`.")] = Duration(
        "200ms"
    )
    max_bytes: Annotated[Size, _span("1B", "1PiB", "Its largest size; then sources answer 503.")] = Size(
        "4GiB"
    )
    segment_bytes: Annotated[Size, _span("1B", "1TiB", "A new file is begun at this size,")] = Size("64MiB")
    segment_age: Annotated[Duration, _span("1ms", "1d", "or at this age.")] = Duration("1m")


class RetentionOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How long rollups are kept at each resolution, since arrival; each longer than the one before."""

    seconds: Annotated[Duration, _span("1m", "100y", "Rollups of 1 second.")] = field(
        default=Duration("6h"), name="1s"
    )
    minutes: Annotated[Duration, _span("1m", "100y", "Rollups of 1 minute.")] = field(
        default=Duration("30d"), name="1m"
    )
    hours: Annotated[Duration, _span("1m", "100y", "Rollups of 1 hour.")] = field(
        default=Duration("5y"), name="1h"
    )


class TransformOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happens to events before they are counted: first `module`, then `derive`, then `keep` (docs/transforms.md)."""

    module: Annotated[
        FolderPath | None,
        _about("A Python file with `def transform(event)`, run in a process of its own.", default="none"),
    ] = None
    deadline: Annotated[
        Duration, _span("10ms", "1h", "How long the module may take for a slice of events.")
    ] = Duration("5s")
    memory: Annotated[
        Size, _span("64MiB", "1PiB", "The most memory (address space) of the module's process.")
    ] = Size("1GiB")
    derive: Annotated[
        dict[str, Text],
        Meta(max_length=64, description='SQL: new fields, `{ unit_price = "amount / quantity" }`.'),
    ] = field(default_factory=dict)
    keep: Annotated[
        Text | None,
        _about("SQL: which events are kept; the rest are counted as filtered.", default="every event"),
    ] = None


class StoreOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where rollups and raw events are kept."""

    url: Annotated[
        StoreUrl | None, _about("The database.", default="`duckdb:///<data>/streamgauge.duckdb`")
    ] = None
    raw_events: Annotated[bool, _about("Keep every event as it came, for SQL.")] = True
    raw_retention: Annotated[Duration, _span("1m", "100y", "For how long, since arrival.")] = Duration("7d")
    retention: RetentionOptions = RetentionOptions()
    dead_letter_retention: Annotated[
        Duration, _span("1m", "100y", "How long events that could not be handled are kept;")
    ] = Duration("30d")
    dead_letters: Annotated[int, _count(1, 100_000_000, "how many at most,")] = 100_000
    dead_letter_bytes: Annotated[
        Size, _span("1MiB", "1PiB", "and how large all of them may be; the oldest leave first.")
    ] = Size("1GiB")
    commit_interval: Annotated[Duration, _span("10ms", "1m", "How often events are committed.")] = Duration(
        "1s"
    )
    checkpoint_interval: Annotated[
        Duration,
        _span(
            "100ms", "1h", "How often at least the journal is relieved of what the database proves to hold."
        ),
    ] = Duration("30s")
    patience: Annotated[
        Duration,
        _span("0s", "1d", "How long a commit that fails is tried again before the server ends with code 70."),
    ] = Duration("10m")
    memory_limit: Annotated[
        Size,
        _span("64MiB", "1PiB", "The most memory for the database; what it needs beyond goes to the disk."),
    ] = Size("256MiB")


class LimitOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a sender or a viewer may cost; enforced before memory is spent."""

    body_bytes: Annotated[Size, _span("1B", "1GiB", "A request's body on the wire.")] = Size("32MiB")
    decoded_bytes: Annotated[Size, _span("1B", "4GiB", "A request's body, decompressed.")] = Size("128MiB")
    bodies_bytes: Annotated[
        Size,
        _span(
            "64KiB",
            "1TiB",
            "The bodies of all requests together, beyond 64 KiB of each; more are answered 503.",
        ),
    ] = Size("256MiB")
    decoded_ratio: Annotated[int, _count(1, 10_000, "Decompressed bytes for one on the wire.")] = 100
    event_bytes: Annotated[Size, _span("1B", "1GiB", "One event.")] = Size("256KiB")
    depth: Annotated[int, _count(1, 256, "Objects and arrays inside each other.")] = 32
    fields: Annotated[int, _count(1, 65_536, "Fields of an event.")] = 256
    field_name_bytes: Annotated[Size, _span("1B", "64KiB", "A field's name.")] = Size(128)
    string_bytes: Annotated[Size, _span("1B", "1GiB", "A string in an event.")] = Size("64KiB")
    headers_bytes: Annotated[Size, _span("256B", "1MiB", "A request's headers together.")] = Size("32KiB")
    headers: Annotated[int, _count(1, 10_000, "A request's headers, counted.")] = 100
    header_timeout: Annotated[Duration, _span("10ms", "1h", "Until the headers are complete.")] = Duration(
        "10s"
    )
    body_timeout: Annotated[Duration, _span("10ms", "1h", "Until the body is complete.")] = Duration("60s")
    write_timeout: Annotated[
        Duration, _span("10ms", "1h", "A client that takes nothing of its answer for so long is cut off.")
    ] = Duration("60s")
    websocket_message_bytes: Annotated[
        Size, _span("1B", "1GiB", "A WebSocket message; `new_events` may be as large as a body.")
    ] = Size("1MiB")
    viewer_send_deadline: Annotated[
        Duration, _span("10ms", "1h", "A viewer that takes longer to receive a message is disconnected.")
    ] = Duration("10s")
    saturated_wait: Annotated[
        Duration, _span("0s", "1m", "How long a source waits for room before it answers 503.")
    ] = Duration("2s")


class LiveOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an open dashboard is sent."""

    max_rate: Annotated[float, Meta(ge=0.1, le=60, description="The most diffs a second.")] = 4.0
    history: Annotated[Duration, _span("10s", "1d", "How far back a live panel reaches.")] = Duration("15m")


class QueryOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one query may cost."""

    timeout: Annotated[Duration, _span("10ms", "1h", "A query that takes longer is ended.")] = Duration("10s")
    max_rows: Annotated[int, _count(1, 10_000_000, "Rows of an answer; more are cut off.")] = 10_000


class MetricOptions(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A computation over events; one section for each. The names `events` and `latency` are taken by built-in ones."""

    name: Annotated[MetricName, _about("What it is called.")]
    where: Annotated[Text | None, _about("SQL: which events count.", default="every event")] = None
    value: Annotated[Text, _about("SQL: what is measured.")] = "value"
    by: Annotated[tuple[FieldName, ...], Meta(max_length=16, description="Fields to group by.")] = ()
    aggregates: Annotated[tuple[Aggregate, ...], Meta(min_length=1, description="What is computed.")] = (
        *("count", "sum", "avg", "min", "max", "p50", "p95", "p99"),
    )
    max_series: Annotated[int, _count(1, 1_000_000, "Live groups; the rest count under `(other)`.")] = 10_000


class MqttOptions(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="mqtt"
):
    """A subscription at an MQTT broker (docs/mqtt.md); one section for each."""

    url: Annotated[MqttUrl, _about("The broker; `mqtts` for TLS. It may hold `user:password@`.")]
    topics: Annotated[
        tuple[TopicFilter, ...],
        Meta(
            min_length=1,
            description="What to subscribe to; `{name}` stands for a level that becomes a field of the event.",
        ),
    ]
    name: Annotated[SourceName, _about("What it is called in the ledger and on the page.")] = "mqtt"
    qos: Annotated[int, _count(0, 2, "The most that is asked of the broker: 0, 1 or 2.")] = 1
    group: Annotated[
        LevelName | None, _about("Shares the messages with the others of this group.", default="no group")
    ] = None
    type_from: Annotated[
        FieldName | None,
        _about(
            'Where the type comes from: `"topic"`, or the name of a field.', default="the field `events.type`"
        ),
    ] = None
    client_id: Annotated[
        ClientId | None,
        _about("What the broker knows this server by.", default="made once for each data folder"),
    ] = None
    username: Annotated[
        Text | None, _about("For the broker; `${NAME}` names an environment variable.", default="none")
    ] = None
    password: Annotated[
        Secret | None, _about("For the broker; `${NAME}` names an environment variable.", default="none")
    ] = None
    ca_file: Annotated[
        FolderPath | None, _about("Certificates that vouch for the broker.", default="the system's")
    ] = None
    protocol: Annotated[Literal["5", "3.1.1"], _about("The version of MQTT.")] = "5"
    receive_maximum: Annotated[
        int, _count(1, 65_535, "The most messages under way without acknowledgement (MQTT 5).")
    ] = 500
    message_bytes: Annotated[Size, _span("1B", "128MiB", "One message.")] = Size("1MiB")
    session_expiry: Annotated[
        Duration,
        _span("0s", "100y", "How long the broker keeps messages for a server that is away (MQTT 5)."),
    ] = Duration("7d")
    keep_alive: Annotated[Duration, _span("1s", "1h", "A silent connection is checked this often.")] = (
        Duration("30s")
    )


SourceOptions = MqttOptions  # a union of tagged structs once there is a second kind


class Options(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Outside any section, at the top of the file."""

    data: Annotated[FolderPath, _about("The folder for everything that is kept.")] = "data"
    server: ServerOptions = ServerOptions()
    events: EventOptions = EventOptions()
    pipeline: PipelineOptions = PipelineOptions()
    transform: TransformOptions = TransformOptions()
    journal: JournalOptions = JournalOptions()
    store: StoreOptions = StoreOptions()
    limits: LimitOptions = LimitOptions()
    live: LiveOptions = LiveOptions()
    query: QueryOptions = QueryOptions()
    source: tuple[SourceOptions, ...] = ()
    metric: tuple[MetricOptions, ...] = ()

    @property
    def has_journal(self) -> bool:
        """Whether accepted events are written down before the store has them."""
        return self.journal.path != IN_MEMORY

    def journal_folder(self) -> Path:
        """Give the journal's folder, where it has one: `journal.path`, else inside the data folder."""
        given = self.journal.path if self.has_journal else None
        return Path(given) if given else Path(self.data) / "journal"

    def store_url(self) -> str:
        """Give the store's URL: `store.url`, else a DuckDB file inside the data folder."""
        return self.store.url or f"duckdb:///{Path(self.data) / 'streamgauge.duckdb'}"


def written(value: object) -> str:
    """Write a Duration or a Size as the file has it: the `enc_hook` for msgspec."""
    if isinstance(value, Duration):
        return format_duration(value)
    if isinstance(value, Size):
        return format_size(value)
    if isinstance(value, Secret):
        return str(value)
    raise NotImplementedError(f"no option has the type {type(value).__name__}")


def bare_type(option: inspect.Type) -> tuple[inspect.Type, dict[str, str]]:
    """Take descriptions and `| None` off an option's type; give the type and what the descriptions add to it."""
    facts: dict[str, str] = {}
    while isinstance(option, inspect.Metadata | inspect.UnionType):
        if isinstance(option, inspect.UnionType):
            option = next(choice for choice in option.types if not isinstance(choice, inspect.NoneType))
        else:
            facts |= (option.extra_json_schema or {}) | (option.extra or {})
            option = option.type
    return option, facts


def what_is_allowed(option: inspect.Type) -> tuple[str, str]:
    """Say what an option takes: what kind of value ("integer"), and which of them ("from 1 to 8")."""
    bare, facts = bare_type(option)
    match bare:
        case inspect.IntType(ge=least, le=most) | inspect.FloatType(ge=least, le=most):
            kind = "integer" if isinstance(bare, inspect.IntType) else "number"
            return kind, f"equal to {least}" if least == most else f"from {least} to {most}"
        case inspect.CustomType(cls=kind_of) if kind_of is Secret:
            return "text", "of at least one character"
        case inspect.CustomType(cls=kind_of):
            return kind_of.__name__.lower(), f"from {facts['least']} to {facts['most']}"
        case inspect.LiteralType(values=values):
            return "one of", ", ".join(f'"{value}"' for value in values)
        case inspect.VarTupleType(item_type=item, min_length=fewest, max_length=most):
            length = f"{fewest} or more" if fewest else f"{most} or fewer" if most else "any number"
            return "list", f"of {length}, each {' '.join(what_is_allowed(item))}"
        case inspect.DictType(value_type=item, max_length=most):
            return "table", f"of {most} or fewer, name = {' '.join(what_is_allowed(item))}"
        case inspect.BoolType():
            return "true or false", ""
        case inspect.StructType():
            return "table", "of options"
    return facts["noun"], facts["allowed"]


def default_text(option: inspect.Field) -> str:
    """Write an option's default as the file would have it; empty when it has none and must be given."""
    default = option.default
    if default is NODEFAULT:
        if option.default_factory is NODEFAULT:
            return ""
        default = option.default_factory()
    if default is None:
        return bare_type(option.type)[1]["default"]
    return f"`{json.dumps(to_builtins(default, enc_hook=written))}`"


def root_section() -> inspect.StructType:
    """Give the description of the whole file, from which `sections` goes on."""
    return cast("inspect.StructType", inspect.type_info(Options))


def sections(section: inspect.StructType, path: str = "") -> Iterator[tuple[str, inspect.StructType]]:
    """Give each section with its path, in the order of declaration; the top of the file has the path "".

    Where a section has kinds, all of them have its path.
    """
    yield path, section
    for option in section.fields:
        inner, _ = bare_type(option.type)
        inner = inner.item_type if isinstance(inner, inspect.VarTupleType) else inner
        for kind in kinds_of(inner):
            yield from sections(kind, f"{path}.{option.encode_name}".lstrip("."))


def kinds_of(option: inspect.Type) -> tuple[inspect.StructType, ...]:
    """Give the sections that an option may be: one, or several that are told apart by `kind`; none for a value."""
    choices = option.types if isinstance(option, inspect.UnionType) else (option,)
    return tuple(choice for choice in choices if isinstance(choice, inspect.StructType))


def options_table() -> str:
    """Give the reference of all options as Markdown: one table for each section."""
    tables = (_section_table(path, section) for path, section in sections(root_section()))
    return _INTRODUCTION + "".join(tables)


def _section_table(path: str, section: inspect.StructType) -> str:
    lines = ["| option | type | default | allowed | what it is |", "| --- | --- | --- | --- | --- |"]
    for option in section.fields:
        kind, allowed = what_is_allowed(option.type)
        text = bare_type(option.type)[1].get("description")
        if text is not None:  # sections have tables of their own
            default = default_text(option) or "required"
            lines.append(f"| `{option.encode_name}` | {kind} | {default} | {allowed} | {text} |")
    if len(lines) == 2:
        return ""
    heading = _heading(path, section) if path else "Top of the file"
    return "\n".join(["", f"## {heading}", "", section.cls.__doc__ or "", "", *lines, ""])


def _heading(path: str, section: inspect.StructType) -> str:
    kind = f', `{section.tag_field} = "{section.tag}"`' if section.tag_field else ""
    repeated = section.cls is MetricOptions or bool(kind)
    return f"`[[{path}]]`{kind}" if repeated else f"`[{path}]`"


if __name__ == "__main__":
    sys.stdout.write(options_table())
