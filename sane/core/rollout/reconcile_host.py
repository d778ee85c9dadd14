"""What one host needs next, from what came of its last operation."""

from __future__ import annotations

from sane.core.rollout import table as t
from sane.core.rollout.actions import (
    PART_ACTIONS,
    Action,
    Effect,
    HostTransition,
    ProbeHealth,
    Transition,
)
from sane.core.rollout.state import HostState, RolloutState
from sane.core.units import show_duration, tell_duration

TURNED_BAD = "canary turned bad"


def begin(state: RolloutState, number: int) -> Action:
    """Return the first operation of a host that is pending, or beside the old version and waits for traffic."""
    host = state.hosts[number]
    if host.status == t.HEALTHY:
        return operation(state, host, "switch")
    if state.is_only_looked_at(number):
        if "probe" not in state.parts:
            return HostTransition(host.spec.name, t.PENDING, t.UNCHANGED, "it has the digest already")
        return probe(state, host, 0)
    return _next_part(state, host, "")


def decide(state: RolloutState, number: int) -> Action | None:
    """Return what follows for a host about which something came in; None where it has to wait for an operator."""
    host = state.hosts[number]
    if host.status == t.PENDING:
        return _after_preflight(host)
    if state.cancelling:
        return _cancelled(state, number, host)
    if host.part == "probe" and host.health is not None and host.outcome == "":
        return _after_probe(state, number, host)
    if host.status == t.UNKNOWN:
        return probe(state, host, host.observed_ms)
    if host.status == t.REVERTING:
        return _after_revert(state, host)
    if host.outcome in ("ok", "unchanged"):
        return _after_part(state, host)
    to = {"unreachable": t.UNREACHABLE, "lost": t.UNKNOWN}.get(host.outcome, t.FAILED)
    return HostTransition(host.spec.name, host.status, to, _step_reason(host))


def operation(state: RolloutState, host: HostState, part: str) -> Effect:
    """Return the operation of a part on a host; its id says deployment, host, part and attempt."""
    name = f"{state.id}/{host.spec.name}/{part}/1"
    if part == "revert":
        return PART_ACTIONS[part](name, host.spec.name, host.previous_version, host.previous_digest)
    return PART_ACTIONS[part](name, host.spec.name, host.spec.version, host.spec.digest)


def probe(state: RolloutState, host: HostState, at_ms: int, attempt: int = 0) -> ProbeHealth:
    """Return the probe of a host at a time; while it is taken back, its previous version is expected."""
    name, number = host.spec.name, state.index[host.spec.name]
    back = host.status == t.REVERTING
    version, digest = (host.previous_version, host.previous_digest) if back else (host.spec.version, host.spec.digest)
    activated = bool(state.touched >> number & 1)
    green = activated and not back and not state.switched >> number & 1
    return ProbeHealth(
        f"{state.id}/{name}/probe/{attempt or host.probes + 1}",
        name,
        version,
        digest,
        at_ms=at_ms,
        side="green" if green else "live",
        activated=activated or back,
    )


def _next_part(state: RolloutState, host: HostState, done: str) -> Action:
    """Return the operation after `done`; without a probe in the workflow there is nothing to prove."""
    order = [part for part in ("stage", "switch", "probe") if part in state.parts]
    if done in order:
        order = order[order.index(done) + 1 :]
    if done == "stage" and state.green_first and _is_canary(state, host) and not state.promoted:
        order = [part for part in order if part != "switch"]
    if not order:
        return HostTransition(host.spec.name, host.status, t.HEALTHY, "done; the workflow has no probe")
    return probe(state, host, host.observed_ms) if order[0] == "probe" else operation(state, host, order[0])


def _is_canary(state: RolloutState, host: HostState) -> bool:
    return bool(state.canaries >> state.index[host.spec.name] & 1)


def _after_preflight(host: HostState) -> Action:
    to = t.FAILED if host.outcome == "failed" else t.UNREACHABLE
    return HostTransition(host.spec.name, t.PENDING, to, _step_reason(host))


def _after_part(state: RolloutState, host: HostState) -> Action:
    return _next_part(state, host, host.part)


def _after_revert(state: RolloutState, host: HostState) -> Action:
    if host.outcome in ("ok", "lost") and "probe" in state.parts:
        return probe(state, host, host.observed_ms)
    to = t.REVERTED if host.outcome == "ok" else t.REVERT_FAILED
    return HostTransition(host.spec.name, t.REVERTING, to, _step_reason(host))


