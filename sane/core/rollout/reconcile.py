"""What a deployment needs next, from its state and the time alone. See rollout for how a controller uses it."""

from __future__ import annotations

from collections.abc import Callable

from sane.core.fleet.hostset import fold
from sane.core.rollout import table as t
from sane.core.rollout.actions import (
    Action,
    HostTransition,
    JudgeGates,
    Promote,
    Stop,
    Transition,
    WaitUntil,
)
from sane.core.rollout.batches import next_batch
from sane.core.rollout.guards import preflight_complete
from sane.core.rollout.host_rows import bits
from sane.core.rollout.reconcile_host import TURNED_BAD, begin, decide, operation, probe
from sane.core.rollout.state import RolloutState
from sane.core.units import show_duration

Actions = tuple[Action, ...]
NOTHING_BEFORE = "it had no previous version"  # said of a host that nothing else is wrong with
PREFLIGHT_DONE = "preflight is within the failure budget"


def reconcile(state: RolloutState, now_ms: int) -> Actions:
    """Return what to do now; nothing once the deployment has ended.

    The answer depends on the arguments alone, so asking twice without a new event gives the same. Its cost is that of
    the hosts that need something, not of all hosts. Every action may be carried out in the order given; call again
    after each round.
    """
    actions = () if state.terminal else _next(state, now_ms)
    return tuple(_with_given(state, action) for action in actions) if state.given else actions


def _with_given(state: RolloutState, action: Action) -> Action:
    """Add what people gave as reasons to that of a change; a revert's is taken up again in that of its end."""
    if not isinstance(action, Transition) or action.target == t.REVERTING:
        return action
    return Transition(action.source, action.target, "; ".join((action.reason, *state.given)))


def _next(state: RolloutState, now_ms: int) -> Actions:
    decided = _decide_hosts(state)
    if decided:
        return decided
    if state.request is not None and (asked := _answer_request(state)):
        return asked
    if state.cancelling:
        return _cancel(state)
    return _BY_STATUS[state.status](state, now_ms)


def _decide_hosts(state: RolloutState) -> Actions:
    undecided = state.undecided & ~state.busy
    if state.cancelling:
        undecided |= state.in_flight & ~state.busy
    found: list[Action] = []
    for number in bits(undecided):
        action = decide(state, number)
        if isinstance(action, Transition):
            return (*found, action)
        if action is not None:
            found.append(action)
    return tuple(found)


def _answer_request(state: RolloutState) -> Actions:
    request = state.request
    if request is None or state.failing:
        return ()
    if request.name == "pause":
        return (Transition(state.status, t.PAUSED, request.reason or "paused by an operator"),)
    if request.name == "resume":
        return (Transition(t.PAUSED, state.paused_from, request.reason or "resumed by an operator"),)
    return ()


def _cancel(state: RolloutState) -> Actions:
    if not state.settled or state.stopping is None:
        return ()
    return (Transition(state.status, t.CANCELLED, state.stopping.reason),)


def _pending(state: RolloutState, now_ms: int) -> Actions:
    if not state.busy and state.failing:
        return (Transition(t.PENDING, t.FAILED, _why(state)),)
    if not state.failing and not state.revert_only and not preflight_complete(state):
        to_see = state.among(t.PENDING) & ~state.preflighted & ~state.busy
        return tuple(operation(state, state.hosts[number], "preflight") for number in bits(to_see))
    if state.busy:
        return ()
    return (Transition(t.PENDING, t.RUNNING, PREFLIGHT_DONE),)


def _running(state: RolloutState, now_ms: int) -> Actions:
    if state.failing:
        return _fail(state)
    deadline = state.policy.progress_deadline_ms
    if deadline and now_ms >= state.progress_ms + deadline:
        return (Stop("deadline", f"no host became healthy for {show_duration(deadline)}"),)
    wait = (WaitUntil(state.progress_ms + deadline),) if deadline else ()
    if not state.settled:
        return wait
    if state.canaries and not state.promoted and state.canaries_proven:
        return (*_after_canaries(state, now_ms), *wait)
    if batch := next_batch(state):
        return (*(begin(state, number) for number in bits(batch)), *wait)
    target = t.PARTIAL if state.bad else t.SUCCESSFUL
    return (Transition(t.RUNNING, target, summary_of(state.count(*t.GOOD), state.total, state.count(t.UNCHANGED))),)


def _after_canaries(state: RolloutState, now_ms: int) -> Actions:
    if state.gates and state.gate_outcome != "pass":
        return _judge(state)
    if not state.policy.auto_promote:
        return (Transition(t.RUNNING, t.AWAITING, "canaries are proven; waiting for promotion"),)
    return _look_again(state, now_ms) or (Promote("canaries are proven and auto_promote is on"),)


