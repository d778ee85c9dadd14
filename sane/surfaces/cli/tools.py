"""`sane tools`: the verbs as tools of agents that speak no MCP: their schemas, and one call of one."""

from __future__ import annotations

import sys
from typing import Any

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
    default="read",
    show_default=True,
    help="Only the tools that a caller of this tier may use, as with `sane mcp`.",
)
@click.option("--call", "name", metavar="TOOL", help="Call this tool in place of printing the schemas.")
@click.option(
    "--limit",
    "limit_chars",
    type=click.IntRange(min=200),
    default=16_000,
    show_default=True,
    help="The longest texts in one answer, in characters; --query sees them whole.",
)
@click.argument("arguments", default="-")
@answer_options("json")
def tools(
    tools_format: str,
    access: str,
    name: str | None,
    limit_chars: int,
    arguments: str,
    output: str,
    query: str | None,
) -> None:
    """Print every verb as a tool schema for AI agents, or call one with ARGUMENTS, a JSON object (`-`: standard input).

    A call prints one JSON object, the answer or an error, and exits 0 once the tool answered. SIGTERM stops what runs.

    \b
    Example:
      sane tools --format openai --access read
      sane tools --access write --call run_command '{"target": "work:1.0", "command": "uname -a"}'
    """
    from sane.surfaces.tool_schemas import tool_schemas

    if name is None:
        if arguments != "-":
            raise click.UsageError("ARGUMENTS are for --call TOOL")
        if not answered(tool_schemas(tools_format, access), output, query):
            click.echo(as_table(_listing(access)), nl=False)
        return
    given = sys.stdin.buffer.read().decode("utf-8", "surrogateescape") if arguments == "-" else arguments
    answer, status = _call(name, access, given)
    if status == 0 and not query:
        from sane.surfaces.cli.tool_call import shorten

        answer = shorten(answer, limit_chars)
    if status == 0 and output == "table" and not query:
        click.echo(as_table(answer), nl=False)
    else:
        from sane.core.valid_json import to_json

        click.echo(to_json(select(query, answer) if query and status == 0 else answer))
    raise click.exceptions.Exit(status)


def _listing(access: str) -> list[dict[str, str]]:
    from sane.surfaces.tool_schemas import LIST_TARGETS, LIST_TARGETS_DESCRIPTION, tool_name, tools_of_tier

    verbs = [{"tool": tool_name(v.name), "access": v.access, "summary": v.summary} for v in tools_of_tier(access)]
    summary = LIST_TARGETS_DESCRIPTION.partition(": ")[0] + "."
    return [*verbs, {"tool": LIST_TARGETS, "access": "read", "summary": summary}]


def _call(name: str, access: str, text: str) -> tuple[dict[str, Any], int]:
    """Return the answer or the error, and the exit status."""
    from sane.errors import SaneError, exit_status
    from sane.surfaces.cli.call_async import EndedError
    from sane.surfaces.cli.tool_call import call_tool
    from sane.surfaces.mcp.pages import shorten_error
    from sane.surfaces.tool_schemas import error_answer

    try:
        return call_tool(name, access, text), 0
    except SaneError as error:
        status = error.status if isinstance(error, EndedError) else exit_status(error)
        return shorten_error(error_answer(error)), status
    except Exception as error:  # a defect; whoever called reads one JSON object all the same
        import traceback

        traceback.print_exc()
        defect = {"error": f"{type(error).__name__}: {error}", "code": "internal", "hint": "", "retryable": False}
        return shorten_error(defect), 1
