"""In what order the hosts of a deployment change, and how much may go wrong."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from sane.core.units import Amount, show_duration
from sane.errors import UsageError

STRATEGIES = ("rolling", "canary", "blue-green")
HEALTH_CHECKS = ("checks", "agent_states")
_NONE, _ONE = Amount(0), Amount(1)
ON_FAILURE = ("stop", "revert_failed", "revert_all")


@dataclass(frozen=True, slots=True)
class RolloutPolicy:
    """Hold every field of a rollout policy; a policy that exists is valid.

    `auto_revert` sets `on_failure` to revert_all. A `progress_deadline_ms` of 0 means that the first failure
    fails the deployment.
    Raises UsageError for the first rule that is broken.
    """

    strategy: Literal["rolling", "canary", "blue-green"] = "rolling"
    max_parallel: Amount = _ONE
    canary: Amount = _NONE
    min_healthy_ms: int = 10_000
    healthy_deadline_ms: int = 300_000
    progress_deadline_ms: int = 600_000
    health_check: Literal["checks", "agent_states"] = "checks"
    auto_promote: bool = False
    auto_revert: bool = False
    max_failures: Amount = _NONE
    on_failure: Literal["stop", "revert_failed", "revert_all"] = "stop"
    poll_interval_ms: int = 1_000

    def __post_init__(self) -> None:
        if self.auto_revert and self.on_failure == "stop":
            object.__setattr__(self, "on_failure", "revert_all")
        if mistakes := broken_rules(self):
            raise UsageError(mistakes[0].message, hint=mistakes[0].hint)

    def parallel(self, total: int) -> int:
        """Return how many hosts may be in flight at once: a percentage is rounded up, and it is at least 1."""
        return max(1, self.max_parallel.of(total, round_up=True))

    def canaries(self, total: int) -> int:
        """Return how many hosts go first and wait; blue-green with no number means all of them."""
        if self.strategy == "blue-green" and not self.canary:
            return total
        return min(total, self.canary.of(total, round_up=True))

    def failure_budget(self, total: int) -> int:
        """Return how many hosts may be bad before the rollout stops: a percentage is rounded down."""
        return min(total, self.max_failures.of(total, round_up=False))


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """Name a rule that a policy breaks, and the field to point at."""

    field: str
    message: str
    hint: str = ""


def broken_rules(policy: RolloutPolicy) -> tuple[BrokenRule, ...]:
    """Return every rule that the fields of a policy break together."""
    return (*_words(policy), *_durations(policy), *_combinations(policy))


def _words(policy: RolloutPolicy) -> list[BrokenRule]:
    choices = {"strategy": STRATEGIES, "health_check": HEALTH_CHECKS, "on_failure": ON_FAILURE}
    return [
        BrokenRule(name, f"{name} must be one of {', '.join(words)}, got '{getattr(policy, name)}'")
        for name, words in choices.items()
        if getattr(policy, name) not in words
    ]


def _durations(policy: RolloutPolicy) -> list[BrokenRule]:
    found = [
        BrokenRule(f.name, f"{f.name} must not be negative")
        for f in fields(policy)
        if f.name.endswith("_ms") and getattr(policy, f.name) < 0
    ]
    shown = {f.name: show_duration(getattr(policy, f.name)) for f in fields(policy) if f.name.endswith("_ms")}
    if policy.min_healthy_ms >= policy.healthy_deadline_ms:
        message = f"min_healthy ({shown['min_healthy_ms']}) must be shorter than healthy_deadline"
        hint = (
            "A host can't be healthy for longer than it has to become so: lower min_healthy or raise healthy_deadline."
        )
        found.append(BrokenRule("min_healthy_ms", f"{message} ({shown['healthy_deadline_ms']})", hint))
    if 0 < policy.progress_deadline_ms <= policy.healthy_deadline_ms:
        message = f"healthy_deadline ({shown['healthy_deadline_ms']}) must be shorter than progress_deadline"
        hint = "Raise progress_deadline, or write 0 to fail at the first failure."
        found.append(BrokenRule("healthy_deadline_ms", f"{message} ({shown['progress_deadline_ms']})", hint))
    if policy.poll_interval_ms < 1:
        found.append(BrokenRule("poll_interval_ms", "poll_interval must be longer than 0"))
    return found


def _combinations(policy: RolloutPolicy) -> list[BrokenRule]:
    found: list[BrokenRule] = []
    if not policy.max_parallel:
        found.append(BrokenRule("max_parallel", "max_parallel must be at least 1"))
    if policy.strategy == "canary" and not policy.canary:
        found.append(BrokenRule("strategy", "strategy canary needs canary > 0", "Write how many go first: canary: 1."))
    if policy.strategy == "rolling" and policy.canary:
        hint = "Write strategy: canary, or leave canary out."
        found.append(BrokenRule("canary", "strategy rolling has no canaries", hint))
    if policy.auto_promote and not policy.canary and policy.strategy != "blue-green":
        found.append(
            BrokenRule("auto_promote", "auto_promote needs canary > 0", "There is nothing to promote without one.")
        )
    if policy.auto_revert and policy.on_failure != "revert_all":
        hint = "auto_revert: true means on_failure: revert_all; write one of the two."
        found.append(BrokenRule("auto_revert", f"auto_revert contradicts on_failure: {policy.on_failure}", hint))
    return found
