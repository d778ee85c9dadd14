"""What a deployment does, row by row of the semantics: strategies, failure, reverts, operators, clocks, retries."""

from __future__ import annotations

from typing import Any

import pytest

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.controller import (
    Effect,
    HostSpec,
    ProbeHealth,
    RolloutState,
    WaitUntil,
    apply,
    check_request,
    event_of,
    exit_status,
    finished,
    fold,
    observed,
    reconcile,
    status_now,
    unfinished,
)
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import create, retry_of
from sane.core.units import Amount
from sane.errors import ConflictError, NotFoundError, UsageError
from tests.core.rollout.rollout_world import QUICK, Run, World, ask, begin, drive, statuses

SIX = [f"web{i}" for i in range(1, 7)]


def policy(**fields: Any) -> RolloutPolicy:
    amounts = {n: Amount(v) for n, v in fields.items() if n in ("max_parallel", "canary", "max_failures")}
    return RolloutPolicy(**{**QUICK, **fields, **amounts})  # type: ignore[arg-type]


def once(*requests: str) -> Any:
    """Ask for each of these as soon as it is allowed, one after the other."""
    left = list(requests)

    def meddle(state: RolloutState, now_ms: int) -> str:
        if not left:
            return ""
        try:
            check_request(state, left[0])
        except ConflictError:
            return ""
        return left.pop(0)

    return meddle


def awaits(state: RolloutState) -> bool:
    return state.status == t.AWAITING


def started(run: Run, action: str) -> list[str]:
    return [e.host for e in run.log if e.kind == "action_started" and e.data["action"] == action]


def test_rolling_keeps_the_order_and_batches() -> None:
    run = drive(begin(SIX, policy(max_parallel=2)), World({}))
    assert (run.state.status, exit_status(run.state)) == ("successful", 0)
    assert started(run, "stage") == SIX
    healthy_at = [e.host for e in run.log if e.kind == "host_transition" and e.data["to"] == "healthy"]
    assert healthy_at == SIX


def test_budget_zero_with_revert_all_takes_the_batch_and_those_before_it_back() -> None:
    run = drive(begin(SIX, policy(max_parallel=2, on_failure="revert_all")), World({"web3": "sick"}))
    assert (run.state.status, exit_status(run.state)) == ("reverted", 5)
    assert statuses(run.state) == {**dict.fromkeys(SIX[:4], "reverted"), **dict.fromkeys(SIX[4:], "not_attempted")}
    assert started(run, "revert") == SIX[:4]
    assert not {"web5", "web6"} & {*started(run, "stage"), *started(run, "switch")}


def test_one_bad_host_within_the_budget_is_partial_and_the_others_go_on() -> None:
    run = drive(begin(SIX[:3], policy(max_failures=1)), World({"web2": "stage_fails"}))
    assert (run.state.status, exit_status(run.state)) == ("partial", 3)
    assert statuses(run.state) == {"web1": "healthy", "web2": "failed", "web3": "healthy"}


def test_stop_leaves_the_rest_untouched() -> None:
    run = drive(begin(SIX[:3], policy()), World({"web1": "switch_fails"}))
    assert (run.state.status, exit_status(run.state)) == ("failed", 4)
    assert statuses(run.state) == {"web1": "failed", "web2": "not_attempted", "web3": "not_attempted"}
    assert run.state.reason == "the failure budget is spent: 1 of 3 hosts are bad, 0 may be"


def test_preflight_over_the_budget_fails_before_any_host_is_changed() -> None:
    run = drive(begin(SIX[:3], policy(on_failure="revert_all")), World({"web2": "gone"}))
    assert run.state.status == "failed"
    assert not run.state.touched
    assert started(run, "preflight") == SIX[:3]
    assert not started(run, "stage")


def test_unchanged_hosts_are_only_probed() -> None:
    run = drive(begin(SIX[:3], policy(strategy="canary", canary=1)), World(dict.fromkeys(SIX, "same")))
    assert (run.state.status, exit_status(run.state)) == ("successful", 0)
    assert set(statuses(run.state).values()) == {"unchanged"}
    assert not started(run, "stage")


def test_a_revert_that_does_not_end_is_six_and_its_retry_ends_in_five() -> None:
    first = begin(SIX[:2], policy(on_failure="revert_all"))
    run = drive(first, World({"web2": "sick"}, {"web1": "fails"}))
    assert (run.state.status, exit_status(run.state)) == ("failed", 6)
    assert statuses(run.state) == {"web1": "revert_failed", "web2": "reverted"}
    again = drive(retry_of(run.state, "app-2", 2, run.now_ms), World({}))
    assert (again.state.status, exit_status(again.state)) == ("reverted", 5)
    assert started(again, "revert") == ["web1"]
    assert not started(again, "stage")