def _look_again(state: RolloutState, now_ms: int) -> Actions:
    """Return a probe of each canary that was not seen well since all of them were proven."""
    if "probe" not in state.parts:
        return ()
    again: list[Action] = []
    for number in bits(state.canaries):
        host = state.hosts[number]
        if not state.reprobed >> number & 1:
            again.append(probe(state, host, now_ms))
        elif host.streak_since_ms is None:
            again.append(probe(state, host, host.observed_ms + state.policy.poll_interval_ms))
    return tuple(again)


def _judge(state: RolloutState) -> Actions:
    why = f": {state.gate_detail}" if state.gate_detail else ""
    if state.gate_outcome == "fail":
        return (Stop("gate", f"a gate failed over the canaries and the control hosts{why}"),)
    if state.gate_outcome:
        return (Transition(t.RUNNING, t.PAUSED, f"a gate is inconclusive{why}"),)
    names = tuple(state.hosts[number].spec.name for number in bits(state.canaries))
    return (JudgeGates(f"{state.id}/gates/{state.gate_attempt + 1}", names, state.controls),)


def _awaiting(state: RolloutState, now_ms: int) -> Actions:
    if state.failing:
        return _fail(state)
    if state.busy or "probe" not in state.parts:
        return _promote_unprobed(state)
    asked = state.request is not None
    seen = asked and not state.canaries & ~state.reprobed
    if seen and all(state.hosts[number].streak_since_ms is not None for number in bits(state.canaries)):
        return (Transition(t.AWAITING, t.RUNNING, _request_reason(state)),)
    due = state.watched_ms + max(state.policy.poll_interval_ms, state.policy.min_healthy_ms)
    if asked:
        due = state.watched_ms + state.policy.poll_interval_ms if seen else now_ms
    if now_ms < due:
        return (WaitUntil(due),)
    return tuple(probe(state, state.hosts[number], due) for number in bits(state.canaries))


def _promote_unprobed(state: RolloutState) -> Actions:
    if state.busy or state.request is None:
        return ()
    return (Transition(t.AWAITING, t.RUNNING, _request_reason(state)),)


def _request_reason(state: RolloutState) -> str:
    return (state.request.reason if state.request else "") or "promoted by an operator"


def _paused(state: RolloutState, now_ms: int) -> Actions:
    return _fail(state) if state.failing else ()


def _fail(state: RolloutState) -> Actions:
    if not state.settled:
        return ()
    target = t.REVERTING if state.selected_for_revert else t.FAILED
    return (Transition(state.status, target, _why(state)),)


def _why(state: RolloutState) -> str:
    if state.stopping is not None:
        return state.stopping.reason
    if state.canary_bad:
        bad = [state.hosts[number] for number in bits(state.canaries & state.among(*t.BAD))]
        turned = any(host.error.startswith(TURNED_BAD) for host in bad)
        names = fold(host.spec.name for host in bad)
        return f"a canary {'turned bad' if turned else 'did not become healthy'}: {names}"
    if state.budget_spent:
        return spent_reason(state.bad, state.total, state.budget)
    return "going on with a revert that did not end"


def spent_reason(bad: int, total: int, budget: int) -> str:
    """Return why a deployment fails whose budget is spent."""
    return f"the failure budget is spent: {bad} of {total} hosts are bad, {budget} may be"


def summary_of(good: int, total: int, same: int) -> str:
    """Return how a deployment ended that went through; `same` of the good hosts were not changed."""
    unchanged = f" ({same} unchanged)" if same else ""
    return f"{good} of {total} hosts are healthy{unchanged}"


def _reverting(state: RolloutState, now_ms: int) -> Actions:
    done = state.among(t.REVERTED, t.REVERT_FAILED, t.NO_PREVIOUS)
    left = state.to_revert & ~done & ~state.in_flight
    free = state.policy.parallel(state.total) - state.in_flight.bit_count()
    found: list[Action] = []
    for number in bits(left):
        host = state.hosts[number]
        if not host.has_previous:
            found.append(HostTransition(host.spec.name, host.status, t.NO_PREVIOUS, NOTHING_BEFORE))
        elif free > 0:
            found.append(operation(state, host, "revert"))
            free -= 1
        else:
            break
    if found or not state.settled:
        return tuple(found)
    back = state.to_revert & state.among(t.REVERTED)
    complete = back == state.to_revert
    reason = f"{back.bit_count()} of {state.to_revert.bit_count()} hosts are back on their previous version"
    if state.reason:
        reason = f"{state.reason}; {reason}"  # why they went back is what a person asks first
    return (Transition(t.REVERTING, t.REVERTED if complete else t.FAILED, reason),)


_BY_STATUS: dict[str, Callable[[RolloutState, int], Actions]] = {
    t.PENDING: _pending,
    t.RUNNING: _running,
    t.AWAITING: _awaiting,
    t.PAUSED: _paused,
    t.REVERTING: _reverting,
}
