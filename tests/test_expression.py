"""What an expression means over columns."""

import pytest

from expression_rows import Events, calculates, holds
from streamgauge.errors import ExpressionError
from streamgauge.metrics.expression import Expression

PURCHASE = {"type": "purchase", "amount": 12.5, "quantity": 2, "active": True, "order.date": "2024-02-29"}
VIEW = {"type": "page_view", "amount": None, "quantity": "2", "active": False}


@pytest.mark.parametrize(
    ("text", "purchase", "view"),
    [
        ("type = 'purchase' AND amount > 10", True, False),
        ("type <> 'purchase'", False, True),
        ("type != 'purchase' OR 12 < amount", True, True),
        ("NOT (type = 'purchase' OR active)", False, True),
        ("type IN ('purchase', 'refund')", True, False),
        ("type NOT IN ('purchase', 'refund')", False, True),
        ("amount IN (1, 12.5, -3)", True, False),
        ("amount BETWEEN 12.5 AND 13", True, False),
        ("amount NOT BETWEEN 13 AND 14", True, False),
        ("type BETWEEN 'p' AND 'pb'", False, True),
        ("amount IS NULL", False, True),
        ("amount IS NOT NULL", True, False),
        ("active", True, False),
        ("NOT active", False, True),
        ("active = FALSE", False, True),
        ("active > FALSE", True, False),
        ("amount / quantity >= 6.25", True, False),
        ("-amount = -12.5 AND amount - -1 = 13.5", True, False),
        ("amount + 2 * quantity = 16.5", True, False),
        ("amount > quantity", True, False),
        ("type LIKE 'p%e'", True, False),
        ("type NOT LIKE 'p%e'", False, True),
        ("type LIKE 'page_view'", False, True),
        ("\"order.date\" < '2024-03'", True, False),
        ("type = 'purchase' -- only those", True, False),
        ("TRUE", True, True),
        ("NULL", False, False),
        ("1 = 1.0 AND 'a' < 'b'", True, True),
    ],
)
def test_a_condition_means_what_it_means_in_sql(text: str, *, purchase: bool, view: bool) -> None:
    assert holds(text, PURCHASE, VIEW) == [purchase, view]


def test_missing_and_null_are_the_same_and_neither_true_nor_false() -> None:
    for text in (
        "x = 1",
        "NOT x = 1",
        "x <> 1",
        "x IN (1)",
        "x NOT IN (1)",
        "x LIKE '%'",
        "x = x",
        "x",
        "NOT x",
    ):
        assert holds(text, {}, {"x": None}) == [False, False]
    assert holds("x IS NULL OR x >= 0", {}, {"x": None}, {"x": -1}, {"x": 0}) == [True, True, False, True]


def test_null_in_a_list_makes_not_in_unknown() -> None:
    assert holds("x NOT IN ('a', NULL)", {"x": "a"}, {"x": "b"}) == [False, False]
    assert holds("x IN ('a', NULL)", {"x": "a"}, {"x": "b"}) == [True, False]


def test_unknown_or_true_is_true_and_unknown_and_false_is_false() -> None:
    assert holds("x > 1 OR TRUE", {}) == [True]
    assert holds("NOT (x > 1 AND FALSE)", {}) == [True]


@pytest.mark.parametrize("value", ["1", True, [1], {"a": 1}])
def test_a_value_of_another_type_is_neither_equal_nor_unequal(value: object) -> None:
    assert holds("x = 1", {"x": value}) == [False]
    assert holds("x <> 1", {"x": value}) == [False]
    assert holds("x < 9 OR x >= 9", {"x": value}) == [False]
    assert holds("x IS NOT NULL", {"x": value}) == [True]


def test_numbers_compare_by_value_and_booleans_are_not_numbers() -> None:
    assert holds("x = 1", {"x": 1}, {"x": 1.0}, {"x": True}) == [True, True, False]
    assert holds("x = TRUE", {"x": 1}, {"x": 1.0}, {"x": True}) == [False, False, True]