def test_a_host_without_a_previous_version_is_never_reverted() -> None:
    run = drive(begin(SIX[:2], policy(on_failure="revert_all")), World({"web2": "sick"}, {"web1": "none"}))
    assert statuses(run.state) == {"web1": "no_previous", "web2": "reverted"}
    assert (run.state.status, exit_status(run.state)) == ("failed", 6)


def test_a_revert_goes_to_each_hosts_own_previous_version_and_is_proven() -> None:
    state = apply(
        None, create("app-1", "app", 1, "2", [HostSpec("a"), HostSpec("b")], policy(on_failure="revert_all"), 0)
    )
    reverts: dict[str, str] = {}
    expected: dict[str, set[str]] = {"a": set(), "b": set()}
    previous = {"a": "1.8", "b": "1.9"}

    class Own(World):
        def answer(self, action: Any, state: RolloutState, now_ms: int) -> Event:
            if action.part == "preflight":
                return finished(action, state, now_ms, "ok", previous_version=previous[action.host])
            if action.part == "revert":
                reverts[action.host] = action.version
            if isinstance(action, ProbeHealth) and state.status == "reverting":
                expected[action.host].add(action.version)
            return super().answer(action, state, now_ms)

    first = begin(["a", "b"], policy(on_failure="revert_all"))
    assert drive(first, Own({"b": "switch_fails"})).state.status == "reverted"
    assert reverts == previous
    assert expected == {"a": {"1.8"}, "b": {"1.9"}}
    assert state.status == "pending"


def test_revert_failed_takes_only_the_bad_hosts_back() -> None:
    run = drive(begin(SIX[:3], policy(on_failure="revert_failed")), World({"web2": "sick"}))
    assert statuses(run.state) == {"web1": "healthy", "web2": "reverted", "web3": "not_attempted"}
    assert run.state.status == "reverted"


def test_canaries_wait_for_promotion_and_are_probed_again() -> None:
    first = begin(SIX[:3], policy(strategy="canary", canary=1))
    waiting = drive(first, World({}), until=awaits)
    assert waiting.state.status == t.AWAITING
    assert exit_status(waiting.state) == 8
    assert started(waiting, "stage") == ["web1"]
    run = drive(first, World({}), meddle=once("promote"))
    assert run.state.status == "successful"
    asked = next(i for i, e in enumerate(run.log) if e.kind == "operator_request")
    moved = next(
        i
        for i, e in enumerate(run.log)
        if e.kind == "deployment_transition" and e.data["to"] == "running" and i > asked
    )
    probed = [e.host for e in run.log[asked:moved] if e.kind == "health_observed"]
    assert probed == ["web1"]


def test_a_canary_that_turns_bad_while_it_waits_is_taken_back_and_can_not_be_promoted() -> None:
    fates = World({})

    class Turns(World):
        def answer(self, action: Any, state: RolloutState, now_ms: int) -> Event:
            if isinstance(action, ProbeHealth) and state.status == t.AWAITING:
                return observed(action, state, now_ms, "fail", reason="status is failed")
            return fates.answer(action, state, now_ms)

    first = begin(SIX[:3], policy(strategy="canary", canary=1, on_failure="revert_all"))
    run = drive(first, Turns({}))
    assert (run.state.status, exit_status(run.state)) == ("reverted", 5)
    assert statuses(run.state) == {"web1": "reverted", "web2": "not_attempted", "web3": "not_attempted"}
    promoted = drive(first, Turns({}), meddle=once("promote"))
    assert promoted.state.status == "reverted"
    assert started(promoted, "stage") == ["web1"]
    with pytest.raises(ConflictError):
        check_request(promoted.state, "promote")


def test_a_waiting_canary_out_of_reach_is_bad_after_its_deadline_only() -> None:
    class Gone(World):
        def answer(self, action: Any, state: RolloutState, now_ms: int) -> Event:
            if isinstance(action, ProbeHealth) and state.status == t.AWAITING:
                return observed(action, state, now_ms, "unreachable")
            return super().answer(action, state, now_ms)

    run = drive(begin(SIX[:2], policy(strategy="canary", canary=1)), Gone({}))
    assert run.state.status == "failed"
    assert statuses(run.state)["web1"] == "unreachable"
    silent = [e.at_ms for e in run.log if e.kind == "health_observed" and e.data["verdict"] == "unreachable"]
    assert silent[-1] - silent[0] >= QUICK["healthy_deadline_ms"] - 15


