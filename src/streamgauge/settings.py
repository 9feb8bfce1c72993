"""From options to what runs: metrics, the engine's settings, and the rules by which stored data is verified."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from streamgauge.config import to_mapping
from streamgauge.configurations import SECTIONS, Kept
from streamgauge.engine import EngineSettings
from streamgauge.errors import ExpressionError, OptionError
from streamgauge.event import FieldMapping
from streamgauge.events.limits import EventLimits
from streamgauge.metric import Metric
from streamgauge.metrics.expression import Expression
from streamgauge.options import LimitOptions, Options
from streamgauge.store import Retention
from streamgauge.transform.derive import read_derive
from streamgauge.transform.program import Program
from streamgauge.verify import Rules

SHARD: Final = "0"
IN_MEMORY: Final = "duckdb:///:memory:"
EVENTS: Final = "events"
LATENCY: Final = "latency"
DEFAULT_AGGREGATES: Final = ("count", "sum", "avg", "min", "max", "p50", "p95", "p99")
MICROSECONDS: Final = 1_000_000


def metrics_of(options: Options) -> dict[str, Metric]:
    """Give the metrics that the options name, with the built-in ones. Raises OptionError for a bad expression."""
    built_in = [
        Metric(name=EVENTS, by=("type",), aggregates=DEFAULT_AGGREGATES, built_in=True),
        Metric(name=LATENCY, aggregates=DEFAULT_AGGREGATES, built_in=True),
    ]
    metrics = {metric.name: metric for metric in built_in}
    for place, one in enumerate(options.metric):
        path = f"metric[{place}]"
        metrics[one.name] = Metric(
            name=one.name,
            where=None if one.where is None else parse_condition(one.where, f"{path}.where"),
            value=_parsed(Expression.parse_number, one.value, f"{path}.value"),
            by=one.by,
            aggregates=one.aggregates,
            max_series=one.max_series,
        )
    return metrics


def parse_condition(text: str, path: str) -> Expression:
    """Read a condition of the configuration. Raises OptionError."""
    return _parsed(Expression.parse_condition, text, path)


def doubts_of(options: Options) -> list[str]:
    """Give what the expressions of the configuration are allowed to say, and are hardly meant to. Raises OptionError."""
    found = [
        (f"metric {metric.name}: {name}", expression)
        for metric in metrics_of(options).values()
        for name, expression in (("where", metric.where), ("value", metric.value))
        if expression is not None
    ]
    if options.transform.keep is not None:
        found.append(("transform.keep", parse_condition(options.transform.keep, "transform.keep")))
    derived = read_derive(options.transform.derive)
    found += [(f"transform.derive.{name}", expression) for name, expression in derived.items()]
    return [f"{place}: {doubt}" for place, expression in found for doubt in expression.doubts]


def _parsed(parse: Callable[[str], Expression], text: str, path: str) -> Expression:
    try:
        return parse(text)
    except ExpressionError as exc:
        raise OptionError(path, str(exc), "see docs/metrics.md for what an expression may use") from exc


def mapping_of(options: Options) -> FieldMapping:
    """Give which fields of events play which parts."""
    events = options.events
    return FieldMapping(
        type=events.type,
        timestamp=events.timestamp,
        value=events.value,
        user_id=events.user_id,
        event_id=events.event_id,
    )


def settings_of(options: Options, kept: Kept | None = None) -> EngineSettings:
    """Work out what an engine needs. kept: where the module's text comes from, if not from its file.

    Raises OptionError where an expression, or the module that transforms events, cannot be used.
    """
    program = _program(options, kept)
    pipeline, store, limits, events = options.pipeline, options.store, options.limits, options.events
    return EngineSettings(
        shard=SHARD,
        metrics=metrics_of(options),
        latency=LATENCY,
        keep=None
        if options.transform.keep is None
        else parse_condition(options.transform.keep, "transform.keep"),
        derive=read_derive(options.transform.derive),
        program=program,
        configuration=configuration_hash(options, program),
        limits=_event_limits(limits, options.events.max_ahead),
        raw_events=store.raw_events,
        retention=Retention(
            raw_s=store.raw_retention,
            tiers=[
                (1, store.retention.seconds),
                (60, store.retention.minutes),
                (3600, store.retention.hours),
            ],
            seen_s=events.remember_for,
            seen_ids=events.remember_ids + events.remember_requests,
            dead_letters_s=store.dead_letter_retention,
            dead_letters=store.dead_letters,
            dead_letter_bytes=store.dead_letter_bytes,
        ),
        remember_ids=events.remember_ids,
        remember_requests=events.remember_requests,
        remember_s=events.remember_for,
        min_demand=pipeline.producer.min_demand,
        max_demand=pipeline.producer.max_demand,
        buffer_events=pipeline.producer.buffer,
        transformers=pipeline.transformer.concurrency,
        aggregators=pipeline.aggregator.concurrency,
        max_batch=pipeline.aggregator.max_batch,
        max_wait_s=pipeline.aggregator.max_wait,
        commit_interval_s=store.commit_interval,
        patience_s=limits.saturated_wait,
        checkpoint_s=store.checkpoint_interval,
        store_patience_s=store.patience,
    )


def check(options: Options) -> None:
    """Raise OptionError where an expression, or the module that transforms events, cannot be used."""
    settings_of(options)


def _program(options: Options, kept: Kept | None) -> Program | None:
    transform = options.transform
    if transform.module is None:
        return None
    bounds: dict[str, Any] = {
        "deadline_s": float(transform.deadline),
        "memory_bytes": int(transform.memory),
        "event_bytes": int(options.limits.event_bytes),
    }
    if kept is None:
        return Program.read(transform.module, **bounds)
    if kept.module is None:
        return None
    return Program(path=str(Path(transform.module).resolve()), source=kept.module, **bounds)


def _event_limits(limits: LimitOptions, max_ahead_s: float) -> EventLimits:
    return EventLimits(
        event_bytes=limits.event_bytes,
        depth=limits.depth,
        fields=limits.fields,
        field_name_bytes=limits.field_name_bytes,
        string_bytes=limits.string_bytes,
        max_ahead_us=int(max_ahead_s * MICROSECONDS),
    )


def configuration_hash(options: Options, program: Program | None = None) -> str:
    """Name what decides what is computed of an event: a part of the options, and the text of the module."""
    return kept_of(options, program).hash


def kept_of(options: Options, program: Program | None) -> Kept:
    """Give what is kept of a configuration, so that what was accepted under it can be computed later."""
    mapping = to_mapping(options)
    sections: dict[str, Any] = {name: mapping[name] for name in SECTIONS if name in mapping}
    return Kept(sections, None if program is None else program.source)


def rules_of(options: Options, now_us: int) -> Rules:
    """Give by what rules stored data is verified."""
    return Rules(
        metrics=metrics_of(options),
        latency=LATENCY,
        mapping=mapping_of(options),
        raw_retention_s=float(options.store.raw_retention),
        now_us=now_us,
    )
