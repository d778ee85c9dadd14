"""Run the detectors and the escalation controller of sane.core over a simulated fleet.

The planner and the cheap model are drawn from their error rates: they are the only parts that may look at the truth.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from cascade_fleet import POLL_MS, Fleet, HostTrace
from cascade_prices import (
    CHEAP,
    EPISODE_BY_CHEAP,
    PACKET_BY_PLANNER,
    PLANNER,
    PLANNER_FAILURE_RATE,
    Call,
    Price,
    cost_micro,
)

from sane.core.events import Event
from sane.core.watch.detect import HostWatch, observe_sample
from sane.core.watch.episodes import Finding
from sane.core.watch.escalation import apply_escalation, open_episode
from sane.core.watch.escalation_actions import (
    Action,
    Alert,
    Classify,
    DecidePlan,
    Escalate,
    RunPlan,
    next_wake_ms,
    reconcile_escalation,
)
from sane.core.watch.escalation_state import EscalationPolicy, EscalationState
from sane.core.watch.policy import WatchPolicy


@dataclass
class Cover:
    """Say that from poll `at` on, somebody was told of this host in this episode."""

    host: str
    at: int
    episode: str
    fault: str


@dataclass
class Outcome:
    """What the cascade did: who was told of which host when, and what it cost."""

    covers: list[Cover] = field(default_factory=list)
    escalations: list[tuple[int, str, str, tuple[str, ...]]] = field(default_factory=list)
    planner_calls: int = 0
    cheap_calls: int = 0
    alerts: int = 0
    episodes: int = 0
    observed: int = 0
    cost_micro: float = 0.0


def watch_host(
    fleet: Fleet, trace: HostTrace, policy: WatchPolicy, *, skip: bool = True
) -> tuple[list[Finding], int, HostWatch]:
    """Return all findings of one host, how many samples were looked at, and the last state.

    `skip` leaves out polls that can change nothing, which a test proves on small traces.
    """
    watch, findings, observed, i = HostWatch(trace.name, trace.zone), [], 0, 0
    edges = sorted({*trace.changes(), *(at for at, _ in fleet.releases)})
    pointer = 0
    while i < fleet.polls:
        observed += 1
        watch, found = observe_sample(
            watch,
            trace.sample(i),
            policy=policy,
            expected_version=fleet.expected_version(i),
            in_maintenance=trace.in_maintenance(i),
        )
        findings.extend(found)
        i += 1
        if skip and watch.is_quiet and (i - 1) not in trace.abnormal:
            while pointer < len(edges) and edges[pointer] < i:
                pointer += 1
            following = edges[pointer] if pointer < len(edges) else fleet.polls
            i = max(i, min(following, -(-watch.tick_ms // POLL_MS)))
    return findings, observed, watch


def detect_all(fleet: Fleet, policy: WatchPolicy, *, progress: bool = False) -> tuple[list[Finding], int]:
    """Return the findings of all hosts in the order of their time, and the number of samples looked at."""
    findings: list[Finding] = []
    observed = 0
    for n, trace in enumerate(fleet.hosts):
        found, seen, _ = watch_host(fleet, trace, policy)
        findings += found
        observed += seen
        if progress and n % 50 == 49:
            print(f"  {n + 1}/{len(fleet.hosts)} hosts, {len(findings)} findings", file=sys.stderr, flush=True)
    findings.sort(key=lambda f: (f.at_ms, f.host))
    return findings, observed


class Cascade:
    """Drive the escalation controller through time: the loop around the two pure functions, with drawn models."""

    def __init__(self, fleet: Fleet, policy: EscalationPolicy, matrix: tuple[float, float], seed: int) -> None:
        self.fleet = fleet
        self.policy = policy
        self.matrix = matrix
        self.random = random.Random(seed)
        self.state = EscalationState()
        self.outcome = Outcome()
        self.told: set[str] = set()
        self.truth: dict[str, list[tuple[int, int]]] = {}
        for incident in fleet.incidents:
            for host in incident.hosts:
                self.truth.setdefault(host, []).append((incident.start, incident.end))

    def run(self, findings: list[Finding]) -> Outcome:
        """Play the findings in order, and all that becomes due between them."""
        now_ms, place = 0, 0
        while True:
            wake_ms = next_wake_ms(self.state, now_ms)
            times = [findings[place].at_ms] if place < len(findings) else []
            if wake_ms is not None:
                times.append(-(-wake_ms // POLL_MS) * POLL_MS)
            now_ms = min(times, default=self.fleet.polls * POLL_MS)
            if now_ms >= self.fleet.polls * POLL_MS:
                return self.outcome
            while place < len(findings) and findings[place].at_ms == now_ms:
                self._fold(findings[place])
                place += 1
            self._settle(now_ms)

    def _fold(self, finding: Finding) -> None:
        for event in open_episode(self.state, finding, zone_sizes=self.fleet.zone_sizes, policy=self.policy):
            self._append(event)
            self.outcome.episodes += event.kind == "episode_opened"
            if event.kind == "episode_updated" and event.data["episode"] in self.told and event.data["joined"]:
                self._cover(event.data["episode"], tuple(event.data["joined"]), event.at_ms)

    def _settle(self, now_ms: int) -> None:
        for _ in range(20):
            actions = reconcile_escalation(self.state, now_ms, policy=self.policy)
            if not actions:
                return
            for action in actions:
                for event in self._perform(action, now_ms):
                    self._append(event)
        raise SystemExit("the controller does not come to rest")

    def _append(self, event: Event) -> None:
        self.state = apply_escalation(self.state, event, self.policy)

    def _perform(self, action: Action, now_ms: int) -> Iterator[Event]:
        match action:
            case Classify(episode=name):
                yield from self._classify(name, now_ms)
            case Escalate(episode=name):
                yield action.event(now_ms)
                yield from self._escalate(action, now_ms)
            case DecidePlan(episode=name, plan=plan):
                yield Event(
                    "plan_decided", now_ms, data={"episode": name, "plan": plan, "decision": "run", "reasons": []}
                )
            case RunPlan(episode=name, plan=plan):
                yield action.event(now_ms)
                yield Event("plan_finished", now_ms, data={"episode": name, "plan": plan, "outcome": "done"})
            case Alert(episode=name):
                self.outcome.alerts += 1
                yield action.event(now_ms)
                self._tell(name, now_ms)
                yield Event("alert_sent", now_ms, data={"episode": name, "outcome": "sent"})

    def _classify(self, name: str, now_ms: int) -> Iterator[Event]:
        hosts, i = self.state.episodes[name].hosts, now_ms // POLL_MS
        is_true = any(start <= i < end for host in hosts for start, end in self.truth.get(host, ()))
        says_incident = self.random.random() < self.matrix[0 if is_true else 1]
        self.outcome.cheap_calls += 1
        yield self._called("cheap", CHEAP, EPISODE_BY_CHEAP, name, now_ms)
        label = "incident" if says_incident else "noise"
        confidence = self.random.uniform(0.5, 0.99)
        yield Event("episode_classified", now_ms, data={"episode": name, "label": label, "confidence": confidence})

    def _escalate(self, action: Escalate, now_ms: int) -> Iterator[Event]:
        name = action.episode
        self.outcome.planner_calls += 1
        self._tell(name, now_ms)
        yield self._called("planner", PLANNER, PACKET_BY_PLANNER, name, now_ms)
        has_failed = self.random.random() < PLANNER_FAILURE_RATE
        plan = {"episode": name, "plan": f"{name}-p", "steps": [], "reason": "", "confidence": 1.0}
        if not has_failed:
            yield Event("plan_proposed", now_ms, data=plan)
        done = {"episode": name, "attempt": action.attempt, "operation": action.operation}
        yield Event("escalation_finished", now_ms, data={**done, "outcome": "failed" if has_failed else "planned"})

    def _called(self, model: str, price: Price, call: Call, name: str, now_ms: int) -> Event:
        cost = cost_micro(price, call)
        self.outcome.cost_micro += cost
        data = {
            "model": model,
            "input_tokens": call.input,
            "output_tokens": call.output,
            "cost_micro": round(cost),
            "outcome": "answered",
            "episode": name,
        }
        return Event("model_called", now_ms, data=data)

    def _tell(self, name: str, now_ms: int) -> None:
        if name in self.told:
            return
        self.told.add(name)
        episode = self.state.episodes[name]
        self.outcome.escalations.append((now_ms // POLL_MS, name, episode.fault, episode.all_hosts))
        self._cover(name, episode.hosts, now_ms)

    def _cover(self, name: str, hosts: tuple[str, ...], now_ms: int) -> None:
        fault = self.state.episodes[name].fault
        self.outcome.covers.extend(Cover(host, now_ms // POLL_MS, name, fault) for host in hosts)


def run_cascade(
    fleet: Fleet,
    findings: list[Finding],
    *,
    policy: EscalationPolicy | None = None,
    matrix: tuple[float, float] | None,
    seed: int,
) -> Outcome:
    """Return what the cascade does with the findings; `matrix` None runs without a cheap model."""
    policy = replace(policy or EscalationPolicy(), use_classifier=matrix is not None)
    return Cascade(fleet, policy, matrix or (1.0, 0.0), seed).run(findings)
