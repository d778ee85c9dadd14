"""Where commands can run: the panes of every session, and the hosts known by name."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from sane.core.paths import home_dir
from sane.engine.context import AsyncContext
from sane.transports.tmux import PaneInfo, TmuxServer

HOST = "sane://hosts/"  # the address of a host's panes: its name and OF_HOST behind it
OF_HOST = "/panes"
MOST_PANES = 200  # in a list that a model reads


async def list_targets(context: AsyncContext, host: str | None, own_pane: str | None) -> dict[str, object]:
    """Return the panes of a host (None: this machine) and the hosts known by name.

    Raises TransportError for a host that can't be reached.
    """
    panes = await panes_of(context, host)
    told_panes = [described(pane, host) for pane in panes[:MOST_PANES]]
    for pane in told_panes if host is None else ():
        if pane["id"] == own_pane:
            pane["own"] = True
    hosts = [{name: known[name] for name in ("name", "target", "from")} for known in known_hosts(context)]
    left_out = len(panes) - len(told_panes)
    told: dict[str, object] = {"panes": told_panes, "hosts": hosts}
    return told | ({"panes_left_out": left_out} if left_out else {})


async def panes_of(context: AsyncContext, host: str | None) -> list[PaneInfo]:
    """Return the panes of a host's tmux, None for this machine's. Raises TransportError."""
    return await TmuxServer(await context.machine(host)).list_panes()


def described(pane: PaneInfo, host: str | None) -> dict[str, object]:
    """Return what is told of a pane: its target as it is typed in a call, and what is seen there."""
    place = f"{pane.session}:{pane.window_index}.{pane.pane_index}"
    about = {"id": pane.pane_id, "target": place if host is None else f"ssh:{host}/{place}", "command": pane.program}
    return {**about, "path": pane.path, "label": pane.label, "dead": pane.dead}


def known_hosts(context: AsyncContext) -> list[dict[str, str]]:
    """Return the hosts of the inventory and the aliases of ~/.ssh/config."""
    config = Path(home_dir(os.environ)) / ".ssh" / "config"
    words = [line.split() for line in config.read_text(errors="replace").splitlines()] if config.is_file() else []
    aliases = [a for w in words if w and w[0].lower() == "host" for a in w[1:] if not set(a) & set("*?!")]
    names = [*((name, "inventory") for name in context.host_names()), *((alias, "~/.ssh/config") for alias in aliases)]
    return [
        {"name": name, "target": f"ssh:{name}", "from": source, "panes": f"{HOST}{quote(name, safe='')}{OF_HOST}"}
        for name, source in names
    ]
