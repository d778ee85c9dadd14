"""A simulated fleet: each host has a fate, and `drive` is the smallest controller there can be."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sane.core.events import Event
from sane.core.rollout.controller import (
    Action,
    Effect,
    HostSpec,
    JudgeGates,
    ProbeHealth,
    RolloutState,
    WaitUntil,
    apply,
    event_of,
    finished,
    observed,
    reconcile,
)
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import create

QUICK = {"min_healthy_ms": 0, "healthy_deadline_ms": 60, "progress_deadline_ms": 100_000, "poll_interval_ms": 10}

# fate -> what each part answers; a probe answers its list one by one, the last one for ever.
FATES: dict[str, dict[str, object]] = {
    "ok": {},
    "blips": {"probe": ["missing", "stale", "pass"]},
    "same": {"preflight": "unchanged"},
    "same_sick": {"preflight": "unchanged", "probe": ["fail"]},
    "gone": {"preflight": "unreachable"},
    "unfit": {"preflight": "failed"},
    "stage_fails": {"stage": "failed"},
    "refused": {"stage": "unreachable", "never_began": ["stage"]},
    "not_ours": {"stage": "failed", "never_began": ["stage"]},
    "goes": {"stage": "unreachable"},
    "switch_fails": {"switch": "failed"},
    "switch_refused": {"switch": "unreachable", "never_began": ["switch"]},
    "sick": {"probe": ["fail"]},
    "silent": {"probe": ["unreachable"]},
    "lost_back": {"switch": "lost", "probe": ["unreachable", "pass"]},
    "lost_gone": {"switch": "lost", "probe": ["unreachable"]},
}
# These ask a person: no oracle says what the person answers.
DOUBTFUL_FATES: dict[str, dict[str, object]] = {
    "degraded": {"probe": ["inconclusive"] * 9 + ["pass"]},
    "wavers": {"probe": ["pass", "inconclusive", "missing", "inconclusive", "pass"]},
}
REVERT_FATES: dict[str, dict[str, object]] = {
    "ok": {},
    "fails": {"revert": "failed"},
    "lost": {"revert": "lost"},
    "unproven": {"back": ["version_mismatch"]},
    "none": {},
}


@dataclass
class World:
    """Answer effects by the fates of the hosts; latency in ms by `rng`, 5 without."""

    fates: dict[str, str]
    revert_fates: dict[str, str] = field(default_factory=dict)
    gates: Sequence[str] = ("pass",)
    rng: random.Random | None = None
    probes: dict[str, int] = field(default_factory=dict)
    judged: int = 0

    def latency_ms(self) -> int:
        return self.rng.randint(0, 12) if self.rng else 5

    def answer(self, action: Effect | JudgeGates, state: RolloutState, now_ms: int) -> Event:
        if isinstance(action, JudgeGates):
            self.judged += 1
            return finished(action, state, now_ms, self.gates[min(self.judged, len(self.gates)) - 1])
        fate = {**FATES, **DOUBTFUL_FATES}[self.fates.get(action.host, "ok")]
        back = REVERT_FATES[self.revert_fates.get(action.host, "ok")]
        if isinstance(action, ProbeHealth):
            reverting = state.hosts[state.index[action.host]].status == "reverting"
            answers = back.get("back", ["pass"]) if reverting else fate.get("probe", ["pass"])
            assert isinstance(answers, list)
            count = self.probes.get(action.host, 0)
            self.probes[action.host] = count + 1
            return observed(action, state, now_ms, answers[min(count, len(answers) - 1)])
        outcome = str((back if action.part == "revert" else fate).get(action.part, "ok"))
        if action.part == "preflight":
            had = "" if self.revert_fates.get(action.host) == "none" else "1"
            return finished(action, state, now_ms, outcome, previous_version=had)
        never_began = fate.get("never_began", [])
        assert isinstance(never_began, list)
        if action.part in never_began:
            return finished(action, state, now_ms, outcome, begun=False)
        return finished(action, state, now_ms, outcome, step=action.part)


Watcher = Callable[[RolloutState, Event, RolloutState], None]
Meddler = Callable[[RolloutState, int], str]


@dataclass
class Run:
    """Hold what a run left: the last state, its log, and how far time went."""

    state: RolloutState
    log: list[Event]
    now_ms: int


def begin(hosts: Sequence[str] | Sequence[HostSpec], policy: RolloutPolicy, **options: object) -> Event:
    """Return the event that creates deployment app-1 of key app."""
    specs = [host if isinstance(host, HostSpec) else HostSpec(host) for host in hosts]
    return create("app-1", "app", 1, "2", specs, policy, 0, **options)  # type: ignore[arg-type]


def drive(
    first: Event,
    world: World,
    *,
    watch: Watcher | None = None,
    meddle: Meddler | None = None,
    until: Callable[[RolloutState], bool] = lambda state: False,
    patience_ms: int = 10_000,
    limit: int = 5_000,
) -> Run:
    """Control a deployment to its end, until `until` holds, or until it waits for a person who is not there."""
    state, log, now = apply(None, first), [first], first.at_ms
    coming: list[tuple[int, int, Action]] = []
    number = 0

    def put(event: Event) -> None:
        nonlocal state
        before, state = state, apply(state, event)
        log.append(event)
        assert len(log) < limit, f"no end after {limit} events"
        if watch:
            watch(before, event, state)

    while not state.terminal:
        wake = now + patience_ms
        while actions := reconcile(state, now):
            decisions = [action for action in actions if not isinstance(action, WaitUntil)]
            wake = min([action.at_ms for action in actions if isinstance(action, WaitUntil)], default=wake)
            for action in decisions:
                event = event_of(action, state, now)
                assert event is not None
                put(event)
                if isinstance(action, Effect | JudgeGates):
                    number += 1
                    due = max(now, action.at_ms if isinstance(action, ProbeHealth) else 0) + world.latency_ms()
                    heapq.heappush(coming, (due, number, action))
            if not decisions:
                break
        if state.terminal or until(state):
            break
        if meddle and (request := meddle(state, now)):
            word, _, reason = request.partition(": ")
            put(ask(state, word, now, **({"reason": reason} if reason else {})))
            continue
        if coming and coming[0][0] <= wake:
            now, _, action = heapq.heappop(coming)
            assert isinstance(action, Effect | JudgeGates)
            put(world.answer(action, state, now))
        elif wake >= first.at_ms + 1_000_000 or (not coming and not meddle and state.status == "paused"):
            break
        else:
            now = wake
    return Run(state, log, now)


def ask(state: RolloutState, request: str, at_ms: int, **data: object) -> Event:
    """Return an operator's request."""
    return Event("operator_request", at_ms, key=state.key, deployment=state.id, data={"request": request, **data})


def statuses(state: RolloutState) -> dict[str, str]:
    """Return each host's status by name."""
    return {host.spec.name: host.status for host in state.hosts}
