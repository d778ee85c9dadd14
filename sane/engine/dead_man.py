"""Leave dead-man guards on hosts, and call them off where a version is proven or taken back."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Protocol

from sane.core.command import Command, CommandResult
from sane.core.host.dead_man import Guard, arm, confirm, look_at_guard, parse_guard, revert_script
from sane.core.host.record import HostRecord
from sane.core.rollout.controller import Effect, HostState, RolloutState
from sane.core.rollout.hints import hint_for
from sane.engine.plan import DeploymentPlan, nonce_of
from sane.errors import RemoteError


class RunOnHost(Protocol):
    """Run a command on a host of the deployment, beside its window."""

    def __call__(self, host: str, command: Command) -> Awaitable[CommandResult]: ...


async def arm_guard(
    plan: DeploymentPlan, state: RolloutState, action: Effect, env: Mapping[str, str], now_ms: int, run: RunOnHost
) -> None:
    """Leave a guard on a host that is about to be switched; one without a previous version has nothing to go back to.

    Raises RemoteError where the host can't keep it, before anything is switched, and where a guard that an earlier
    controller left has taken the host back.
    """
    host = state.hosts[state.index[action.host]]
    if not state.policy.dead_man_ms or not host.has_previous:
        return
    binding = plan.binding(state, action.host, host.spec.version, nonce_of(state, action.host, "revert"))
    was = HostRecord(host.previous_version, host.previous_digest, state.revision, state.id, now_ms // 1000)
    script = revert_script(plan.workflow.revert, binding, env)
    seconds = math.ceil(state.policy.dead_man_ms / 1000)
    guard = Guard(action.operation.replace("/", "."), state.key, seconds, script, replace(was, reverted=True))
    armed = await run(action.host, arm(guard))
    word = armed.text.strip().rpartition("\n")[2]
    if word == "fired":
        raise RemoteError("its dead-man guard took it back while nobody drove it", hint="Deploy again.")
    if armed.exit_code != 0 or word != "armed":
        said = (armed.stderr or armed.output).decode("utf-8", "replace").strip()[-300:]
        raise RemoteError(f"the host could not keep a dead-man guard: {said}", hint=hint_for(None, said))


async def call_off(state: RolloutState, host: str, run: RunOnHost) -> bool:
    """Call a host's guard off; return whether it was faster and took the host back."""
    if not state.policy.dead_man_ms:
        return False
    return parse_guard((await run(host, confirm(state.key, state.id))).output) == "fired"


async def has_fired(state: RolloutState, host: HostState, run: RunOnHost) -> bool:
    """Return whether the guard of a host that is being proven has taken it back by now."""
    if not (state.policy.dead_man_ms and host.has_previous) or host.status == "reverting":
        return False
    return parse_guard((await run(host.spec.name, look_at_guard(state.key, state.id))).output) == "fired"


def proves(state: RolloutState, host: HostState, now_ms: int) -> bool:
    """Return whether one more good sample at `now_ms` proves a host healthy."""
    since = now_ms if host.streak_since_ms is None else host.streak_since_ms
    return now_ms - since >= state.policy.min_healthy_ms
