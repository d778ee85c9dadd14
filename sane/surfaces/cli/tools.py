"""`sane tools`: the verbs as tools of agents that speak no MCP: their schemas, and one call of one."""

from __future__ import annotations

import json
import sys
from typing import Any, cast

import click

from sane.surfaces.cli.query import answer_options, answered, as_table, select


@click.command()
@click.option(
    "--format",
    "tools_format",
    type=click.Choice(["openai", "anthropic", "json-schema"]),
    default="json-schema",
    show_default=True,
    help="The shape of the schemas.",
)
@click.option(
    "--access",
    type=click.Choice(["read", "write", "admin"]),
    default="admin",
    show_default=True,
    help="Only the tools that a caller of this tier may use.",
)
@click.option("--call", "name", metavar="TOOL", help="Call this tool in place of printing the schemas.")
@click.argument("arguments", default="-")
@answer_options("json")
def tools(tools_format: str, access: str, name: str | None, arguments: str, output: str, query: str | None) -> None:
    """Print every verb as a tool schema for AI agents, or call one with ARGUMENTS, a JSON object (`-`: standard input).

    A call prints one JSON object, the answer or an error, and exits 0 once the tool answered.

    \b
    Example:
      sane tools --format openai --access read
      sane tools --call run_command '{"target": "work:1.0", "command": "uname -a"}'
    """
    from sane.surfaces.tool_schemas import tool_schemas

    if name is None:
        if arguments != "-":
            raise click.UsageError("ARGUMENTS are for --call TOOL")
        if not answered(tool_schemas(tools_format, access), output, query):
            click.echo(as_table(_listing(access)), nl=False)
        return
    answer, status = _call(name, access, sys.stdin.read() if arguments == "-" else arguments)
    if status == 0 and output == "table" and not query:
        click.echo(as_table(answer), nl=False)
    else:
        from sane.surfaces.cli.primitive import to_json

        click.echo(to_json(select(query, answer) if query and status == 0 else answer))
    raise click.exceptions.Exit(status)


def _listing(access: str) -> list[dict[str, str]]:
    from sane.surfaces.tool_schemas import tool_name, tools_of_tier

    return [{"tool": tool_name(v.name), "access": v.access, "summary": v.summary} for v in tools_of_tier(access)]


def _call(name: str, access: str, text: str) -> tuple[dict[str, Any], int]:
    """Return the answer or the error, and the exit status."""
    from sane.errors import SaneError, exit_status
    from sane.surfaces.cli.call_async import call_with_asyncio
    from sane.surfaces.tool_schemas import error_answer, verb_of_tool
    from sane.verbs.registry import as_json, bind

    try:
        verb = verb_of_tool(name, access)
        return as_json(call_with_asyncio(verb, bind(verb, _arguments(text)))), 0
    except SaneError as error:
        return error_answer(error), exit_status(error)


def _arguments(text: str) -> dict[str, object]:
    from sane.errors import UsageError

    try:
        given = json.loads(text)
    except ValueError as error:
        raise UsageError(f"the arguments are no JSON: {error}", hint='Write {"target": "local:", …}.') from error
    if not isinstance(given, dict):
        raise UsageError("the arguments are no JSON object", hint='Write {"target": "local:", …}.')
    return cast("dict[str, object]", given)
