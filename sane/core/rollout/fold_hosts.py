"""How events about a host change the state of a deployment: what was begun on it, what came of it, how it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.state import HealthSeen, HookFailed, HostState, RolloutState, Stopping
from sane.errors import ConflictError, NotFoundError

STATUS_OF_PART = {
    "stage": t.TRANSFERRING,
    "switch": t.ACTIVATING,
    "probe": t.CHECKING,
    "revert": t.REVERTING,
}
# A probe of a host in one of these only looks; its state stays.
_LOOKED_AT = (t.CHECKING, t.HEALTHY, t.UNKNOWN, t.REVERTING)


def fold_host_transition(state: RolloutState, event: Event) -> RolloutState:
    """Take a host into its next state, and count progress where it became healthy."""
    number = number_of(state, event.host)
    host, target = state.hosts[number], str(event.data["to"])
    if event.data["from"] != host.status:
        raise ConflictError(f"host {event.host} is {host.status}, not {event.data['from']}")
    if host.operation:
        raise ConflictError(f"host {event.host} has {host.operation} under way")
    t.host_row(host.status, target)
    reason = str(event.data.get("reason", ""))
    ended = target not in (t.UNKNOWN, t.CHECKING)
    error = "" if target in (*t.GOOD, t.REVERTED, t.CHECKING) else host.error or reason
    if host.lost and host.part == "probe" and error:
        error = f"{host.lost}; {reason}"
    changes: dict[str, Any] = {"status": target, "error": error, "ended_ms": event.at_ms if ended else 0}
    if target in t.GOOD or target == t.REVERTED:
        changes["lost"] = ""
    elif target == t.UNKNOWN and host.outcome == "lost":
        changes["lost"] = error
    if target == t.UNKNOWN:
        changes |= {"proving_since_ms": event.at_ms, "streak_since_ms": None, "observed_ms": event.at_ms}
    host = replace(host, **changes)
    goes_on = target == t.CHECKING or (target == t.UNKNOWN and "probe" in state.parts and not state.cancelling)
    return _put(
        state,
        number,
        host,
        undecided=_with(state.undecided, number, goes_on),
        progress_ms=event.at_ms if target in t.GOOD else state.progress_ms,
    )


def fold_started(state: RolloutState, event: Event) -> RolloutState:
    """Note that an operation is under way; its start is the change into the working state of its part."""
    operation, part = str(event.data["operation"]), str(event.data["action"])
    if part == "gates":
        return replace(state, gate_operation=operation, gate_attempt=state.gate_attempt + 1, gate_outcome="")
    number = number_of(state, event.host)
    host = state.hosts[number]
    if host.operation:
        raise ConflictError(f"host {event.host} has {host.operation} under way")
    status = host.status
    if part in STATUS_OF_PART and not (part == "probe" and status in _LOOKED_AT):
        status = STATUS_OF_PART[part]
        t.host_row(host.status, status)
    changes: dict[str, Any] = {"status": status, "operation": operation, "part": part, "outcome": ""}
    if part == "probe":
        changes |= _probe_started(state, host, status, event)
    elif part != "preflight":
        changes |= {
            "proving_since_ms": None,
            "streak_since_ms": None,
            "health": None,
            "error": "",
            "hint": "",
            "lost": "",
        }
        changes |= {"ended_ms": 0, "observed_ms": 0, "cause": host.error if part == "revert" else ""}
    if part != "preflight" and not host.started_ms:
        changes["started_ms"] = event.at_ms
    bit = 1 << number
    return _put(
        state,
        number,
        replace(host, **changes),
        busy=state.busy | bit,
        undecided=state.undecided & ~bit,
        touched=state.touched | bit if part in ("stage", "switch") else state.touched,
        switched=state.switched | bit if part == "switch" or _stage_is_all(state, part) else state.switched,
        watched_ms=event.at_ms if state.status == t.AWAITING else state.watched_ms,
        reprobed=state.reprobed | bit if part == "probe" and status == t.HEALTHY else state.reprobed,
    )


def _stage_is_all(state: RolloutState, part: str) -> bool:
    return part == "stage" and "switch" not in state.parts


def _probe_started(state: RolloutState, host: HostState, status: str, event: Event) -> dict[str, Any]:
    since = event.at_ms if host.proving_since_ms is None else host.proving_since_ms
    if status == t.HEALTHY and host.streak_since_ms is not None:
        since = event.at_ms  # it was proven up to now: its deadline counts from here
    return {"probes": host.probes + 1, "proving_since_ms": since}


def fold_finished(state: RolloutState, event: Event) -> RolloutState:
    """Note what came of an operation; one that is not under way any more (told twice) changes nothing."""
    operation, outcome = str(event.data["operation"]), str(event.data["outcome"])
    if not event.host:
        if operation != state.gate_operation:
            return state
        return replace(state, gate_operation="", gate_outcome=outcome, gate_detail=str(event.data.get("error", "")))
    number = number_of(state, event.host)
    host = state.hosts[number]
    if host.operation != operation:
        return state
    if host.part == "probe":
        raise ConflictError(f"{operation} is a probe: it ends with health_observed")
    changes = _evidence(event.data) | {"operation": "", "outcome": outcome, "observed_ms": event.at_ms}
    bit = 1 << number
    if host.part == "preflight":
        known = host.previous_digest or host.previous_version
        if not known:
            changes["previous_version"] = str(event.data.get("previous_version", ""))
            changes["previous_digest"] = str(event.data.get("previous_digest", ""))
        if event.data.get("conflict") and state.stopping is None:
            # Another store's controller has this key: nothing may be touched, whatever the failure budget.
            state = replace(state, stopping=Stopping("conflict", str(event.data.get("error", ""))))
        return _preflighted(state, number, replace(host, **changes))
    if event.data.get("begun") is False:
        state = _not_begun(state, bit, host.part)
    host = replace(host, **changes)
    return _put(state, number, host, busy=state.busy & ~bit, undecided=state.undecided | bit)


def _not_begun(state: RolloutState, bit: int, part: str) -> RolloutState:
    """Take back what the start of a part counted in advance: none of its steps began on the host."""
    first = part == "stage" or (part == "switch" and "stage" not in state.parts)
    touched = state.touched & ~bit if first else state.touched
    switched = state.switched & ~bit if part in ("stage", "switch") else state.switched
    return replace(state, touched=touched, switched=switched)


def _preflighted(state: RolloutState, number: int, host: HostState) -> RolloutState:
    same = host.outcome == "unchanged" and host.spec.task == "deploy"
    bit = 1 << number
    return _put(
        state,
        number,
        host,
        busy=state.busy & ~bit,
        preflighted=state.preflighted | bit,
        same=_with(state.same, number, same),
        undecided=_with(state.undecided, number, host.outcome not in ("ok", "unchanged")),
    )


def _evidence(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: data[name] for name in ("step", "exit_code", "error", "hint") if data.get(name) is not None}


def fold_health(state: RolloutState, event: Event) -> RolloutState:
    """Note a sample of a host's health: a pass begins or goes on with the streak, anything else ends it."""
    number = number_of(state, event.host)
    host = state.hosts[number]
    if host.part != "probe" or host.operation != event.data.get("operation"):
        return state
    data, at_ms = event.data, int(event.data.get("observed_ms", event.at_ms))
    streak = (at_ms if host.streak_since_ms is None else host.streak_since_ms) if data["verdict"] == "pass" else None
    names = ("verdict", "status", "version", "reason", "rule")
    seen = HealthSeen(**{name: str(data.get(name) or "") for name in names})
    host = replace(host, operation="", observed_ms=at_ms, streak_since_ms=streak, health=seen)
    bit = 1 << number
    return _put(state, number, host, busy=state.busy & ~bit, undecided=state.undecided | bit)


