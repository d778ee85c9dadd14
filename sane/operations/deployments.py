"""Create deployments, and drive them: the way in for every surface.

create_deployment   validate everything, pin digests, allocate the revision; nothing has been touched
drive               run the reconcile loop over it, here, until it ends or waits for a person
request             ask the controller of a deployment, wherever it runs, to pause, promote, cancel, …
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from sane.core.events import Event
from sane.core.fleet.hostset import fold
from sane.core.paths import state_dir
from sane.core.rollout.controller import RolloutState, apply, check_request
from sane.core.rollout.revisions import retry_of
from sane.core.workflow.gates import evaluate
from sane.core.workflow.workflow import Workflow
from sane.engine.plan import DeploymentPlan, Source
from sane.engine.presence import forget, is_dead
from sane.engine.runner import steady_clock, wall_clock
from sane.errors import ConflictError, NotFoundError
from sane.operations.hosts_now import hosts_now
from sane.operations.inputs import DeployRequest, created_event, load_plan, plan_of, specs_of
from sane.store import open_store
from sane.store.base import DeploymentRow, Lease, Store
from sane.store.reading import read_events

__all__ = [
    "TERMINAL",
    "DeployRequest",
    "bury_dead_driver",
    "create_deployment",
    "create_next",
    "create_retry",
    "deployment_id",
    "find_deployment",
    "find_driver",
    "last_seq",
    "load_deployment",
    "load_plan",
    "opened_store",
    "owner_name",
    "plan_of",
    "refuse_by_gates",
    "refuse_second",
    "request",
    "was_asked_before",
]

GATE_ROWS = 1000  # of the newest deployments: a key that is older is absent for a gate
CREATE_TRIES = 20  # others may take the same revision in the same moment


@asynccontextmanager
async def opened_store() -> AsyncGenerator[Store]:
    """Open the store that the environment names, and close it again."""
    store = await open_store(os.environ.get("SANE_DATABASE_URL"), state_dir(os.environ))
    try:
        yield store
    finally:
        await store.close()


def owner_name() -> str:
    """Return a name for this controller: its store, then a host, a process id and a word that a person can find."""
    where = os.environ.get("SANE_DATABASE_URL") or f"{socket.gethostname()}:{state_dir(os.environ).absolute()}"
    store = hashlib.sha256(where.encode()).hexdigest()[:10]
    return f"{store}:{socket.gethostname()[:40]}-{os.getpid()}-{secrets.token_hex(3)}"


async def create_deployment(store: Store, plan: DeploymentPlan, request: DeployRequest) -> Event:
    """Append the event that creates the deployment and return it.

    Raises ConflictError where the same idempotency key was used for another request, or while a deployment of the key
    is active.
    """
    hosts = plan.inventory.select(request.limit)
    specs = specs_of(plan, hosts, request.version)
    key = plan.workflow.key

    async def make(revision: int) -> Event:
        if not await was_asked_before(store, key, request.idempotency_key):
            await refuse_second(store, key)
            await refuse_by_gates(store, plan.workflow)
        if request.expect_revision not in (0, revision):
            message = f"the next revision of {key} is {revision}, not {request.expect_revision}"
            raise ConflictError(message, hint="Somebody deployed it meanwhile: plan again.")
        event = created_event(plan, request, specs, deployment_id(key, revision), revision)
        event = _with_data(event, source=plan.as_json(), limit=request.limit, **_idempotency(request, plan))
        return _with_data(event, created_by=f"{socket.gethostname()[:40]}-{os.getpid()}")

    return await create_next(store, key, make)


async def create_next(store: Store, key: str, make: Callable[[int], Awaitable[Event]]) -> Event:
    """Append the creation of a key's next revision and return it; `make` makes it anew for a number that is still free.

    Raises ConflictError for any other conflict, such as that of an idempotency key, and what `make` raises.
    """
    for _ in range(CREATE_TRIES):
        revision = await store.next_revision(key)
        event = await make(revision)
        try:
            return await store.create_deployment(event)
        except ConflictError:
            if await store.next_revision(key) == revision:
                raise
    raise ConflictError(f"revisions of {key} are taken faster than this one could get one")


async def refuse_by_gates(store: Store, workflow: Workflow) -> None:
    """Raise ConflictError unless every gate over other keys' newest deployments passes."""
    if not workflow.deployment_gates:
        return
    newest: dict[str, dict[str, Any]] = {}
    for row in await store.list_deployments(limit=GATE_ROWS):
        seen = {"status": row.status, "version": row.version, "revision": row.revision, "stable": row.stable}
        newest.setdefault(row.key, seen)
    for gate in workflow.deployment_gates:
        result = evaluate(gate, {"deployments": newest})
        if not result.passed:
            why = "does not pass" if result.outcome == "fail" else f"is inconclusive ({result.detail})"
            message = f"the gate {gate.expression} {why}: nothing was started"
            raise ConflictError(message, hint="sane deployment list shows what it looks at.")


async def create_retry(store: Store, deployment: str, inventory: Source | None = None, *, reason: str = "") -> Event:
    """Append the event of a retry of the newest deployment of its key, which ended.

    `inventory` says how the hosts are reached now, where that has changed since; `reason` is for the history.
    Raises ConflictError where nothing needs one, and for an older deployment: it would take hosts back unasked.
    """
    state, first = await load_deployment(store, deployment)

    async def make(revision: int) -> Event:
        await refuse_second(store, state.key)
        if revision != state.revision + 1:
            raise ConflictError(
                f"deployment {state.id} is not the newest of {state.key}: revision {revision - 1} came behind it",
                hint=f"sane retry {state.key} retries the newest; sane deployment rollback goes back to an older one.",
            )
        event = retry_of(state, deployment_id(state.key, revision), revision, steady_clock()())
        source = first.data["source"]
        if inventory is not None:
            now = hosts_now(state, first, inventory)
            if now.gone:
                hint = "A retry has the same hosts. Deploy to those that are left, or to a --limit of them."
                raise ConflictError(f"{inventory.path} does not have {fold(now.gone)}", hint=hint)
            source = now.source
        why = reason or event.data["reason"]
        return _with_data(event, source=source, digest=first.data.get("digest", ""), reason=why)

    return await create_next(store, state.key, make)


