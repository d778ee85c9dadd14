"""sane-list-windows: the windows of a session."""

from __future__ import annotations

import dataclasses
from typing import Annotated

from sane.primitives._pane import panes_of_session
from sane.transports.context import Context
from sane.verbs.registry import verb


@dataclasses.dataclass(frozen=True)
class ListedWindow:
    """Describe one window: `index` is the number tmux shows, base-index included."""

    id: str
    index: int
    name: str
    pane_count: int
    active: bool


@dataclasses.dataclass(frozen=True)
class ListedWindows:
    """Answer with a session's windows, in tmux's order."""

    session: str
    windows: list[ListedWindow]


@verb(access="read", example="sane-list-windows work")
async def list_windows(
    ctx: Context, session: Annotated[str, "SESSION, or ssh:HOST/SESSION for the tmux of a host"]
) -> ListedWindows:
    """List the windows of a session.

    Raises NotFoundError when the session does not exist.
    """
    name, panes = await panes_of_session(ctx, session)
    windows: dict[str, ListedWindow] = {}
    for pane in panes:
        count = windows[pane.window_id].pane_count + 1 if pane.window_id in windows else 1
        active = pane.active.startswith("1")
        windows[pane.window_id] = ListedWindow(pane.window_id, int(pane.window_index), pane.window, count, active)
    return ListedWindows(name, list(windows.values()))
