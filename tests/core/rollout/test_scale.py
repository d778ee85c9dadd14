"""10,000 hosts: planned in less than a second, and cost and memory grow with the number of events, not its square."""

from __future__ import annotations

import time
import tracemalloc

from hypothesis import given, settings
from hypothesis import strategies as st

from sane.core.rollout.batches import peak_exposure, plan_batches
from sane.core.rollout.controller import HostSpec, apply, fold, reconcile
from sane.core.rollout.host_rows import Rows, bits, first_bits
from sane.core.rollout.policy import RolloutPolicy
from sane.core.units import Amount
from tests.core.rollout.rollout_world import QUICK, World, begin, drive


def of(count: int, parallel: int) -> RolloutPolicy:
    return RolloutPolicy(max_parallel=Amount(parallel), **QUICK)  # type: ignore[arg-type]


def test_ten_thousand_hosts_are_planned_in_less_than_a_second() -> None:
    hosts = [HostSpec(f"host{i}", f"region{i // 1_000}") for i in range(10_000)]
    first = begin(hosts, of(10_000, 300))
    start = time.process_time()
    state = apply(None, first)
    plan = plan_batches(state)
    actions = reconcile(state, 0)
    assert time.process_time() - start < 1.0
    assert len(actions) == 10_000
    assert [host for batch in plan for host in batch.hosts] == [host.name for host in hosts]
    assert peak_exposure(plan) == 300
    assert all(len(set(batch.hosts)) <= 300 for batch in plan)
    assert len(plan) == 40  # 300, 300, 300, 100 in each of ten regions


def test_the_cost_of_an_event_does_not_grow_with_the_fleet() -> None:
    costs: list[float] = []
    for count in (250, 2_500):
        log = drive(begin([f"h{i}" for i in range(count)], of(count, count)), World({}), limit=10**6).log
        best = 1e9
        for _ in range(2):
            start = time.process_time()
            fold(log)
            best = min(best, time.process_time() - start)
        costs.append(best / len(log))
    assert costs[1] < costs[0] * 4  # ten times the hosts; quadratic work would cost ten times as much an event


def test_memory_grows_with_the_hosts_only() -> None:
    log = drive(begin([f"h{i}" for i in range(1_000)], of(1_000, 100)), World({}), limit=10**6).log
    tracemalloc.start()
    try:
        state = fold(log)
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert state.total == 1_000
    assert kept / state.total < 4_000


def test_a_canary_and_a_blue_green_plan() -> None:
    hosts = [HostSpec(name, name[0]) for name in ("a1", "a2", "a3", "b1")]
    canary = RolloutPolicy(strategy="canary", canary=Amount(1), max_parallel=Amount(2))
    plan = plan_batches(apply(None, begin(hosts, canary)))
    assert [(b.kind, b.group, b.hosts) for b in plan] == [
        ("canary", "a", ("a1",)),
        ("batch", "a", ("a2", "a3")),
        ("batch", "b", ("b1",)),
    ]
    green = RolloutPolicy(strategy="blue-green", max_parallel=Amount(4))
    assert [b.kind for b in plan_batches(apply(None, begin(hosts, green)))] == ["canary", "canary", "switch", "switch"]
    assert plan_batches(apply(None, begin(hosts, canary, skip_canary=True)))[0].kind == "batch"


@settings(max_examples=100, deadline=None)
@given(st.sets(st.integers(0, 400)), st.integers(0, 10))
def test_sets_of_hosts(numbers: set[int], count: int) -> None:
    mask = sum(1 << number for number in numbers)
    assert list(bits(mask)) == sorted(numbers)
    assert list(bits(first_bits(mask, count))) == sorted(numbers)[:count]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(), min_size=1, max_size=400), st.data())
def test_rows_are_persistent(entries: list[int], data: st.DataObject) -> None:
    number = data.draw(st.integers(0, len(entries) - 1))
    rows = Rows(entries)
    new = entries[number] + 1
    other = rows.replaced(number, new)
    assert list(rows) == entries
    assert list(other) == [*entries[:number], new, *entries[number + 1 :]]
    assert len(other) == len(entries)
    assert other[number] == new
    assert (rows == other) is False
