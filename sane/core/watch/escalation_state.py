"""What the escalation controller knows: its policy, the episodes as the log has them, what was spent."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sane.core.watch.budget import Budget, BudgetPolicy, Spending
from sane.core.watch.episodes import WIDE, CorrelationPolicy


@dataclass(frozen=True, slots=True)
class EscalationPolicy:
    """Say when an episode is escalated, how often, and when a person is told instead.

    `settle_ms` gives correlated hosts time to join. The classifier is asked once about a fault that is not in
    `hard_faults`, and may postpone it until `postpone_ms` after its episode was opened; from then on the rules
    decide, whatever it said or has not said yet. That is a quarter of the ten minutes for which such a fault was
    seen before it was found (WatchPolicy.patience_ms), so one that lasts a quarter longer than that is told of.
    After `attempt_limit` failed calls, a refused plan, a plan that did not help within `patience_ms`, or a spent
    budget, a person is told. Before that, where `may_roll_back`, a retry that went well and did not help is followed by
    what the rules try next, once; that asks no model. `alerts_per_hour` delays alerts, and loses none.
    """

    settle_ms: int = 30_000
    hard_faults: frozenset[str] = frozenset({"crash", "lying", "stale", "flapping"})
    use_classifier: bool = False
    noise_confidence: float = 0.6
    postpone_ms: int = 150_000
    attempt_limit: int = 3
    may_roll_back: bool = False
    backoff_ms: int = 30_000
    resume_limit: int = 1
    patience_ms: int = 1_800_000
    approval_ms: int = 3_600_000
    alerts_per_hour: int = 20
    correlation: CorrelationPolicy = field(default_factory=CorrelationPolicy)
    budget: BudgetPolicy = field(default_factory=BudgetPolicy)


@dataclass(frozen=True, slots=True)
class Episode:
    """Hold what the log says of one episode. `hosts` are those still bad, `all_hosts` every one it had, in the
    order they came.

    The classifier has no say from `decide_ms` on.
    `rung` is what the rules tried behind a retry that did not help. `version` is that of the first host.
    `phase` is one of waiting, planning, deciding, approving, ready, acting, observing, refused, alerting, alerted,
    closed; `since_ms` is when it began. `due_ms` is when the next step may be taken.
    """

    id: str
    fault: str
    scope: str
    zone: str
    rule: str
    hosts: tuple[str, ...]
    all_hosts: tuple[str, ...]
    opened_ms: int
    phase: str = "waiting"
    since_ms: int = 0
    due_ms: int = 0
    decide_ms: int = 0
    attempt: int = 0
    resumes: int = 0
    operation: str = ""
    plan: str = ""
    label: str = ""
    is_asked: bool = False
    awaits_approval: bool = False
    rung: str = ""
    version: str = ""
    tried: tuple[str, ...] = ()
    spending: Spending = field(default_factory=Spending)


@dataclass(frozen=True, slots=True)
class EscalationState:
    """Hold the open episodes (and closed ones with something in flight), what was spent, and when alerts went out."""

    episodes: Mapping[str, Episode] = field(default_factory=dict[str, Episode])
    opened: int = 0
    budget: Budget = field(default_factory=Budget)
    alerts_ms: tuple[int, ...] = ()


def is_hard(episode: Episode, policy: EscalationPolicy) -> bool:
    """Return whether no model is asked about the episode before it is escalated."""
    return episode.fault in policy.hard_faults or episode.scope in WIDE
