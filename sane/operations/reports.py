"""The report of a deployment, from its events and the files of its outputs alone."""

from __future__ import annotations

import os
from typing import Any

from sane.core.rollout.controller import RolloutState, apply, status_now
from sane.core.rollout.hints import next_step
from sane.core.rollout.report_model import HostOutput, describe, report
from sane.core.rollout.table import INTERRUPTED
from sane.errors import NotFoundError
from sane.operations.deployments import find_driver
from sane.store.base import DeploymentRow, Lease, Store
from sane.store.reading import read_events

TAIL_BYTES = 4_000


async def build_report(store: Store, deployment: str) -> dict[str, Any]:
    """Return the JSON report of a deployment as far as it is. Raises NotFoundError."""
    state: RolloutState | None = None
    files: dict[str, str] = {}
    heard_ms = 0
    async for event in read_events(store, deployment=deployment):
        state, heard_ms = apply(state, event), event.at_ms
        if event.kind == "step_started":
            files.pop(event.host, None)
        elif event.kind == "step_finished" and event.data.get("output_file"):
            files[event.host] = str(event.data["output_file"])
    if state is None:
        raise NotFoundError(f"there is no deployment '{deployment}'")
    found = report(state, {host: HostOutput(_tail(path), path) for host, path in files.items()})
    driver = await find_driver(store, state.key)
    found["hooks"] = [{**h, "output_tail": _tail(h["output_file"] or "") or None} for h in found["hooks"]]
    status = status_now(state.status, is_driven=driver is not None)
    found["description"] = describe(status, state.reason, heard_ms)
    return {**found, "status": status, "hint": next_step(status, state.key) or None}


async def list_summaries(store: Store, *, key: str = "", limit: int) -> list[dict[str, Any]]:
    """Return one line about each deployment, newest first; "" means any key."""
    rows = await store.list_deployments(key=key, limit=limit)
    drivers = {name: await find_driver(store, name) for name in {row.key for row in rows}}
    return [await _summarise(store, row, drivers[row.key]) for row in rows]


async def _summarise(store: Store, row: DeploymentRow, driver: Lease | None) -> dict[str, Any]:
    """Return one line about a deployment; an active one that nobody drives is interrupted."""
    status, heard_ms = status_now(row.status, is_driven=driver is not None), 0
    if status == INTERRUPTED:
        last = await store.read(row.seq - 1, deployment=row.id, limit=1)
        heard_ms = last[0].at_ms if last else row.updated_at_ms
    return {
        "deployment": row.id,
        "key": row.key,
        "revision": row.revision,
        "version": row.version,
        "status": status,
        "stable": row.stable,
        "description": describe(status, row.reason, heard_ms),
        "created_at_ms": row.created_at_ms,
        "updated_at_ms": row.updated_at_ms,
    }


def _tail(path: str) -> str:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""  # pruned, or on another controller's disk: the report names it all the same