def test_auto_promote_goes_on_without_waiting() -> None:
    run = drive(begin(SIX[:3], policy(strategy="canary", canary=1, auto_promote=True)), World({}))
    assert run.state.status == "successful"
    assert [e.data["to"] for e in run.log if e.kind == "deployment_transition"] == ["running", "successful"]


def test_blue_green_switches_traffic_only_after_promotion() -> None:
    first = begin(SIX[:3], policy(strategy="blue-green", max_parallel=3))
    waiting = drive(first, World({}), until=awaits)
    assert waiting.state.status == t.AWAITING
    assert started(waiting, "stage") == SIX[:3]
    assert not started(waiting, "switch")
    run = drive(first, World({}), meddle=once("promote"))
    assert run.state.status == "successful"
    assert started(run, "switch") == SIX[:3]
    assert run.state.switched == 0b111


@pytest.mark.parametrize(
    ("gates", "status"), [(("pass",), "successful"), (("fail",), "failed"), (("inconclusive",), "paused")]
)
def test_gates_over_canaries_and_controls(gates: tuple[str, ...], status: str) -> None:
    fields = {"strategy": "canary", "canary": 1, "auto_promote": True}
    first = begin(SIX[:3], policy(**fields), gates=True, controls=["old1"])
    run = drive(first, World({}, gates=gates))
    assert run.state.status == status
    if status == "paused":
        again = drive(first, World({}, gates=("inconclusive", "pass")), meddle=once("resume"))
        assert again.state.status == "successful"
        judged = [e.data["operation"] for e in again.log if e.kind == "action_started" and e.data["action"] == "gates"]
        assert judged == ["app-1/gates/1", "app-1/gates/2"]


def test_an_inconclusive_host_pauses_and_a_resume_gives_it_its_deadline_again() -> None:
    class Degraded(World):
        def answer(self, action: Any, state: RolloutState, now_ms: int) -> Event:
            if isinstance(action, ProbeHealth) and not state.paused_from:
                return observed(action, state, now_ms, "inconclusive", reason="status is degraded")
            return super().answer(action, state, now_ms)

    run = drive(begin(SIX[:2], policy()), Degraded({}))
    assert (run.state.status, exit_status(run.state)) == ("paused", 8)
    assert statuses(run.state) == {"web1": "checking", "web2": "pending"}
    assert drive(begin(SIX[:2], policy()), Degraded({}), meddle=once("resume")).state.status == "successful"
    assert drive(begin(SIX[:2], policy()), Degraded({}), meddle=once("cancel")).state.status == "cancelled"


def test_a_pause_lets_hosts_in_flight_finish_and_never_fails_by_a_deadline() -> None:
    run = drive(begin(SIX[:4], policy(max_parallel=2)), World({}), meddle=once("pause"))
    assert run.state.status == "paused"
    done = statuses(run.state)
    assert set(done.values()) <= {"healthy", "pending"}
    assert reconcile(run.state, run.now_ms + 10**9) == ()
    later = apply(run.state, ask(run.state, "resume", run.now_ms + 10**9))
    (resumed,) = reconcile(later, run.now_ms + 10**9)
    event = event_of(resumed, later, run.now_ms + 10**9)
    assert event is not None
    assert not any(getattr(a, "cause", "") for a in reconcile(apply(later, event), run.now_ms + 10**9))


def test_no_progress_for_the_deadline_stops_it_and_zero_takes_no_failure() -> None:
    state = apply(None, begin(SIX[:2], policy(min_healthy_ms=0)))
    state = drive_to_probe(state)
    assert WaitUntil(100_000) in reconcile(state, 0)
    (stop,) = reconcile(state, 100_000)
    event = event_of(stop, state, 100_000)
    assert event is not None
    stopping = apply(state, event)
    assert stopping.failing
    assert reconcile(stopping, 100_000) == ()  # the host in flight finishes first
    zero = drive(begin(SIX[:3], policy(progress_deadline_ms=0, max_failures=2)), World({"web1": "sick"}))
    assert zero.state.status == "failed"
    assert statuses(zero.state)["web2"] == "not_attempted"


def drive_to_probe(state: RolloutState, now_ms: int = 0) -> RolloutState:
    """Carry effects out at once until a probe is under way."""
    while True:
        for action in reconcile(state, now_ms):
            event = event_of(action, state, now_ms)
            if event is None:
                continue
            state = apply(state, event)
            if isinstance(action, ProbeHealth):
                return state
            if isinstance(action, Effect):
                state = apply(state, finished(action, state, now_ms, "ok", previous_version="1"))


