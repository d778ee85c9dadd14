"""Panes and hosts as resources that an agent can read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from urllib.parse import quote, unquote

import mcp_types as types

from sane.core.paths import home_dir
from sane.engine.context import AsyncContext
from sane.errors import NotFoundError
from sane.transports.tmux import PaneInfo, TmuxServer, text_of

PANES, HOSTS = "sane://panes", "sane://hosts"
PANE, HOST = f"{PANES}/", f"{HOSTS}/"
OF_HOST = "/panes"
JSON, TEXT = "application/json", "text/plain"
MOST_SCREENS = 200  # in a list that a model reads; sane://panes has them all


async def list_resources(context: AsyncContext) -> list[types.Resource]:
    """Return the list of panes, the list of hosts, and one resource a pane: its screen."""
    fixed = [
        types.Resource(uri=PANES, name="panes", title="Panes of the local tmux", mime_type=JSON),
        types.Resource(uri=HOSTS, name="hosts", title="Hosts that can be reached", mime_type=JSON),
    ]
    panes = await _panes(context, None)
    return [*fixed, *map(_screen_resource, panes[:MOST_SCREENS])]


async def list_targets(context: AsyncContext, host: str | None, own_pane: str | None) -> dict[str, object]:
    """Return the panes of a host (None: this machine) and the hosts known by name.

    Raises TransportError for a host that can't be reached.
    """
    panes = await _panes(context, host)
    described = [_described(pane, host) for pane in panes[:MOST_SCREENS]]
    for pane in described if host is None else ():
        if pane["id"] == own_pane:
            pane["own"] = True
    hosts = [{name: known[name] for name in ("name", "target", "from")} for known in _hosts(context)]
    left_out = len(panes) - len(described)
    told: dict[str, object] = {"panes": described, "hosts": hosts}
    return told | ({"panes_left_out": left_out} if left_out else {})


def list_templates() -> list[types.ResourceTemplate]:
    """Return the forms of a pane's address (its id without the `%`) and of a host's panes."""
    return [
        types.ResourceTemplate(uri_template=f"{PANE}{{id}}", name="pane", title="Screen of a pane", mime_type=TEXT),
        types.ResourceTemplate(
            uri_template=f"{HOST}{{host}}{OF_HOST}", name="panes of a host", title="Panes of its tmux", mime_type=JSON
        ),
    ]


async def read_resource(context: AsyncContext, uri: str) -> types.ReadResourceResult:
    """Return a resource's text. Raises NotFoundError, and TransportError for the panes of a host."""
    if uri == PANES:
        text, mime = json.dumps([_described(pane, None) for pane in await _panes(context, None)]), JSON
    elif uri == HOSTS:
        text, mime = json.dumps(_hosts(context)), JSON
    elif uri.startswith(HOST) and uri.endswith(OF_HOST):
        host = unquote(uri[len(HOST) : -len(OF_HOST)])
        text, mime = json.dumps([_described(pane, host) for pane in await _panes(context, host)]), JSON
    elif uri.startswith(PANE) and uri.removeprefix(PANE).isdigit():
        text, mime = await _screen(context, "%" + uri.removeprefix(PANE)), TEXT
    else:
        raise NotFoundError(f"there is no resource '{uri}'", hint=f"Read {PANES} or {HOSTS}.")
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=mime, text=text)])


async def _panes(context: AsyncContext, host: str | None) -> list[PaneInfo]:
    return await TmuxServer(await context.machine(host)).list_panes()


def _described(pane: PaneInfo, host: str | None) -> dict[str, object]:
    place = f"{pane.session}:{pane.window_index}.{pane.pane_index}"
    about = {"id": pane.pane_id, "target": place if host is None else f"ssh:{host}/{place}", "command": pane.program}
    return {**about, "path": pane.path, "label": pane.label, "dead": pane.dead}


def _screen_resource(pane: PaneInfo) -> types.Resource:
    name = f"{pane.session}:{pane.window_index}.{pane.pane_index}"
    return types.Resource(uri=f"{PANE}{pane.pane_id[1:]}", name=name, title=f"Screen of {name}", mime_type=TEXT)


async def _screen(context: AsyncContext, pane: str) -> str:
    shown = await TmuxServer(await context.machine(None)).run("capture-pane", "-p", "-t", pane)
    if shown.exit_code != 0:
        raise NotFoundError(f"Pane '{pane}' does not exist", hint=f"{PANES} lists the panes there are.")
    return text_of(shown.stdout).encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _hosts(context: AsyncContext) -> list[dict[str, str]]:
    config = Path(home_dir(os.environ)) / ".ssh" / "config"
    words = [line.split() for line in config.read_text(errors="replace").splitlines()] if config.is_file() else []
    aliases = [a for w in words if w and w[0].lower() == "host" for a in w[1:] if not set(a) & set("*?!")]
    names = [*((name, "inventory") for name in context.host_names()), *((alias, "~/.ssh/config") for alias in aliases)]
    return [
        {"name": name, "target": f"ssh:{name}", "from": source, "panes": f"{HOST}{quote(name, safe='')}{OF_HOST}"}
        for name, source in names
    ]
