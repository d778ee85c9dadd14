"""`sane tools`: the verbs as tool schemas for agents."""

from __future__ import annotations

import json

import click


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
def tools(tools_format: str, access: str) -> None:
    """Print every verb as a tool schema for AI agents.

    \b
    Example:
      sane tools --format openai --access read
    """
    from sane.surfaces.tool_schemas import tool_schemas

    click.echo(json.dumps(tool_schemas(tools_format, access), indent=2))
