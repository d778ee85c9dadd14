"""The escalation controller: every row of its table, kills at every event, zones, budgets, alerts."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.events import Event
from sane.core.watch.budget import BudgetPolicy
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
from sane.core.watch.escalation_state import Episode, EscalationPolicy, EscalationState
from sane.core.watch.hysteresis import fade
from sane.core.watch.phases import TRANSITIONS, next_phase
from sane.core.watch.policy import WatchPolicy
from sane.core.watch.rule_planner import plan_by_rules
from sane.errors import ConflictError

POLICY = EscalationPolicy()
SIZES = {"a": 10, "b": 10}


def crash(host: str, at_ms: int, *, zone: str = "a", fault: str = "crash", cleared: bool = False) -> Finding:
    return Finding(host, zone, fault, at_ms, "the host does not answer", cleared)


def fold(state: EscalationState, *findings: Finding, policy: EscalationPolicy = POLICY) -> EscalationState:
    for finding in findings:
        for event in open_episode(state, finding, zone_sizes=SIZES, policy=policy):
            state = apply_escalation(state, event, policy)
    return state


def event(kind: str, at_ms: int = 0, **data: Any) -> Event:
    return Event(kind, at_ms, data={"episode": "e1", **data})


STARTED = event("escalation_started", attempt=1, operation="e1-a1")
PROPOSED = event("plan_proposed", plan="p1", steps=[], reason="", confidence=1.0)
PLANNED = event("escalation_finished", attempt=1, operation="e1-a1", outcome="planned")
FAILED = event("escalation_finished", attempt=1, operation="e1-a1", outcome="failed")
RUN = event("plan_decided", plan="p1", decision="run", reasons=[])
APPROVAL = event("plan_decided", plan="p1", decision="approval", reasons=["too many"])
REJECTED = event("plan_decided", plan="p1", decision="rejected", reasons=["no such host"])
BEGUN = event("plan_started", plan="p1", operation="e1-run")
ENDED = event("plan_finished", plan="p1", outcome="done", summary="retry web1")
RAISED = event("alert_raised", reason="x", operation="e1-alert")


def after(*events: Event) -> EscalationState:
    state = fold(EscalationState(), crash("web1", 0))
    for one in events:
        state = apply_escalation(state, one, POLICY)
    return state


def test_it_settles_before_it_escalates() -> None:
    state = after()
    assert reconcile_escalation(state, POLICY.settle_ms - 1) == ()
    assert next_wake_ms(state, 0) == POLICY.settle_ms
    assert reconcile_escalation(state, POLICY.settle_ms) == (Escalate("e1", 1, "e1-a1"),)


def test_the_decision_is_recorded_before_the_call_and_not_made_twice() -> None:
    state = after(STARTED)
    assert reconcile_escalation(state, 10**9, running=frozenset({"e1-a1"})) == ()


def test_a_killed_call_is_taken_up_as_the_same_attempt_and_only_once() -> None:
    state = after(STARTED)
    (action,) = reconcile_escalation(state, 10**9)
    assert isinstance(action, Escalate)
    assert action == Escalate("e1", 1, "e1-a1", is_resumed=True)
    state = apply_escalation(state, action.event(5), POLICY)
    assert reconcile_escalation(state, 10**9, running=frozenset({"e1-a1"})) == ()
    (action,) = reconcile_escalation(state, 10**9)
    assert isinstance(action, Alert)


def test_a_killed_plan_is_never_run_again() -> None:
    state = after(STARTED, PROPOSED, PLANNED, RUN, BEGUN)
    (action,) = reconcile_escalation(state, 10**9)
    assert isinstance(action, Alert)
    assert "unknown" in action.reason


def test_a_killed_alert_is_sent_again_under_the_same_name() -> None:
    (action,) = reconcile_escalation(after(RAISED), 10**9)
    assert action == Alert("e1", "an alert may not have gone out", "e1-alert", is_repeat=True)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ((STARTED, PROPOSED, PLANNED), DecidePlan("e1", "p1")),
        ((STARTED, PROPOSED, PLANNED, RUN), RunPlan("e1", "p1", "e1-run")),
        (
            (STARTED, PROPOSED, PLANNED, APPROVAL, event("plan_approved", plan="p1", by="ada")),
            RunPlan("e1", "p1", "e1-run"),
        ),
        ((STARTED, FAILED), Escalate("e1", 2, "e1-a2")),
    ],
)
def test_what_follows(events: tuple[Event, ...], expected: Action) -> None:
    assert reconcile_escalation(after(*events), 10**6) == (expected,)


@pytest.mark.parametrize(
    ("events", "at_ms", "reason"),
    [
        ((STARTED, PROPOSED, PLANNED, REJECTED), 1, "refused"),
        ((STARTED, PROPOSED, PLANNED, APPROVAL, event("plan_refused", plan="p1", by="ada")), 1, "refused"),
        ((STARTED, PROPOSED, PLANNED, APPROVAL), POLICY.approval_ms, "waits for approval"),
        ((STARTED, PROPOSED, PLANNED, RUN, BEGUN, ENDED), POLICY.patience_ms, "did not help"),
    ],
)
def test_a_person_is_told(events: tuple[Event, ...], at_ms: int, reason: str) -> None:
    state = after(*events)
    (action,) = reconcile_escalation(state, at_ms)
    assert isinstance(action, Alert)
    assert reason in action.reason
    state = apply_escalation(state, action.event(at_ms), POLICY)
    state = apply_escalation(state, event("alert_sent", outcome="sent"), POLICY)
    assert reconcile_escalation(state, 10**12) == ()


def test_failed_calls_back_off_and_end_at_a_person() -> None:
    state, now_ms, attempts = after(), 0, 0
    while True:
        now_ms = next_wake_ms(state, now_ms) or now_ms
        (action,) = reconcile_escalation(state, now_ms)
        if isinstance(action, Alert):
            break
        assert isinstance(action, Escalate)
        attempts += 1
        for one in (action.event(now_ms), replace(FAILED, at_ms=now_ms, data={**FAILED.data, "attempt": attempts})):
            state = apply_escalation(state, one, POLICY)
    assert attempts == POLICY.attempt_limit


def test_approval_after_the_alert_still_counts_but_only_for_that_plan() -> None:
    state = after(STARTED, PROPOSED, PLANNED, APPROVAL, RAISED, event("alert_sent", outcome="sent"))
    with pytest.raises(ConflictError):
        apply_escalation(state, event("plan_approved", plan="p2", by="eve"), POLICY)
    state = apply_escalation(state, event("plan_approved", plan="p1", by="ada"), POLICY)
    assert reconcile_escalation(state, 0) == (RunPlan("e1", "p1", "e1-run"),)


def test_a_rejected_plan_can_not_be_approved() -> None:
    state = after(STARTED, PROPOSED, PLANNED, REJECTED, RAISED, event("alert_sent", outcome="sent"))
    with pytest.raises(ConflictError, match="does not wait"):
        apply_escalation(state, event("plan_approved", plan="p1", by="eve"), POLICY)


def test_a_plan_that_could_not_be_carried_out_leads_to_another_attempt_and_is_told_to_it() -> None:
    failed = event("plan_finished", 1_000, plan="p1", outcome="failed", summary="retry")
    state = after(STARTED, PROPOSED, PLANNED, RUN, BEGUN, failed)
    assert reconcile_escalation(state, 1_000) == ()
    assert reconcile_escalation(state, 1_000 + POLICY.backoff_ms) == (Escalate("e1", 2, "e1-a2"),)
    assert state.episodes["e1"].tried == ("retry: failed",)


ROLLING = replace(POLICY, may_roll_back=True)


def retried(outcome: str = "done", *, summary: str = "retry", policy: EscalationPolicy = ROLLING) -> EscalationState:
    ended = event("plan_finished", plan="p1", outcome=outcome, summary=summary)
    state = fold(EscalationState(), crash("web1", 0))
    for one in (STARTED, PROPOSED, PLANNED, RUN, BEGUN, ended):
        state = apply_escalation(state, one, policy)
    return state


def test_a_retry_that_went_well_and_did_not_help_is_followed_by_the_next_rung_once_and_then_by_a_person() -> None:
    state = retried()
    assert reconcile_escalation(state, ROLLING.patience_ms - 1, policy=ROLLING) == ()
    (action,) = reconcile_escalation(state, ROLLING.patience_ms, policy=ROLLING)
    assert action == Escalate("e1", 2, "e1-a2", rung="rollback")
    now_ms = ROLLING.patience_ms
    state = apply_escalation(state, action.event(now_ms), ROLLING)
    assert state.episodes["e1"].tried == ("retry: done, and it did not help",)
    assert plan_by_rules("crash", "host", ["web1"], state.episodes["e1"].tried, "rollback").steps[0].verb == "rollback"
    (again,) = reconcile_escalation(state, now_ms, policy=ROLLING)
    assert again == Escalate("e1", 2, "e1-a2", is_resumed=True), "after a kill the same one"
    for outcome, said in (("done", "neither the retry nor the rollback helped"), ("failed", "the rollback failed")):
        ended = state
        for one in (
            event("plan_proposed", now_ms, plan="p2", steps=[], reason="", confidence=1.0),
            event("escalation_finished", now_ms, attempt=2, operation="e1-a2", outcome="planned"),
            event("plan_decided", now_ms, plan="p2", decision="run", reasons=[]),
            event("plan_started", now_ms, plan="p2", operation="e1-run"),
            event("plan_finished", now_ms, plan="p2", outcome=outcome, summary="rollback"),
        ):
            ended = apply_escalation(ended, one, ROLLING)
        (told,) = reconcile_escalation(ended, now_ms + ROLLING.patience_ms, policy=ROLLING)
        assert isinstance(told, Alert)
        assert said in told.reason


@pytest.mark.parametrize(
    ("state", "policy"),
    [
        (retried(), POLICY),  # the tier does not allow it, or nothing is deployed here
        (retried(summary="rollback"), ROLLING),
        (retried(summary="retry, rollback"), ROLLING),
        (retried(summary="alert"), ROLLING),
        (retried(summary="run-command"), ROLLING),
    ],
)
def test_where_no_rung_is_left_a_person_is_told(state: EscalationState, policy: EscalationPolicy) -> None:
    (action,) = reconcile_escalation(state, policy.patience_ms, policy=policy)
    assert isinstance(action, Alert)


def test_a_plan_that_only_told_a_person_is_not_said_not_to_have_helped() -> None:
    (action,) = reconcile_escalation(retried(summary="alert"), POLICY.patience_ms)
    assert isinstance(action, Alert)
    assert action.reason == "it goes on since a person was told"


def test_a_host_that_came_and_went_has_twice_the_time_since_it_is_not_called_calm_sooner() -> None:
    flap, patience_ms = WatchPolicy().flap, POLICY.patience_ms
    state = fold(EscalationState(), crash("web1", 0, fault="flapping"))
    for one in (STARTED, PROPOSED, PLANNED, RUN, BEGUN, replace(ENDED, data={**ENDED.data, "summary": "rollback"})):
        state = apply_escalation(state, one, POLICY)
    assert reconcile_escalation(state, 2 * patience_ms - 1) == ()
    assert isinstance(reconcile_escalation(state, 2 * patience_ms)[0], Alert)
    assert fade(2 * flap.threshold, 2 * patience_ms, flap.fade_ms) < flap.calm, "the worst host is calm by then"


def test_a_fault_without_a_rung_behind_the_retry_goes_to_a_person() -> None:
    state = retried()
    state = replace(state, episodes={"e1": replace(state.episodes["e1"], fault="skew")})
    assert isinstance(reconcile_escalation(state, ROLLING.patience_ms, policy=ROLLING)[0], Alert)
    state = retried()
    state = replace(state, episodes={"e1": replace(state.episodes["e1"], scope="zone")})
    assert isinstance(reconcile_escalation(state, ROLLING.patience_ms, policy=ROLLING)[0], Alert)


PHASES = (
    "waiting",
    "planning",
    "deciding",
    "approving",
    "ready",
    "acting",
    "observing",
    "refused",
    "alerting",
    "alerted",
    "closed",
)
EVENTS = (
    STARTED,
    event("escalation_resumed", operation="o"),
    PROPOSED,
    PLANNED,
    FAILED,
    RUN,
    APPROVAL,
    REJECTED,
    BEGUN,
    ENDED,
    RAISED,
    event("alert_sent", outcome="sent"),
    event("episode_classified", label="noise", confidence=1.0),
    event("plan_approved", plan="p1", by="a"),
    event("plan_refused", plan="p1", by="a"),
)


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize(
    "one", EVENTS, ids=lambda e: f"{e.kind}:{e.data.get('outcome') or e.data.get('decision') or ''}"
)
def test_what_the_table_lacks_is_refused(phase: str, one: Event) -> None:
    choice = one.data.get("outcome") or one.data.get("decision")
    name = next((n for n in (f"{one.kind}:{choice}", one.kind) if (phase, n) in TRANSITIONS), None)
    expected = (
        TRANSITIONS[phase, name] if name else "alerting" if one.kind == "alert_raised" and phase != "closed" else None
    )
    if expected is None:
        with pytest.raises(ConflictError):
            next_phase(phase, one)
    else:
        assert next_phase(phase, one) == expected


def test_every_phase_of_the_table_is_known() -> None:
    assert {phase for phase, _ in TRANSITIONS} | set(TRANSITIONS.values()) <= {*PHASES, "*"}


def test_correlated_hosts_of_a_zone_are_one_episode() -> None:
    state = fold(EscalationState(), *(crash(f"web{n}", n * 1_000) for n in range(8)))
    (episode,) = state.episodes.values()
    assert (episode.scope, len(episode.hosts)) == ("zone", 8)
    assert len(reconcile_escalation(state, 60_000)) == 1


def alike(host: str, at_ms: int, *, rule: str = "health says 'failed' (fail)", version: str = "1.0") -> Finding:
    return Finding(host, "", "crash", at_ms, rule, version=version)


FLEET = {"": 600}


def fold_fleet(state: EscalationState, *findings: Finding, sizes: dict[str, int] = FLEET) -> EscalationState:
    for finding in findings:
        for one in open_episode(state, finding, zone_sizes=sizes, policy=POLICY):
            state = apply_escalation(state, one, POLICY)
    return state


def test_two_hundred_hosts_without_a_zone_that_fail_alike_are_one_episode_and_one_call() -> None:
    state = fold_fleet(EscalationState(), *(alike(f"web{n}", n * 250) for n in range(100)))
    assert reconcile_escalation(state, POLICY.settle_ms) == (Escalate("e1", 1, "e1-a1"),)
    state = apply_escalation(state, STARTED, POLICY)
    state = fold_fleet(state, *(alike(f"web{n}", n * 250) for n in range(100, 200)))
    (episode,) = state.episodes.values()
    assert (episode.scope, len(episode.hosts), episode.version) == ("fleet", 200, "1.0")
    assert reconcile_escalation(state, 10**6, running=frozenset({"e1-a1"})) == ()
    assert plan_by_rules("crash", episode.scope, episode.hosts, (), "write").steps[0].verb == "alert"


def test_hosts_without_a_zone_are_apart_where_the_cause_or_the_time_is_another() -> None:
    one = alike("web1", 0)
    others = (
        alike("web2", 0, rule="the host does not answer"),
        alike("web3", 0, version="2.0"),
        replace(alike("web4", 0), fault="stale"),
        alike("web5", POLICY.correlation.correlate_ms + 1),
        replace(alike("web6", 0), zone="a"),
    )
    assert len(fold_fleet(EscalationState(), one, *others).episodes) == 6


def test_a_cause_is_known_again_whatever_numbers_its_rule_names() -> None:
    leaks = [Finding(f"web{n}", "", "leak", 0, f"memory is at 9{n}% of its total", version="1.0") for n in range(2)]
    assert len(fold_fleet(EscalationState(), *leaks).episodes) == 1


@pytest.mark.parametrize(
    ("bad", "size", "scope"), [(2, 4, "hosts"), (3, 4, "fleet"), (3, 12, "hosts"), (4, 12, "fleet"), (10, 600, "fleet")]
)
def test_from_a_third_of_such_hosts_or_ten_on_it_is_the_fleets(bad: int, size: int, scope: str) -> None:
    state = fold_fleet(EscalationState(), *(alike(f"web{n}", 0) for n in range(bad)), sizes={"": size})
    assert [episode.scope for episode in state.episodes.values()] == [scope]


def test_zones_families_and_later_hosts_are_apart() -> None:
    state = fold(EscalationState(), crash("web1", 0), crash("db1", 0, zone="b"), crash("web2", 0, fault="leak"))
    assert len(state.episodes) == 3
    state = apply_escalation(state, STARTED, POLICY)
    state = fold(state, crash("web3", 1_000))
    assert len(state.episodes) == 4, "a host that comes after the escalation of another is an episode of its own"


def test_a_host_that_joins_an_escalated_zone_is_no_new_call() -> None:
    state = fold(EscalationState(), *(crash(f"web{n}", 0) for n in range(5)))
    state = fold(apply_escalation(state, STARTED, POLICY), crash("web9", 60_000))
    assert len(state.episodes) == 1
    assert "web9" in state.episodes["e1"].hosts


def test_the_last_recovery_closes_and_the_next_fault_is_a_new_episode() -> None:
    state = fold(EscalationState(), crash("web1", 0), crash("web2", 0))
    state = fold(state, crash("web1", 9, cleared=True))
    assert state.episodes["e1"].hosts == ("web2",)
    state = fold(state, crash("web2", 10, cleared=True))
    assert state.episodes == {}
    assert list(fold(state, crash("web1", 20)).episodes) == ["e2"]


def test_a_recovery_in_the_middle_of_a_call_records_what_comes_of_it() -> None:
    state = fold(after(STARTED), crash("web1", 10, cleared=True))
    assert reconcile_escalation(state, 10**9) == ()
    state = apply_escalation(state, PROPOSED, POLICY)
    assert apply_escalation(state, PLANNED, POLICY).episodes == {}


CHEAP = replace(POLICY, use_classifier=True)


NOISE = {"label": "noise", "confidence": 0.99}


def test_the_classifier_is_asked_once_and_delays_a_soft_fault_until_the_rules_decide() -> None:
    state = fold(EscalationState(), crash("web1", 0, fault="leak"), policy=CHEAP)
    assert reconcile_escalation(state, CHEAP.settle_ms, policy=CHEAP) == (Classify("e1"),)
    state = apply_escalation(state, event("episode_classified", CHEAP.settle_ms, **NOISE), CHEAP)
    assert next_wake_ms(state, CHEAP.settle_ms) == CHEAP.postpone_ms
    assert reconcile_escalation(state, CHEAP.postpone_ms - 1, policy=CHEAP) == ()
    assert reconcile_escalation(state, CHEAP.postpone_ms, policy=CHEAP) == (Escalate("e1", 1, "e1-a1"),)


def test_a_classifier_that_does_not_answer_delays_no_longer_than_one_that_says_noise() -> None:
    state = fold(EscalationState(), crash("web1", 0, fault="skew"), policy=CHEAP)
    asked = frozenset({"classify:e1"})
    assert reconcile_escalation(state, CHEAP.postpone_ms - 1, policy=CHEAP, running=asked) == ()
    assert next_wake_ms(state, CHEAP.settle_ms) == CHEAP.postpone_ms
    (action,) = reconcile_escalation(state, CHEAP.postpone_ms, policy=CHEAP, running=asked)
    assert isinstance(action, Escalate)
    state = apply_escalation(state, action.event(CHEAP.postpone_ms), CHEAP)
    with pytest.raises(ConflictError):
        apply_escalation(state, event("episode_classified", CHEAP.postpone_ms + 1, **NOISE), CHEAP)


def test_a_postponed_episode_that_turns_hard_waits_no_longer() -> None:
    soft = fold(EscalationState(), crash("web1", 0, fault="degraded"), policy=CHEAP)
    soft = apply_escalation(soft, event("episode_classified", CHEAP.settle_ms, **NOISE), CHEAP)
    for worse in (crash("web1", 60_000), crash("web2", 60_000)):
        state = fold(soft, worse, policy=CHEAP)
        assert state.episodes["e1"].fault == "crash"
        assert reconcile_escalation(state, 60_000, policy=CHEAP) == (Escalate("e1", 1, "e1-a1"),)


ANSWERS = st.tuples(st.sampled_from(["noise", "incident"]), st.floats(0, 1), st.integers(0, 900_000))


@settings(max_examples=200, deadline=None)
@given(
    faults=st.lists(
        st.tuples(st.sampled_from(["skew", "leak", "degraded", "crash"]), st.integers(0, 10)), min_size=1, max_size=5
    ),
    answers=st.lists(ANSWERS, max_size=8),
    settle_ms=st.sampled_from([0, 30_000, 400_000]),
    tick_ms=st.sampled_from([5_000, 30_000]),
)
def test_whatever_the_classifier_says_or_when_an_episode_that_stays_open_is_escalated_in_time(
    faults: list[tuple[str, int]], answers: list[tuple[str, float, int]], settle_ms: int, tick_ms: int
) -> None:
    policy = replace(CHEAP, settle_ms=settle_ms)
    limit_ms = max(policy.settle_ms, policy.postpone_ms) + tick_ms
    state, begun = EscalationState(), dict[str, int]()
    opened, running, coming = dict[str, int](), set[str](), list[tuple[int, str, str, float]]()
    answers = [*answers, *[("noise", 1.0, 0)] * 20]
    for now_ms in range(0, 100_000 + limit_ms + tick_ms, tick_ms):
        for place, (fault, at) in enumerate(faults):
            if at * 10_000 <= now_ms < at * 10_000 + tick_ms:
                state = fold(state, crash(f"web{place}", now_ms, fault=fault, zone=f"z{at % 2}"), policy=policy)
        opened |= {e.id: e.opened_ms for e in state.episodes.values()}
        for _, name, label, confidence in [c for c in coming if c[0] <= now_ms]:
            running.discard(f"classify:{name}")
            said = {"episode": name, "label": label, "confidence": confidence}
            with contextlib.suppress(ConflictError):
                state = apply_escalation(state, Event("episode_classified", now_ms, data=said), policy)
        coming = [c for c in coming if c[0] > now_ms]
        for action in reconcile_escalation(state, now_ms, policy=policy, running=frozenset(running)):
            if isinstance(action, Classify):
                label, confidence, after_ms = answers.pop(0)
                coming.append((now_ms + after_ms, action.episode, label, confidence))
                running.add(f"classify:{action.episode}")
            else:
                assert isinstance(action, Escalate)
                begun[action.episode] = now_ms
                running.add(action.operation)
                state = apply_escalation(state, action.event(now_ms), policy)
    assert set(begun) == set(opened)
    assert all(begun[name] - opened[name] <= limit_ms for name in opened)


def test_the_classifier_has_at_most_a_quarter_of_the_time_for_which_a_soft_fault_was_seen() -> None:
    assert EscalationPolicy().postpone_ms <= WatchPolicy().patience_ms / 4


@pytest.mark.parametrize("fault", sorted(CHEAP.hard_faults))
def test_a_hard_fault_is_not_asked_about(fault: str) -> None:
    state = fold(EscalationState(), crash("web1", 0, fault=fault), policy=CHEAP)
    assert reconcile_escalation(state, 10**6, policy=CHEAP) == (Escalate("e1", 1, "e1-a1"),)


def test_a_spent_budget_alerts_instead() -> None:
    policy = replace(POLICY, budget=BudgetPolicy(tokens_per_hour=10))
    called = event("model_called", 0, model="m", input_tokens=8, output_tokens=2, cost_micro=5, outcome="answered")
    state = apply_escalation(after(), called, policy)
    assert state.episodes["e1"].spending.tokens == 10
    (action,) = reconcile_escalation(state, POLICY.settle_ms, policy=policy)
    assert isinstance(action, Alert)
    assert "budget" in action.reason


def test_alerts_over_the_hourly_limit_wait_and_are_not_lost() -> None:
    policy = replace(POLICY, alerts_per_hour=2, attempt_limit=0)
    state = EscalationState()
    for n in range(5):
        state = fold(state, crash(f"web{n}", 0, zone=f"z{n}"), policy=policy)
    now_ms, sent = policy.settle_ms, list[str]()
    for _ in range(40):
        for action in reconcile_escalation(state, now_ms, policy=policy):
            assert isinstance(action, Alert)
            sent.append(action.episode)
            state = apply_escalation(state, action.event(now_ms), policy)
            told = Event("alert_sent", now_ms, data={"episode": action.episode, "outcome": "sent"})
            state = apply_escalation(state, told, policy)
        now_ms += 300_000
        assert len([at for at in state.alerts_ms if now_ms - at <= 3_600_000]) <= 2
    assert sorted(sent) == ["e1", "e2", "e3", "e4", "e5"]


class KilledError(Exception):
    """The process died here."""


class Process:
    """One process after another around one log: a kill may come before or after every append and every call."""

    def __init__(self, seed: int, kill_share: float) -> None:
        self.random = random.Random(seed)
        self.kill_share = kill_share
        self.log: list[Event] = []
        self.called: Counter[str] = Counter()
        self.run: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()

    def may_die(self) -> None:
        if self.random.random() < self.kill_share:
            raise KilledError

    def append(self, one: Event) -> None:
        self.may_die()
        self.log.append(one)
        self.state = apply_escalation(self.state, one, POLICY)
        self.may_die()

    def start(self) -> None:
        self.state = EscalationState()
        for one in self.log:
            self.state = apply_escalation(self.state, one, POLICY)

    def step(self, now_ms: int) -> None:
        for action in reconcile_escalation(self.state, now_ms, policy=POLICY):
            self.perform(action, now_ms)

    def perform(self, action: Action, now_ms: int) -> None:
        match action:
            case Escalate(episode=e, attempt=n, operation=operation):
                self.append(action.event(now_ms))
                self.called[operation] += 1
                self.may_die()
                if self.random.random() < 0.2:
                    self.append(
                        Event(
                            "escalation_finished",
                            now_ms,
                            data={"episode": e, "attempt": n, "operation": operation, "outcome": "failed"},
                        )
                    )
                    return
                self.append(
                    Event(
                        "plan_proposed",
                        now_ms,
                        data={"episode": e, "plan": f"{e}-p", "steps": [], "reason": "", "confidence": 1.0},
                    )
                )
                self.append(
                    Event(
                        "escalation_finished",
                        now_ms,
                        data={"episode": e, "attempt": n, "operation": operation, "outcome": "planned"},
                    )
                )
            case DecidePlan(episode=e, plan=plan):
                decision = self.random.choice(["run", "run", "rejected"])
                self.append(
                    Event(
                        "plan_decided", now_ms, data={"episode": e, "plan": plan, "decision": decision, "reasons": []}
                    )
                )
            case RunPlan(episode=e, plan=plan):
                self.append(action.event(now_ms))
                self.run[e] += 1
                self.may_die()
                self.append(Event("plan_finished", now_ms, data={"episode": e, "plan": plan, "outcome": "done"}))
            case Alert(episode=e, is_repeat=is_repeat):
                if not is_repeat:
                    self.append(action.event(now_ms))
                self.alerts[e] += 1
                self.may_die()
                self.append(Event("alert_sent", now_ms, data={"episode": e, "outcome": "sent"}))
            case Classify():
                raise AssertionError("no classifier is configured")


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 10**9), kill_share=st.sampled_from([0.0, 0.05, 0.3]))
def test_whenever_it_is_killed_no_episode_is_lost_and_none_escalated_twice(seed: int, kill_share: float) -> None:
    process = Process(seed, kill_share)
    for n in range(3):
        state = EscalationState()
        for one in process.log:
            state = apply_escalation(state, one, POLICY)
        process.log += open_episode(state, crash(f"web{n}", 0, zone=f"z{n}"), zone_sizes=SIZES, policy=POLICY)
    now_ms = 0
    process.start()
    for _ in range(60):
        now_ms += 300_000
        try:
            process.step(now_ms)
        except KilledError:
            process.start()
    process.kill_share = 0.0
    process.start()
    for _ in range(30):
        now_ms += 3_600_000
        process.step(now_ms)
    assert {e.phase for e in process.state.episodes.values()} == {"alerted"}, (
        "a person knows of each that is still open"
    )
    started = Counter(e.data["operation"] for e in process.log if e.kind == "escalation_started")
    assert set(started.values()) == {1}, "an attempt is decided once"
    planned = Counter(
        e.data["episode"] for e in process.log if e.kind == "escalation_finished" and e.data["outcome"] == "planned"
    )
    assert all(count == 1 for count in planned.values()), "an episode gets one plan"
    assert all(count <= 2 for count in process.called.values()), "a killed call is made again once at most"
    assert all(count <= 1 for count in process.run.values()), "a plan runs once at most"
    if kill_share == 0.0:
        assert set(process.called.values()) == {1}
        assert set(process.alerts.values()) == {1}


@given(st.permutations(range(6)))
def test_folding_the_log_again_gives_the_same_state(order: list[int]) -> None:
    state, log = EscalationState(), list[Event]()
    for n in order:
        for one in open_episode(
            state, crash(f"web{n}", n, zone="a" if n < 3 else "b"), zone_sizes=SIZES, policy=POLICY
        ):
            log.append(one)
            state = apply_escalation(state, one, POLICY)
    again = EscalationState()
    for one in log:
        again = apply_escalation(again, one, POLICY)
    assert again == state


def test_events_of_others_change_nothing() -> None:
    state = after()
    assert apply_escalation(state, Event("message", 0, data={"text": "x"})) is state


def test_events_about_an_unknown_episode_are_refused() -> None:
    with pytest.raises(ConflictError):
        apply_escalation(EscalationState(), STARTED)


def test_an_episode_has_what_the_packet_needs() -> None:
    episode = after(STARTED, PROPOSED, PLANNED, RUN, BEGUN, ENDED).episodes["e1"]
    assert isinstance(episode, Episode)
    assert episode.tried == ("retry web1: done",)
