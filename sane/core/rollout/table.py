"""The states of a deployment and of a host in it, and every change between them, as data.

The diagram in docs/reference/states.md is drawn from these tables. A change that is in no table is refused.
"""

from __future__ import annotations

from typing import NamedTuple

from sane.errors import ConflictError


class Row(NamedTuple):
    """Describe one allowed change: from, to, who makes it, and the name of the guard that must hold."""

    source: str
    target: str
    who: str
    guard: str


NONE = ""  # the state before a deployment exists
PENDING, RUNNING, AWAITING, PAUSED = "pending", "running", "awaiting_promotion", "paused"
REVERTING, REVERTED, SUCCESSFUL, PARTIAL = "reverting", "reverted", "successful", "partial"
FAILED, CANCELLED = "failed", "cancelled"
INTERRUPTED = "interrupted"  # derived: active, and its lease expired; never stored

ACTIVE = (PENDING, RUNNING, AWAITING, PAUSED, REVERTING)
TERMINAL = (SUCCESSFUL, PARTIAL, FAILED, REVERTED, CANCELLED)

DEPLOYMENT_ROWS: tuple[Row, ...] = (
    Row(NONE, PENDING, "create", "validated"),
    Row(PENDING, RUNNING, "controller", "preflight_within_budget"),
    Row(PENDING, FAILED, "preflight", "no_host_changed"),
    Row(RUNNING, AWAITING, "controller", "canaries_proven"),
    Row(AWAITING, RUNNING, "operator", "canaries_proven"),
    Row(RUNNING, PAUSED, "operator", "not_stopping"),
    Row(AWAITING, PAUSED, "operator", "not_stopping"),
    Row(PAUSED, RUNNING, "operator", "paused_from_target"),
    Row(PAUSED, AWAITING, "operator", "paused_from_target"),
    *(Row(active, REVERTING, "controller", "settled_and_reverts") for active in (RUNNING, AWAITING, PAUSED)),
    *(Row(active, FAILED, "controller", "settled_and_stops") for active in (RUNNING, AWAITING, PAUSED)),
    Row(REVERTING, REVERTED, "controller", "revert_complete"),
    Row(REVERTING, FAILED, "controller", "revert_incomplete"),
    Row(RUNNING, SUCCESSFUL, "controller", "all_healthy"),
    Row(RUNNING, PARTIAL, "controller", "bad_within_budget"),
    *(Row(active, CANCELLED, "operator", "cancelled_and_idle") for active in ACTIVE),
)

# Host states that are not also states of a deployment.
TRANSFERRING, ACTIVATING, CHECKING = "transferring", "activating", "checking"
HEALTHY, UNCHANGED, UNREACHABLE, UNKNOWN = "healthy", "unchanged", "unreachable", "unknown"
NOT_ATTEMPTED, REVERT_FAILED, NO_PREVIOUS = "not_attempted", "revert_failed", "no_previous"

HOST_STATES = (
    PENDING,
    TRANSFERRING,
    ACTIVATING,
    CHECKING,
    HEALTHY,
    UNCHANGED,
    FAILED,
    UNREACHABLE,
    UNKNOWN,
    NOT_ATTEMPTED,
    REVERTING,
    REVERTED,
    REVERT_FAILED,
    NO_PREVIOUS,
)
BAD = (FAILED, UNREACHABLE, UNKNOWN)  # these count against the failure budget
GOOD = (HEALTHY, UNCHANGED)

_WORKING = (TRANSFERRING, ACTIVATING, CHECKING)

HOST_ROWS: tuple[Row, ...] = (
    Row(PENDING, TRANSFERRING, "controller", "stage_started"),
    Row(PENDING, ACTIVATING, "controller", "switch_started"),
    Row(PENDING, CHECKING, "controller", "probe_started"),
    Row(PENDING, FAILED, "preflight", "preflight_failed"),
    Row(PENDING, UNREACHABLE, "preflight", "preflight_unreachable"),
    Row(PENDING, UNCHANGED, "preflight", "nothing_to_prove"),
    Row(PENDING, NOT_ATTEMPTED, "controller", "deployment_stops"),
    Row(TRANSFERRING, ACTIVATING, "controller", "switch_started"),
    Row(TRANSFERRING, CHECKING, "controller", "probe_started"),
    Row(TRANSFERRING, HEALTHY, "controller", "nothing_to_prove"),
    Row(ACTIVATING, CHECKING, "controller", "probe_started"),
    Row(ACTIVATING, HEALTHY, "controller", "nothing_to_prove"),
    Row(CHECKING, HEALTHY, "controller", "healthy_for_min_healthy"),
    Row(CHECKING, UNCHANGED, "controller", "proven_without_a_change"),
    *(Row(working, FAILED, "controller", "step_failed_or_deadline") for working in _WORKING),
    *(Row(working, UNREACHABLE, "controller", "out_of_reach") for working in _WORKING),
    *(Row(working, UNKNOWN, "controller", "contact_lost_or_cancelled") for working in _WORKING),
    Row(UNKNOWN, CHECKING, "controller", "contact_again"),
    Row(UNKNOWN, UNREACHABLE, "controller", "healthy_deadline"),
    Row(HEALTHY, ACTIVATING, "controller", "promoted_green_side"),
    Row(HEALTHY, FAILED, "controller", "canary_turned_bad"),
    Row(HEALTHY, UNREACHABLE, "controller", "canary_out_of_reach"),
    *(Row(touched, REVERTING, "controller", "revert_started") for touched in (PENDING, HEALTHY, *BAD)),
    *(Row(touched, NO_PREVIOUS, "controller", "nothing_to_revert_to") for touched in (PENDING, HEALTHY, *BAD)),
    Row(REVERTING, REVERTED, "controller", "previous_proven"),
    Row(REVERTING, REVERT_FAILED, "controller", "previous_not_proven"),
)

_DEPLOYMENT = {(row.source, row.target): row for row in DEPLOYMENT_ROWS}
_HOST = {(row.source, row.target): row for row in HOST_ROWS}


def deployment_row(source: str, target: str) -> Row:
    """Return the row that allows this change of a deployment. Raises ConflictError where there is none."""
    row = _DEPLOYMENT.get((source, target))
    if row is None:
        hint = "It has ended: start a new deployment, or retry it." if source in TERMINAL else ""
        raise ConflictError(f"a deployment that is {source or 'not created'} can't become {target}", hint=hint)
    return row


def host_row(source: str, target: str) -> Row:
    """Return the row that allows this change of a host. Raises ConflictError where there is none."""
    row = _HOST.get((source, target))
    if row is None:
        raise ConflictError(f"a host that is {source} can't become {target}")
    return row


# request -> the states in which an operator may make it.
REQUESTS: dict[str, tuple[str, ...]] = {
    "promote": (AWAITING,),
    "pause": (RUNNING, AWAITING),
    "resume": (PAUSED,),
    "fail": (PENDING, RUNNING, AWAITING, PAUSED),
    "cancel": ACTIVE,
    "supersede": ACTIVE,
}