def sample(state: RolloutState, at_ms: int, verdict: str) -> RolloutState:
    """End the probe under way and begin the next one, where there is one."""
    (probe,) = unfinished(state)
    assert isinstance(probe, ProbeHealth)
    state = apply(state, observed(probe, state, at_ms, verdict))
    for action in reconcile(state, at_ms):
        event = event_of(action, state, at_ms)
        state = apply(state, event) if event is not None else state
    return state


@pytest.mark.parametrize(
    ("samples", "status"),
    [
        ([(0, "pass"), (99, "pass")], "checking"),
        ([(0, "pass"), (100, "pass")], "healthy"),
        ([(0, "pass"), (50, "fail"), (60, "pass"), (150, "pass")], "checking"),
        ([(0, "pass"), (50, "stale"), (60, "pass"), (160, "pass")], "healthy"),
        ([(0, "wait"), (500, "fail")], "failed"),
        ([(0, "wait"), (499, "fail")], "checking"),
        ([(0, "pass"), (450, "fail"), (460, "pass"), (500, "pass")], "failed"),
        ([(0, "missing"), (500, "unreachable")], "unreachable"),
    ],
)
def test_healthy_means_without_a_break_and_within_the_deadline(samples: list[tuple[int, str]], status: str) -> None:
    rules = policy(min_healthy_ms=100, healthy_deadline_ms=500)
    state = drive_to_probe(apply(None, begin(["web1"], rules)))
    for at_ms, verdict in samples:
        state = sample(state, at_ms, verdict)
    assert statuses(state) == {"web1": status}


def test_a_new_controller_begins_every_proof_again_and_settles_what_was_begun() -> None:
    state = drive_to_probe(apply(None, begin(["web1"], policy(min_healthy_ms=100, healthy_deadline_ms=500))))
    state = sample(state, 10, "pass")
    assert state.hosts[0].streak_since_ms == 10
    taken = Event("lease_taken", 20, key="app", deployment="app-1", data={"owner": "b", "token": 2})
    state = apply(state, taken)
    assert [action.operation for action in unfinished(state) if isinstance(action, Effect)] == ["app-1/web1/probe/2"]
    state = sample(state, 115, "pass")
    assert statuses(state) == {"web1": "checking"}
    assert statuses(sample(state, 215, "pass")) == {"web1": "healthy"}


def test_the_time_without_a_controller_counts_against_no_deadline() -> None:
    rules = policy(min_healthy_ms=20, healthy_deadline_ms=60, progress_deadline_ms=100)
    hour = 3_600_000
    state = sample(drive_to_probe(apply(None, begin(["web1", "web2"], rules))), 10, "pass")
    state = apply(state, Event("lease_taken", hour, deployment="app-1", data={"owner": "b", "token": 2}))
    assert WaitUntil(hour + 100) in reconcile(state, hour)
    state = sample(state, hour + 1, "pass")
    assert statuses(state)["web1"] == "checking"
    state = sample(state, hour + 21, "pass")
    assert statuses(state)["web1"] == "healthy"
    assert not state.failing


def test_a_host_that_was_just_proven_stays_healthy_when_it_is_cancelled() -> None:
    state = drive_to_probe(apply(None, begin(["web1", "web2"], policy())))
    state = apply(state, ask(state, "cancel", 5))
    state = sample(state, 6, "pass")
    assert statuses(state) == {"web1": "healthy", "web2": "pending"}
    (end,) = reconcile(state, 7)
    event = event_of(end, state, 7)
    assert event is not None
    assert statuses(apply(state, event)) == {"web1": "healthy", "web2": "not_attempted"}


def test_an_outcome_told_twice_or_late_changes_nothing() -> None:
    run = drive(begin(SIX[:2], policy()), World({}))
    state = fold(run.log[:-5])
    for event in (e for e in run.log[:-5] if e.kind in ("action_finished", "health_observed")):
        assert apply(state, event) == state
        assert apply(run.state, event) == run.state


def test_contact_lost_is_unknown_then_proven_or_unreachable() -> None:
    run = drive(begin(["web1"], policy()), World({"web1": "lost_back"}))
    assert [e.data["to"] for e in run.log if e.kind == "host_transition"] == ["unknown", "checking", "healthy"]
    gone = drive(begin(["web1"], policy()), World({"web1": "lost_gone"}))
    assert [e.data["to"] for e in gone.log if e.kind == "host_transition"] == ["unknown", "unreachable"]
    assert gone.now_ms < 10 * QUICK["healthy_deadline_ms"]


