"""What the escalation controller wants done next, level-triggered: the same state and time give the same actions.

Each action that has an effect names the event that must be in the log before it is performed. See
sane.core.watch.escalation for the loop.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sane.core.events import Event
from sane.core.watch.escalation_state import Episode, EscalationPolicy, EscalationState, is_hard
from sane.core.watch.rule_planner import rung_behind_retry, verbs_in

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Classify:
    """Ask the cheap model whether the episode is an incident or noise."""

    episode: str


@dataclass(frozen=True, slots=True)
class Escalate:
    """Call the planner, or with a `rung` the rules. `is_resumed`: the same attempt, taken up after a kill."""

    episode: str
    attempt: int
    operation: str
    is_resumed: bool = False
    rung: str = ""

    def event(self, at_ms: int) -> Event:
        """Return the event to append before the call."""
        data: dict[str, Any] = {"episode": self.episode, "operation": self.operation}
        if self.is_resumed:
            return Event("escalation_resumed", at_ms, data=data)
        data |= {"rung": self.rung} if self.rung else {}
        return Event("escalation_started", at_ms, data={**data, "attempt": self.attempt})


@dataclass(frozen=True, slots=True)
class DecidePlan:
    """Check the proposed plan against the registry, the tier and the limits."""

    episode: str
    plan: str


@dataclass(frozen=True, slots=True)
class RunPlan:
    """Run the plan that was decided or approved."""

    episode: str
    plan: str
    operation: str

    def event(self, at_ms: int) -> Event:
        """Return the event to append before it is run."""
        data = {"episode": self.episode, "plan": self.plan, "operation": self.operation}
        return Event("plan_started", at_ms, data=data)


@dataclass(frozen=True, slots=True)
class Alert:
    """Tell a person.

    `is_repeat`: it was raised before a kill, and may or may not have gone out; receivers drop an `operation` they
    know.
    """

    episode: str
    reason: str
    operation: str
    is_repeat: bool = False

    def event(self, at_ms: int) -> Event:
        """Return the event to append before it is sent (not for a repeat, which is in the log)."""
        data = {"episode": self.episode, "reason": self.reason, "operation": self.operation}
        return Event("alert_raised", at_ms, data=data)


Action = Classify | Escalate | DecidePlan | RunPlan | Alert


def reconcile_escalation(
    state: EscalationState,
    now_ms: int,
    *,
    policy: EscalationPolicy | None = None,
    running: frozenset[str] = frozenset(),
) -> tuple[Action, ...]:
    """Return what to do now, oldest episode first.

    `running` names the operations this process has in hand (an `operation`, or `classify:EPISODE`). Alerts past the
    hourly limit wait.
    """
    policy = policy or EscalationPolicy()
    actions: list[Action] = []
    free_alerts = policy.alerts_per_hour - sum(1 for at_ms in state.alerts_ms if now_ms - at_ms < HOUR_MS)
    for episode in state.episodes.values():
        for action in _next_of(state, episode, now_ms, policy, running):
            if isinstance(action, Alert) and not action.is_repeat:
                free_alerts -= 1
                if free_alerts < 0:
                    continue
            actions.append(action)
    return tuple(actions)


def _next_of(
    state: EscalationState, episode: Episode, now_ms: int, policy: EscalationPolicy, running: frozenset[str]
) -> Iterator[Action]:
    is_due = now_ms >= episode.due_ms
    match episode.phase:
        case "waiting" if is_due:
            yield from _escalate(state, episode, now_ms, policy, running)
        case "planning" | "acting" | "alerting" if episode.operation not in running:
            yield _take_up(episode, policy)
        case "deciding" if f"decide:{episode.plan}" not in running:
            yield DecidePlan(episode.id, episode.plan)
        case "ready":
            yield RunPlan(episode.id, episode.plan, f"{episode.id}-run")
        case "refused":
            yield _alert(episode, "the plan was refused")
        case "approving" if is_due:
            yield _alert(episode, "a plan waits for approval and got none in time")
        case "observing" if is_due:
            yield _after_a_plan(episode, policy)
        case _:
            return


def _escalate(
    state: EscalationState, episode: Episode, now_ms: int, policy: EscalationPolicy, running: frozenset[str]
) -> Iterator[Action]:
    spent = state.budget.refusal(now_ms, episode.spending, policy.budget)
    if episode.rung:
        yield _alert(episode, f"the retry did not help, and the {episode.rung} failed")
    elif episode.attempt >= policy.attempt_limit:
        yield _alert(episode, f"{episode.attempt} attempts at a plan did not help")
    elif spent:
        yield _alert(episode, spent)
    elif _wants_classifier(episode, now_ms, policy):
        if f"classify:{episode.id}" not in running:
            yield Classify(episode.id)
    else:
        yield _attempt(episode)


def _attempt(episode: Episode, rung: str = "") -> Escalate:
    attempt = episode.attempt + 1
    return Escalate(episode.id, attempt, f"{episode.id}-a{attempt}", rung=rung)


def _after_a_plan(episode: Episode, policy: EscalationPolicy) -> Action:
    """Return what follows a plan that was carried out and did not help."""
    if episode.rung:
        return _alert(episode, f"neither the retry nor the {episode.rung} helped")
    rung = rung_behind_retry(episode.fault, episode.scope, episode.tried) if policy.may_roll_back else ""
    if rung:
        return _attempt(episode, rung)
    only_told = verbs_in(episode.tried[-1:]) == {"alert"}
    return _alert(episode, "it goes on since a person was told" if only_told else "the plan did not help")


def _wants_classifier(episode: Episode, now_ms: int, policy: EscalationPolicy) -> bool:
    is_open = not episode.is_asked and episode.attempt == 0 and now_ms < episode.decide_ms
    return policy.use_classifier and is_open and not is_hard(episode, policy)


def _take_up(episode: Episode, policy: EscalationPolicy) -> Action:
    """Return what to do with an operation whose process died."""
    if episode.phase == "alerting":
        return Alert(episode.id, "an alert may not have gone out", episode.operation, is_repeat=True)
    if episode.phase == "acting":
        return _alert(episode, "the run of its plan was interrupted: what it did is unknown")
    if episode.resumes >= policy.resume_limit:
        return _alert(episode, "its escalation was interrupted more than once")
    return Escalate(episode.id, episode.attempt, episode.operation, is_resumed=True)


def _alert(episode: Episode, reason: str) -> Alert:
    return Alert(episode.id, reason, f"{episode.id}-alert")


def next_wake_ms(state: EscalationState, now_ms: int) -> int | None:
    """Return when reconcile may want something that it does not want now; None when only an event can change that."""
    due = [e.due_ms for e in state.episodes.values() if e.phase in ("waiting", "approving", "observing")]
    due += [e.decide_ms for e in state.episodes.values() if e.phase == "waiting" and e.attempt == 0 and not e.is_asked]
    alerts = [at_ms + HOUR_MS for at_ms in state.alerts_ms]
    return min((at_ms for at_ms in (*due, *alerts) if at_ms > now_ms), default=None)
