"""Conditions in JMESPath, for gates, `when` and `expect`: compiled when a file is read, passed only by exactly `true`.

A field that is absent makes the outcome inconclusive, even where JMESPath would answer true (`status != 'bad'` of an
empty document). Where absence is meant, an expression says so: `a || b`, `not_null(a, b)`, ``a == `null` ``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, cast

import jmespath
from jmespath.exceptions import JMESPathError
from jmespath.functions import Functions
from jmespath.visitor import TreeInterpreter

from sane.core.nearest import nearest_hint
from sane.errors import ConfigError

MAX_EXPRESSION_CHARACTERS = 10_000
_SHOWN = 5  # names, and values of each, in what is said of a gate that does not pass
Outcome = Literal["pass", "fail", "inconclusive"]
_Tree = Any  # jmespath's own nodes: dicts of type, value and children


@dataclass(frozen=True, slots=True)
class Gate:
    """Hold an expression that compiles; `line` is where it stands in its file, 0 when unknown."""

    expression: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class GateResult:
    """Hold what came of a gate: `detail` says why it did not pass, in one sentence."""

    outcome: Outcome
    detail: str = ""

    @property
    def passed(self) -> bool:
        """Return whether the expression was exactly true, of fields that are all there."""
        return self.outcome == "pass"


def compile_gate(expression: str, line: int = 0) -> Gate:
    """Return the gate of an expression.

    Raises ConfigError with the 1-based `column` in the expression of a mistake, an unknown function, or
    a wrong number of arguments.
    """
    for node in _walk(_parse(expression)):
        if node["type"] == "function_expression":
            _check_call(expression, node)
    return Gate(expression, line)


@lru_cache(maxsize=512)
def _parse(expression: str) -> _Tree:
    if len(expression) > MAX_EXPRESSION_CHARACTERS:
        raise ConfigError(f"the expression is longer than {MAX_EXPRESSION_CHARACTERS:,} characters")
    if not expression.strip():
        raise ConfigError("the expression is empty", column=1)
    try:
        return jmespath.compile(expression).parsed
    except JMESPathError as error:
        column = int(getattr(error, "lex_position", 0)) + 1
        raise ConfigError(
            f"the expression is wrong at column {column}: {_reason(error, expression)}",
            column=column,
            hint=_hint(error),
        ) from None
    except RecursionError:
        raise ConfigError("the expression is nested too deep", column=1) from None
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        # The parser lets these through for a few malformed expressions instead of its own.
        raise ConfigError(f"the expression is wrong: {error}", column=1) from None


def _reason(error: JMESPathError, expression: str) -> str:
    if type(error).__name__ == "IncompleteExpressionError":
        return "it ends too early"
    if type(error).__name__ == "LexerError":
        return str(getattr(error, "message", "")).rstrip(".")
    token = getattr(error, "token_value", None)
    return f"unexpected '{token}'" if token is not None else str(error).partition("\n")[0]


def _hint(error: JMESPathError) -> str:
    if getattr(error, "lexer_value", "") == "=":
        return "Compare with ==."
    return "Write JMESPath: strings in '…', numbers, true, false and null in `…`."


def _walk(tree: _Tree) -> Iterator[_Tree]:
    stack: list[Any] = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            found = cast("dict[str, Any]", node)
            yield found
            stack.extend(found.get("children", ()))


def _check_call(expression: str, node: _Tree) -> None:
    name, given = str(node["value"]), len(node["children"])
    table = cast("Mapping[str, Mapping[str, Any]]", Functions.FUNCTION_TABLE)
    column = max(0, expression.find(f"{name}(")) + 1
    if name not in table:
        message = f"there is no function '{name}' (column {column} of the expression)"
        raise ConfigError(message, column=column, hint=nearest_hint(name, table))
    signature = table[name]["signature"]
    variadic = bool(signature and signature[-1].get("variadic"))
    if given < len(signature) or (given > len(signature) and not variadic):
        message = f"{name} takes {len(signature)} arguments, not {given} (column {column} of the expression)"
        raise ConfigError(message, column=column)


def evaluate(gate: Gate, document: object) -> GateResult:
    """Return what came of a gate over a JSON document. Never raises."""
    interpreter = _Interpreter()
    try:
        value = interpreter.visit(_parse(gate.expression), document)
    except RecursionError:
        return GateResult("inconclusive", f"`{gate.expression}` is nested too deep to be evaluated")
    except (JMESPathError, ArithmeticError, ValueError, TypeError, KeyError, AttributeError) as error:
        return GateResult("inconclusive", f"`{gate.expression}` can't be evaluated: {str(error)[:200]}")
    if interpreter.absent or (interpreter.excused and value is not True):
        names = ", ".join(dict.fromkeys([*interpreter.absent, *interpreter.excused]))
        return GateResult("inconclusive", f"`{gate.expression}`: {names[:200]} is absent")
    if value is True:
        return GateResult("pass")
    seen = f" ({interpreter.told()})" if interpreter.seen else ""
    if value is None:
        return GateResult("inconclusive", f"`{gate.expression}` is null{seen}")
    return GateResult("fail", f"`{gate.expression}` is {_show(value)}, not true{seen}")


def query(gate: Gate, document: object) -> object:
    """Return the value of an expression over a JSON document, None where it has none. Never raises."""
    try:
        return _Interpreter().visit(_parse(gate.expression), document)
    except (JMESPathError, RecursionError, ArithmeticError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _show(value: object) -> str:
    try:
        return json.dumps(value)[:200]
    except (TypeError, ValueError):
        return type(value).__name__


class _Interpreter(TreeInterpreter):
    """Evaluate as JMESPath says, and remember which fields were absent; `excused` are those that may be.

    `seen` are the plain values that fields had, for who asks why.
    """

    def __init__(self) -> None:
        super().__init__()  # pyright: ignore[reportUnknownMemberType]
        self.absent: list[str] = []
        self.excused: list[str] = []
        self.seen: dict[str, list[str]] = {}

    def told(self) -> str:
        """Return the first values that were seen: `errors is 7, 9; status is "ok"`."""
        shown = [f"{name} is {', '.join(values[:_SHOWN])}" for name, values in list(self.seen.items())[:_SHOWN]]
        return "; ".join(shown)[:200]

    def visit_field(self, node: Any, value: Any) -> Any:
        if not isinstance(value, dict) or node["value"] not in value:
            self.absent.append(str(node["value"]))
            return None
        found = cast("dict[str, Any]", value)[node["value"]]
        if isinstance(found, str | int | float | None):
            values = self.seen.setdefault(str(node["value"]), [])
            if len(values) < _SHOWN and (text := _show(found)) not in values:
                values.append(text)
        return found

    def visit_or_expression(self, node: Any, value: Any) -> Any:
        left = self._excusing(node["children"][0], value)
        empty = left is None or left is False or left in ("", [], {})
        return self.visit(node["children"][1], value) if empty else left

    def visit_function_expression(self, node: Any, value: Any) -> Any:
        if node["value"] != "not_null":
            return super().visit_function_expression(node, value)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        found = [self._excusing(child, value) for child in node["children"]]
        return next((item for item in found if item is not None), None)

    def visit_comparator(self, node: Any, value: Any) -> Any:
        null: dict[str, Any] = {"type": "literal", "value": None, "children": []}
        if node["value"] in ("eq", "ne") and null in node["children"]:
            left, right = (self._excusing(child, value) for child in node["children"])
            return (left is right) == (node["value"] == "eq")
        return super().visit_comparator(node, value)  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]

    def _excusing(self, node: Any, value: Any) -> Any:
        before = len(self.absent)
        result = self.visit(node, value)
        self.excused += self.absent[before:]
        del self.absent[before:]
        return result
