"""The reconcile loop on a real log, in SQLite and in PostgreSQL, with a performer that touches nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from sane.core.events import Event
from sane.core.rollout.controller import (
    Effect,
    JudgeGates,
    Preflight,
    ProbeHealth,
    RolloutState,
    exit_status,
    finished,
    observed,
    policy_as_json,
)
from sane.core.rollout.policy import RolloutPolicy
from sane.core.units import Amount
from sane.engine.runner import Runner, steady_clock
from sane.errors import ConflictError
from sane.store.base import Store
from tests.store.conftest import OpenAnother

NOW = steady_clock()


class ScriptedPerformer:
    """Answer ok, but for the (host, part) pairs of `outcomes`; count what was asked, and hold what `gates` holds."""

    def __init__(self, outcomes: Mapping[tuple[str, str], str] | None = None) -> None:
        self.outcomes = dict(outcomes or {})
        self.performed: Counter[str] = Counter()
        self.resumed: list[str] = []
        self.hold: dict[tuple[str, str], asyncio.Event] = {}
        self.reached = asyncio.Event()
        self.most_at_once = 0
        self._at_once = 0

    async def perform(self, action: Effect | JudgeGates, state: RolloutState, *, resumed: bool) -> Event:
        assert isinstance(action, Effect)
        self.performed[action.operation] += 1
        if resumed:
            self.resumed.append(action.operation)
        self._at_once += 0 if isinstance(action, Preflight) else 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        try:
            await asyncio.sleep(0)
            part = "probe" if isinstance(action, ProbeHealth) else action.part  # type: ignore[attr-defined]
            gate = self.hold.get((action.host, part))
            if gate is not None and not resumed:
                self.reached.set()
                await gate.wait()
            outcome = self.outcomes.get((action.host, part), "")
            if isinstance(action, ProbeHealth):
                return observed(action, state, NOW(), outcome or "pass")
            return finished(action, state, NOW(), outcome or "ok", previous_version="0.9", previous_digest="old")
        finally:
            self._at_once -= 0 if isinstance(action, Preflight) else 1


async def create(store: Store, hosts: int, **policy: Any) -> None:
    chosen = RolloutPolicy(min_healthy_ms=0, **policy)
    data = {
        "revision": 1,
        "version": "1.0",
        "digest": "new",
        "hosts": [{"name": f"web{n}"} for n in range(1, hosts + 1)],
        "policy": policy_as_json(chosen),
    }
    await store.create_deployment(Event("deployment_created", NOW(), key="app", deployment="app-1", data=data))


def runner(store: Store, performer: ScriptedPerformer, owner: str = "me", **options: Any) -> Runner:
    return Runner(store, "app-1", "app", owner, performer, now_ms=NOW, **options)


async def test_all_hosts_become_healthy_in_order_one_at_a_time(store: Store) -> None:
    performer = ScriptedPerformer()
    await create(store, 3)
    state = await runner(store, performer).run()
    assert state.status == "successful"
    assert exit_status(state) == 0
    assert performer.most_at_once == 1
    switched = [op for op in performer.performed if "/switch/" in op]
    assert switched == [f"app-1/web{n}/switch/1" for n in (1, 2, 3)]


async def test_a_failure_within_the_budget_leaves_the_rest_to_go_on(store: Store) -> None:
    performer = ScriptedPerformer({("web2", "stage"): "failed"})
    await create(store, 3, max_failures=Amount(1))
    state = await runner(store, performer).run()
    assert [host.status for host in state.hosts] == ["healthy", "failed", "healthy"]
    assert exit_status(state) == 3


async def test_no_more_hosts_than_max_parallel_are_touched_at_once(store: Store) -> None:
    performer = ScriptedPerformer()
    await create(store, 12, max_parallel=Amount(4))
    await runner(store, performer).run()
    assert performer.most_at_once == 4


async def test_the_log_alone_gives_the_same_state(store: Store) -> None:
    await create(store, 3, max_failures=Amount(1), healthy_deadline_ms=300, poll_interval_ms=50)
    state = await runner(store, ScriptedPerformer({("web3", "probe"): "unreachable"})).run()
    assert state.status == "partial"
    again = await runner(store, ScriptedPerformer()).run()
    assert again == state


async def test_a_second_controller_is_refused_and_names_the_first(store: Store, open_another: OpenAnother) -> None:
    performer = ScriptedPerformer()
    performer.hold[("web1", "stage")] = asyncio.Event()
    await create(store, 1)
    first = asyncio.create_task(runner(store, performer, "first").run())
    await asyncio.wait_for(performer.reached.wait(), 5)
    with pytest.raises(ConflictError, match="first"):
        await runner(await open_another(), ScriptedPerformer(), "second").run()
    performer.hold[("web1", "stage")].set()
    assert (await asyncio.wait_for(first, 5)).status == "successful"


async def test_a_stopped_run_is_resumed_by_another_and_begins_nothing_twice(store: Store) -> None:
    performer = ScriptedPerformer()
    performer.hold[("web2", "switch")] = asyncio.Event()
    await create(store, 3)
    first = asyncio.create_task(runner(store, performer, "first").run())
    await asyncio.wait_for(performer.reached.wait(), 5)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    second = ScriptedPerformer()
    state = await runner(store, second, "second").run()
    assert state.status == "successful"
    assert second.resumed == ["app-1/web2/switch/1"]
    assert not any(op.startswith(("app-1/web1/stage", "app-1/web1/switch")) for op in second.performed)


async def test_a_request_of_another_process_is_heard_at_once(store: Store, open_another: OpenAnother) -> None:
    performer = ScriptedPerformer()
    performer.hold[("web1", "stage")] = asyncio.Event()
    await create(store, 2)
    running = asyncio.create_task(runner(store, performer).run())
    await asyncio.wait_for(performer.reached.wait(), 5)
    other = await open_another()
    data = {"request": "cancel", "reason": "wrong version"}
    await other.append([Event("operator_request", NOW(), key="app", deployment="app-1", data=data)])
    performer.hold[("web1", "stage")].set()
    state = await asyncio.wait_for(running, 5)
    assert state.status == "cancelled"
    assert performer.performed["app-1/web2/stage/1"] == 0


async def test_where_it_waits_for_a_person_it_can_return(store: Store) -> None:
    await create(store, 3, strategy="canary", canary=Amount(1))
    state = await asyncio.wait_for(runner(store, ScriptedPerformer(), wait_for_people=False).run(), 5)
    assert state.status == "awaiting_promotion"
    assert exit_status(state) == 8


async def test_a_controller_whose_machine_was_suspended_holds_its_lease_by_the_clock_of_others(store: Store) -> None:
    """The monotonic clock stood still for an hour, and all that others have is the time of day."""
    performer = ScriptedPerformer()
    performer.hold["web1", "switch"] = asyncio.Event()
    await create(store, 1)
    driving = Runner(store, "app-1", "app", "first", performer, now_ms=lambda: NOW() - 3_600_000, lease_ttl_ms=6000)
    running = asyncio.create_task(driving.run())
    async with asyncio.timeout(20):
        await performer.reached.wait()
        taken = driving.lease
        while driving.lease is taken:  # until it is renewed
            await asyncio.sleep(0.01)
        for lease in (taken, driving.lease):
            assert abs(lease.until_ms - time.time() * 1000) < 60_000
        with pytest.raises(ConflictError, match="held by first"):
            await store.take_lease("app", "second", 60_000, int(time.time() * 1000))
        performer.hold["web1", "switch"].set()
        assert (await running).status == "successful"


async def test_a_lease_that_is_taken_away_ends_the_run(store: Store) -> None:
    performer = ScriptedPerformer()
    performer.hold[("web1", "stage")] = asyncio.Event()
    await create(store, 1)
    running = asyncio.create_task(runner(store, performer, "first", lease_ttl_ms=300).run())
    await asyncio.wait_for(performer.reached.wait(), 5)
    await store.take_lease("app", "second", 60_000, NOW() + 60_000)
    with pytest.raises(ConflictError, match="second"):
        await asyncio.wait_for(running, 5)


async def test_notes_are_stored_with_what_they_belong_to(store: Store) -> None:
    performer = ScriptedPerformer()
    await create(store, 1)
    driver = runner(store, performer)
    driver.note(Event("message", NOW(), key="app", deployment="app-1", data={"text": "hello"}))
    await driver.run()
    kinds = [event.kind for event in await store.read(deployment="app-1")]
    assert kinds.count("message") == 1


async def test_the_views_made_anew_from_the_log_say_the_same(store: Store) -> None:
    await create(store, 3, max_failures=Amount(1))
    await runner(store, ScriptedPerformer({("web2", "stage"): "failed"})).run()
    kept = (await store.list_deployments(), await store.list_hosts("app"))
    assert [row.status for row in kept[1]] == ["healthy", "failed", "healthy"]
    await store.rebuild_views()
    assert (await store.list_deployments(), await store.list_hosts("app")) == kept
