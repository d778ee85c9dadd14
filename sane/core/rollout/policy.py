"""In what order the hosts of a deployment change, and how much may go wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from sane.core.document import Fields, Node, Problems, with_units
from sane.core.nearest import nearest_hint
from sane.core.units import Amount, parse_amount, show_duration
from sane.errors import UsageError

STRATEGIES = ("rolling", "canary", "blue-green")
HEALTH_CHECKS = ("checks", "agent_states")
_NONE, _ONE = Amount(0), Amount(1)
ON_FAILURE = ("stop", "revert_failed", "revert_all")


@dataclass(frozen=True, slots=True)
class PolicyFields:
    """Hold what somebody wrote as a policy, before its rules are checked."""

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
    dead_man_ms: int = 0  # 0: no guard
    poll_interval_ms: int = 1_000


@dataclass(frozen=True, slots=True)
class RolloutPolicy(PolicyFields):
    """Hold a rollout policy; one that exists keeps every rule.

    `auto_revert` sets `on_failure` to revert_all. A `progress_deadline_ms` of 0 means that the first failure
    fails the deployment. Raises UsageError for the first rule that is broken.
    """

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


def broken_rules(policy: PolicyFields) -> tuple[BrokenRule, ...]:
    """Return every rule that the fields of a policy break together."""
    return (*_words(policy), *_durations(policy), *_combinations(policy))


def _words(policy: PolicyFields) -> list[BrokenRule]:
    return [
        BrokenRule(name, f"{name} must be one of {', '.join(words)}, got '{given}'", nearest_hint(given, words))
        for name, words in _WORDS.items()
        if (given := str(getattr(policy, name))) not in words
    ]


def _durations(policy: PolicyFields) -> list[BrokenRule]:
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
    if 0 < policy.dead_man_ms <= policy.min_healthy_ms:
        message = f"dead_man ({shown['dead_man_ms']}) must be longer than min_healthy ({shown['min_healthy_ms']})"
        found.append(BrokenRule("dead_man_ms", message, "A host is confirmed only once it was healthy for that long."))
    if policy.poll_interval_ms < 1:
        found.append(BrokenRule("poll_interval_ms", "poll_interval must be longer than 0"))
    return found


def _combinations(policy: PolicyFields) -> list[BrokenRule]:
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


_WORDS = {"strategy": STRATEGIES, "health_check": HEALTH_CHECKS, "on_failure": ON_FAILURE}
_DURATIONS = ("min_healthy", "healthy_deadline", "progress_deadline", "poll_interval", "dead_man")
_AMOUNTS = ("max_parallel", "canary", "max_failures")
_FLAGS = ("auto_promote", "auto_revert")
# The names of the fleet's HTTP route, and what each means here; a bare health_check_timeout is in seconds.
_ALIASES = {"max_parallel": "batch_size", "auto_revert": "auto_rollback", "healthy_deadline": "health_check_timeout"}
POLICY_KEYS: tuple[str, ...] = (*_WORDS, *_AMOUNTS, *_FLAGS, *with_units(_DURATIONS), *_ALIASES.values())


def override_policy(policy: RolloutPolicy, given: Mapping[str, Any]) -> RolloutPolicy:
    """Return a policy with the typed fields of `given` put over it, and what follows from them.

    What was said of reverts and canaries before gives way to what is given now. Raises UsageError for a broken rule.
    """
    values = dict(given)
    on_failure, auto_revert = values.get("on_failure"), values.get("auto_revert")
    if auto_revert and on_failure not in (None, "revert_all"):
        hint = "auto_revert: true means on_failure: revert_all; write one of the two."
        raise UsageError(f"auto_revert contradicts on_failure: {on_failure}", hint=hint)
    if auto_revert:
        values["on_failure"] = "revert_all"
    elif on_failure is not None:
        values["auto_revert"] = False
    elif auto_revert is False and policy.on_failure == "revert_all":
        values["on_failure"] = "stop"
    canary, strategy = values.get("canary"), values.get("strategy")
    if canary and strategy is None and policy.strategy == "rolling":
        values["strategy"] = "canary"
    elif canary is not None and not canary and strategy is None and policy.strategy == "canary":
        values["strategy"] = "rolling"
    elif strategy == "rolling" and canary is None:
        values["canary"] = _NONE
    if values.get("strategy") == "rolling":
        values.setdefault("auto_promote", False)
    return replace(policy, **values)


def read_policy(node: Node, problems: Problems, what: str = "policy") -> RolloutPolicy:
    """Return the policy at a node of a file, or record its mistakes and return the default one."""
    before = len(problems.found)
    reader = Fields(node, problems, what, POLICY_KEYS)
    values = _read_values(reader, problems)
    if len(problems.found) > before:
        return RolloutPolicy()
    if values.get("auto_revert") and "on_failure" not in values:
        values["on_failure"] = "revert_all"
    if values.get("canary") and "strategy" not in values:
        values["strategy"] = "canary"
    for rule in broken_rules(PolicyFields(**values)):
        problems.add(_blamed(reader, rule.field), rule.message, rule.hint)
    return RolloutPolicy(**values) if len(problems.found) == before else RolloutPolicy()


def _read_values(reader: Fields, problems: Problems) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name in (*_WORDS, *_AMOUNTS, *_FLAGS, *_DURATIONS):
        written = _written(reader, name)
        if len(written) > 1:
            problems.add(reader.key(written[1]), f"{written[1]} and {written[0]} say the same thing twice")
        elif written:
            key = f"{name}_ms" if name in _DURATIONS else name
            values[key] = _read_value(reader, problems, name, written[0])
    return values


def _written(reader: Fields, name: str) -> list[str]:
    names = with_units((name,)) if name in _DURATIONS else (name,)
    alias = (_ALIASES[name],) if name in _ALIASES else ()
    return [n for n in (*names, *alias) if reader.get(n) is not None]


def _read_value(reader: Fields, problems: Problems, name: str, written: str) -> object:
    if name in _WORDS:
        return reader.choice(written, _WORDS[name][0], _WORDS[name])
    if name in _FLAGS:
        return reader.flag(written)
    if name in _DURATIONS:
        return reader.duration_ms(written, 0, bare="s" if written in _ALIASES.values() else "")
    return problems.attempt(reader.key(written), lambda: parse_amount(reader.text(written), written), _NONE)


def _blamed(reader: Fields, field: str) -> Node:
    """Return the key to point at: the one written, under whichever name; the whole policy where it was not."""
    name = field.removesuffix("_ms")
    return reader.key(next(iter(_written(reader, name)), name))
