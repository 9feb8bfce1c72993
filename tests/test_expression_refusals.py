"""What is no expression, and how a refusal says so."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamgauge.errors import ExpressionError
from streamgauge.metrics.expression import Expression


def refusal(text: str) -> str:
    with pytest.raises(ExpressionError) as caught:
        Expression.parse(text)
    return caught.value.problem


@pytest.mark.parametrize(
    "text",
    [
        "lower(type) = 'a'",
        "a = (SELECT 1)",
        "a IN (SELECT 1)",
        "EXISTS (SELECT 1)",
        "CASE WHEN a THEN b END",
        "a::INT = 1",
        "CAST(a AS INT) = 1",
        "a || 'x' = 'b'",
        "a ILIKE 'x'",
        "a LIKE 'x' ESCAPE '!'",
        "a LIKE ANY ('x')",
        "a SIMILAR TO 'x'",
        "a BETWEEN SYMMETRIC 2 AND 1",
        "a % 2 = 0",
        "a // 2 = 0",
        "a ** 2 = 0",
        "a[1] = 1",
        "a -> 'x' = 1",
        "a = ?",
        "a = $x",
        "a = [1]",
        "a IS DISTINCT FROM 1",
        "current_date = 1",
        "a.*",
        "*",
        "#1 = 1",
        "a = DATE '2024-01-01'",
        "a = 'x' 'y'",
        "a = e'x'",
        "a, b",
        "a AS b",
        "SELECT 1",
        "a) OR (b",
        "a =",
        "a = (1",
        "from = 1",
        "",
        "  -- nothing",
        "a.b.c.d.e = 1",
    ],
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    assert "allowed are fields, strings, numbers" in refusal(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("a = 1; DROP TABLE events", "`;` is not allowed"),
        ("a.b = 1", 'has a dot in it, quote it: "a.b"'),
        ("a = 'x", "is not closed"),
        ("a = 1 /* x", "is not closed"),
        ("a = '\0'", "NUL"),
        ("'x'", "a string alone"),
        ("NOT 'x'", "is not a condition"),
        ("a AND b + 1", "is not a condition"),
        ("(a = 1) = TRUE", "is a condition, which cannot be compared"),
        ("a = 1 = b", "is a condition, which cannot be compared"),
        ("a < b < c", "is a condition, which cannot be compared"),
        ("a = 1 IS NULL", "is a condition, which cannot be compared"),
        ("a IS TRUE", "IS NULL or IS NOT NULL"),
        ("a IN (b)", "a list of literals"),
        ("a IN b", "is not allowed"),
        ("a LIKE b", "LIKE compares a field with a string"),
        ("a LIKE NULL", "LIKE compares a field with a string"),
        ("a + 'x' = 1", "`'x'` is not a number"),
        ("-TRUE = 1", "`TRUE` is not a number"),
        ("a = 1e999", "too large"),
        ("a = 1e", "write it like"),
        ("a = " + "1" * 5000, "5004 characters; at most 4096"),
    ],
)
def test_a_refusal_says_what_is_wrong(text: str, problem: str) -> None:
    assert problem in refusal(text)


@pytest.mark.parametrize(
    "opening", ["(", "NOT ", "-", "- ", "[", "{", "CASE ", "a+(", "f(", "NOT (", "a IN ("]
)
def test_deep_nesting_is_refused_and_does_no_harm(opening: str) -> None:
    text = (opening * 4000)[:4096]
    assert refusal(text)
    closed = opening * 65 + "a" + ")" * 65 * opening.count("(")
    assert refusal(closed)


def test_a_refusal_of_a_long_text_is_short() -> None:
    with pytest.raises(ExpressionError) as caught:
        Expression.parse("f(" * 30 + "a" * 3000 + ")" * 30)
    assert len(str(caught.value)) < 600


scraps = st.sampled_from(
    [
        "a",
        "b.c",
        "1",
        "'x'",
        '"q"',
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ";",
        ".",
        "*",
        "+",
        "-",
        "/",
        "%",
        "=",
        "<",
        ">",
        "::",
        "||",
        "->",
        "->>",
        ":=",
        "=>",
        "?",
        "$x",
        "@",
        "#",
        "!",
        "~",
        "^",
        "NOT",
        "AND",
        "OR",
        "IN",
        "IS",
        "NULL",
        "LIKE",
        "BETWEEN",
        "CASE",
        "WHEN",
        "THEN",
        "END",
        "CAST",
        "AS",
        "SELECT",
        "FROM",
        "WHERE",
        "INTERVAL",
        "DATE",
        "if",
        "map",
        "struct",
        "ARRAY",
        "EXISTS",
        "ALL",
        "ANY",
        "TRY",
        "COLUMNS",
        "LAMBDA",
        ":",
        "ESCAPE",
        "COLLATE",
        "FILTER",
        "OVER",
        "DISTINCT",
        "'a",
        "e'x'",
        "0x1F",
        "1e",
        "1_0",
        "$$",
        "--",
        "/*",
        "*/",
        "\n",
        "é",
        "\\",
    ]
)


@settings(deadline=None, max_examples=500)
@given(st.lists(scraps, max_size=12).map(" ".join) | st.text(max_size=20))
def test_whatever_is_written_is_understood_or_refused(text: str) -> None:
    try:
        Expression.parse(text)
    except ExpressionError as error:
        assert error.problem  # noqa: PT017 - being understood is as good
