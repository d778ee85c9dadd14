"""sane-list-panes: the panes of a session."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from sane.primitives._pane import panes_of_session
from sane.transports.context import Context
from sane.verbs.registry import verb


@dataclasses.dataclass(frozen=True)
class ListedPane:
    """Describe one pane: `window` and `index` are the numbers tmux shows, base-index included."""

    id: str
    window: int
    index: int
    command: str
    path: str
    label: str | None
    window_name: str
    active: bool


@dataclasses.dataclass(frozen=True)
class ListedPanes:
    """Answer with a session's panes, in tmux's order."""

    session: str
    panes: list[ListedPane]


@verb(access="read", example="sane-list-panes work")
async def list_panes(
    ctx: Context, session: Annotated[str, "SESSION, or ssh:HOST/SESSION for the tmux of a host"]
) -> ListedPanes:
    """List the panes of a session with their program, folder and label.

    Raises NotFoundError when the session does not exist.
    """
    name, panes = await panes_of_session(ctx, session)
    found = [
        ListedPane(
            pane.pane_id,
            int(pane.window_index),
            int(pane.pane_index),
            pane.program,
            pane.path,
            pane.label or None,
            pane.window,
            pane.active == "11",
        )
        for pane in panes
    ]
    return ListedPanes(name, found)
