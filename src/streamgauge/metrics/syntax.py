"""How an expression is spelled: SQL text in, parts of `predicates.py` out, and a refusal of everything else.

sqlglot parses; what it made is checked against a short list, so that whatever else SQL has is refused by default.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from sqlglot import Token, TokenType, exp
from sqlglot.dialects.dialect import Dialect
from sqlglot.errors import ParseError, SqlglotError

from streamgauge.errors import ExpressionError
from streamgauge.metrics import predicates
from streamgauge.metrics.arithmetic import ZERO, Number, calculated
from streamgauge.metrics.predicates import Condition, Constant, Field, Operand

MAX_CHARACTERS: Final = 4096
MAX_DEPTH: Final = 64
ALLOWED: Final = (
    "allowed are fields, strings, numbers, TRUE, FALSE and NULL, comparisons (= <> < <= > >=), AND, OR, NOT, "
    "IN (literals), BETWEEN, LIKE, IS NULL and + - * /; a field whose name is a word of SQL or has other "
    'characters than letters, digits and _ is written in double quotes: "order.date"'
)

_COMPARISONS: Final[Mapping[type[exp.Expr], str]] = MappingProxyType(
    {exp.EQ: "=", exp.NEQ: "<>", exp.LT: "<", exp.LTE: "<=", exp.GT: ">", exp.GTE: ">="}
)
_ARITHMETIC: Final[Mapping[type[exp.Expr], str]] = MappingProxyType(
    {exp.Add: "+", exp.Sub: "-", exp.Mul: "*", exp.Div: "/"}
)
_CONDITIONS: Final = (*_COMPARISONS, exp.And, exp.Or, exp.Not, exp.In, exp.Between, exp.Like, exp.Is)
_PARTS: Final = frozenset({"this", "expression", "expressions", "low", "high", "is_string", "negate"})
_OPENING: Final = (TokenType.L_PAREN, TokenType.L_BRACKET, TokenType.L_BRACE)
_CLOSING: Final = (TokenType.R_PAREN, TokenType.R_BRACKET, TokenType.R_BRACE)


class Reading(NamedTuple):
    """What an expression can be used as, at least one of the two; the names of the fields that it reads; and doubts."""

    condition: Condition | None
    number: Number | None
    fields: frozenset[str]
    doubts: tuple[str, ...]


def read(text: str) -> Reading:
    """Read an expression in DuckDB's SQL.

    Raises ExpressionError, saying what is wrong and what is allowed, for anything that is not in `ALLOWED`, for
    more than MAX_CHARACTERS, and for nesting deeper than MAX_DEPTH or than the parser can follow. A chain of ANDs,
    or of ORs, is one level deep however long it is.
    """
    reader = _Reader(text)
    try:
        node = reader.parsed()
        if isinstance(node.unnest(), _CONDITIONS):
            compared = reader.condition(node, 0)
            return Reading(compared, None, frozenset(reader.fields), tuple(reader.doubts))
        operand = reader.operand(node, 0)
    except RecursionError:
        raise reader.error("it is nested too deeply; use fewer parentheses") from None
    condition, number = predicates.condition_of(operand), predicates.number_of(operand)
    if condition is None and number is None:
        raise reader.error("a string alone is neither a condition nor a number; compare it with a field")
    return Reading(condition, number, frozenset(reader.fields), tuple(reader.doubts))


class _Reader:
    """One reading of one text: checks what sqlglot made of it and collects the fields on the way."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: set[str] = set()
        self.doubts: list[str] = []

    def parsed(self) -> exp.Expr:
        """Let sqlglot parse the text, with its own errors turned into ours."""
        if len(self.text) > MAX_CHARACTERS:
            raise self.error(f"it has {len(self.text)} characters; at most {MAX_CHARACTERS} are allowed")
        if "\0" in self.text:
            raise self.error("it has a NUL character, which SQL cannot hold; remove it")
        dialect = Dialect.get_or_raise("duckdb")
        try:
            tokens = dialect.tokenize(self.text)
            self._check_tokens(tokens)
            parsed = dialect.parser().parse_into(exp.Condition, tokens, self.text)
        except ParseError as error:
            near = error.errors[0]["highlight"] if error.errors else self.text
            raise self.error(f"it cannot be read as SQL near `{_shortened(near, 40)}`; {ALLOWED}") from None
        except SqlglotError:
            raise self.error("a string, a quoted name or a comment in it is not closed; close it") from None
        if not parsed or parsed[0] is None:
            raise self.error(f"it is empty; {ALLOWED}")
        return parsed[0]

    def condition(self, node: exp.Expr, depth: int) -> Condition:
        """Make the condition that the node stands for."""
        self._check(node, depth)
        made = self._condition(node, depth + 1)
        return predicates.negation(made) if node.args.get("negate") else made

    def operand(self, node: exp.Expr, depth: int) -> Operand:
        """Make what the node stands for where something to compare or to calculate with is expected."""
        self._check(node, depth)
        match node:
            case exp.Paren():
                return self.operand(node.this, depth + 1)
            case exp.Column(this=exp.Identifier(this=str() as name)):
                self.fields.add(name)
                return Field(name)
            case exp.Literal() | exp.Boolean() | exp.Null():
                return self._constant(node)
            case exp.Neg(this=exp.Literal(is_string=False)):
                return Constant(-self._finite(node.this.this))
            case exp.Neg():
                return calculated("-", ZERO, self._number(node.this, depth + 1))
            case exp.Add() | exp.Sub() | exp.Mul() | exp.Div():
                left, right = (self._number(part, depth + 1) for part in (node.this, node.expression))
                return calculated(_ARITHMETIC[type(node)], left, right)
        if isinstance(node, _CONDITIONS):
            raise self.error(
                f"`{_snippet(node)}` is a condition, which cannot be compared or calculated with; {ALLOWED}"
            )
        raise self._refused(node)

    def error(self, problem: str) -> ExpressionError:
        """Make the error that says this of the text."""
        return ExpressionError(_shortened(self.text), problem)

    def _condition(self, node: exp.Expr, depth: int) -> Condition:
        match node:
            case exp.Paren():
                return self.condition(node.this, depth)
            case exp.Not():
                return predicates.negation(self.condition(node.this, depth))
            case exp.And() | exp.Or():
                combine = predicates.all_of if isinstance(node, exp.And) else predicates.any_of
                return combine([self.condition(part, depth) for part in node.flatten()])
        tested = self.operand(node.this if isinstance(node, _CONDITIONS) else node, depth)
        if isinstance(node, _CONDITIONS):
            return self._test(node, tested, depth)
        bare = predicates.condition_of(tested)
        if bare is None:
            raise self.error(
                f"`{_snippet(node)}` is not a condition; compare it, as in `{_snippet(node)} > 0`"
            )
        return bare

    def _test(self, node: exp.Expr, tested: Operand, depth: int) -> Condition:
        match node:
            case exp.In():
                return predicates.is_in(tested, self._choices(node, depth))
            case exp.Between():
                low, high = (self.operand(node.args[end], depth) for end in ("low", "high"))
                return predicates.between(tested, low, high)
            case exp.Like():
                pattern = self.operand(node.expression, depth)
                if (
                    isinstance(tested, Field)
                    and isinstance(pattern, Constant)
                    and isinstance(pattern.value, str)
                ):
                    return predicates.is_like(tested, pattern.value)
                raise self.error(
                    f"`{_snippet(node)}`: LIKE compares a field with a string, as in `name LIKE 'a%'`"
                )
            case exp.Is():
                if isinstance(node.expression, exp.Null):
                    return predicates.is_null(tested)
                raise self.error(f"`{_snippet(node)}`: IS asks only whether a field IS NULL or IS NOT NULL")
        self._doubt_fields(node)
        return predicates.compare(_COMPARISONS[type(node)], tested, self.operand(node.expression, depth))

    def _doubt_fields(self, node: exp.Expr) -> None:
        """Note where a text was likely meant: it would stand in single quotes."""
        sides = [part.this for part in (node.this, node.expression) if isinstance(part, exp.Column)]
        quoted = [side.this for side in sides if isinstance(side, exp.Identifier) and side.args.get("quoted")]
        if len(sides) == 2 and quoted:
            self.doubts.append(
                f"`{_snippet(node)}` compares two fields; a text is written in single quotes: '{quoted[-1]}'"
            )

    def _choices(self, node: exp.In, depth: int) -> list[Constant]:
        choices = [self.operand(part, depth) for part in node.expressions]
        literals = [choice for choice in choices if isinstance(choice, Constant)]
        if not literals or len(literals) < len(choices):
            raise self.error(f"`{_snippet(node)}`: IN takes a list of literals, as in `IN ('a', 'b')`")
        return literals

    def _constant(self, node: exp.Expr) -> Constant:
        if isinstance(node, exp.Literal):
            return Constant(str(node.this) if node.is_string else self._finite(node.this))
        return Constant(bool(node.this) if isinstance(node, exp.Boolean) else None)

    def _number(self, node: exp.Expr, depth: int) -> Number:
        number = predicates.number_of(self.operand(node, depth))
        if number is None:
            raise self.error(f"`{_snippet(node)}` is not a number; + - * / take fields and numbers")
        return number

    def _finite(self, digits: str) -> float:
        try:
            value = float(digits)
        except ValueError:
            raise self.error(
                f"`{_shortened(digits)}` is not a number; write it like 12, 0.5 or 1e6"
            ) from None
        if not math.isfinite(value):
            raise self.error(f"`{_shortened(digits)}` is too large; numbers are float64, below 1.8e308")
        return value

    def _check_tokens(self, tokens: list[Token]) -> None:
        depth = 0
        for token in tokens:
            depth += (token.token_type in _OPENING) - (token.token_type in _CLOSING)
            # a parser compiled to C would overflow its stack where this one raises RecursionError
            if depth > MAX_DEPTH:
                raise self._too_deep()
            if token.token_type == TokenType.SEMICOLON:
                raise self.error("`;` is not allowed; write one expression, not statements")

    def _check(self, node: exp.Expr, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise self._too_deep()
        if node.args.get("table") and isinstance(node.this, exp.Identifier):
            raise self.error(
                f'`{_snippet(node)}` is not a field. Where a field\'s own name has a dot in it, quote it: "{_snippet(node)}";'
                " a field inside an object cannot be named, but a module can bring it to the top (docs/transforms.md)"
            )
        if any(value and part not in _PARTS for part, value in node.args.items()):
            raise self._refused(node)

    def _refused(self, node: exp.Expr) -> ExpressionError:
        return self.error(f"`{_snippet(node)}` is not allowed; {ALLOWED}")

    def _too_deep(self) -> ExpressionError:
        return self.error(f"it is nested deeper than {MAX_DEPTH} levels; use fewer parentheses")


def _snippet(node: exp.Expr) -> str:
    return _shortened(node.sql(dialect="duckdb", comments=False), 60)


def _shortened(text: str, characters: int = 100) -> str:
    return text if len(text) <= characters else f"{text[: characters - 1]}…"