def fold_step(state: RolloutState, event: Event) -> RolloutState:
    """Note the step a host is in, or the last one that ended; and a hook that failed, also behind the end."""
    if not event.host:
        return _hook_ended(state, event.data) if event.kind == "step_finished" else state
    if state.terminal:
        return state
    number = number_of(state, event.host)
    host = replace(state.hosts[number], **_evidence(event.data))
    return _put(state, number, host)


def _hook_ended(state: RolloutState, data: Mapping[str, Any]) -> RolloutState:
    if data.get("outcome") in ("ok", "skipped"):
        return state
    words = (str(data.get(name) or "") for name in ("error", "hint", "output_file"))
    failed = HookFailed(str(data.get("part", "")), str(data["step"]), data.get("exit_code"), *words)
    return replace(state, failed_hooks=(*state.failed_hooks, failed))


def number_of(state: RolloutState, name: str) -> int:
    """Return the number of a host. Raises NotFoundError where the deployment has none of that name."""
    try:
        return state.index[name]
    except KeyError:
        raise NotFoundError(f"deployment {state.id} has no host '{name}'") from None


def _put(state: RolloutState, number: int, host: HostState, **changes: Any) -> RolloutState:
    """Put a host's new state in together with other changes, and keep the sets by status in step with it."""
    old, status = state.hosts[number].status, host.status
    if status != old:
        bit = 1 << number
        by_status = {**state.by_status, old: state.by_status[old] & ~bit}
        changes["by_status"] = by_status | {status: by_status.get(status, 0) | bit}
    return replace(state, hosts=state.hosts.replaced(number, host), **changes)


def _with(mask: int, number: int, member: bool) -> int:
    return mask | 1 << number if member else mask & ~(1 << number)