def test_cancel_ends_at_the_next_boundary_and_hosts_keep_what_they_have() -> None:
    def after_first(state: RolloutState, now_ms: int) -> str:
        return "cancel" if state.among(t.HEALTHY) and state.stopping is None else ""

    run = drive(begin(SIX[:3], policy(on_failure="revert_all")), World({}), meddle=after_first)
    assert (run.state.status, exit_status(run.state)) == ("cancelled", 4)
    assert statuses(run.state) == {"web1": "healthy", "web2": "unknown", "web3": "not_attempted"}
    assert not started(run, "revert")
    assert run.state.hosts[1].error == "cancelled after stage: not proven healthy"
    keyboard = apply(apply(None, begin(SIX[:1], policy())), ask(run.state, "cancel", 0, keyboard=True))
    (end,) = reconcile(keyboard, 0)
    event = event_of(end, keyboard, 0)
    assert event is not None
    assert exit_status(apply(keyboard, event)) == 130


def test_fail_and_supersede_say_so() -> None:
    failed = drive(begin(SIX[:2], policy()), World({}), meddle=once("fail"))
    assert (failed.state.status, failed.state.reason) == ("failed", "fail was requested")
    superseded = drive(begin(SIX[:2], policy()), World({}), meddle=once("supersede"))
    assert (superseded.state.status, exit_status(superseded.state)) == ("cancelled", 7)


def test_what_has_ended_refuses_everything() -> None:
    run = drive(begin(SIX[:1], policy()), World({}))
    for request in t.REQUESTS:
        with pytest.raises(ConflictError):
            check_request(run.state, request)
        assert apply(run.state, ask(run.state, request, run.now_ms)) == run.state
    for target in t.TERMINAL + t.ACTIVE:
        data = {"from": run.state.status, "to": target, "reason": ""}
        with pytest.raises(ConflictError):
            apply(run.state, Event("deployment_transition", 0, deployment="app-1", data=data))
    assert reconcile(run.state, 10**12) == ()


def test_groups_go_one_after_another_with_their_own_versions() -> None:
    hosts = [
        HostSpec("a1", "east"),
        HostSpec("a2", "east"),
        HostSpec("b1", "west", version="2-b"),
        HostSpec("b2", "west"),
    ]
    run = drive(begin(hosts, policy(max_parallel=3)), World({}))
    assert started(run, "stage") == ["a1", "a2", "b1", "b2"]
    first_west = next(i for i, e in enumerate(run.log) if e.host == "b1" and e.data.get("action") == "stage")
    healthy_before = {e.host for e in run.log[:first_west] if e.kind == "host_transition"}
    assert healthy_before == {"a1", "a2"}
    assert [h.spec.version for h in run.state.hosts] == ["2", "2", "2-b", "2"]


@pytest.mark.parametrize("parts", [["stage"], ["switch"], ["stage", "switch"], ["stage", "probe"], ["probe"]])
def test_a_workflow_without_some_part_has_nothing_to_do_there(parts: list[str]) -> None:
    run = drive(begin(SIX[:2], policy(), parts=parts), World({}))
    assert run.state.status == "successful"
    assert set(statuses(run.state).values()) == {"unchanged" if parts == ["probe"] else "healthy"}


def test_an_active_deployment_without_a_lease_is_interrupted() -> None:
    state = apply(None, begin(SIX[:1], policy()))
    assert status_now(state.status, is_driven=False) == "interrupted"
    assert status_now(state.status, is_driven=True) == "pending"
    assert exit_status(state) == 9
    for status in (t.PAUSED, t.AWAITING, *t.TERMINAL):
        assert status_now(status, is_driven=False) == status


def test_a_bad_creation_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one host"):
        begin([], policy())
    with pytest.raises(UsageError, match="named twice"):
        begin(["a", "a"], policy())
    with pytest.raises(UsageError, match="unknown part"):
        begin(["a"], policy(), parts=["stage", "swich"])
    with pytest.raises(ConflictError, match="exists already"):
        apply(apply(None, begin(["a"], policy())), begin(["a"], policy()))
    step = Event("step_started", 0, deployment="app-1", host="b", data={"step": "x"})
    with pytest.raises(NotFoundError, match="no host 'b'"):
        apply(apply(None, begin(["a"], policy())), step)
    with pytest.raises(ConflictError, match="was not created"):
        apply(None, Event("message", 0, deployment="app-1", data={"text": ""}))
    other = apply(None, begin(["a"], policy()))
    assert apply(other, Event("lease_taken", 0, deployment="app-9", data={"owner": "", "token": 1})) == other
