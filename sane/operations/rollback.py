"""Roll a deployment key back to an earlier revision, as a new one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sane.core.events import Event
from sane.core.rollout.revisions import Revision, rollback_of, rollback_to
from sane.engine.plan import Source, source_of
from sane.engine.runner import steady_clock
from sane.errors import NotFoundError, UsageError
from sane.operations.deployments import create_next, deployment_id, load_deployment, refuse_second
from sane.operations.hosts_now import hosts_now
from sane.operations.inputs import digest_of_all
from sane.primitives._bundle import read_manifest
from sane.store.base import DeploymentRow, Store
from sane.store.reading import read_events

HISTORY_LIMIT = 1000


async def create_rollback(
    store: Store,
    key: str,
    to_revision: int | None,
    expect_revision: int | None,
    *,
    canary: bool = False,
    unproven: bool = False,
    reason: str = "",
    inventory: Source | None = None,
) -> Event:
    """Append the event of a new revision that repeats an earlier one on the hosts that there are now.

    Which those are, and how each is reached, says `inventory`, else that of the current revision. `left_out` in the
    event are hosts that the earlier revision lacks, `gone` those that the inventory does not have any more.
    Raises ConflictError and NotFoundError before any host is touched: for an unknown or current target, one that
    was never stable without `unproven`, another current revision than expected, or a deployment of the key that is
    still active.
    """

    async def make(revision: int) -> Event:
        rows = await store.list_deployments(key=key, limit=HISTORY_LIMIT)
        if not rows:
            raise NotFoundError(f"there is no deployment of '{key}'", hint="sane deployment list shows the keys.")
        await refuse_second(store, key)
        history = await _history(store, key, rows)
        target = rollback_to(history, rows[0].revision, to_revision, expect_revision, unproven=unproven)
        state, first = await load_deployment(store, target.deployment)
        now = hosts_now(state, first, inventory or await _newest_inventory(store, rows[0].id, first))
        event = rollback_of(state, now.specs, deployment_id(key, revision), revision, steady_clock()(), canary=canary)
        why = reason or str(event.data["reason"])
        kept = {"source": now.source, "digest": digest_of_all(now.specs), "reason": why, "gone": list(now.gone)}
        kept["left_out"] = sorted(history[-1].hosts - target.hosts)
        return replace(event, data={**event.data, **kept, "rollback_of": state.id})

    return await create_next(store, key, make)


async def _newest_inventory(store: Store, newest: str, first: Event) -> Source:
    """Return the inventory of the newest deployment, or of the one to go back to where that one kept none."""
    _, latest = await load_deployment(store, newest)
    return source_of(latest if "source" in latest.data else first, "inventory")


async def _history(store: Store, key: str, rows: Sequence[DeploymentRow]) -> list[Revision]:
    """Return the revisions of a key, oldest first."""
    created = [event async for event in read_events(store, key=key, kinds=("deployment_created",))]
    hosts = {event.deployment: frozenset(str(host["name"]) for host in event.data["hosts"]) for event in created}
    gone = await _pruned(store, key, created)
    return [
        Revision(r.revision, r.version, r.digest, r.id, r.status, r.stable, r.id in gone, hosts.get(r.id, frozenset()))
        for r in reversed(rows)
    ]


async def _pruned(store: Store, key: str, created: Sequence[Event]) -> set[str]:
    """Return the deployments of a key whose bundles a host has pruned since, and this machine has no longer."""
    sources = {e.deployment: dict(e.data.get("source", {}).get("bundles", {})) for e in created}
    if not any(sources.values()):
        return set()
    pruned: set[str] = set()
    async for event in read_events(store, key=key, kinds=("deployment_created", "step_finished")):
        pruned |= set(event.data.get("pruned", ()))
        if event.kind == "deployment_created":
            pruned -= set(sources[event.deployment].values())  # sent again since
    found = {id: lost for id, bundles in sources.items() if (lost := set(bundles.values()) & pruned)}
    return {id for id, lost in found.items() if any(p for p, d in sources[id].items() if d in lost and not _is(p, d))}


def _is(path: str, digest: str) -> bool:
    try:
        return read_manifest(path).digest == digest
    except UsageError:
        return False
