"""Every change the tables allow happens in some run, and every other one is refused; the page shows the tables."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.controller import Effect, ProbeHealth, RolloutState, apply, check_request, finished, observed
from sane.core.rollout.guards import GUARDS
from sane.core.rollout.policy import RolloutPolicy
from sane.core.rollout.revisions import retry_of
from sane.core.units import Amount
from sane.errors import ConflictError
from tests.core.rollout.rollout_world import FATES, QUICK, REVERT_FATES, Run, World, ask, begin, drive

ROOT = Path(__file__).resolve().parents[3]
Edges = set[tuple[str, str]]


class Scripted(World):
    """Answer as the fates say, but for one part (of one deployment state) as the script says."""

    def __init__(self, part: str, answer: str, while_in: str = "", **fields: Any) -> None:
        super().__init__(**fields)
        self.script = (part, answer, while_in)

    def answer(self, action: Any, state: RolloutState, now_ms: int) -> Event:
        part, answer, while_in = self.script
        if isinstance(action, Effect) and action.part == part and while_in in ("", state.status):
            make = observed if isinstance(action, ProbeHealth) else finished
            return make(action, state, now_ms, answer)  # type: ignore[arg-type]
        return super().answer(action, state, now_ms)


def meddler(rng: random.Random) -> Any:
    def meddle(state: RolloutState, now_ms: int) -> str:
        request = rng.choice(list(t.REQUESTS))
        calm = state.status in (t.PAUSED, t.AWAITING) or rng.random() < 0.1
        try:
            check_request(state, request)
        except ConflictError:
            return ""
        return request if calm and state.request is None else ""

    return meddle


def random_runs() -> Iterator[Run]:
    for seed in range(700):
        rng = random.Random(f"table {seed}")
        hosts = [f"h{i}" for i in range(rng.randint(1, 4))]
        strategy = rng.choice(["rolling", "canary", "blue-green"])
        policy = RolloutPolicy(
            strategy=strategy,  # type: ignore[arg-type]
            canary=Amount(int(strategy == "canary")),
            max_failures=Amount(rng.randint(0, 2)),
            max_parallel=Amount(rng.randint(1, 3)),
            on_failure=rng.choice(["stop", "revert_failed", "revert_all"]),  # type: ignore[arg-type]
            **QUICK,  # type: ignore[arg-type]
        )
        world = World(
            {h: rng.choice(["ok", *FATES]) for h in hosts}, {h: rng.choice(list(REVERT_FATES)) for h in hosts}, rng=rng
        )
        parts = rng.choice([None, None, ["stage", "revert"], ["preflight", "stage", "switch", "revert"], ["switch"]])
        options: dict[str, Any] = {"parts": parts} if parts else {}
        run = drive(begin(hosts, policy, **options), world, meddle=meddler(rng))
        yield run
        if run.state.status == t.FAILED and run.state.to_revert and run.state.count(t.REVERT_FAILED):
            yield drive(retry_of(run.state, "app-2", 2, run.now_ms), World({}))


def told_runs() -> Iterator[Run]:
    canary = RolloutPolicy(strategy="canary", canary=Amount(1), **QUICK)  # type: ignore[arg-type]
    rolling = RolloutPolicy(**QUICK)  # type: ignore[arg-type]
    yield drive(begin(["a", "b"], canary), Scripted("probe", "unreachable", t.AWAITING, fates={}))
    yield drive(begin(["a", "b"], canary), Scripted("probe", "fail", t.AWAITING, fates={}))
    yield drive(begin(["a"], rolling), Scripted("switch", "unreachable", fates={}))
    yield drive(begin(["a"], rolling), Scripted("stage", "lost", fates={}))
    same = World({"a": "same"})
    yield drive(begin(["a"], rolling, parts=["preflight", "stage", "switch"]), same)
    bad = replace(rolling, on_failure="revert_all")
    run = drive(begin(["a", "b"], bad), World({"b": "sick"}, {"a": "none", "b": "fails"}))
    yield run
    yield drive(retry_of(run.state, "app-2", 2, run.now_ms), World({}))
    parts = ["preflight", "stage", "switch", "revert"]
    for revert_fate in ("ok", "none"):
        yield drive(begin(["a"], bad, parts=parts), World({"a": "lost_gone"}, {"a": revert_fate}))


@pytest.fixture(scope="module")
def runs() -> list[Run]:
    return [*random_runs(), *told_runs()]


def edges(runs: list[Run]) -> tuple[Edges, Edges]:
    of_deployments: Edges = set()
    of_hosts: Edges = set()
    for run in runs:
        state = apply(None, run.log[0])
        of_deployments.add((t.NONE, state.status))
        for event in run.log[1:]:
            before, state = state, apply(state, event)
            of_deployments.add((before.status, state.status))
            changed = before.hosts if before.status != state.status else ()
            of_hosts |= {(old.status, state.hosts[i].status) for i, old in enumerate(changed)}
            if event.host:
                number = state.index[event.host]
                of_hosts.add((before.hosts[number].status, state.hosts[number].status))
    return of_deployments, of_hosts


def test_every_change_of_the_tables_happens_and_no_other(runs: list[Run]) -> None:
    of_deployments, of_hosts = edges(runs)
    assert {e for e in of_deployments if e[0] != e[1]} == {(row.source, row.target) for row in t.DEPLOYMENT_ROWS}
    assert {e for e in of_hosts if e[0] != e[1]} == {(row.source, row.target) for row in t.HOST_ROWS}


def test_every_other_change_is_refused(runs: list[Run]) -> None:
    samples: dict[str, RolloutState] = {}
    for run in runs:
        state = apply(None, run.log[0])
        for event in run.log[1:]:
            samples.setdefault(state.status, state)
            state = apply(state, event)
        samples.setdefault(state.status, state)
    states = t.ACTIVE + t.TERMINAL
    assert set(samples) == set(states)
    allowed = {(row.source, row.target) for row in t.DEPLOYMENT_ROWS}
    for source, state in samples.items():
        for target in (*states, t.INTERRUPTED, "nonsense"):
            event = Event(
                "deployment_transition", 0, deployment=state.id, data={"from": source, "to": target, "reason": ""}
            )
            if (source, target) not in allowed:
                with pytest.raises(ConflictError):
                    apply(state, event)


def test_every_other_change_of_a_host_is_refused() -> None:
    allowed = {(row.source, row.target) for row in t.HOST_ROWS}
    for source in t.HOST_STATES:
        for target in t.HOST_STATES:
            if (source, target) in allowed:
                assert t.host_row(source, target).target == target
            else:
                with pytest.raises(ConflictError):
                    t.host_row(source, target)


def test_a_change_whose_guard_does_not_hold_is_refused() -> None:
    policy = RolloutPolicy(**QUICK)  # type: ignore[arg-type]
    state = apply(None, begin(["a"], policy))
    for source, target in [(t.PENDING, t.RUNNING), (t.PENDING, t.FAILED), (t.PENDING, t.CANCELLED)]:
        event = Event("deployment_transition", 0, deployment="app-1", data={"from": source, "to": target, "reason": ""})
        with pytest.raises(ConflictError, match="not "):
            apply(state, event)
    running = replace(state, status=t.RUNNING)
    for target in (t.SUCCESSFUL, t.PARTIAL, t.FAILED, t.REVERTING, t.CANCELLED):
        event = Event(
            "deployment_transition", 0, deployment="app-1", data={"from": t.RUNNING, "to": target, "reason": ""}
        )
        with pytest.raises(ConflictError, match="not "):
            apply(running, event)


def test_every_guard_of_a_deployment_is_written() -> None:
    assert {row.guard for row in t.DEPLOYMENT_ROWS if row.source} == set(GUARDS)


@pytest.mark.parametrize("request_name", sorted(t.REQUESTS))
def test_a_request_is_refused_where_the_table_has_it_not(request_name: str) -> None:
    policy = RolloutPolicy(**QUICK)  # type: ignore[arg-type]
    state = apply(None, begin(["a"], policy))
    for status in t.ACTIVE + t.TERMINAL:
        now = replace(state, status=status)
        if status in t.REQUESTS[request_name]:
            continue
        with pytest.raises(ConflictError):
            check_request(now, request_name)
        assert apply(now, ask(now, request_name, 0)) == now
    with pytest.raises(ConflictError, match="no request"):
        check_request(state, "explode")


def test_the_page_of_states_is_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "states.py", "--check"], capture_output=True, text=True, timeout=20
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_deployment_that_is_stopping_can_neither_be_paused_nor_stopped_again() -> None:
    state = replace(apply(None, begin(["a"], RolloutPolicy(**QUICK))), status=t.RUNNING)  # type: ignore[arg-type]
    stop = Event("deployment_stopping", 0, deployment="app-1", data={"cause": "deadline", "reason": "too slow"})
    stopping = apply(state, stop)
    pause = {"from": t.RUNNING, "to": t.PAUSED, "reason": ""}
    with pytest.raises(ConflictError, match="not stopping"):
        apply(stopping, Event("deployment_transition", 0, deployment="app-1", data=pause))
    with pytest.raises(ConflictError, match="stopping already"):
        apply(stopping, stop)
    for request in ("pause", "fail"):
        with pytest.raises(ConflictError, match="failing"):
            check_request(stopping, request)
    check_request(stopping, "cancel")
