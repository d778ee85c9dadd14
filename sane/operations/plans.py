"""Plans that wait for a person: list them, show them, approve or refuse them from any terminal."""

from __future__ import annotations

import getpass
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sane.core.events import Event
from sane.core.nearest import nearest_hint
from sane.core.watch.escalation import apply_escalation
from sane.core.watch.escalation_state import EscalationState
from sane.engine.runner import steady_clock
from sane.errors import ConflictError, NotFoundError
from sane.operations.deployments import find_driver
from sane.store.base import Store
from sane.store.reading import read_events

KINDS = ("plan_proposed", "plan_decided", "plan_approved", "plan_refused", "plan_started", "plan_finished")
_STATUS = {
    "plan_proposed": "proposed",
    "plan_approved": "approved",
    "plan_refused": "refused",
    "plan_started": "running",
}


@dataclass(frozen=True, slots=True)
class PlanRow:
    """Show one plan as the log has it so far.

    `status` is one of proposed, waiting, accepted, rejected, approved, refused, running, done, failed. `watch` is the
    key of the watch whose episode it is for.
    """

    id: str
    watch: str
    episode: str
    status: str
    reason: str
    confidence: float
    by: str
    at_ms: int
    steps: tuple[Mapping[str, Any], ...] = ()
    doubts: tuple[str, ...] = ()
    detail: str = ""
    decided_by: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the row as one JSON object."""
        return {
            "plan": self.id,
            "status": self.status,
            "episode": self.episode,
            "watch": self.watch,
            "reason": self.reason,
            "confidence": self.confidence,
            "by": self.by,
            "at_ms": self.at_ms,
            "steps": [dict(step) for step in self.steps],
            "doubts": list(self.doubts),
            "detail": self.detail,
            "decided_by": self.decided_by,
        }


async def list_plans(store: Store, *, waiting: bool = False, limit: int = 50) -> list[PlanRow]:
    """Return the newest plans, newest first; `waiting`: only those that a person must decide about."""
    rows: dict[str, PlanRow] = {}
    async for event in read_events(store, kinds=KINDS):
        if event.kind == "plan_proposed":
            rows[event.data["plan"]] = _row(event)
            while len(rows) > max(1_000, limit):
                del rows[next(iter(rows))]
        elif event.data["plan"] in rows:
            rows[event.data["plan"]] = _moved(rows[event.data["plan"]], event)
    found = [row for row in reversed(rows.values()) if not waiting or row.status == "waiting"]
    return found[:limit]


def _row(event: Event) -> PlanRow:
    data = event.data
    return PlanRow(
        data["plan"],
        event.key,
        data["episode"],
        "proposed",
        data["reason"],
        data["confidence"],
        data.get("by", ""),
        event.at_ms,
        tuple(data["steps"]),
    )


def _moved(row: PlanRow, event: Event) -> PlanRow:
    data = event.data
    match event.kind:
        case "plan_decided":
            status = {"run": "accepted", "approval": "waiting", "rejected": "rejected"}[data["decision"]]
            return replace(row, status=status, doubts=tuple(data["reasons"]))
        case "plan_finished":
            return replace(row, status=data["outcome"], detail=data.get("detail", ""))
        case _:
            return replace(row, status=_STATUS[event.kind], decided_by=data.get("by", row.decided_by))


async def find_plan(store: Store, plan: str) -> PlanRow:
    """Return a plan by its id. Raises NotFoundError naming the nearest."""
    rows = {row.id: row for row in await list_plans(store, limit=1_000)}
    if plan not in rows:
        raise NotFoundError(
            f"there is no plan '{plan}'", hint=nearest_hint(plan, rows) or "sane plan list shows those there are."
        )
    return rows[plan]


async def decide_plan(store: Store, plan: str, *, approve: bool, reason: str = "") -> tuple[PlanRow, bool]:
    """Approve or refuse a plan that waits, and return it with whether a watch is there to act on that.

    Raises NotFoundError, and ConflictError where it does not wait (any more).
    """
    row = await find_plan(store, plan)
    if row.status != "waiting":
        raise ConflictError(
            f"plan {plan} does not wait for approval: it is {row.status}", hint="sane plan list --waiting shows those."
        )
    kind = "plan_approved" if approve else "plan_refused"
    data = {"episode": row.episode, "plan": plan, "by": person(), "reason": reason}
    event = Event(kind, steady_clock()(), key=row.watch, data=data)
    while True:
        state, seq = EscalationState(), 0
        async for past in read_events(store, key=row.watch):
            state, seq = apply_escalation(state, past), past.seq
        if row.episode not in state.episodes:
            raise ConflictError(
                f"plan {plan} is for episode {row.episode}, which is over", hint="There is nothing left to do."
            )
        apply_escalation(state, event)  # raises where the plan does not wait
        try:
            await store.append([event], expect=seq)
        except ConflictError:
            continue  # the log moved on: look again whether it still waits
        return await find_plan(store, plan), await find_driver(store, row.watch) is not None


def person() -> str:
    """Return the name of whoever is at the keyboard, for the log."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return "somebody"
