"""Panes and hosts as resources that an agent can read."""

from __future__ import annotations

import json
import os
from pathlib import Path

import mcp_types as types

from sane.engine.context import AsyncContext
from sane.errors import NotFoundError

PANES, HOSTS, PANE = "sane://panes", "sane://hosts", "sane://panes/"
_FORMAT = "#{pane_id}\t#{session_name}:#{window_index}.#{pane_index}\t#{pane_current_command}\t#{pane_current_path}"


async def list_resources(context: AsyncContext) -> list[types.Resource]:
    """Return the list of panes, the list of hosts, and one resource a pane: its screen."""
    fixed = [
        types.Resource(uri=PANES, name="panes", title="Panes of the local tmux", mime_type="application/json"),
        types.Resource(uri=HOSTS, name="hosts", title="Hosts that can be reached", mime_type="application/json"),
    ]
    screens = [
        types.Resource(
            uri=f"{PANE}{p['id'][1:]}", name=p["target"], title=f"Screen of {p['target']}", mime_type="text/plain"
        )
        for p in await _panes(context)
    ]
    return [*fixed, *screens]


def list_templates() -> list[types.ResourceTemplate]:
    """Return the form of a pane's address: its id without the `%`."""
    return [types.ResourceTemplate(uri_template=PANE + "{id}", name="pane", title="Screen of a pane")]


async def read_resource(context: AsyncContext, uri: str) -> types.ReadResourceResult:
    """Return a resource's text. Raises NotFoundError."""
    if uri == PANES:
        text, mime = json.dumps(await _panes(context)), "application/json"
    elif uri == HOSTS:
        text, mime = json.dumps(_hosts(context)), "application/json"
    elif uri.startswith(PANE) and uri.removeprefix(PANE).isdigit():
        text, mime = await _screen(context, "%" + uri.removeprefix(PANE)), "text/plain"
    else:
        raise NotFoundError(f"there is no resource '{uri}'", hint=f"Read {PANES} or {HOSTS}.")
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=mime, text=text)])


async def _panes(context: AsyncContext) -> list[dict[str, str]]:
    machine = await context.machine(None)
    listed = await machine.execute(["tmux", "list-panes", "-a", "-F", _FORMAT], timeout_s=5.0)
    rows = [line.split("\t") for line in listed.stdout.decode("utf-8", "replace").splitlines()]
    return [dict(zip(("id", "target", "command", "path"), row, strict=True)) for row in rows if len(row) == 4]


async def _screen(context: AsyncContext, pane: str) -> str:
    machine = await context.machine(None)
    shown = await machine.execute(["tmux", "capture-pane", "-p", "-t", pane], timeout_s=5.0)
    if shown.exit_code != 0:
        raise NotFoundError(f"Pane '{pane}' does not exist", hint=f"{PANES} lists the panes there are.")
    return shown.stdout.decode("utf-8", "replace")


def _hosts(context: AsyncContext) -> list[dict[str, str]]:
    inventory = [{"name": name, "target": f"ssh:{name}", "from": "inventory"} for name in context.host_names()]
    config = Path(os.environ.get("HOME", "/")) / ".ssh" / "config"
    words = [line.split() for line in config.read_text(errors="replace").splitlines()] if config.is_file() else []
    aliases = [a for w in words if w and w[0].lower() == "host" for a in w[1:] if not set(a) & set("*?!")]
    return [*inventory, *({"name": alias, "target": f"ssh:{alias}", "from": "~/.ssh/config"} for alias in aliases)]
