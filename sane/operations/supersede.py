"""Put a new deployment in the place of the active one of its key: that one is cancelled, and its end waited for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from sane.core.events import Event
from sane.core.rollout.table import TERMINAL
from sane.engine.plan import DeploymentPlan
from sane.errors import ConflictError, UnavailableError
from sane.operations.deployments import (
    create_deployment,
    find_driver,
    load_deployment,
    refuse_by_gates,
    request,
    was_asked_before,
)
from sane.operations.drive import drive
from sane.operations.inputs import DeployRequest, specs_of
from sane.store.base import DeploymentRow, Store

END_TIMEOUT_S = 600.0  # two steps of the default timeout: those under way on hosts are not cut off
LOOK_AGAIN_S = 1.0  # whoever drives it may die while its end is waited for


async def create_superseding(
    store: Store, plan: DeploymentPlan, asked: DeployRequest, *, say: Callable[[str], None]
) -> Event:
    """Append the event that creates the deployment, once the active one of the key is cancelled and has ended.

    What would refuse the new one is looked for first, so that nothing is cancelled for it. Raises as
    `create_deployment` does, and UnavailableError where the active one has not ended within 10 minutes.
    """
    specs_of(plan, plan.inventory.select(asked.limit), asked.version)
    await refuse_by_gates(store, plan.workflow)
    active = await _active(store, plan.workflow.key)
    # asking again must not cancel it, or a later one
    if active is not None and not await was_asked_before(store, plan.workflow.key, asked.idempotency_key):
        say(f"{active.id} is {active.status}: it is cancelled first; hosts in flight finish their part")
        with contextlib.suppress(ConflictError):  # it ended by itself meanwhile
            await request(store, active.id, "supersede", asked.reason or f"superseded by {asked.version}")
        await _wait_for_end(store, active, say)
    return await create_deployment(store, plan, asked)


async def _active(store: Store, key: str) -> DeploymentRow | None:
    rows = await store.list_deployments(key=key, limit=1)
    return rows[0] if rows and rows[0].status not in TERMINAL else None


async def _wait_for_end(store: Store, active: DeploymentRow, say: Callable[[str], None]) -> None:
    """Wait until it has ended; where nobody drives it, end it here."""
    try:
        async with asyncio.timeout(END_TIMEOUT_S):
            while not (await load_deployment(store, active.id))[0].terminal:
                if await find_driver(store, active.key) is None:
                    with contextlib.suppress(ConflictError):  # another one was as fast: its end is waited for
                        await drive(store, active.id, say=say)
                else:
                    await _next_change(store, active)
    except TimeoutError:
        raise UnavailableError(
            f"deployment {active.id} was cancelled and has not ended within {END_TIMEOUT_S:g} s; nothing was created",
            hint=f"sane deployment status {active.id} shows what it waits for.",
        ) from None


async def _next_change(store: Store, active: DeploymentRow) -> None:
    following = store.follow(active.seq, deployment=active.id, kinds=("deployment_transition",))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_AGAIN_S), contextlib.aclosing(following):
            async for event in following:
                if event.data.get("to") in TERMINAL:
                    return
