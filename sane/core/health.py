"""Whether what a host says of its health can be believed, and what it says.

The rules of docs/reference/states.md in their order; the first that fails decides the verdict, and its name is what
`sane health explain` shows. Nothing that a file holds makes this raise.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

from sane.core.strict_json import RefusedError, parse_document
from sane.core.units import show_duration, tell_duration

WORDS: dict[str, str] = {
    **dict.fromkeys(("healthy", "ok", "passing"), "pass"),
    **dict.fromkeys(("starting", "pending"), "wait"),
    **dict.fromkeys(("degraded", "warning"), "inconclusive"),
    **dict.fromkeys(("unhealthy", "failed", "critical", "error"), "fail"),
}
# Each verdict of `judge`. Of the last six, one is no statement about health: what was read can't be believed.
VERDICTS = ("pass", "wait", "inconclusive", "fail", "unrecognised", "missing", "malformed", "stale", "version_mismatch")
_WORST_FIRST = ("fail", "unrecognised", "inconclusive", "wait", "pass")
MAX_BYTES = 64 << 10  # a status, a version, a nonce and some detail: far below it
AGE_IN_POLLS = 3  # a file older than three polls is stale (docs/reference/states.md)
_SHOWN_CHARACTERS = 80


class GateSaid(NamedTuple):
    """Say what came of a gate, and why it did not pass."""

    answer: bool | None
    detail: str


Gate = Callable[[Mapping[str, Any]], GateSaid | bool | None]


@dataclass(frozen=True, slots=True)
class Facts:
    """Say what is expected, and what was measured beside the content.

    Times are epoch milliseconds of the host's own clock; None is unknown. `activated_at_ms` and `nonce` are those of
    this activation; None and "" where the deployment did not activate anything. `mtime_resolution_ms` is 1000 where the
    host tells whole seconds only: then a file of the same second as the activation counts as written after it.
    `fresh` False leaves the age alone; `max_age_ms` is the oldest that counts, three polls where it is None.
    `written_once` takes a file at any age that names this activation's nonce: nothing else can have written it, and
    how soon it is read depends on how busy we are. `health_check` agent_states judges the states of the agents, not the
    status.
    """

    version: str = ""
    digest: str = ""
    nonce: str = ""
    activated_at_ms: int | None = None
    mtime_ms: int | None = None
    mtime_resolution_ms: int = 1
    host_now_ms: int | None = None
    size_bytes: int | None = None
    poll_interval_ms: int = 1_000
    max_age_ms: int | None = None
    written_once: bool = False
    max_bytes: int = MAX_BYTES
    fresh: bool = True
    health_check: str = "checks"
    gates: Sequence[tuple[str, Gate]] = ()


class Rule(NamedTuple):
    """Say of one rule whether it held, and what was seen."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class HealthVerdict:
    """Hold a verdict with its evidence.

    `rule` names the rule that failed, "" where all held; `rules` has those that were looked at, in order. `torn`: the
    content looks cut, so the caller reads it once more.
    """

    verdict: str
    status: str = ""
    version: str = ""
    reason: str = ""
    rule: str = ""
    rules: tuple[Rule, ...] = ()
    torn: bool = False

    @property
    def healthy(self) -> bool:
        """Return whether every rule held and the word is one of health."""
        return self.verdict == "pass"


def judge(content: bytes | None, facts: Facts) -> HealthVerdict:
    """Return what the content of a health file proves; None is a file that is not there."""
    rules: list[Rule] = []
    if content is None:
        return _refuse("missing", Rule("exists", False, "there is no health file"), rules)
    rules.append(Rule("exists", True, "the file is there"))
    size = max(len(content), facts.size_bytes or 0)
    if size > facts.max_bytes:
        return _refuse("malformed", Rule("small", False, f"{size} bytes, more than {facts.max_bytes}"), rules)
    rules.append(Rule("small", True, f"{size} bytes"))
    try:
        document = parse_document(content)
    except RefusedError as refused:
        return _refuse("malformed", Rule("whole", False, str(refused)), rules, torn=refused.torn)
    rules.append(Rule("whole", True, "whole JSON"))
    told = (_text(document.get("status")), _text(document.get("version")))
    for check in (_version_rule, _nonce_rule, _activation_rule, _age_rule):
        rule = check(document, facts)
        if not rule.passed:
            if check is _age_rule and (said := _worst_said(document, facts))[0] != "pass":
                # Of this activation, and no good news: what it said tells more than how long ago it did.
                rule = rule._replace(detail=f"{said[1]}, {rule.detail}")
            return _refuse("version_mismatch" if check is _version_rule else "stale", rule, rules, told)
        rules.append(rule)
    return _judge_words(document, facts, rules, told)


def _refuse(
    verdict: str, rule: Rule, rules: list[Rule], told: tuple[str, str] = ("", ""), *, torn: bool = False
) -> HealthVerdict:
    return HealthVerdict(verdict, *told, rule.detail, rule.name, (*rules, rule), torn)


def _judge_words(document: Mapping[str, Any], facts: Facts, rules: list[Rule], told: tuple[str, str]) -> HealthVerdict:
    verdict, detail = _words(document, facts)
    name = "agents" if facts.health_check == "agent_states" else "status"
    if verdict != "pass":
        return _refuse(verdict, Rule(name, False, detail), rules, told)
    rules.append(Rule(name, True, detail))
    results = _ask_gates(document, facts)
    if results and results[0][1] != "pass":
        rule_name, verdict, detail = results[0]
        return _refuse(verdict, Rule(rule_name, False, detail), rules, told)
    rules.extend(Rule(rule_name, True, detail) for rule_name, _, detail in results)
    return HealthVerdict("pass", *told, rules=tuple(rules))


