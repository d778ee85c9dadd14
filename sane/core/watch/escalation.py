"""The escalation controller: from an open episode to a plan, a person, or nothing because it recovered.

Two pure functions, like every controller here. `apply_escalation(state, event)` folds one event of the log;
`reconcile_escalation(state, now_ms, …)` (in sane.core.watch.escalation_actions) says what to do next. The loop around
them appends the event that an action names *before* it performs it:

    state = EscalationState()
    for event in log:                                    # after a kill: the same fold, nothing else to restore
        state = apply_escalation(state, event)
    for finding in findings:                             # from sane.core.watch.detect
        for event in open_episode(state, finding, zone_sizes=sizes, policy=policy):
            state = apply_escalation(state, append(event))
    for action in reconcile_escalation(state, now_ms, policy=policy, running=operations_of_this_process):
        match action:
            case Classify():    # ask the cheap model             -> append episode_classified
            case Escalate():    # append action.event(now_ms), THEN call the planner (idempotency key
            action.operation)
                                # -> append model_called, plan_proposed, escalation_finished(outcome planned|failed)
            case DecidePlan():  # check_plan()                    -> append plan_decided(decision run|approval|rejected)
            case RunPlan():     # append action.event(now_ms), THEN run it -> append plan_finished
            case Alert():       # append action.event(now_ms), THEN notify -> append alert_sent

`running` holds the operations that this process has in hand. An operation that was started, is not finished and is
not in `running` belongs to a process that died. A planner call has no effect but its answer, so it is taken up
again, once, as the same attempt; a plan that was being run is never run again: a person is told. So no episode is
lost and none is escalated twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from sane.core.events import Event
from sane.core.watch.budget import Spending
from sane.core.watch.episodes import Finding, OpenEpisode, fold_finding
from sane.core.watch.escalation_state import Episode, EscalationPolicy, EscalationState, is_hard
from sane.core.watch.phases import TRANSITIONS, next_phase
from sane.errors import ConflictError

_IN_FLIGHT = ("planning", "acting", "alerting")
_KEEP_CLOSED_MS = (
    86_400_000  # a closed episode waits for what is in flight, which a kill may have ended, for a day at most
)


def open_episode(
    state: EscalationState, finding: Finding, *, zone_sizes: Mapping[str, int], policy: EscalationPolicy
) -> tuple[Event, ...]:
    """Return the events that one finding of a detector makes; apply them before the next finding."""
    views = {e.id: _view(e) for e in state.episodes.values() if e.phase != "closed"}
    return fold_finding(
        views, finding, next_id=f"e{state.opened + 1}", zone_sizes=zone_sizes, policy=policy.correlation
    )


def _view(e: Episode) -> OpenEpisode:
    escalated = e.phase != "waiting" or e.attempt > 0
    hosts = frozenset(e.hosts)
    return OpenEpisode(
        e.id, e.fault, e.scope, e.zone, hosts, len(e.all_hosts), e.opened_ms, escalated, e.rule, e.version
    )


def apply_escalation(state: EscalationState, event: Event, policy: EscalationPolicy | None = None) -> EscalationState:
    """Return the state after the event. Events of other controllers change nothing.

    Raises ConflictError for a transition that the table does not have.
    """
    policy = policy or EscalationPolicy()
    fold = _FOLDS.get(event.kind)
    return fold(state, event, policy) if fold is not None else state


def _apply_opened(state: EscalationState, event: Event, policy: EscalationPolicy) -> EscalationState:
    data = event.data
    hosts = tuple(data["hosts"])
    episode = Episode(
        id=data["episode"],
        fault=data["fault"],
        scope=data["scope"],
        zone=data.get("zone", ""),
        version=data.get("version", ""),
        rule=data["rule"],
        hosts=hosts,
        all_hosts=hosts,
        opened_ms=event.at_ms,
        since_ms=event.at_ms,
        due_ms=event.at_ms + policy.settle_ms,
        decide_ms=event.at_ms + max(policy.settle_ms, policy.postpone_ms),
    )
    kept = {
        k: e for k, e in state.episodes.items() if e.phase != "closed" or event.at_ms - e.since_ms < _KEEP_CLOSED_MS
    }
    return replace(state, episodes={**kept, episode.id: episode}, opened=state.opened + 1)


def _apply_updated(state: EscalationState, event: Event, policy: EscalationPolicy) -> EscalationState:
    episode = _get(state, event)
    data = event.data
    joined = [host for host in data["joined"] if host not in episode.hosts]
    hosts = tuple(host for host in (*episode.hosts, *joined) if host not in data["recovered"])
    known = episode.all_hosts + tuple(host for host in joined if host not in episode.all_hosts)
    changed = {name: data[name] for name in ("fault", "rule", "scope") if name in data}
    episode = replace(episode, hosts=hosts, all_hosts=known, **changed)
    if episode.phase == "waiting" and episode.attempt == 0 and is_hard(episode, policy):
        # what the classifier said was about something softer
        settled_ms = max(event.at_ms, episode.opened_ms + policy.settle_ms)
        episode = replace(episode, due_ms=min(episode.due_ms, settled_ms))
    return _put(state, episode)


def _apply_closed(state: EscalationState, event: Event, policy: EscalationPolicy) -> EscalationState:
    episode = _get(state, event)
    if episode.phase in _IN_FLIGHT:
        return _put(state, replace(episode, phase="closed", hosts=(), since_ms=event.at_ms))
    return _drop(state, episode.id)


def _apply_phase(state: EscalationState, event: Event, policy: EscalationPolicy) -> EscalationState:
    episode = _get(state, event)
    phase = next_phase(episode.phase, event)
    _refuse_other_plan(episode, event)
    episode = replace(episode, phase=phase, since_ms=event.at_ms, due_ms=event.at_ms)
    if phase == "closed":
        return state if event.kind == "plan_proposed" else _drop(state, episode.id)
    if event.kind == "alert_raised":
        state = replace(state, alerts_ms=(*state.alerts_ms, event.at_ms)[-policy.alerts_per_hour :])
    return _put(state, _enrich(episode, event, policy))


def _refuse_other_plan(episode: Episode, event: Event) -> None:
    """Raise ConflictError when a person answers about a plan that does not wait for it."""
    if event.kind not in ("plan_approved", "plan_refused"):
        return
    if not episode.awaits_approval or event.data["plan"] != episode.plan:
        raise ConflictError(
            f"plan {event.data['plan']} does not wait for approval", hint="See `sane plan list` for those that do."
        )


def _enrich(episode: Episode, event: Event, policy: EscalationPolicy) -> Episode:
    data, at_ms = event.data, event.at_ms
    match event.kind:
        case "episode_classified":
            is_noise = data["label"] == "noise" and data["confidence"] >= policy.noise_confidence
            postpones = is_noise and not episode.is_asked and episode.attempt == 0 and not is_hard(episode, policy)
            due_ms = max(at_ms, episode.decide_ms) if postpones else at_ms
            return replace(episode, label=data["label"], is_asked=True, due_ms=due_ms)
        case "escalation_started":
            begun = replace(episode, attempt=data["attempt"], operation=data["operation"], resumes=0)
            return _with_rung(begun, data["rung"]) if "rung" in data else begun
        case "escalation_resumed":
            return replace(episode, resumes=episode.resumes + 1)
        case "plan_proposed":
            return replace(episode, plan=data["plan"])
        case "escalation_finished":
            wait_ms = 0 if data["outcome"] == "planned" else policy.backoff_ms * 2 ** (episode.attempt - 1)
            tried = () if data["outcome"] == "planned" else (f"planner call {episode.attempt} failed",)
            return replace(episode, operation="", due_ms=at_ms + wait_ms, tried=_tried(episode, tried))
        case "plan_started" | "alert_raised":
            return replace(episode, operation=data.get("operation", ""))
        case "plan_finished":
            tried = (f"{data.get('summary', data['plan'])}: {data['outcome']}",)
            wait_ms = policy.backoff_ms if data["outcome"] == "failed" else _patience_ms(episode, policy)
            return replace(episode, operation="", due_ms=at_ms + wait_ms, tried=_tried(episode, tried))
        case "plan_decided":
            wait_ms = policy.approval_ms if data["decision"] == "approval" else 0
            return replace(episode, due_ms=at_ms + wait_ms, awaits_approval=data["decision"] == "approval")
        case "plan_approved" | "plan_refused":
            return replace(episode, awaits_approval=False)
        case _:
            return episode


def _patience_ms(episode: Episode, policy: EscalationPolicy) -> int:
    """Return how long a plan has to help: one that calms a host that came and went shows only after a while."""
    return policy.patience_ms * (2 if episode.fault == "flapping" else 1)


def _with_rung(episode: Episode, rung: str) -> Episode:
    """Return the episode on its next rung: what was done last is known not to have helped."""
    *before, last = episode.tried
    return replace(episode, rung=rung, tried=(*before, f"{last}, and it did not help"))


def _tried(episode: Episode, more: tuple[str, ...]) -> tuple[str, ...]:
    return (*episode.tried, *more)[-8:]


def _apply_call(state: EscalationState, event: Event, policy: EscalationPolicy) -> EscalationState:
    data = event.data
    spent = Spending(data["input_tokens"] + data["output_tokens"], data["cost_micro"])
    state = replace(state, budget=state.budget.add(event.at_ms, spent, policy.budget))
    episode = state.episodes.get(data.get("episode", ""))
    return state if episode is None else _put(state, replace(episode, spending=episode.spending.plus(spent)))


Fold = Callable[[EscalationState, Event, EscalationPolicy], EscalationState]
_FOLDS: dict[str, Fold] = {
    "episode_opened": _apply_opened,
    "episode_updated": _apply_updated,
    "episode_closed": _apply_closed,
    "model_called": _apply_call,
    **{name.partition(":")[0]: _apply_phase for _, name in TRANSITIONS},
}


def _get(state: EscalationState, event: Event) -> Episode:
    episode = state.episodes.get(event.data["episode"])
    if episode is None:
        raise ConflictError(f"episode {event.data['episode']} is not open", hint="It recovered, or never was.")
    return episode


def _put(state: EscalationState, episode: Episode) -> EscalationState:
    return replace(state, episodes={**state.episodes, episode.id: episode})


def _drop(state: EscalationState, episode_id: str) -> EscalationState:
    return replace(state, episodes={k: v for k, v in state.episodes.items() if k != episode_id})
