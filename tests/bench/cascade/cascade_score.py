"""Score what was done against the truth, and what the other ways would have done."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from cascade_fleet import POLLS_A_DAY, Fleet, HostTrace, Incident
from cascade_ours import Cover, Outcome
from cascade_prices import (
    CHEAP,
    CHEAP_MATRIX,
    PACKET_BY_PLANNER,
    PLANNER,
    PLANNER_FAILURE_RATE,
    ROUND_A_HOST,
    ROUND_FIXED,
    SAMPLE_BY_CHEAP,
    SAMPLE_BY_PLANNER,
    Call,
    Price,
    cost_micro,
)

HARD_KINDS = ("crash", "lying", "zone")
SLACK_POLLS = 20  # an incident told within ten minutes of its end still counts as found
AFTERMATH_POLLS = (
    70  # what is told so soon after an incident is about it (flapping is open for 60 polls after the last bad one)
)


@dataclass
class Row:
    """One way of watching, in figures."""

    name: str
    planner_calls: int
    cheap_calls: int
    cost_micro: float
    missed: int
    false_a_day: float
    delays: dict[str, list[int]] = field(default_factory=dict)
    missed_incidents: list[Incident] = field(default_factory=list)

    def as_json(self) -> dict[str, Any]:
        """Return the row for the JSON report."""
        return {
            "name": self.name,
            "planner_calls": self.planner_calls,
            "cheap_calls": self.cheap_calls,
            "cost_dollars": round(self.cost_micro / 1e6, 4),
            "missed": self.missed,
            "false_escalations_a_day": round(self.false_a_day, 3),
            "delay_polls": {kind: spread(values) for kind, values in sorted(self.delays.items())},
            "missed_incidents": [
                f"{x.kind}: {x.shape} on {x.hosts[0]} at poll {x.start}" for x in self.missed_incidents
            ],
        }


def spread(values: list[int]) -> dict[str, int]:
    """Return the median, the 95th percentile and the largest of some delays."""
    ordered = sorted(values)
    last = len(ordered) - 1
    return {"n": len(ordered), "median": ordered[last // 2], "p95": ordered[round(last * 0.95)], "max": ordered[last]}


def onset(incident: Incident, host: HostTrace) -> int:
    """Return the first poll whose sample shows a fault outside announced maintenance; of a leak, the first byte.

    A frozen file shows when it is older than three polls, `starting` never: an incident of nothing else counts from
    its start.
    """
    if incident.kind == "leak":
        return incident.start
    needed = 3 if incident.kind in HARD_KINDS else 1  # a blip in a healthy phase of it is not its onset
    for i in range(incident.start, incident.end):
        if all(is_visible_alone(incident, host, n) and not host.in_maintenance(n) for n in range(i, i + needed)):
            return i
    return incident.start


def is_stuck(incident: Incident, host: HostTrace) -> bool:
    """Return whether the incident shows in no sample, only in how long it lasts."""
    return incident.kind != "leak" and not any(
        is_visible_alone(incident, host, i) for i in range(incident.start, incident.end)
    )


def score(fleet: Fleet, outcome: Outcome, name: str) -> Row:
    """Return the row of what the cascade did."""
    hosts = {trace.name: trace for trace in fleet.hosts}
    by_host: dict[str, list[Cover]] = {}
    for cover in outcome.covers:
        by_host.setdefault(cover.host, []).append(cover)
    row = Row(name, outcome.planner_calls, outcome.cheap_calls, outcome.cost_micro, 0, 0.0)
    for incident in fleet.incidents:
        told = [
            cover.at
            for host in incident.hosts
            for cover in by_host.get(host, ())
            if incident.start <= cover.at <= incident.end + SLACK_POLLS
        ]
        if not told:
            row.missed += 1
            row.missed_incidents.append(incident)
            continue
        first = min(onset(incident, hosts[host]) for host in incident.hosts)
        kind = "stuck" if is_stuck(incident, hosts[incident.hosts[0]]) else incident.kind
        row.delays.setdefault(kind, []).append(max(1, min(told) - first + 1))
    row.false_a_day = _false(fleet, outcome) / (fleet.polls / POLLS_A_DAY)
    return row


def _false(fleet: Fleet, outcome: Outcome) -> int:
    spans: dict[str, list[tuple[int, int]]] = {}
    for incident in fleet.incidents:
        for host in incident.hosts:
            spans.setdefault(host, []).append((incident.start, incident.end + AFTERMATH_POLLS))
    return sum(
        not any(start <= at < end for host in hosts for start, end in spans.get(host, ()))
        for at, _, _, hosts in outcome.escalations
    )


def score_every_poll(fleet: Fleet, name: str, *, is_planner: bool, seed: int) -> Row:
    """Return the row of a model asked about every single sample.

    It sees one sample: it can't tell a blip from an onset, sees a leak only when the field is at 90% of its total,
    and errs at the rates of cascade_prices. It is told of announced maintenance. Each wrong answer on a healthy
    sample or a blip wakes somebody.
    """
    rng = random.Random(seed)
    hits, alarms = (1 - PLANNER_FAILURE_RATE, 0.0) if is_planner else CHEAP_MATRIX
    price, call = (PLANNER, SAMPLE_BY_PLANNER) if is_planner else (CHEAP, SAMPLE_BY_CHEAP)
    polls = fleet.polls * len(fleet.hosts)
    hosts = {trace.name: trace for trace in fleet.hosts}
    row = Row(name, polls * is_planner, polls * (not is_planner), polls * cost_micro(price, call), 0, 0.0)
    for incident in fleet.incidents:
        trace = hosts[incident.hosts[0]]
        first = onset(incident, trace)
        seen = (i for i in range(first, incident.end) if is_visible_alone(incident, trace, i))
        found = next((i for i in seen if rng.random() < hits), None)
        if found is None:
            row.missed += 1
        else:
            row.delays.setdefault(incident.kind, []).append(found - first + 1)
    inside = {host: [(x.start, x.end) for x in fleet.incidents if host in x.hosts] for host in hosts}
    odd = 0
    for trace in fleet.hosts:
        spans = inside[trace.name]
        odd += sum(not trace.in_maintenance(i) and not any(s <= i < e for s, e in spans) for i in trace.abnormal)
    row.false_a_day = (odd * hits + (polls - odd) * alarms) / (fleet.polls / POLLS_A_DAY)
    return row


def is_visible_alone(incident: Incident, trace: HostTrace, i: int) -> bool:
    """Return whether one sample alone shows the incident."""
    if incident.kind != "leak":
        odd = trace.abnormal.get(i)
        if odd is None or odd.get("verdict") == "wait":
            return False
        return "frozen" not in odd or i - odd["frozen"] >= 3
    numbers = trace.numbers(i)
    return numbers["memory_used_mb"] >= 0.9 * numbers["memory_total_mb"]


def score_oracle(fleet: Fleet) -> Row:
    """Return the row of one that knows each incident as it begins, and calls the planner once."""
    calls = len(fleet.incidents)
    delays: dict[str, list[int]] = {}
    for incident in fleet.incidents:
        delays.setdefault(incident.kind, []).append(1)
    return Row("oracle", calls, 0, calls * cost_micro(PLANNER, PACKET_BY_PLANNER), 0, 0.0, delays)


def round_cost_micro(fleet: Fleet, price: Price, output: int) -> float:
    """Return what one call a round over the whole fleet would cost.

    The cheapest form of asking a model all the time.
    """
    call = Call(ROUND_FIXED + ROUND_A_HOST * len(fleet.hosts), output)
    return fleet.polls * cost_micro(price, call)
