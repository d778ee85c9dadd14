"""10,000 random rollouts against an oracle, and 1,500 with operators who meddle; every run is named by its seed."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from sane.core.events import Event
from sane.core.rollout import table as t
from sane.core.rollout.controller import HostSpec, RolloutState, check_request, exit_status, fold, reconcile
from sane.core.rollout.policy import RolloutPolicy
from sane.core.units import Amount
from sane.errors import ConflictError
from tests.core.rollout.rollout_oracle import Oracle
from tests.core.rollout.rollout_world import DOUBTFUL_FATES, FATES, QUICK, REVERT_FATES, World, begin, drive, statuses

EXITS = {"successful": 0, "partial": 3, "reverted": 5}
CALM = ("promote", "resume")
WILD = ("pause", "fail", "cancel", "supersede", *CALM)
GOOD_FATES = ("ok", "ok", "ok", "blips", "same", "lost_back")


def random_policy(rng: random.Random, count: int) -> RolloutPolicy:
    strategy = rng.choice(["rolling", "canary", "blue-green"])
    canary = {"rolling": 0, "canary": rng.randint(1, count), "blue-green": rng.choice([0, 1, count])}[strategy]
    share = rng.random() < 0.3
    values = dict(QUICK)
    if rng.random() < 0.1:
        values["progress_deadline_ms"] = 0
    return RolloutPolicy(
        strategy=strategy,  # type: ignore[arg-type]
        max_parallel=Amount(rng.choice([25, 50, 100]), True) if share else Amount(rng.randint(1, 3)),
        canary=Amount(canary),
        auto_promote=strategy != "rolling" and (canary > 0 or strategy == "blue-green"),
        max_failures=Amount(rng.choice([20, 50]), True) if share else Amount(rng.randint(0, 2)),
        on_failure=rng.choice(["stop", "revert_failed", "revert_all"]),  # type: ignore[arg-type]
        **values,  # type: ignore[arg-type]
    )


def random_hosts(rng: random.Random) -> list[tuple[str, str, str, str]]:
    health = rng.random()
    fates = [
        rng.choice(GOOD_FATES) if rng.random() < health else rng.choice(list(FATES)) for _ in range(rng.randint(1, 5))
    ]
    cut = rng.randint(0, len(fates))
    return [
        (f"h{i}", "a" if i < cut else "b", fate, "ok" if rng.random() < 0.6 else rng.choice(list(REVERT_FATES)))
        for i, fate in enumerate(fates)
    ]


class Watch:
    """Check, after each event, what must hold in every run."""

    def __init__(self) -> None:
        self.edges: set[tuple[str, str]] = set()
        self.host_edges: set[tuple[str, str]] = set()

    def __call__(self, before: RolloutState, event: Event, after: RolloutState) -> None:
        if before.status != after.status:
            self.edges.add((before.status, after.status))
        assert (after.in_flight & ~after.same).bit_count() <= after.policy.parallel(after.total)
        if not event.host:
            return
        number = after.index[event.host]
        old, new = before.hosts[number].status, after.hosts[number].status
        if old != new:
            self.host_edges.add((old, new))
        if event.kind == "action_started" and event.data["action"] in ("stage", "switch"):
            self.started(before, number, old, str(event.data["action"]))
            assert after.touched >> number & 1, "a host counts as changed as long as nobody knows that it is not"
        if event.kind == "action_started" and event.data["action"] == "revert":
            assert before.touched >> number & 1, "a host was taken back on which nothing began"

    def started(self, before: RolloutState, number: int, old: str, action: str) -> None:
        bit = 1 << number
        if old == t.PENDING:
            assert not before.failing, "a host began after the deployment began to fail"
            assert before.bad <= before.budget, "a host began after the budget was spent"
            if before.canaries and not before.promoted:
                assert bit & before.canaries, "a host that is no canary began before the promotion"
            earlier = before.among(t.PENDING) & (bit - 1)
            if not (before.canaries & ~before.among(*t.GOOD)) and not before.same:
                assert not earlier, "a host began before one that stands earlier in the order"
        if action == "switch" and before.green_first and bit & before.canaries:
            assert before.promoted, "traffic was switched before the promotion"


def check_end(watch: Watch, state: RolloutState, log: list[Event]) -> None:
    assert fold(log) == state
    assert reconcile(state, log[-1].at_ms) == reconcile(state, log[-1].at_ms)
    assert sum(mask.bit_count() for mask in state.by_status.values()) == state.total
    assert not state.terminal or state.settled


@pytest.mark.timeout(60)
@pytest.mark.parametrize("first_seed", range(0, 10_000, 2_000))
def test_ten_thousand_random_runs_end_as_the_oracle_says(first_seed: int) -> None:
    watch = Watch()
    for seed in range(first_seed, first_seed + 2_000):
        rng = random.Random(seed)
        hosts = random_hosts(rng)
        policy = random_policy(rng, len(hosts))
        world = World({h[0]: h[2] for h in hosts}, {h[0]: h[3] for h in hosts}, rng=rng)
        first = begin([HostSpec(name, group) for name, group, *_ in hosts], policy)
        run = drive(first, world, watch=watch)
        expected = Oracle(hosts, policy).predict()
        assert (run.state.status, statuses(run.state)) == expected, (seed, policy, hosts)
        if seed % 10 == 0:
            check_end(watch, run.state, run.log)
        failed_exit = 6 if run.state.to_revert else 4
        assert exit_status(run.state) == EXITS.get(run.state.status, failed_exit)


@pytest.mark.timeout(60)
def test_operators_who_meddle_at_random_never_break_a_rule() -> None:
    watch = Watch()
    for seed in range(1_500):
        rng = random.Random(1_000_000 + seed)
        hosts = random_hosts(rng)
        fates = {h[0]: h[2] if rng.random() < 0.8 else rng.choice(list(DOUBTFUL_FATES)) for h in hosts}
        world = World(fates, {h[0]: h[3] for h in hosts}, rng=rng)
        policy = random_policy(rng, len(hosts))
        if rng.random() < 0.5:
            policy = replace(policy, auto_promote=False)
        first = begin([HostSpec(name, group) for name, group, *_ in hosts], policy)

        def meddle(state: RolloutState, now_ms: int, rng: random.Random = rng) -> str:
            if state.request is not None or (rng.random() > 0.1 and state.status not in (t.PAUSED, t.AWAITING)):
                return ""
            request = rng.choice(WILD if rng.random() < 0.5 else CALM)
            try:
                check_request(state, request)
            except ConflictError:
                return ""
            return request

        run = drive(first, world, watch=watch, meddle=meddle)
        assert run.state.terminal, (seed, run.state.status)
        check_end(watch, run.state, run.log)
    never = {(row.source, row.target) for row in t.DEPLOYMENT_ROWS if row.source} - watch.edges
    assert not never
