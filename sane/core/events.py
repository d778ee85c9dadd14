"""Events: one envelope, and the closed table of the kinds there are.

State is the fold of the durable events; progress, report, NDJSON, SSE and MCP are subscribers of the same stream.
Events that are not durable (chunks of output, model tokens) are published and never stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from sane.core.nearest import nearest_hint
from sane.errors import UsageError


class EventKind(NamedTuple):
    """Describe a kind of event: whether it is stored, and the names its data must have."""

    durable: bool
    required: tuple[str, ...]


# The one table of kinds. A kind is added here before anything can append it.
EVENT_KINDS: dict[str, EventKind] = {
    # a deployment and its hosts (folded by sane.core.rollout.controller)
    "deployment_created": EventKind(True, ("revision", "version", "hosts", "policy")),
    "deployment_transition": EventKind(True, ("from", "to", "reason")),
    "deployment_promoted": EventKind(True, ("reason",)),
    "deployment_stopping": EventKind(True, ("cause", "reason")),
    "host_transition": EventKind(True, ("from", "to")),
    "action_started": EventKind(True, ("operation", "action")),
    "action_finished": EventKind(True, ("operation", "action", "outcome")),
    "step_started": EventKind(True, ("step",)),
    "step_finished": EventKind(True, ("step", "outcome")),
    "health_observed": EventKind(True, ("verdict",)),
    "lease_taken": EventKind(True, ("owner", "token")),
    "lease_released": EventKind(True, ("owner", "token")),
    "operator_request": EventKind(True, ("request",)),
    "message": EventKind(True, ("text",)),
    # episodes, escalation and plans (folded by sane.core.watch.escalation)
    "host_sampled": EventKind(True, ("verdict",)),  # only when it differs from the one before in what the rules look at
    "episode_opened": EventKind(True, ("episode", "fault", "scope", "hosts", "rule")),
    "episode_updated": EventKind(True, ("episode", "joined", "recovered")),
    "episode_closed": EventKind(True, ("episode", "reason")),
    "episode_classified": EventKind(True, ("episode", "label", "confidence")),
    "escalation_started": EventKind(True, ("episode", "attempt", "operation")),
    "escalation_resumed": EventKind(True, ("episode", "operation")),
    "escalation_finished": EventKind(True, ("episode", "attempt", "operation", "outcome")),
    "plan_proposed": EventKind(True, ("episode", "plan", "steps", "reason", "confidence")),
    "plan_decided": EventKind(True, ("episode", "plan", "decision", "reasons")),
    "plan_approved": EventKind(True, ("episode", "plan", "by")),
    "plan_refused": EventKind(True, ("episode", "plan", "by")),
    "plan_started": EventKind(True, ("episode", "plan", "operation")),
    "plan_finished": EventKind(True, ("episode", "plan", "outcome")),
    "model_called": EventKind(True, ("model", "input_tokens", "output_tokens", "cost_micro", "outcome")),
    "alert_raised": EventKind(True, ("episode", "reason")),
    "alert_sent": EventKind(True, ("episode", "outcome")),
    # published only
    "output": EventKind(False, ("step", "text")),
    "dropped": EventKind(False, ("count",)),  # a subscriber that was too slow lost so many published events
}


@dataclass(frozen=True, slots=True)
class Event:
    """Record one thing that happened.

    `seq` is given by the log (0 before it is appended; from 1, without gaps); `at_ms` is epoch milliseconds of the
    writer's clock. `key` is the deployment key, `deployment` its id, `host` the host it is about; "" where it is about
    none. `data` is JSON.
    Raises UsageError for an unknown kind or a missing name.
    """

    kind: str
    at_ms: int
    key: str = ""
    deployment: str = ""
    host: str = ""
    data: Mapping[str, Any] = field(default_factory=dict[str, Any])
    seq: int = 0

    def __post_init__(self) -> None:
        kind = EVENT_KINDS.get(self.kind)
        if kind is None:
            raise UsageError(f"unknown event kind '{self.kind}'", hint=nearest_hint(self.kind, EVENT_KINDS))
        absent = [name for name in kind.required if name not in self.data]
        if absent:
            raise UsageError(f"event '{self.kind}' lacks {', '.join(absent)}")

    @property
    def durable(self) -> bool:
        """Return whether the log stores it."""
        return EVENT_KINDS[self.kind].durable

    def numbered(self, seq: int) -> Event:
        """Return the event with its place in the log."""
        return replace(self, seq=seq)

    def as_json(self) -> dict[str, Any]:
        """Return the event as one JSON object, as `sane events` and SSE show it."""
        return {
            "seq": self.seq,
            "at_ms": self.at_ms,
            "kind": self.kind,
            "key": self.key,
            "deployment": self.deployment,
            "host": self.host,
            "data": dict(self.data),
        }