def _ask_gates(document: Mapping[str, Any], facts: Facts) -> list[tuple[str, str, str]]:
    """Return the rule, verdict and detail of each gate: those that say no first, then those that can't say."""
    results = [(f"gate {name}", *_ask(name, gate, document)) for name, gate in facts.gates]
    return sorted(results, key=lambda result: ("fail", "inconclusive", "pass").index(result[1]))


def _worst_said(document: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    """Return the verdict and detail that would decide if the file were young."""
    words, gates = _words(document, facts), _ask_gates(document, facts)
    return gates[0][1:] if words[0] == "pass" and gates else words


def _words(document: Mapping[str, Any], facts: Facts) -> tuple[str, str]:
    return _agents(document) if facts.health_check == "agent_states" else _status(document)


def _ask(name: str, gate: Gate, document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the verdict of a gate: only exactly True passes; an exception says nothing, as an absent field does."""
    try:
        said: object = gate(document)
    except Exception as error:  # a gate is code of others: whatever it raises is inconclusive
        return "inconclusive", f"`{name}` could not be judged: {error}"
    answer, detail = said if isinstance(said, GateSaid) else (said, f"`{name}` is {_shown(said)}")
    if answer is True:
        return "pass", "true"
    return "fail" if answer is False else "inconclusive", detail


def _status(document: Mapping[str, Any]) -> tuple[str, str]:
    if "status" not in document:
        return "unrecognised", "it has no status"
    return _word("status", document["status"])


def _word(name: str, value: object) -> tuple[str, str]:
    """Return the verdict of a status word, matched whole."""
    verdict = WORDS.get(value, "unrecognised") if isinstance(value, str) else "unrecognised"
    return verdict, f"{name} is {_shown(value)}"


def _agents(document: Mapping[str, Any]) -> tuple[str, str]:
    """Return the worst verdict of the agents; none at all says nothing."""
    found = document.get("agents")
    if isinstance(found, Mapping):
        entries = list(cast("Mapping[str, object]", found).items())
    elif isinstance(found, list):
        entries = [(_agent_name(agent, i), agent) for i, agent in enumerate(cast("list[object]", found))]
    else:
        entries = []
    if not entries:
        return "inconclusive", "it names no agents"
    words = [_word(f"agent {name}", _agent_status(agent)) for name, agent in entries]
    worst = min(words, key=lambda word: _WORST_FIRST.index(word[0]))
    return worst if worst[0] != "pass" else ("pass", f"{len(words)} agents are ready")


def _agent_status(agent: object) -> object:
    return cast("Mapping[str, object]", agent).get("status") if isinstance(agent, Mapping) else agent


def _agent_name(agent: object, number: int) -> str:
    name = cast("Mapping[str, object]", agent).get("name") if isinstance(agent, Mapping) else None
    return name if isinstance(name, str) else str(number)


def _version_rule(document: Mapping[str, Any], facts: Facts) -> Rule:
    """Return whether what the file names, version or digest, is what was deployed, and nothing it names is not."""
    expected = {"version": facts.version, "digest": facts.digest}
    named = {name: _text(document.get(name)) for name in expected if document.get(name) is not None}
    for name, value in named.items():
        if expected[name] and value != expected[name]:
            if not value and isinstance(document[name], int | float) and not isinstance(document[name], bool):
                return Rule("version", False, f"{name} is {_shown(document[name])}, a number: write it in quotes")
            return Rule("version", False, f"{name} is {_shown(document[name])}, expected {_shown(expected[name])}")
    proven = [name for name in named if expected[name]]
    if not proven and any(expected.values()):
        return Rule("version", False, f"it names no version, expected {_shown(facts.version or facts.digest)}")
    return Rule("version", True, ", ".join(f"{name} is {_shown(named[name])}" for name in proven) or "none expected")


def _nonce_rule(document: Mapping[str, Any], facts: Facts) -> Rule:
    if not facts.nonce or document.get("nonce") is None:
        return Rule("nonce", True, "not reported" if facts.nonce else "none expected")
    same = document["nonce"] == facts.nonce
    return Rule("nonce", same, "that of this activation" if same else "that of another activation")


def _activation_rule(document: Mapping[str, Any], facts: Facts) -> Rule:
    if facts.activated_at_ms is None:
        return Rule("written_after_activation", True, "nothing was activated")
    if facts.mtime_ms is None:
        return Rule("written_after_activation", False, "the host did not tell when it was written")
    late = facts.mtime_ms - facts.activated_at_ms // facts.mtime_resolution_ms * facts.mtime_resolution_ms
    when = f"{tell_duration(abs(late))} {'after' if late >= 0 else 'before'} the activation"
    return Rule("written_after_activation", late >= 0, f"written {when}")


def _age_rule(document: Mapping[str, Any], facts: Facts) -> Rule:
    if not facts.fresh:
        return Rule("young", True, "its age does not count here")
    if facts.written_once and facts.nonce and document.get("nonce") == facts.nonce:
        return Rule("young", True, "it names this activation, and is written once")
    if facts.mtime_ms is None or facts.host_now_ms is None:
        return Rule("young", False, "the host did not tell how old it is")
    limit = AGE_IN_POLLS * facts.poll_interval_ms if facts.max_age_ms is None else facts.max_age_ms
    limit += facts.mtime_resolution_ms - 1
    age = facts.host_now_ms - facts.mtime_ms
    if age < -limit:
        return Rule("young", False, f"written {tell_duration(-age)} in the future of the host's clock")
    return Rule("young", age <= limit, f"{tell_duration(max(age, 0))} old, at most {show_duration(limit)} counts")


def _text(value: object) -> str:
    """Return a value that names something as text: a string, or a whole number."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else ""


def _shown(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"
