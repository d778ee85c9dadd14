"""How each kind of event changes the state of a deployment. `rollout.apply` is the way in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.fold_hosts import fold_finished, fold_health, fold_host_transition, fold_started, fold_step
from sane.core.rollout.guards import check_request, check_transition
from sane.core.rollout.host_rows import bits
from sane.core.rollout.state import Request, RolloutState, Stopping
from sane.errors import ConflictError

# What was asked for as people say it once it is done; a pause is over then, and the other requests end the deployment.
_DONE = {"promote": "promoted", "resume": "resumed"}


def fold_transition(state: RolloutState, event: Event) -> RolloutState:
    """Take a deployment into its next state; its end leaves hosts that were never begun as not_attempted."""
    target = str(event.data["to"])
    if event.data["from"] != state.status:
        raise ConflictError(f"deployment {state.id} is {state.status}, not {event.data['from']}")
    check_transition(state, target)
    changes: dict[str, Any] = {"status": target, "reason": str(event.data.get("reason", "")), "request": None}
    if state.request is not None and state.request.reason and state.request.name in _DONE:
        changes["given"] = (*state.given, f"{_DONE[state.request.name]}: {state.request.reason}")
    if target == t.RUNNING:
        changes |= _running(state, event)
    elif target == t.AWAITING:
        changes["watched_ms"] = event.at_ms
    elif target == t.PAUSED:
        changes["paused_from"] = state.status
    elif target == t.REVERTING:
        changes["to_revert"] = state.selected_for_revert
    if target == t.REVERTING or target in t.TERMINAL:
        state = _leave_out(state, 0 if target == t.CANCELLED else state.to_revert)
    if target in t.TERMINAL:
        changes["ended_ms"] = event.at_ms
    state = replace(state, **changes)
    return _prove_again(state, event.at_ms, clear_streak=False) if event.data["from"] == t.PAUSED else state


def _running(state: RolloutState, event: Event) -> dict[str, Any]:
    changes: dict[str, Any] = {"progress_ms": event.at_ms}
    if state.status == t.PENDING:
        changes["canaries"] = _choose_canaries(state)
    elif state.status == t.AWAITING:
        changes["promoted"] = True
    elif state.status == t.PAUSED and state.gate_outcome == "inconclusive":
        changes["gate_outcome"] = ""
    return changes


def _choose_canaries(state: RolloutState) -> int:
    """Return the first hosts that will change: one that has the digest already proves nothing."""
    if state.skip_canary or state.to_revert:
        return 0
    changing = (number for number in bits(state.among(t.PENDING)) if not state.is_only_looked_at(number))
    return sum(1 << number for number in islice(changing, state.policy.canaries(state.total)))


def _leave_out(state: RolloutState, but: int) -> RolloutState:
    """Make every host that was never begun not_attempted, all at once."""
    left = state.among(t.PENDING) & ~but
    if not left:
        return state
    hosts = state.hosts
    for number in bits(left):
        hosts = hosts.replaced(number, replace(hosts[number], status=t.NOT_ATTEMPTED))
    by_status = {
        **state.by_status,
        t.PENDING: state.among(t.PENDING) & ~left,
        t.NOT_ATTEMPTED: state.among(t.NOT_ATTEMPTED) | left,
    }
    return replace(state, hosts=hosts, by_status=by_status)


def _prove_again(state: RolloutState, at_ms: int, *, clear_streak: bool) -> RolloutState:
    """Start the health deadlines of hosts that are being proven again; with `clear_streak` their proof too."""
    hosts = state.hosts
    for number in bits(state.in_flight | state.canaries & state.among(t.HEALTHY)):
        host = hosts[number]
        if host.proving_since_ms is not None:
            streak = None if clear_streak else host.streak_since_ms
            hosts = hosts.replaced(number, replace(host, proving_since_ms=at_ms, streak_since_ms=streak))
    return replace(state, hosts=hosts)


def fold_request(state: RolloutState, event: Event) -> RolloutState:
    """Keep what an operator asks for until it is carried out; what can't be asked for now changes nothing.

    Who asks is told so before (`check_request`). In the log it must harm nobody: a row that raises is there for ever.
    """
    name, reason = str(event.data["request"]), str(event.data.get("reason", ""))
    try:
        check_request(state, name)
    except ConflictError:
        return state
    if name in ("fail", "cancel", "supersede"):
        stopping = Stopping(name, reason or f"{name} was requested")
        return replace(state, stopping=stopping, request=None, keyboard=bool(event.data.get("keyboard")))
    return replace(state, request=Request(name, reason), reprobed=0)


def fold_stopping(state: RolloutState, event: Event) -> RolloutState:
    """Start no further host."""
    if state.stopping is not None:
        raise ConflictError(f"deployment {state.id} is stopping already: {state.stopping.reason}")
    return replace(state, stopping=Stopping(str(event.data["cause"]), str(event.data["reason"])))


def fold_promoted(state: RolloutState, event: Event) -> RolloutState:
    """Let the rest follow the canaries."""
    if not state.canaries_proven or state.status != t.RUNNING:
        raise ConflictError(f"deployment {state.id} can't be promoted: its canaries are not proven")
    return replace(state, promoted=True, progress_ms=event.at_ms)


def fold_lease(state: RolloutState, event: Event) -> RolloutState:
    """Begin every proof and deadline again: nobody watched without a break across a change of controllers."""
    state = _prove_again(state, event.at_ms, clear_streak=True)
    return replace(state, progress_ms=event.at_ms)


Fold = Callable[[RolloutState, Event], RolloutState]

# Kinds that change the state, and are refused once it has ended.
DECISIONS: dict[str, Fold] = {
    "deployment_transition": fold_transition,
    "deployment_promoted": fold_promoted,
    "deployment_stopping": fold_stopping,
    "host_transition": fold_host_transition,
    "action_started": fold_started,
}
# Kinds that tell what happened, and change nothing once it has ended; but a hook may run behind the end.
FACTS: dict[str, Fold] = {
    "operator_request": fold_request,
    "action_finished": fold_finished,
    "health_observed": fold_health,
    "step_started": fold_step,
    "step_finished": fold_step,
    "lease_taken": fold_lease,
}
BEHIND_THE_END = ("step_finished",)
