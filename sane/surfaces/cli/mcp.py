"""`sane mcp`: serve the verbs to AI agents."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import click

from sane.surfaces.cli.extras import missing_extra
from sane.surfaces.cli.inventory_option import inventory_option
from sane.surfaces.mcp.listening import bind


@click.command()
@click.option(
    "--access",
    type=click.Choice(["read", "write", "admin"]),
    default="read",
    show_default=True,
    help="The tools that are offered: read only, those that change things, or all.",
)
@click.option("--http", "address", metavar="HOST:PORT", help="Serve streamable HTTP there in place of stdio.")
@inventory_option("Hosts whose names ssh:NAME resolves.")
@click.option(
    "--limit",
    "limit_chars",
    type=click.IntRange(min=200),
    default=16_000,
    show_default=True,
    help="The longest text in one answer, in characters; read_output gives the rest, at most ten times that at once.",
)
@click.option("--tools", metavar="NAME,…", default="", help="Offer these tools only: each costs a model some tokens.")
def mcp(access: str, address: str | None, inventory: Path | None, limit_chars: int, tools: str) -> None:
    """Serve every verb as a tool over the Model Context Protocol, on stdio or HTTP.

    \b
    Example:
      sane mcp --access write
      sane mcp --access write --tools run_command,read_file,edit_file
      sane mcp --http 127.0.0.1:8765  # elsewhere than on loopback it needs SANE_MCP_TOKEN
    """
    import asyncio

    if address is None:
        if sys.stdin.isatty():
            click.echo(
                "An agent's client starts this and talks to it here; `claude mcp add` is told in docs/agents.md."
                " Ctrl-D ends it.",
                err=True,
            )
        asyncio.run(_server().serve_stdio(access, inventory, limit_chars, _names(tools)))
        return
    with bind(address) as listener:  # before the SDK is imported: a wrong address is told at once
        asyncio.run(_server().serve_http(access, inventory, limit_chars, listener, _names(tools)))


def _names(tools: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in tools.split(",") if name.strip())


def _server() -> ModuleType:
    try:
        from sane.surfaces.mcp import serve
    except ImportError as error:
        raise missing_extra("sane mcp", "mcp", error) from None
    return serve
