"""sane-split-pane: a new pane beside or below one."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from sane.core.target import parse_target
from sane.errors import RemoteError, UsageError
from sane.transports.context import Context
from sane.transports.tmux import TmuxServer, text_of
from sane.verbs.registry import verb


@dataclasses.dataclass(frozen=True)
class NewPane:
    """Answer with the id of the new pane."""

    pane: str


@verb(access="write", idempotent=False, example="sane-split-pane work:0.0 horizontal")
async def split_pane(
    ctx: Context,
    target: Annotated[str, "the pane to split"],
    direction: Annotated[Literal["vertical", "horizontal"], "vertical: below it; horizontal: beside it"] = "vertical",
) -> NewPane:
    """Split a pane; the one that was active stays active, and the new one starts in the same folder.

    Raises NotFoundError; RemoteError when there is no room.
    """
    parsed = parse_target(target)
    if parsed.pane is None:
        raise UsageError(f"'{target}' is no pane", hint="Write SESSION[:WINDOW[.PANE]], %ID or ssh:HOST/SESSION.")
    server = TmuxServer(await ctx.machine(parsed.host))
    pane = await server.find_pane(parsed.pane)
    flag = "-v" if direction == "vertical" else "-h"
    words = ("split-window", "-d", flag, "-P", "-F", "#{pane_id}", "-t", pane.pane_id, "-c", "#{pane_current_path}")
    done = await server.run(*words)
    if done.exit_code != 0:
        raise RemoteError(f"pane {target} can't be split: {text_of(done.stderr).strip()}")
    return NewPane(text_of(done.stdout).strip())
