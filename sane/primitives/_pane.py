"""What the primitives on panes share."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from sane.core.target import parse_target
from sane.errors import UsageError
from sane.transports.context import Context

if TYPE_CHECKING:
    from sane.transports.pane import PaneTransport


async def open_tmux_pane(ctx: Context, target: str) -> PaneTransport:
    """Return the transport to the pane a target names. Raises UsageError when it names no pane."""
    parsed = parse_target(target)
    if parsed.pane is None:
        raise UsageError(f"'{target}' is no pane", hint="Write SESSION[:WINDOW[.PANE]], %ID or ssh:HOST/SESSION.")
    return cast("PaneTransport", await ctx.transport(parsed))


def timestamp_now() -> str:
    """Return the time in UTC, as ISO 8601 has it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def elapsed_ms(started: float) -> float:
    """Return the milliseconds since a reading of the monotonic clock."""
    return round((time.monotonic() - started) * 1000, 3)
