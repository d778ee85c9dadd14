"""Ask hosts for their health as a deployment does: its file, version, digest, nonce, time of activation and gates."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from sane.core.fleet.inventory import Host
from sane.core.rollout import table as t
from sane.core.rollout.controller import HostState, ProbeHealth, RolloutState
from sane.engine.context import AsyncContext
from sane.engine.fan_out import ask_all
from sane.engine.hosts import HostPlaces
from sane.engine.plan import DeploymentPlan
from sane.engine.probes import probe_host
from sane.engine.runner import steady_clock
from sane.errors import NotFoundError, UsageError
from sane.operations.deployments import find_deployment, load_deployment, plan_of
from sane.operations.health import HostHealth, asked
from sane.store.base import Store

BACK = (t.REVERTING, t.REVERTED, t.REVERT_FAILED)


class Deployed(NamedTuple):
    """Hold a deployment and those of its hosts that are asked."""

    plan: DeploymentPlan
    state: RolloutState
    hosts: list[Host]


async def find_deployed(store: Store, name: str, pattern: str) -> Deployed:
    """Return the deployment of that id, or the newest of that key, and its hosts that a pattern means."""
    state, first = await load_deployment(store, (await find_deployment(store, name)).id)
    if "source" not in first.data:
        raise UsageError(f"the log does not have the files of {state.id}", hint="Name them: -i FILE --workflow FILE.")
    plan = plan_of(first, state)
    hosts = [host for host in plan.inventory.select(pattern) if host.name in state.index]
    if not hosts:
        raise NotFoundError(f"deployment {state.id} has no host of '{pattern}'")
    return Deployed(plan, state, hosts)


async def check_deployed(deployed: Deployed, *, on_answer: Callable[[HostHealth], None]) -> list[HostHealth]:
    """Return each host's health, judged by what the deployment expects of it now."""
    plan, state, hosts = deployed
    context = AsyncContext(plan.inventory)
    places, now_ms = HostPlaces(context, state.key, "ssh"), steady_clock()

    async def ask(host: Host) -> HostHealth:
        known = state.hosts[state.index[host.name]]
        action = _question(state, known)
        judged = probe_host(context, places, plan, state, action, known.started_ms, False, now_ms)
        return await asked(host.name, judged)

    try:
        return await ask_all(hosts, ask, on_answer=on_answer)
    finally:
        await context.close()


def _question(state: RolloutState, host: HostState) -> ProbeHealth:
    back = host.status in BACK
    version, digest = (host.previous_version, host.previous_digest) if back else (host.spec.version, host.spec.digest)
    touched = bool(state.touched >> state.index[host.spec.name] & 1)
    return ProbeHealth("", host.spec.name, version, digest, activated=touched or back)
