"""An expression written as SQL gives in DuckDB, over raw JSON, what it gives live."""

import json
from collections.abc import Iterator, Sequence

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expression_rows import Event, Events, calculates, holds
from streamgauge.errors import ExpressionError
from streamgauge.metrics.expression import Expression

FIELDS = ("type", "amount", "quantity", "active", "order.date")


def column(field: str, kind: str) -> str:
    """Take a field out of raw JSON, as history has to."""
    path = "'$.\"" + field + "\"'"
    value = f"event->>{path}"
    match kind:
        case "text":
            return f"CASE WHEN json_type(event->{path}) = 'VARCHAR' THEN {value} END"
        case "number":
            types = "('BIGINT', 'UBIGINT', 'DOUBLE')"
            return f"CASE WHEN json_type(event->{path}) IN {types} THEN CAST({value} AS DOUBLE) END"
        case "boolean":
            return f"CASE WHEN json_type(event->{path}) = 'BOOLEAN' THEN CAST({value} AS BOOLEAN) END"
        case _:
            return value


@pytest.fixture(scope="module")
def database() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as connection:
        yield connection


def history(database: duckdb.DuckDBPyConnection, sql: str, events: Sequence[Event]) -> list[object]:
    rows = "SELECT unnest(?)::JSON AS event, unnest(range(?)) AS row"
    return [
        row[0]
        for row in database.execute(
            f"SELECT {sql} FROM ({rows}) ORDER BY row", [list(map(json.dumps, events)), len(events)]
        ).fetchall()
    ]


def held(database: duckdb.DuckDBPyConnection, text: str, events: Sequence[Event]) -> list[object]:
    return history(database, f"coalesce({Expression.parse(text).sql(column)}, FALSE)", events)


@pytest.mark.parametrize(
    "text",
    [
        "1 / x",
        "1 / (1 / x)",
        "1 / (2 + 1 / x)",
        "1 / (x * 1e308 * 10)",
        "x * 1e308 * 10 - x * 1e308 * 10",
        "2 / (1 / (1 / x))",
    ],
)
def test_an_infinite_step_gives_null_in_history_too(database: duckdb.DuckDBPyConnection, text: str) -> None:
    events: list[Event] = [{"x": 0}, {"x": -0.0}, {"x": 0.25}, {"x": 1e300}, {}]
    numbers = calculates(text, *events)
    assert None in numbers[:4]
    assert history(database, Expression.parse(text).number_sql(column), events) == numbers


def test_a_long_chain_is_not_deep(database: duckdb.DuckDBPyConnection) -> None:
    text = " OR ".join(f"x = {number}" for number in range(350))
    assert holds(text, {"x": 349}, {"x": 350}) == [True, False]
    assert held(database, text, [{"x": 349}, {"x": 350}]) == [True, False]
    assert holds("((((((((((((((((((((x))))))))))))))))))))", {"x": True}) == [True]


strings = st.text("abZ%_.'\\\"é\U0001f600\n", max_size=4)
numbers = st.integers(-3, 3) | st.sampled_from([0.5, -0.0, 0.1, 1e308, -1e308, 5e-324, 2.0**53, 12345678.9])
values = st.none() | st.booleans() | strings | numbers | st.just([1]) | st.just({"a": "b"})
events_lists = st.lists(st.dictionaries(st.sampled_from(FIELDS), values), min_size=1, max_size=12)


def string_literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


names = st.sampled_from([f'"{name}"' for name in FIELDS])
number_literals = numbers.map(repr)
literals = st.sampled_from(["NULL", "TRUE", "FALSE"]) | strings.map(string_literal) | number_literals
comparisons = st.sampled_from(["=", "<>", "!=", "<", "<=", ">", ">="])


def joined(*parts: st.SearchStrategy[str] | str) -> st.SearchStrategy[str]:
    strategies = [st.just(part) if isinstance(part, str) else part for part in parts]
    return st.tuples(*strategies).map(" ".join)


