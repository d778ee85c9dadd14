"""The report of a deployment, from its events and the files of its outputs alone."""

from __future__ import annotations

import os
from typing import Any

from sane.core.rollout.controller import RolloutState, apply, status_now
from sane.core.rollout.hints import next_step
from sane.core.rollout.report_model import HostOutput, report
from sane.errors import NotFoundError
from sane.operations.deployments import find_driver
from sane.store.base import DeploymentRow, Lease, Store
from sane.store.reading import read_events

TAIL_BYTES = 4_000


async def build_report(store: Store, deployment: str) -> dict[str, Any]:
    """Return the JSON report of a deployment as far as it is. Raises NotFoundError."""
    state: RolloutState | None = None
    files: dict[str, str] = {}
    async for event in read_events(store, deployment=deployment):
        state = apply(state, event)
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
    return {**found, "status": status, "hint": next_step(status, state.key) or None}


def summarise(row: DeploymentRow, driver: Lease | None) -> dict[str, Any]:
    """Return one line about a deployment; an active one that nobody drives is interrupted."""
    return {
        "deployment": row.id,
        "key": row.key,
        "revision": row.revision,
        "version": row.version,
        "status": status_now(row.status, is_driven=driver is not None),
        "stable": row.stable,
        "description": row.reason,
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