async def find_deployment(store: Store, name: str) -> DeploymentRow:
    """Return the deployment of that id, or the newest one of that key. Raises NotFoundError naming the nearest."""
    rows = await store.list_deployments(deployment=name, limit=1) or await store.list_deployments(key=name, limit=1)
    if rows:
        return rows[0]
    from sane.core.nearest import nearest_hint

    known = {word for row in await store.list_deployments(limit=200) for word in (row.key, row.id)}
    hint = nearest_hint(name, known) or "No deployment has been made with this state directory yet."
    raise NotFoundError(f"there is no deployment '{name}'", hint=hint)


async def load_deployment(store: Store, deployment: str) -> tuple[RolloutState, Event]:
    """Return a deployment's state, and the event that created it. Raises NotFoundError."""
    state, first, _ = await _fold(store, deployment)
    return state, first


async def last_seq(store: Store, deployment: str) -> int:
    """Return the number of a deployment's newest event."""
    return (await _fold(store, deployment))[2]


async def _fold(store: Store, deployment: str) -> tuple[RolloutState, Event, int]:
    """Return a deployment's state, the event that created it, and the number of the last event of that state."""
    state: RolloutState | None = None
    first: Event | None = None
    seq = 0
    async for event in read_events(store, deployment=deployment):
        first = first or event
        state, seq = apply(state, event), event.seq
    if state is None or first is None:
        raise NotFoundError(f"there is no deployment '{deployment}'")
    return state, first, seq


async def request(store: Store, deployment: str, word: str, reason: str, *, keyboard: bool = False) -> Event:
    """Append an operator's request. Raises ConflictError where the state does not allow it, naming the state."""
    now_ms = steady_clock()
    while True:
        state, _, seq = await _fold(store, deployment)
        check_request(state, word)
        data = {"request": word, "reason": reason, **({"keyboard": True} if keyboard else {})}
        event = Event("operator_request", now_ms(), key=state.key, deployment=state.id, data=data)
        try:
            (stored,) = await store.append([event], expect=seq)
            return stored
        except ConflictError:
            continue  # the log moved on: look again whether the request still makes sense


def deployment_id(key: str, revision: int) -> str:
    """Return an id for a revision of a key that no other store gives: operations on hosts are named after it."""
    return f"{key}-{revision}-{secrets.token_hex(3)}"


def _idempotency(asked: DeployRequest, plan: DeploymentPlan) -> dict[str, Any]:
    if not asked.idempotency_key:
        return {}
    body = [plan.as_json(), asked.version, asked.limit, {k: str(v) for k, v in asked.policy.items()}]
    digest = hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).hexdigest()
    return {"idempotency_key": asked.idempotency_key, "request_digest": digest}


async def was_asked_before(store: Store, key: str, idempotency_key: str) -> bool:
    """Return whether this request has its deployment already: asking twice for the same one is not a second."""
    return bool(idempotency_key and await store.list_deployments(key=key, idempotency_key=idempotency_key, limit=1))


async def refuse_second(store: Store, key: str) -> None:
    """Raise ConflictError while a deployment of the key is active."""
    rows = await store.list_deployments(key=key, limit=1)
    if not rows or rows[0].status in TERMINAL:
        return
    lease = await find_driver(store, key)
    holder = f", driven by {lease.owner}" if lease else f", {await _maker(store, rows[0].id)}nobody drives it"
    raise ConflictError(
        f"deployment {rows[0].id} of {key} is {rows[0].status}{holder}",
        hint=f"{_GO_ON.get(rows[0].status, _GO_ON['']).format(rows[0].id)}, or deploy with --supersede to cancel it.",
    )


async def _maker(store: Store, deployment: str) -> str:
    first = await store.read(deployment=deployment, kinds=("deployment_created",), limit=1)
    maker = first[0].data.get("created_by") if first else None
    return f"created by {maker}, and " if maker else "and "


async def find_driver(store: Store, key: str) -> Lease | None:
    """Return the lease of the controller at work on a key; None where there is none, or it died on this machine."""
    lease = await store.find_lease(key)
    if lease is None or lease.until_ms <= wall_clock() or is_dead(state_dir(os.environ), lease.owner):
        return None
    return lease


async def bury_dead_driver(store: Store, key: str) -> None:
    """Give up the lease of a controller that died on this machine, so that nobody waits for its end."""
    lease = await store.find_lease(key)
    if lease is not None and is_dead(state_dir(os.environ), lease.owner):
        await store.release_lease(lease, wall_clock())
        forget(state_dir(os.environ), lease.owner)


def _with_data(event: Event, **more: Any) -> Event:
    return replace(event, data={**event.data, **more})


# What to do about an active deployment, by its status.
_GO_ON = {
    "": "Wait for its end (sane resume {} goes on with it where nobody drives it)",
    "awaiting_promotion": "Promote it (sane deployment promote {})",
    "paused": "Go on with it (sane deployment resume {})",
}
TERMINAL = ("successful", "partial", "failed", "reverted", "cancelled")
