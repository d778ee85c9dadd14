"""sane-wait-ready: wait until a pane takes a command."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import Annotated

from sane.errors import PaneError
from sane.primitives._pane import elapsed_ms, open_tmux_pane, timestamp_now
from sane.transports.context import Context
from sane.verbs.registry import FROM_0, verb


@dataclasses.dataclass(frozen=True)
class Readiness:
    """Answer whether a shell waits at an empty prompt; `reason` says why not."""

    ready: bool
    pane: str
    duration_ms: float
    timestamp: str
    reason: str | None = None


def is_ready(answer: Mapping[str, object]) -> bool:
    """Return whether the pane was ready."""
    return answer.get("ready") is True


@verb(access="read", example="sane-wait-ready work:0.1 60", ok=is_ready)
async def wait_ready(
    ctx: Context,
    target: Annotated[str, "the pane"],
    timeout_s: Annotated[float, "seconds to wait at most", FROM_0] = 30.0,
) -> Readiness:
    """Wait until a shell waits in the pane with nothing typed. Nothing that stays is typed to find out.

    Raises NotFoundError when there is no such pane.
    """
    started = time.monotonic()
    pane = await open_tmux_pane(ctx, target)
    reason: str | None = None
    try:
        await pane.wait_idle(timeout_s)
    except PaneError as error:
        reason = error.message
    return Readiness(reason is None, target, elapsed_ms(started), timestamp_now(), reason)
