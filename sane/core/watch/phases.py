"""The phases of an episode, and which event leads from one to the next."""

from __future__ import annotations

from sane.core.events import Event
from sane.errors import ConflictError

# (phase, event) -> next phase. What is not here is refused. "*" stands for every phase but closed.
TRANSITIONS: dict[tuple[str, str], str] = {
    ("waiting", "episode_classified"): "waiting",
    ("waiting", "escalation_started"): "planning",
    ("planning", "escalation_resumed"): "planning",
    ("planning", "plan_proposed"): "planning",
    ("planning", "escalation_finished:planned"): "deciding",
    ("planning", "escalation_finished:failed"): "waiting",
    ("deciding", "plan_decided:run"): "ready",
    ("deciding", "plan_decided:approval"): "approving",
    ("deciding", "plan_decided:rejected"): "refused",
    ("approving", "plan_approved"): "ready",
    ("approving", "plan_refused"): "refused",
    ("ready", "plan_started"): "acting",
    ("acting", "plan_finished"): "observing",
    ("acting", "plan_finished:failed"): "waiting",  # the next attempt may try something else
    ("observing", "escalation_started"): "planning",  # the next rung, after a retry that did not help
    ("*", "alert_raised"): "alerting",
    ("alerting", "alert_sent"): "alerted",
    ("alerted", "plan_approved"): "ready",
    ("alerted", "plan_refused"): "alerted",
    # the episode recovered while something about it was in flight: what comes of that is recorded, and changes
    # nothing
    ("closed", "escalation_finished:planned"): "closed",
    ("closed", "escalation_finished:failed"): "closed",
    ("closed", "plan_proposed"): "closed",
    ("closed", "plan_finished"): "closed",
    ("closed", "alert_sent"): "closed",
}


def next_phase(phase: str, event: Event) -> str:
    """Return the phase that the table gives. Raises ConflictError where it gives none."""
    name = event.kind
    for choice in ("outcome", "decision"):
        if (phase, f"{event.kind}:{event.data.get(choice)}") in TRANSITIONS:
            name = f"{event.kind}:{event.data[choice]}"
    following = TRANSITIONS.get((phase, name))
    if following is None and phase != "closed":
        following = TRANSITIONS.get(("*", name))
    if following is None:
        raise ConflictError(
            f"'{event.kind}' can't happen to an episode that is {phase}",
            hint="Read the log again: another process may have moved the episode on.",
        )
    return following
