"""Select from an answer, or show it as a table; imported when asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sane.core.printable import printable
from sane.errors import UsageError

if TYPE_CHECKING:
    import click

Function = TypeVar("Function", bound=Callable[..., Any])
FORMS = ("table", "json", "ndjson")


def answer_options(default: str = "table") -> Callable[[Function], Function]:
    """Return what adds `--output` and `--query` to a command; `answered` prints what they ask for."""
    import click

    def add(command: Function) -> Function:
        text = "Print only this part of the JSON answer."
        command = click.option("--query", callback=check_query, metavar="JMESPATH", help=text)(command)
        forms = click.Choice(FORMS)
        text = "The form of the answer."
        return click.option("--output", type=forms, default=default, show_default=True, help=text)(command)

    return add


def check_query(_: click.Context, __: click.Parameter, expression: str | None) -> str | None:
    """Return the value of `--query`, refused before anything is done when it can't be read. Raises UsageError."""
    if expression:
        refuse_wrong(expression)
    return expression


def refuse_wrong(expression: str) -> None:
    """Refuse a JMESPath expression that can't be read. Raises UsageError naming the mistake in it."""
    from sane.core.workflow.gates import compile_gate
    from sane.errors import ConfigError

    try:
        compile_gate(expression)
    except ConfigError as error:
        said = error.message.removeprefix("the expression is wrong").removeprefix(": ")
        gap = "" if said.startswith(" at column") else ": "
        raise UsageError(f"query '{expression}' is wrong{gap}{said}", hint=error.hint) from None


def select(expression: str, answer: object) -> object:
    """Return what a JMESPath expression selects from an answer. Raises UsageError naming the mistake in it."""
    import jmespath
    from jmespath.exceptions import JMESPathError

    try:
        return jmespath.search(expression, answer)  # pyright: ignore[reportUnknownMemberType]
    except JMESPathError as error:
        raise UsageError(f"query '{expression}' is wrong: {error}") from error


def show(answer: object, output: str, query: str | None = None) -> None:
    """Print what a query selects from an answer as `table`, as one `json` value, or as `ndjson`: one line an item."""
    import click

    if query:
        answer = select(query, answer)
    if output == "table":
        click.echo(as_table(answer), nl=False)
    elif output == "ndjson":
        for item in answer if isinstance(answer, list) else [answer]:  # pyright: ignore[reportUnknownVariableType]
            click.echo(json.dumps(item, ensure_ascii=False))
    else:
        click.echo(json.dumps(answer, ensure_ascii=False, indent=2))


def answered(answer: object, output: str, query: str | None) -> bool:
    """Print an answer where JSON is asked for, by its form or by a query, and return whether it is; else a table is."""
    if output == "table" and not query:
        return False
    show(answer, "json" if output == "table" else output, query)
    return True


def as_table(value: object) -> str:
    """Return rows of `name  value`, a list of objects as columns, anything else as one line."""
    if isinstance(value, Mapping):
        rows = [(str(name), _cell(field)) for name, field in value.items()]  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
        return _aligned(rows) + _lists_in(value)  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(value, list):
        return _columns(value)  # pyright: ignore[reportUnknownArgumentType]
    return f"{_cell(value)}\n"


def _lists_in(value: Mapping[str, object]) -> str:
    tables = [_columns(field) for field in value.values() if isinstance(field, list) and field]  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
    return "".join(f"\n{table}" for table in tables)


def _columns(rows: list[object]) -> str:
    if not rows or not all(isinstance(row, Mapping) for row in rows):
        return "".join(f"{_cell(row)}\n" for row in rows)
    names = list(dict.fromkeys(str(name) for row in rows for name in row))  # pyright: ignore[reportGeneralTypeIssues, reportUnknownVariableType, reportUnknownArgumentType]
    body = [tuple(_cell(row.get(name, "")) for name in names) for row in rows]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
    return _aligned([tuple(name.upper() for name in names), *body])


def _cell(value: object) -> str:
    if isinstance(value, list | Mapping):
        return f"({len(value)})"  # pyright: ignore[reportUnknownArgumentType]
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
    return printable(text.strip(), instead=" ")  # no control sequence reaches the terminal


def _aligned(rows: list[tuple[str, ...]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))] if rows else []
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "".join(f"{line}\n" for line in lines)
