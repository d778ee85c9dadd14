"""Panes and hosts as resources that an agent can read."""

from __future__ import annotations

import json
import re
from urllib.parse import unquote

import mcp_types as types

from sane.engine.context import AsyncContext
from sane.errors import NotFoundError
from sane.surfaces.targets import HOST, MOST_PANES, OF_HOST, described, known_hosts, panes_of
from sane.transports.tmux import PaneInfo, TmuxServer, text_of

PANES, HOSTS = "sane://panes", "sane://hosts"
PANE = f"{PANES}/"
_PANE_ID = re.compile(re.escape(PANE) + r"(?:%25|%)?([0-9]+)")  # `%250` is %0 as an address has it
JSON, TEXT = "application/json", "text/plain"


async def list_resources(context: AsyncContext) -> list[types.Resource]:
    """Return the list of panes, the list of hosts, and one resource a pane: its screen."""
    fixed = [
        types.Resource(uri=PANES, name="panes", title="Panes of the local tmux", mime_type=JSON),
        types.Resource(uri=HOSTS, name="hosts", title="Hosts that can be reached", mime_type=JSON),
    ]
    panes = await panes_of(context, None)
    return [*fixed, *map(_screen_resource, panes[:MOST_PANES])]


def list_templates() -> list[types.ResourceTemplate]:
    """Return the forms of a pane's address (its id, with its `%` or without) and of a host's panes."""
    return [
        types.ResourceTemplate(uri_template=f"{PANE}{{id}}", name="pane", title="Screen of a pane", mime_type=TEXT),
        types.ResourceTemplate(
            uri_template=f"{HOST}{{host}}{OF_HOST}", name="panes of a host", title="Panes of its tmux", mime_type=JSON
        ),
    ]


async def read_resource(context: AsyncContext, uri: str) -> types.ReadResourceResult:
    """Return a resource's text. Raises NotFoundError, and TransportError for the panes of a host."""
    if uri == PANES:
        text, mime = json.dumps([described(pane, None) for pane in await panes_of(context, None)]), JSON
    elif uri == HOSTS:
        text, mime = json.dumps(known_hosts(context)), JSON
    elif uri.startswith(HOST) and uri.endswith(OF_HOST):
        host = unquote(uri[len(HOST) : -len(OF_HOST)])
        text, mime = json.dumps([described(pane, host) for pane in await panes_of(context, host)]), JSON
    elif pane := _PANE_ID.fullmatch(uri):
        text, mime = await _screen(context, f"%{pane[1]}"), TEXT
    else:
        raise NotFoundError(f"there is no resource '{uri}'", hint=f"Read {PANES} or {HOSTS}.")
    return types.ReadResourceResult(contents=[types.TextResourceContents(uri=uri, mime_type=mime, text=text)])


def _screen_resource(pane: PaneInfo) -> types.Resource:
    name = f"{pane.session}:{pane.window_index}.{pane.pane_index}"
    return types.Resource(uri=f"{PANE}{pane.pane_id[1:]}", name=name, title=f"Screen of {name}", mime_type=TEXT)


async def _screen(context: AsyncContext, pane: str) -> str:
    shown = await TmuxServer(await context.machine(None)).run("capture-pane", "-p", "-t", pane)
    if shown.exit_code != 0:
        raise NotFoundError(f"Pane '{pane}' does not exist", hint=f"{PANES} lists the panes there are.")
    return text_of(shown.stdout).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
