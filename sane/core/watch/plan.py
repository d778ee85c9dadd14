"""Plans: what a planner may propose, and the checks that every plan passes before anything of it runs.

The planner's answer is data from outside, like the logs it has read. Whatever it says, `check_plan` goes by three
things that neither can change: the registry of verbs, the tier that the configuration grants, and the names of the
hosts.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, cast

from sane.core.nearest import nearest_hint
from sane.core.printable import printable
from sane.errors import UsageError

TIERS = ("read", "retry", "rollback", "write")


class OperationVerb(NamedTuple):
    """Describe a verb of plans: the tier it needs, the arguments it must and may have, whether it changes hosts."""

    tier: str
    required: tuple[str, ...]
    optional: tuple[str, ...]
    changes_hosts: bool


# Verbs of plans that are operations, not primitives. Their hosts are the step's.
OPERATION_VERBS: dict[str, OperationVerb] = {
    "alert": OperationVerb("read", (), ("message",), False),
    "wait": OperationVerb("read", ("seconds",), (), False),
    "retry": OperationVerb("retry", (), ("key",), True),
    "pause": OperationVerb("rollback", (), ("key", "reason"), False),
    "rollback": OperationVerb("rollback", (), ("key", "to_revision", "reason"), True),
    "promote": OperationVerb("write", (), ("key", "reason"), True),
}
STEP_LIMIT = 20
TEXT_LIMIT = 2_000
# Outside tier `write` an argument is a name, a number or a sentence: nothing that a shell would act on.
_SHELL = re.compile(r"[`$;|&<>\\\x00-\x1f\x7f]|\$\(|^-|\.\./")
_NAME = re.compile(r"^[A-Za-z0-9][\w.:@+-]{0,199}$")
_NAMED = ("key", "to_revision")


@dataclass(frozen=True, slots=True)
class PlanStep:
    """Hold one verb with its hosts and arguments; arguments are data, never text of a command line."""

    verb: str
    hosts: tuple[str, ...] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def as_json(self) -> dict[str, Any]:
        """Return the step as one JSON object."""
        return {"verb": self.verb, "hosts": list(self.hosts), "arguments": dict(self.arguments)}


@dataclass(frozen=True, slots=True)
class Plan:
    """Hold what a planner proposes, why, and how sure it is (0 to 1)."""

    steps: tuple[PlanStep, ...]
    reason: str
    confidence: float

    def as_json(self) -> dict[str, Any]:
        """Return the plan as one JSON object."""
        return {
            "steps": [step.as_json() for step in self.steps],
            "reason": self.reason,
            "confidence": self.confidence,
        }


@dataclass(frozen=True, slots=True)
class VerbRule:
    """Describe a primitive to `check_plan`: what a plan needs of sane.verbs.registry.Verb, without importing it."""

    access: str
    arguments: Mapping[str, str]
    required: frozenset[str]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, "tuple[str, ...]"])


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """Say what a plan may do: `tier` by configuration alone, at most `host_limit` hosts changed without a person's
    word.

    Below `least_confidence` a plan that changes hosts waits for a person as well.
    """

    tier: str = "retry"
    host_limit: int = 5
    least_confidence: float = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """Say what becomes of a plan: `run`, `approval` (a person decides) or `rejected` (nobody may run it), and why."""

    decision: str
    reasons: tuple[str, ...] = ()


def plan_from_json(value: object) -> Plan:
    """Return the plan that a model's structured answer holds. Raises UsageError that says what is wrong with it."""
    data = _object(value, "a plan")
    unknown = sorted(set(data) - {"steps", "reason", "confidence"})
    if unknown:
        raise UsageError(f"a plan has no '{_short(unknown[0])}'", hint="A plan is steps, reason and confidence.")
    steps = _list(data.get("steps"), "a plan's steps")
    if len(steps) > STEP_LIMIT:
        raise UsageError(f"a plan has at most {STEP_LIMIT} steps")
    confidence = data.get("confidence", 0.0)
    if not _is_number(confidence) or not 0 <= confidence <= 1:
        raise UsageError("a plan's confidence is a number from 0 to 1")
    return Plan(tuple(_step(step) for step in steps), str(data.get("reason", ""))[:TEXT_LIMIT], float(confidence))


def _step(value: object) -> PlanStep:
    data = _object(value, "a step of a plan")
    verb = data.get("verb")
    if not isinstance(verb, str):
        raise UsageError("a step of a plan has a verb, which is text")
    hosts = _list(data.get("hosts", []), f"the hosts of '{_short(verb)}'")
    if not all(isinstance(host, str) for host in hosts):
        raise UsageError(f"the hosts of '{_short(verb)}' are names")
    return PlanStep(verb, tuple(hosts), dict(_object(data.get("arguments", {}), f"the arguments of '{_short(verb)}'")))


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UsageError(f"{what}: must be an object, got {type(value).__name__}")
    return {str(name): item for name, item in cast("Mapping[object, Any]", value).items()}