def test_two_fields_compare_when_both_have_the_same_type() -> None:
    pairs = [("a", "b"), (2, 10), (False, True), ("2", 10), (True, 1), ([1], [2]), (1, 1.0)]
    events = [{"x": x, "y": y} for x, y in pairs]
    assert holds("x < y", *events) == [True, True, True, False, False, False, False]
    assert holds("x = y", *events) == [False, False, False, False, False, False, True]
    assert holds("NOT x = y", *events) == [True, True, True, False, False, False, False]


def test_strings_are_ordered_by_code_point() -> None:
    assert holds("x < 'a'", {"x": "Z"}, {"x": "é"}) == [True, False]
    assert holds("x > y", {"x": "\U0001f600", "y": "\uffff"}) == [True]


def test_like_takes_its_wildcards_and_nothing_else_as_special() -> None:
    assert holds("x LIKE 'a.c%'", {"x": "a.cd"}, {"x": "abcd"}) == [True, False]
    assert holds("x LIKE '%a%b%a'", {"x": "aba"}, {"x": "xaxbx\na"}, {"x": "ab"}) == [True, True, False]
    assert holds("x LIKE '_'", {"x": "\U0001f600"}, {"x": "ab"}, {"x": ""}) == [True, False, False]
    assert holds("x LIKE ''", {"x": ""}, {"x": "a"}) == [True, False]


def test_like_stays_fast_on_a_pattern_and_a_string_made_to_be_slow() -> None:
    # by plain backtracking this takes longer than the age of the universe
    assert holds(f"x LIKE '{'%a' * 200}%b'", {"x": "a" * 64_000}) == [False]


def test_a_bare_field_as_a_number_is_the_column_itself() -> None:
    events = Events([PURCHASE, VIEW])
    assert Expression.parse("amount").number(events) is events.numbers("amount")


def test_arithmetic_follows_precedence_and_skips_what_is_not_a_number() -> None:
    assert calculates("amount / quantity", PURCHASE, VIEW, {}) == [6.25, None, None]
    assert calculates("-(amount + 1) * 2 - 3 / 2", {"amount": 1}) == [-5.5]
    assert calculates("10 - 4 - 3", {}) == [3.0]


def test_division_by_zero_and_overflow_give_null_wherever_they_happen() -> None:
    assert calculates("1 / x", {"x": 0}, {"x": -0.0}, {"x": 4}) == [None, None, 0.25]
    assert calculates("1 / (1 / x)", {"x": 0}, {"x": 4}) == [None, 4.0]
    assert calculates("1 / (x * 10)", {"x": 1e308}) == [None]
    assert holds("1 / x IS NULL", {"x": 0}, {"x": 1}) == [True, False]
    assert holds("1 / x > 0 OR 1 / x <= 0", {"x": 0}) == [False]


def test_no_rows_give_no_answers() -> None:
    for text in ("x = 'a'", "x > 1", "x = y", "x IS NULL", "TRUE", "x IN (1, 'a')"):
        assert holds(text) == []
    assert calculates("x + 1") == []


def test_the_fields_are_known_as_they_are_written() -> None:
    expression = Expression.parse("\"a.b\" = 1 AND (userId IS NULL OR type IN ('x') OR -amount > userId)")
    assert expression.fields == {"a.b", "userId", "type", "amount"}


@pytest.mark.parametrize(
    ("text", "condition", "number"),
    [
        ("a", True, True),
        ("a = 1", True, False),
        ("(a > 1)", True, False),
        ("a + 1", False, True),
        ("3", False, True),
    ],
)
def test_an_expression_tells_what_it_can_be_used_for(text: str, *, condition: bool, number: bool) -> None:
    expression = Expression.parse(text)
    assert (expression.is_condition, expression.is_number) == (condition, number)
    if not condition:
        with pytest.raises(ExpressionError, match="not a condition"):
            expression.condition(Events([{}]))
    if not number:
        with pytest.raises(ExpressionError, match="not a number"):
            expression.number(Events([{}]))
