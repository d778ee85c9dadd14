"""What must hold for a deployment to change its state: one function for each guard that the table names."""

from __future__ import annotations

from collections.abc import Callable

from sane.core.rollout import table as t
from sane.core.rollout.state import RolloutState
from sane.errors import ConflictError

Guard = Callable[[RolloutState, str], bool]


def _preflight_within_budget(state: RolloutState, target: str) -> bool:
    if state.revert_only:
        return not state.busy
    return not (state.busy or state.budget_spent or state.stopping) and preflight_complete(state)


def _settled_and_reverts(state: RolloutState, target: str) -> bool:
    return state.settled and state.failing and bool(state.selected_for_revert)


def _settled_and_stops(state: RolloutState, target: str) -> bool:
    return state.settled and state.failing and not state.selected_for_revert


def _every_host_done(state: RolloutState) -> bool:
    return state.settled and not state.among(t.PENDING) and not state.unswitched and not state.failing


GUARDS: dict[str, Guard] = {
    "preflight_within_budget": _preflight_within_budget,
    "no_host_changed": lambda s, _: not (s.busy or s.touched) and (s.budget_spent or s.failing),
    "canaries_proven": lambda s, _: s.canaries_proven and not s.promoted and not s.failing,
    "not_stopping": lambda s, _: s.stopping is None,
    "paused_from_target": lambda s, target: s.paused_from == target and s.stopping is None,
    "settled_and_reverts": _settled_and_reverts,
    "settled_and_stops": _settled_and_stops,
    "revert_complete": lambda s, _: s.settled and s.among(t.REVERTED) & s.to_revert == s.to_revert,
    "revert_incomplete": lambda s, _: (
        s.settled
        and s.among(t.REVERTED) & s.to_revert != s.to_revert
        and not s.to_revert & ~s.among(t.REVERTED, t.REVERT_FAILED, t.NO_PREVIOUS)
    ),
    "all_healthy": lambda s, _: _every_host_done(s) and not s.bad,
    "bad_within_budget": lambda s, _: _every_host_done(s) and s.bad > 0,
    "cancelled_and_idle": lambda s, _: s.cancelling and s.settled,
}


def preflight_complete(state: RolloutState) -> bool:
    """Return whether every host that is still to change was looked at."""
    if "preflight" not in state.parts:
        return True
    return not state.among(t.PENDING) & ~state.preflighted


def check_transition(state: RolloutState, target: str) -> None:
    """Raise ConflictError unless the table has the change and its guard holds."""
    row = t.deployment_row(state.status, target)
    if not GUARDS[row.guard](state, target):
        rule = row.guard.replace("_", " ")
        raise ConflictError(
            f"deployment {state.id} can't go from {row.source} to {row.target}: not {rule}",
            hint="The state moved on; read it again.",
        )


def check_request(state: RolloutState, request: str) -> None:
    """Raise ConflictError unless an operator may ask for this now; an unknown word is one too."""
    allowed = t.REQUESTS.get(request)
    if allowed is None:
        raise ConflictError(f"there is no request '{request}'", hint=f"Valid: {', '.join(t.REQUESTS)}.")
    where = f"deployment {state.id} is {state.status}"
    if state.status not in allowed:
        hint = "It has ended." if state.terminal else f"{request} needs one that is {' or '.join(allowed)}."
        raise ConflictError(f"{where}: can't {request}", hint=hint)
    if state.cancelling:
        raise ConflictError(f"{where} and being cancelled: can't {request}")
    if state.failing and request not in ("cancel", "supersede"):
        raise ConflictError(f"{where} and failing: can't {request}", hint="Wait for its end, or cancel it.")
    if request == "promote" and not state.canaries_proven:
        raise ConflictError(f"{where}, and a canary is not healthy: can't promote")
