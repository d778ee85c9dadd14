"""What `reconcile` asks for. Effects touch a host and have an operation id; decisions are only written down."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from sane.core.events import Event
from sane.core.rollout.state import RolloutState


@dataclass(frozen=True, slots=True)
class Effect:
    """Do something for one host; the same `operation` is the same deed, so that it can be told when it was done."""

    operation: str
    host: str
    version: str = ""
    digest: str = ""
    part: ClassVar[str] = ""  # of the workflow


class Preflight(Effect):
    """Look whether the host can take the version, and what it has now. Changes nothing."""

    __slots__ = ()
    part = "preflight"


class Stage(Effect):
    """Put the version beside the old one."""

    __slots__ = ()
    part = "stage"


class Switch(Effect):
    """Bring traffic to the version and retire the old one."""

    __slots__ = ()
    part = "switch"


class Revert(Effect):
    """Take the host back to `version` and `digest`, which are its own previous ones."""

    __slots__ = ()
    part = "revert"


@dataclass(frozen=True, slots=True)
class ProbeHealth(Effect):
    """Read the host's health at `at_ms`, not before, and expect `version` and `digest`.

    `side` is green where the version stands beside the old one and takes no traffic yet, else live.
    `activated`: this deployment put the version there, so its nonce and the time of activation must agree.
    """

    at_ms: int = 0
    side: str = "live"
    activated: bool = True
    part = "probe"


@dataclass(frozen=True, slots=True)
class JudgeGates:
    """Judge the gates over the canaries against the control hosts."""

    operation: str
    canaries: tuple[str, ...]
    controls: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Transition:
    """Change the state of the deployment."""

    source: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class HostTransition:
    """Change the state of a host."""

    host: str
    source: str
    target: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Promote:
    """Let the rest follow the canaries, without waiting for an operator."""

    reason: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Start no further host, let those in flight finish, then fail."""

    cause: str
    reason: str


@dataclass(frozen=True, slots=True)
class WaitUntil:
    """Reconcile again at this time even if nothing happens before; nothing to write down."""

    at_ms: int


Action = Effect | JudgeGates | Transition | HostTransition | Promote | Stop | WaitUntil
PART_ACTIONS: dict[str, type[Effect]] = {"preflight": Preflight, "stage": Stage, "switch": Switch, "revert": Revert}


def event_of(action: Action, state: RolloutState, now_ms: int) -> Event | None:
    """Return the event to append before an action is performed; None for WaitUntil, which needs none."""
    kind, host, data = _contents(action)
    if not kind:
        return None
    return Event(kind, now_ms, key=state.key, deployment=state.id, host=host, data=data)


def _contents(action: Action) -> tuple[str, str, dict[str, Any]]:
    match action:
        case Effect():
            data: dict[str, Any] = {"operation": action.operation, "action": action.part}
            if isinstance(action, ProbeHealth):
                data["at_ms"] = action.at_ms
            return "action_started", action.host, data
        case JudgeGates():
            return "action_started", "", {"operation": action.operation, "action": "gates"}
        case HostTransition():
            return "host_transition", action.host, _change(action.source, action.target, action.reason)
        case Transition():
            return "deployment_transition", "", _change(action.source, action.target, action.reason)
        case Promote():
            return "deployment_promoted", "", {"reason": action.reason}
        case Stop():
            return "deployment_stopping", "", {"cause": action.cause, "reason": action.reason}
        case WaitUntil():
            return "", "", {}


def _change(source: str, target: str, reason: str) -> dict[str, Any]:
    return {"from": source, "to": target, "reason": reason}


def finished(action: Effect | JudgeGates, state: RolloutState, now_ms: int, outcome: str, **details: Any) -> Event:
    """Return the event that says what came of an effect; a probe's is made by `observed`.

    `outcome` is ok, unchanged (of a preflight: the host has the digest), failed, unreachable (nothing ran) or lost
    (contact lost inside it); of gates pass, fail or inconclusive. `details` may hold step, exit_code, error, hint,
    and of a preflight previous_version and previous_digest. `begun` False: no step of it began on the host, so that
    the host was not changed by it.
    """
    host, name = (action.host, action.part) if isinstance(action, Effect) else ("", "gates")
    data = {"operation": action.operation, "action": name, "outcome": outcome, **details}
    return Event("action_finished", now_ms, key=state.key, deployment=state.id, host=host, data=data)


def observed(action: ProbeHealth, state: RolloutState, now_ms: int, verdict: str, **details: Any) -> Event:
    """Return the event that ends a probe: a verdict of `health.judge`, or unreachable.

    `details` may hold status, version, reason, rule, and observed_ms where the sample is older than the event.
    """
    data = {"operation": action.operation, "verdict": verdict, **details}
    return Event("health_observed", now_ms, key=state.key, deployment=state.id, host=action.host, data=data)


def part_of(action: Effect) -> str:
    """Return the part of the workflow that an effect carries out: preflight, stage, switch, probe or revert."""
    return action.part