formulas = st.recursive(
    names | number_literals,
    lambda inner: joined("(", inner, st.sampled_from("+-*/"), inner, ")") | joined("-", inner),
    max_leaves=5,
)
operands = names | literals | formulas
conditions = st.recursive(
    joined(operands, comparisons, operands)
    | joined(names, comparisons, literals)
    | joined(names, comparisons, names)
    | joined(
        operands,
        st.sampled_from(["IN", "NOT IN"]),
        "(",
        st.lists(literals, min_size=1, max_size=4).map(", ".join),
        ")",
    )
    | joined(operands, st.sampled_from(["BETWEEN", "NOT BETWEEN"]), operands, "AND", operands)
    | joined(names, st.sampled_from(["LIKE", "NOT LIKE"]), strings.map(string_literal))
    | joined(names | joined("(", names, "+", names, ")"), st.sampled_from(["IS NULL", "IS NOT NULL"]))
    | names
    | st.sampled_from(["TRUE", "FALSE", "NULL"]),
    lambda inner: (
        joined("(", inner, st.sampled_from(["AND", "OR"]), inner, ")") | joined("NOT", "(", inner, ")")
    ),
    max_leaves=6,
)


@settings(deadline=None, max_examples=300)
@given(text=conditions, events=events_lists)
def test_history_in_duckdb_agrees_with_the_live_answer(
    database: duckdb.DuckDBPyConnection, text: str, events: list[Event]
) -> None:
    assert held(database, text, events) == holds(text, *events)
    assert held(database, f"NOT ({text})", events) == holds(f"NOT ({text})", *events)


@settings(deadline=None, max_examples=200)
@given(text=formulas, events=events_lists)
def test_a_calculated_number_is_the_same_in_duckdb_to_the_last_bit(
    database: duckdb.DuckDBPyConnection, text: str, events: list[Event]
) -> None:
    assert history(database, Expression.parse(text).number_sql(column), events) == calculates(text, *events)


unbracketed = st.recursive(
    st.sampled_from(["a", "b", "c"]) | st.integers(0, 3).map(str),
    lambda inner: joined(inner, st.sampled_from("+-*"), inner) | joined("-", inner),
    max_leaves=4,
)
unbracketed_conditions = st.recursive(
    joined(unbracketed, comparisons, unbracketed)
    | joined(unbracketed, st.sampled_from(["IN", "NOT IN"]), "(1, -2)")
    | joined(unbracketed, st.sampled_from(["BETWEEN", "NOT BETWEEN"]), unbracketed, "AND", unbracketed)
    | joined(unbracketed, st.sampled_from(["IS NULL", "IS NOT NULL"])),
    lambda inner: joined(inner, st.sampled_from(["AND", "OR"]), inner) | joined("NOT", inner),
    max_leaves=5,
)
few = st.none() | st.integers(-2, 3)


@settings(deadline=None, max_examples=300)
@given(text=unbracketed_conditions, rows=st.lists(st.tuples(few, few, few), min_size=1, max_size=8))
def test_without_parentheses_everything_binds_as_in_duckdb(
    database: duckdb.DuckDBPyConnection, text: str, rows: list[tuple[int | None, int | None, int | None]]
) -> None:
    columns = "unnest(?::DOUBLE[]) AS a, unnest(?::DOUBLE[]) AS b, unnest(?::DOUBLE[]) AS c, unnest(range(?)) AS row"
    answer = database.execute(
        f"SELECT coalesce({text}, FALSE) FROM (SELECT {columns}) ORDER BY row",
        [*map(list, zip(*rows, strict=True)), len(rows)],
    ).fetchall()
    events = [dict(zip("abc", row, strict=True)) for row in rows]
    assert [row[0] for row in answer] == holds(text, *events)


@settings(deadline=None, max_examples=300)
@given(text=conditions | formulas | literals, events=events_lists)
def test_what_is_accepted_as_a_condition_or_as_a_number_can_be_computed_of_any_events(
    text: str, events: list[Event]
) -> None:
    for parse, compute in (
        (Expression.parse_condition, Expression.condition),
        (Expression.parse_number, Expression.number),
    ):
        try:
            expression = parse(text)
        except ExpressionError:
            continue
        compute(expression, Events(events))