def _list(value: object, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{what}: must be a list, got {type(value).__name__}")
    return cast("list[Any]", value)


def allowed_verbs(tier: str, primitives: Mapping[str, VerbRule]) -> tuple[str, ...]:
    """Return the verbs that a tier allows, for the packet."""
    names = [name for name, verb in OPERATION_VERBS.items() if reaches(tier, verb.tier)]
    return (*names, *(name for name, rule in primitives.items() if reaches(tier, _tier_of(rule))))


def reaches(tier: str, needed: str) -> bool:
    """Return whether a tier allows what needs `needed`."""
    return TIERS.index(tier) >= TIERS.index(needed)


def _tier_of(rule: VerbRule) -> str:
    return "read" if rule.access == "read" else "write"


def check_plan(
    plan: Plan, *, limits: PlanLimits, known_hosts: Collection[str], primitives: Mapping[str, VerbRule]
) -> Decision:
    """Return what becomes of the plan.

    A mistake rejects all of it; a tier beyond `limits`, or too many hosts, needs a person. Verbs of access `admin`
    are never for a plan.
    """
    if not plan.steps:
        return Decision("rejected", ("the plan has no steps",))
    mistakes = [said for step in plan.steps for said in _mistakes(step, known_hosts, primitives)]
    if mistakes:
        return Decision("rejected", tuple(mistakes[:10]))
    doubts: list[str] = []
    for step in plan.steps:
        needed = OPERATION_VERBS[step.verb].tier if step.verb in OPERATION_VERBS else _tier_of(primitives[step.verb])
        if not reaches(limits.tier, needed):
            doubts.append(f"'{step.verb}' needs tier {needed}, the planner has {limits.tier}")
    changed = {host for step in plan.steps if _changes_hosts(step, primitives) for host in step.hosts or known_hosts}
    if len(changed) > limits.host_limit:
        doubts.append(f"it changes {len(changed)} hosts, more than {limits.host_limit}")
    if changed and plan.confidence < limits.least_confidence:
        doubts.append(f"its confidence is {plan.confidence:.2f}, less than {limits.least_confidence:.2f}")
    return Decision("approval" if doubts else "run", tuple(doubts))


def _changes_hosts(step: PlanStep, primitives: Mapping[str, VerbRule]) -> bool:
    if step.verb in OPERATION_VERBS:
        return OPERATION_VERBS[step.verb].changes_hosts
    return primitives[step.verb].access != "read"


def _mistakes(step: PlanStep, known_hosts: Collection[str], primitives: Mapping[str, VerbRule]) -> list[str]:
    """Return what is wrong with a step, whoever were to approve it."""
    said = [f"there is no host '{_short(host)}'" for host in step.hosts if host not in known_hosts]
    if step.verb in OPERATION_VERBS:
        verb = OPERATION_VERBS[step.verb]
        known, required, kinds = {*verb.required, *verb.optional}, set(verb.required), dict[str, str]()
        is_write = False
    elif step.verb in primitives and primitives[step.verb].access in ("read", "write"):
        rule = primitives[step.verb]
        known, required, kinds = set(rule.arguments), set(rule.required), dict(rule.arguments)
        is_write = rule.access == "write"
        said += _wrong_choices(step, rule)
    else:
        valid = [*OPERATION_VERBS, *primitives]
        return [*said, f"there is no verb '{_short(step.verb)}' for plans. {nearest_hint(_short(step.verb), valid)}"]
    said += [f"'{step.verb}' has no argument '{_short(name)}'" for name in step.arguments if name not in known]
    said += [f"'{step.verb}' needs '{name}'" for name in sorted(required) if name not in step.arguments]
    for name, value in step.arguments.items():
        said += [
            f"'{step.verb}' {_short(name)}: {why}" for why in _wrong_value(name, value, kinds.get(name, ""), is_write)
        ]
    return said


def _wrong_choices(step: PlanStep, rule: VerbRule) -> list[str]:
    return [
        f"'{step.verb}' {name}: must be one of {', '.join(choices)}"
        for name, choices in rule.choices.items()
        if name in step.arguments and choices and step.arguments[name] not in choices
    ]


def _wrong_value(name: str, value: Any, kind: str, is_write: bool) -> list[str]:
    if name == "seconds" and not (_is_number(value) and 0 <= value <= 3_600):
        return ["must be a number of seconds up to 3600"]
    if kind in ("int", "float") and not _is_number(value):
        return ["must be a number"]
    if kind == "bool" and not isinstance(value, bool):
        return ["must be true or false"]
    if name in _NAMED and not _NAME.match(str(value)):
        return ["is not a name"]
    for text in cast("list[Any]", value) if isinstance(value, list) else [value]:
        if not isinstance(text, str | int | float | bool):
            return ["must be text or a number"]
        if isinstance(text, str) and not is_write and (_SHELL.search(text) or len(text) > TEXT_LIMIT):
            return ["looks like shell text, and this verb takes none"]
    return []


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value


def _short(text: str) -> str:
    """Return a name of the planner's as it may be shown: printable, and not long."""
    return printable(text[:60], instead="?")