def _cancelled(state: RolloutState, number: int, host: HostState) -> Action | None:
    if host.status in (t.CHECKING, t.REVERTING) and host.part == "probe" and _proven(state, number, host):
        return _proof(state, number, host)
    if host.status in (t.TRANSFERRING, t.ACTIVATING, t.CHECKING):
        reason = f"cancelled after {host.part or 'nothing'}: not proven healthy"
        return HostTransition(host.spec.name, host.status, t.UNKNOWN, reason)
    if host.status == t.REVERTING:
        return HostTransition(host.spec.name, t.REVERTING, t.REVERT_FAILED, "cancelled before it was proven")
    return None


def _step_reason(host: HostState) -> str:
    words = {"unreachable": "could not be reached in", "lost": "contact was lost in", "ok": "done"}
    return host.error or f"{words.get(host.outcome, 'failed in')} {host.step or host.part}"


def _after_probe(state: RolloutState, number: int, host: HostState) -> Action | None:
    if host.status == t.HEALTHY:
        return _after_watch(state, host)
    name, verdict = host.spec.name, _verdict(host)
    if host.status == t.UNKNOWN and verdict not in ("unreachable", ""):
        return HostTransition(name, t.UNKNOWN, t.CHECKING, "contact again")
    if _proven(state, number, host):
        return _proof(state, number, host)
    if host.health is not None and host.health.rule == "dead_man":  # no waiting brings the new version back
        return HostTransition(name, host.status, t.FAILED, host.health.reason)
    deadline = _deadline_ms(state, host)
    if host.observed_ms < deadline:
        return probe(state, host, min(host.observed_ms + state.policy.poll_interval_ms, deadline))
    return _too_late(state, host)


def _proof(state: RolloutState, number: int, host: HostState) -> HostTransition:
    changed = state.touched >> number & 1
    to = t.REVERTED if host.status == t.REVERTING else t.HEALTHY if changed else t.UNCHANGED
    return HostTransition(host.spec.name, host.status, to, "proven healthy")


def _proven(state: RolloutState, number: int, host: HostState) -> bool:
    """Return whether its health is proven: for min_healthy where it changed, by one fresh sample where it did not."""
    if host.streak_since_ms is None:
        return False
    if host.status == t.REVERTING or not state.touched >> number & 1:
        return True
    return host.observed_ms - host.streak_since_ms >= state.policy.min_healthy_ms


def _too_late(state: RolloutState, host: HostState) -> Action | None:
    """Return what follows the healthy deadline: an inconclusive sample asks a person, everything else is bad."""
    verdict, limit = _verdict(host), show_duration(state.policy.healthy_deadline_ms)
    reason = f"not healthy within {limit}: {_seen(state, host)}"
    if host.status == t.REVERTING:
        return HostTransition(host.spec.name, t.REVERTING, t.REVERT_FAILED, reason)
    if verdict == "inconclusive" and not state.failing:
        if state.status == t.PAUSED:
            return None
        return Transition(state.status, t.PAUSED, f"{host.spec.name}: {reason}")
    to = t.UNREACHABLE if verdict == "unreachable" else t.FAILED
    return HostTransition(host.spec.name, host.status, to, reason)


def _after_watch(state: RolloutState, host: HostState) -> Action | None:
    """Return what follows a sample of a canary that waits for its promotion: a proven failure is one at once."""
    verdict = _verdict(host)
    late = host.observed_ms >= _deadline_ms(state, host)
    asked = state.request is not None and state.request.name == "promote"
    fresh = state.reprobed >> state.index[host.spec.name] & 1  # an older sample was answered already
    if verdict == "inconclusive" and fresh and (asked or state.status == t.RUNNING) and state.stopping is None:
        return Transition(state.status, t.PAUSED, f"{host.spec.name}: {_seen(state, host)}")
    if verdict == "fail" or (late and verdict not in ("pass", "inconclusive")):
        to = t.UNREACHABLE if verdict == "unreachable" else t.FAILED
        return HostTransition(host.spec.name, t.HEALTHY, to, f"{TURNED_BAD}: {_seen(state, host)}")
    return None


def _deadline_ms(state: RolloutState, host: HostState) -> int:
    since = host.observed_ms if host.proving_since_ms is None else host.proving_since_ms
    return since + state.policy.healthy_deadline_ms


def _verdict(host: HostState) -> str:
    return host.health.verdict if host.health else ""


def _seen(state: RolloutState, host: HostState) -> str:
    if host.streak_since_ms is not None:
        lasted = tell_duration(host.observed_ms - host.streak_since_ms)
        return f"healthy without a break for {lasted} of {show_duration(state.policy.min_healthy_ms)}"
    health = host.health
    return (health.reason or health.verdict) if health else "never seen"
