"""sane-check-pane-health: whether a pane lives and its shell answers."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated

from sane.errors import NotFoundError, PaneError
from sane.primitives._pane import elapsed_ms, open_tmux_pane, timestamp_now
from sane.transports.context import Context
from sane.verbs.registry import FROM_0, verb

if TYPE_CHECKING:
    from sane.transports.pane import PaneTransport
    from sane.transports.pane_state import Screen


LEAST_PROBE_S = 0.2  # no shell answers faster on a busy machine, and one that was asked is interrupted at the deadline


@dataclasses.dataclass(frozen=True)
class CheckedPane:
    """Answer healthy, frozen, dead or unknown (a program runs: nothing can be asked)."""

    pane: str
    health_status: str
    responsive: bool
    frozen: bool
    details: str
    timestamp: str
    duration_ms: float
    prompt_age_seconds: float | None = None


@dataclasses.dataclass(frozen=True)
class PaneHealth(CheckedPane):
    """Answer as for one pane; `panes` for a whole session."""

    panes: list[CheckedPane] | None = None


def is_healthy(answer: Mapping[str, object]) -> bool:
    """Return whether the answer is of a healthy pane, or of a session whose panes all are."""
    return answer.get("health_status") == "healthy"


@verb(access="read", example="sane-check-pane-health work:0.1 --timeout 5", ok=is_healthy)
async def check_pane_health(
    ctx: Context,
    target: Annotated[str, "the pane; a session with --all"],
    *,
    all: Annotated[bool, "check every pane of the session"] = False,
    timeout_s: Annotated[
        float, "seconds the shell has to answer; below 0.2 an idle one is not asked, and unknown", FROM_0
    ] = 5.0,
) -> PaneHealth:
    """Check that a pane lives and that the shell in it answers; what is typed for it is erased again.

    Raises NotFoundError when there is no such pane or session.
    """
    started = time.monotonic()
    first = await open_tmux_pane(ctx, target)
    if not all:
        return PaneHealth(**vars(await _check(first, target, timeout_s)))
    host, _, _ = target.rpartition("/")
    prefix = f"{host}/" if target.startswith("ssh:") else ""
    names = [pane.pane_id for pane in await first.server.list_panes() if pane.session == first.pane.session]
    panes = [await _check(await open_tmux_pane(ctx, prefix + name), prefix + name, timeout_s) for name in names]
    bad = [pane.pane for pane in panes if pane.health_status != "healthy"]
    status = "healthy" if not bad else next(p.health_status for p in panes if p.health_status != "healthy")
    details = f"{len(panes) - len(bad)} of {len(panes)} panes are healthy" + (f"; not: {', '.join(bad)}" if bad else "")
    frozen = any(pane.frozen for pane in panes)
    took_ms = elapsed_ms(started)
    return PaneHealth(target, status, not bad, frozen, details, timestamp_now(), took_ms, panes=panes)


async def _check(pane: PaneTransport, name: str, timeout_s: float) -> CheckedPane:
    started = time.monotonic()
    try:
        screen = await pane.look()
    except NotFoundError:
        return CheckedPane(name, "dead", False, False, "the pane is gone", timestamp_now(), elapsed_ms(started))
    status, details = await _judge(pane, screen, timeout_s)
    age_s = await _quiet_seconds(pane) if status == "healthy" else None
    took_ms = elapsed_ms(started)
    healthy, frozen = status == "healthy", status == "frozen"
    return CheckedPane(name, status, healthy, frozen, details, timestamp_now(), took_ms, age_s)


async def _judge(pane: PaneTransport, screen: Screen, timeout_s: float) -> tuple[str, str]:
    verdict = pane.verdict(screen)
    if verdict == "dead":
        return "dead", "the pane's program has ended"
    if verdict == "busy":
        return "unknown", f"{screen.program} is running; it can't be asked without disturbing it"
    if verdict in ("repl", "typing", "continuation"):
        return "healthy", f"{screen.program} waits for input; a line is begun there"
    if timeout_s < LEAST_PROBE_S:
        return (
            "unknown",
            f"{timeout_s:g} s are too short to tell: nothing was asked; give it {LEAST_PROBE_S:g} s or more",
        )
    try:
        answered = await pane.probe(timeout_s)
    except PaneError as error:
        return "unknown", error.message
    return ("healthy", "the shell answers") if answered else ("frozen", f"no answer within {timeout_s:g} s")


async def _quiet_seconds(pane: PaneTransport) -> float:
    stamp = await pane.server.ask("display-message", "-p", "-t", pane.pane.pane_id, "#{window_activity}")
    return round(max(0.0, time.time() - float(stamp.strip() or 0)), 1)
