"""Deploy a version again to hosts that had it and went bad since."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sane.core.events import Event
from sane.core.rollout.revisions import create
from sane.engine.runner import steady_clock
from sane.errors import ConflictError
from sane.operations.deployments import create_next, deployment_id, load_deployment, refuse_second
from sane.store.base import Store


async def create_again(store: Store, deployment: str, hosts: Collection[str], *, reason: str) -> Event:
    """Append the event of a revision that deploys the same version anew to `hosts`, and only probes the others.

    Raises ConflictError while a deployment of the key is active, or where that one was reverted.
    """
    state, first = await load_deployment(store, deployment)
    if state.status == "reverted":
        raise ConflictError(f"deployment {state.id} was reverted: there is nothing to deploy again")
    specs = [replace(h.spec, task="redeploy" if h.spec.name in hosts else "probe") for h in state.hosts]

    async def make(revision: int) -> Event:
        await refuse_second(store, state.key)
        event = create(
            deployment_id(state.key, revision),
            state.key,
            revision,
            state.version,
            specs,
            state.policy,
            steady_clock()(),
            digest=str(first.data.get("digest", "")),
            parts=state.parts,
            controls=state.controls,
            gates=state.gates,
            skip_canary=True,
            reason=reason,
        )
        return replace(event, data={**event.data, "source": first.data["source"]})

    return await create_next(store, state.key, make)
