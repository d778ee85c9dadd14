"""A deployment as two pure functions: `apply(state, event)` and `reconcile(state, now_ms)`.

How a controller uses them. The log is the truth: the state is the fold of the deployment's events with `apply`. The
controller then asks `reconcile` what to do at `now_ms` and gets actions. For each, in order, it appends
`event_of(action, state, now_ms)` to the log and applies it; the log refuses it when the log moved on. Then it
performs the effects (Preflight, Stage, Switch, ProbeHealth, Revert, JudgeGates), and appends and applies what came of
each: `finished(action, …)`, or for a probe `observed(action, …)`. It asks again after every round, and at the time of
a WaitUntil, until the state is terminal. The other actions (Transition, HostTransition, Promote, Stop) are decisions:
writing them down is all there is to do. A new controller appends `lease_taken`, so that proofs of health start again,
and performs `unfinished(state)` first: these were begun and it is not known what came of them; an operation id makes
it possible to adopt, attach or answer `lost`.

Time: `now_ms`, `Event.at_ms` and `observed_ms` are epoch milliseconds of a clock that never steps back inside one
controller (epoch at its start plus monotonic time since). Operators' requests are events (`operator_request`),
refused by `check_request` before they are appended; one that is in the log and has no place there changes nothing.

One host, rolling, in its events:
    deployment_created     revision 7, version 2.0.0, hosts, policy        pending
    action_started         app-7/web1/preflight/1
    action_finished        … outcome ok, previous_version 1.9.0
    deployment_transition  pending → running
    action_started         app-7/web1/stage/1                              web1 transferring
    action_finished        … outcome ok
    action_started         app-7/web1/switch/1                             web1 activating
    action_finished        … outcome ok
    action_started         app-7/web1/probe/1                              web1 checking
    health_observed        … verdict pass                                  (again until min_healthy is over)
    host_transition        checking → healthy
    deployment_transition  running → successful
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.actions import (
    Action,
    Effect,
    HostTransition,
    JudgeGates,
    Preflight,
    ProbeHealth,
    Promote,
    Revert,
    Stage,
    Stop,
    Switch,
    Transition,
    WaitUntil,
    event_of,
    finished,
    observed,
)
from sane.core.rollout.batches import groups_of
from sane.core.rollout.fold import BEHIND_THE_END, DECISIONS, FACTS
from sane.core.rollout.guards import check_request
from sane.core.rollout.host_rows import Rows, bits
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.reconcile import reconcile
from sane.core.rollout.reconcile_host import operation, probe
from sane.core.rollout.state import PARTS, TASKS, HostSpec, HostState, RolloutState
from sane.core.units import parse_amount
from sane.errors import ConflictError, UsageError

__all__ = [
    "Action",
    "Effect",
    "HostSpec",
    "HostState",
    "HostTransition",
    "JudgeGates",
    "Preflight",
    "ProbeHealth",
    "Promote",
    "Revert",
    "RolloutState",
    "Stage",
    "Stop",
    "Switch",
    "Transition",
    "WaitUntil",
    "apply",
    "check_request",
    "event_of",
    "exit_status",
    "finished",
    "fold",
    "observed",
    "policy_as_json",
    "policy_from_json",
    "reconcile",
    "status_now",
    "unfinished",
]


def apply(state: RolloutState | None, event: Event) -> RolloutState:
    """Return the state after an event; `state` None is before the deployment was created.

    An event of another deployment changes nothing, nor does a kind that says nothing about state. Facts that come in
    after the end change nothing, but that a hook failed. Raises ConflictError for a change that the table or its guard
    refuses, NotFoundError for an unknown host.
    """
    if state is None:
        if event.kind != "deployment_created":
            raise ConflictError(f"deployment {event.deployment} was not created", hint="Fold its log from the start.")
        return _created(event)
    if event.deployment != state.id:
        return state
    if (decision := DECISIONS.get(event.kind)) is not None:
        if state.terminal:
            raise ConflictError(
                f"deployment {state.id} has ended ({state.status})", hint="Start a new deployment, or retry it."
            )
        return decision(state, event)
    if event.kind == "deployment_created":
        raise ConflictError(f"deployment {state.id} exists already")
    if (fact := FACTS.get(event.kind)) is None or (state.terminal and event.kind not in BEHIND_THE_END):
        return state
    return fact(state, event)


def fold(events: Iterable[Event]) -> RolloutState:
    """Return the state after all the events of one deployment. Raises ConflictError where there are none."""
    state: RolloutState | None = None
    for event in events:
        state = apply(state, event)
    if state is None:
        raise ConflictError("there are no events of that deployment")
    return state


def unfinished(state: RolloutState) -> tuple[Action, ...]:
    """Return the effects that were started and whose end is not in the log, as a new controller has to settle them."""
    found: list[Action] = []
    for number in bits(state.busy):
        host = state.hosts[number]
        at_ms = host.observed_ms
        found.append(
            probe(state, host, at_ms, host.probes) if host.part == "probe" else operation(state, host, host.part)
        )
    if state.gate_operation:
        names = tuple(state.hosts[number].spec.name for number in bits(state.canaries))
        found.append(JudgeGates(state.gate_operation, names, state.controls))
    return tuple(found)


def exit_status(state: RolloutState) -> int:
    """Return the exit status of a command that rolled this out (the table of docs/reference/states.md).

    0 successful · 3 partial, or successful and a hook behind it failed · 4 failed, stopped · 5 reverted ·
    6 failed, revert incomplete · 7 superseded, or another store's controller has the hosts ·
    8 awaiting promotion or paused · 9 active, can be resumed · 130 cancelled at the keyboard; cancelled elsewhere is 4.
    """
    if state.status == t.FAILED:
        if state.stopping is not None and state.stopping.cause == "conflict":
            return 7
        return 6 if state.to_revert else 4
    if state.status == t.CANCELLED:
        superseded = state.stopping is not None and state.stopping.cause == "supersede"
        return 130 if state.keyboard else 7 if superseded else 4
    table = {t.SUCCESSFUL: 3 if state.failed_hooks else 0, t.PARTIAL: 3, t.REVERTED: 5, t.AWAITING: 8, t.PAUSED: 8}
    return table.get(state.status, 9)


def status_now(status: str, *, is_driven: bool) -> str:
    """Return the status a person sees: interrupted where it should be worked on and no controller does."""
    return status if is_driven or status in (*t.TERMINAL, t.AWAITING, t.PAUSED) else t.INTERRUPTED


def policy_as_json(policy: RolloutPolicy) -> dict[str, Any]:
    """Return a policy as JSON; amounts as people write them."""
    amounts = ("max_parallel", "canary", "max_failures")
    fields = policy.__dataclass_fields__
    return {name: str(getattr(policy, name)) if name in amounts else getattr(policy, name) for name in fields}


def policy_from_json(value: Mapping[str, Any]) -> RolloutPolicy:
    """Return the policy that `policy_as_json` wrote. Raises UsageError."""
    fields: dict[str, Any] = dict(value)
    fields |= {name: parse_amount(value[name], name) for name in ("max_parallel", "canary", "max_failures")}
    return RolloutPolicy(**fields)


def _created(event: Event) -> RolloutState:
    data = event.data
    hosts = tuple(_host(entry, data) for entry in data["hosts"])
    if not hosts:
        raise UsageError("a deployment needs at least one host")
    index = {host.spec.name: number for number, host in enumerate(hosts)}
    if len(index) != len(hosts):
        raise UsageError("a host is named twice in a deployment")
    by_status: dict[str, int] = {}
    for number, host in enumerate(hosts):
        by_status[host.status] = by_status.get(host.status, 0) | 1 << number
    return RolloutState(
        id=event.deployment,
        key=event.key,
        revision=int(data["revision"]),
        version=str(data["version"]),
        policy=policy_from_json(data["policy"]),
        hosts=Rows(hosts),
        index=index,
        groups=groups_of([host.spec for host in hosts]),
        parts=_parts(data.get("parts", PARTS)),
        controls=tuple(data.get("controls", ())),
        gates=bool(data.get("gates", False)),
        skip_canary=bool(data.get("skip_canary", False)),
        by_status=by_status,
        to_revert=sum(1 << number for number, host in enumerate(hosts) if host.spec.task == "revert"),
        reason=str(data.get("reason", "")),
        given=(f"asked for: {data['reason']}",) if data.get("reason") else (),
        created_ms=event.at_ms,
    )


def _host(entry: Mapping[str, Any], data: Mapping[str, Any]) -> HostState:
    task = str(entry.get("task", "deploy"))
    if task not in TASKS:
        raise UsageError(f"host {entry['name']} has an unknown task '{task}'", hint=f"Valid: {', '.join(TASKS)}.")
    status = str(entry.get("status", t.PENDING)) if task == "keep" else t.PENDING
    if status not in t.HOST_STATES:
        raise UsageError(f"host {entry['name']} has an unknown state '{status}'")
    spec = HostSpec(
        name=str(entry["name"]),
        group=str(entry.get("group", "")),
        version=str(entry.get("version") or data["version"]),
        digest=str(entry.get("digest") or data.get("digest", "")),
        task=task,
    )
    return HostState(
        spec,
        status,
        previous_version=str(entry.get("previous_version", "")),
        previous_digest=str(entry.get("previous_digest", "")),
    )


def _parts(names: Iterable[str]) -> frozenset[str]:
    parts = frozenset(names)
    if unknown := parts - set(PARTS):
        raise UsageError(f"unknown part '{min(unknown)}'", hint=f"Valid: {', '.join(PARTS)}.")
    if not parts & {"stage", "switch", "probe"}:
        raise UsageError("a deployment needs at least one of stage, switch and probe")
    return parts
