"""Play a deployment through the controller itself, event after event, every host turning out well: the slow oracle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.actions import (
    Action,
    Effect,
    JudgeGates,
    Preflight,
    ProbeHealth,
    WaitUntil,
    event_of,
    finished,
    observed,
)
from sane.core.rollout.batches import Batch
from sane.core.rollout.controller import apply
from sane.core.rollout.host_rows import bits
from sane.core.rollout.reconcile import reconcile
from sane.core.rollout.simulate import Present, Simulation
from sane.core.rollout.state import RolloutState


def replay(created: Event, present: Mapping[str, Present], unreachable: Collection[str]) -> Simulation:
    """Return what `simulate` should: hosts that have their digest are skipped, canaries are promoted at once."""
    policy = {**created.data["policy"], "min_healthy_ms": 0}  # one sample proves: time adds nothing to the order
    state = apply(None, replace(created, data={**created.data, "policy": policy}))
    result, now_ms = Simulation(), created.at_ms
    while not state.terminal:
        actions = reconcile(state, now_ms)
        made = [(action, event) for action in actions if (event := event_of(action, state, now_ms)) is not None]
        if not made and not _waits(state):
            now_ms = max(now_ms + 1, min((a.at_ms for a in actions if isinstance(a, WaitUntil)), default=now_ms + 1))
            continue
        if not made:
            data = {"request": "promote" if state.status == t.AWAITING else "cancel"}
            state = apply(state, Event("operator_request", now_ms, key=state.key, deployment=state.id, data=data))
            continue
        _note_batch(state, [action for action, _ in made], result)
        for _, event in made:
            state = apply(state, event)
        result.peak = max(result.peak, (state.touched & ~state.among(*t.GOOD)).bit_count())
        for action, _ in made:
            if isinstance(action, Effect | JudgeGates):
                now_ms = max(now_ms, action.at_ms) if isinstance(action, ProbeHealth) else now_ms
                state = apply(state, _outcome(action, state, now_ms, present, unreachable))
    result.status, result.reason = state.status, state.reason
    return result


def _waits(state: RolloutState) -> bool:
    return state.status in (t.AWAITING, t.PAUSED) and state.request is None and state.settled


def _note_batch(state: RolloutState, actions: list[Action], result: Simulation) -> None:
    begun = [a for a in actions if isinstance(a, Effect) and a.part in ("stage", "switch")]
    fresh = [a for a in begun if not state.touched >> state.index[a.host] & 1]
    turned = [a for a in begun if a not in fresh and state.hosts[state.index[a.host]].status == t.HEALTHY]
    canaries = {state.hosts[number].spec.name for number in bits(state.canaries)}
    for found, kind in ((fresh, "batch"), (turned, "switch")):
        if found:
            kind = "canary" if kind == "batch" and {a.host for a in found} <= canaries else kind
            group = state.hosts[state.index[found[0].host]].spec.group
            result.batches.append(Batch(kind, group, tuple(a.host for a in found)))


def _outcome(
    action: Effect | JudgeGates,
    state: RolloutState,
    now_ms: int,
    present: Mapping[str, Present],
    unreachable: Collection[str],
) -> Event:
    if isinstance(action, JudgeGates):
        return finished(action, state, now_ms, "pass")
    if isinstance(action, ProbeHealth):
        return observed(action, state, now_ms, "pass", version=action.version)
    if isinstance(action, Preflight):
        if action.host in unreachable:
            return finished(action, state, now_ms, "unreachable")
        had = present.get(action.host, Present())
        same = bool(had.digest) and had.digest == action.digest
        known = {"previous_version": had.version, "previous_digest": had.digest} if had.digest else {}
        return finished(action, state, now_ms, "unchanged" if same else "ok", **known)
    return finished(action, state, now_ms, "ok")
