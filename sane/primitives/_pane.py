"""What the primitives on panes share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from sane.core.target import parse_target
from sane.errors import UsageError
from sane.transports.context import Context

if TYPE_CHECKING:
    from sane.transports.pane import PaneTransport
    from sane.transports.tmux import PaneInfo


async def open_tmux_pane(ctx: Context, target: str) -> PaneTransport:
    """Return the transport to the pane a target names. Raises UsageError when it names no pane."""
    parsed = parse_target(target)
    if parsed.pane is None:
        raise UsageError(f"'{target}' is no pane", hint="Write SESSION[:WINDOW[.PANE]], %ID or ssh:HOST/SESSION.")
    return cast("PaneTransport", await ctx.transport(parsed))


async def panes_of_session(ctx: Context, session: str) -> tuple[str, list[PaneInfo]]:
    """Return a session's own name and its panes, in tmux's order. Raises NotFoundError, UsageError."""
    from sane.transports.tmux import TmuxServer, choose_pane

    target = parse_target(session)
    if target.pane is None:
        raise UsageError(f"'{session}' names no session", hint="Write SESSION, or ssh:HOST/SESSION.")
    panes = await TmuxServer(await ctx.machine(target.host)).list_panes()
    name = choose_pane(panes, target.pane).session
    return name, [pane for pane in panes if pane.session == name]


def timestamp_now() -> str:
    """Return the time in UTC, as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def elapsed_ms(started: float) -> float:
    """Return the milliseconds since a reading of the monotonic clock."""
    return round((time.monotonic() - started) * 1000, 3)
