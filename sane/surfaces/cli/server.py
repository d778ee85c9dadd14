"""`sane server`: serve agents and the event log over HTTP, and manage who may call."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sane.surfaces.cli.extras import missing_extra
from sane.surfaces.cli.query import answer_options, answered

if TYPE_CHECKING:
    from sane.surfaces.http.credentials import CredentialFile

SCOPES = ("read", "deploy", "promote", "admin")


@click.group(invoke_without_command=True)
@click.option(
    "--listen",
    "address",
    metavar="HOST:PORT",
    default="127.0.0.1:8080",
    show_default=True,
    help="Where to serve; elsewhere than on loopback a credential is needed.",
)
@click.option(
    "--env-file",
    type=click.Path(path_type=Path),
    default=Path(".env"),
    show_default=True,
    help="More settings; the environment goes before it.",
)
@click.option("--agents", "directory", type=click.Path(path_type=Path), help="The directory of agents.")
@click.option("--config", type=click.Path(path_type=Path), help="The models' configuration (watch.yaml).")
@click.option("--inventory", "-i", type=click.Path(path_type=Path), help="The hosts that agents' tools may read.")
@click.pass_context
def server(
    context: click.Context,
    address: str,
    env_file: Path,
    directory: Path | None,
    config: Path | None,
    inventory: Path | None,
) -> None:
    """Serve answers of agents, the event log and the service's state over HTTP.

    Elsewhere than on loopback it needs a credential. Settings: REDIS_URL, REDIS_PUBSUB_URL, DATABASE_URL,
    MAX_CONCURRENT_STREAMS, STREAM_TIMEOUT_SECONDS, STREAM_RESUME_SECONDS, CIRCUIT_BREAKER_THRESHOLD, LOG_LEVEL,
    SCHEDULERS.

    \b
    Example:
      sane server
      sane server credential add ci --scope read
      curl -N http://127.0.0.1:8080/agent/stream/fleet -H 'Content-Type: application/json' \\
        -d '{"messages": [{"role": "user", "content": "What failed?"}]}'
    """
    if context.invoked_subcommand is not None:
        return
    import asyncio

    from sane.core.paths import state_dir

    try:
        from sane.surfaces.http.app import serve
    except ImportError as error:
        raise missing_extra("the server", "server", error) from None
    from sane.operations.files import load_inventory
    from sane.surfaces.http.agents import AgentSources
    from sane.surfaces.http.listener import split_address
    from sane.surfaces.http.settings import read_settings

    sources = AgentSources(directory, config, load_inventory(inventory) if inventory else None, os.environ)
    settings = read_settings(os.environ, env_file)
    place = state_dir(os.environ)
    asyncio.run(serve(split_address(address, "127.0.0.1:8080"), settings, place, sources, announce=_announce))


def _announce(url: str) -> None:
    click.echo(f"sane server listens on {url}", err=True)


@server.group()
def credential() -> None:
    """Manage who may call, and what for.

    \b
    Example:
      sane server credential add ci --scope read --scope deploy
    """


@credential.command(short_help="Add a credential and print its token, this once.")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    type=click.Choice(SCOPES),
    default=("read",),
    show_default=True,
    help="What it may be used for; give it once for each.",
)
@click.option("--signed", is_flag=True, help="A secret that signs requests, in place of a bearer token.")
@answer_options()
def add(name: str, scopes: tuple[str, ...], signed: bool, output: str, query: str | None) -> None:
    """Add a credential and print its token (or secret) on stdout; it is shown this once.

    \b
    Example:
      sane server credential add ci --scope read
    """
    token = _file().add(name, scopes, signed=signed)
    what = f"the secret of key id '{name}'" if signed else f"the token of '{name}'"
    click.echo(f"This is {what}. It can't be shown again.", err=True)
    kind = "signed" if signed else "token"
    if not answered({"name": name, "kind": kind, "scopes": list(scopes), "token": token}, output, query):
        click.echo(token)


@credential.command("list")
@answer_options()
def list_credentials(output: str, query: str | None) -> None:
    """Show names, kinds and scopes; never tokens.

    \b
    Example:
      sane server credential list --output json
    """
    rows: list[dict[str, Any]] = [{"name": c.name, "kind": c.kind, "scopes": list(c.scopes)} for c in _file().load()]
    if not answered(rows, output, query):
        for row in rows:
            click.echo(f"{row['name']:24}  {row['kind']:7}  {' '.join(row['scopes'])}")


@credential.command()
@click.argument("name")
@answer_options()
def remove(name: str, output: str, query: str | None) -> None:
    """Take a credential away; running servers refuse it at once.

    \b
    Example:
      sane server credential remove ci
    """
    _file().remove(name)
    click.echo(f"removed '{name}'", err=True)
    answered({"name": name, "removed": True}, output, query)


def _file() -> CredentialFile:
    from sane.core.paths import state_dir
    from sane.surfaces.http.credentials import CredentialFile

    return CredentialFile(state_dir(os.environ))
