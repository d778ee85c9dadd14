"""The watch's loop on a real log: kills, recoveries, approvals, and hosts that die or hang."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sane.core.watch.config import AlertSettings, WatchConfig
from sane.core.watch.plan import PlanLimits
from sane.core.watch.until import compile_until
from sane.errors import ConflictError
from sane.operations.plans import decide_plan, find_plan, list_plans
from sane.store import open_store
from sane.store.base import Store
from tests.engine import model_servers as fake
from tests.engine.test_planner import ALERT, ENVIRON, config_for, plan
from tests.engine.watch_world import FAST, KEY, QUICK, World


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


async def kinds_of(world: World) -> Counter[str]:
    return Counter(event.kind for event in await world.events())


async def wait_for_polls(world: World, hosts: Sequence[str], count: int) -> None:
    """Wait until each host was asked so many times more."""
    until = {host: world.machines.asked[host] + count for host in hosts}
    async with asyncio.timeout(20):
        while any(world.machines.asked[host] < most for host, most in until.items()):
            await asyncio.sleep(0.005)


async def watch(world: World, hosts: Sequence[str], count: int) -> None:
    """Run a watcher until each host was asked so many times, and stop it."""
    running = asyncio.create_task(world.watcher().run(for_ms=60_000))
    await wait_for_polls(world, hosts, count)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_only_changes_are_in_the_log(store: Store) -> None:
    world = World(store, "web1", "web2")
    await watch(world, ("web1", "web2"), 6)
    assert (await kinds_of(world))["host_sampled"] == 2
    world.machines.say["web1"] = {"status": "starting"}
    await watch(world, ("web1", "web2"), 6)
    assert (await kinds_of(world))["host_sampled"] == 3, "a restart repeats nothing"


async def test_until_is_judged_only_when_every_host_was_seen(store: Store) -> None:
    world = World(store, "web1", "web2")
    held = asyncio.Event()
    world.machines.say["web2"] = held
    running = asyncio.create_task(world.watcher().run(until=compile_until("healthy == total"), for_ms=60_000))
    await wait_for_polls(world, ("web1",), 6)
    assert not running.done()
    world.machines.say["web2"] = {"status": "healthy"}
    held.set()
    assert await asyncio.wait_for(running, 5) is True


async def test_a_time_limit_ends_a_watch_whose_condition_does_not_hold(store: Store) -> None:
    world = World(store, "web1")
    assert await world.watcher().run(until=compile_until("total == `2`"), for_ms=100) is False


async def test_a_host_that_confirms_nothing_holds_up_no_end(store: Store) -> None:
    world = World(store, "web1", "web2")
    world.machines.say["web1"] = "stopped"
    before = set(asyncio.all_tasks())
    began = time.monotonic()
    await world.watcher().run(for_ms=800)
    took_s = time.monotonic() - began
    asked = world.machines.asked["web1"]
    assert took_s < 3, "the end of a command takes 5 s on such a host"
    left = set(asyncio.all_tasks()) - before
    assert not await asyncio.wait_for(_ended(left), 10)
    assert world.machines.asked["web1"] == asked == 1, "nothing is asked of it any more"


async def _ended(tasks: set[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Return those that have not ended some time after they were cancelled once more, as at the end of a loop."""
    for task in tasks:
        task.cancel()
    return (await asyncio.wait(tasks, timeout=2))[1] if tasks else set()


async def test_what_is_under_way_when_time_is_up_has_a_moment_to_end(store: Store, tmp_path: Path) -> None:
    ways = AlertSettings(
        command=("sh", "-c", f"echo begun >> {tmp_path}/told; sleep 0.4; echo sent >> {tmp_path}/told")
    )
    limits, escalation = PlanLimits(tier="read"), replace(QUICK, attempt_limit=0)
    world = World(store, "web1", config=WatchConfig(watch=FAST, escalation=escalation, alerts=ways, limits=limits))
    world.machines.say["web1"] = None
    watching = asyncio.create_task(world.watcher().run(for_ms=60_000))
    while not (tmp_path / "told").exists():
        await asyncio.sleep(0.01)
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    assert (tmp_path / "told").read_text() == "begun\n", "a person who ends it does not wait"
    await world.watcher().run(for_ms=100)
    assert (tmp_path / "told").read_text() == "begun\n" * 2 + "sent\n"
    assert [event.data["outcome"] for event in await world.events("alert_sent")] == ["sent"]


async def test_hosts_that_hang_cost_the_others_nothing(store: Store) -> None:
    dead = [f"dead{n}" for n in range(70)]
    world = World(store, "web1", *dead)
    never = asyncio.Event()
    for name in dead:
        world.machines.say[name] = None
    await world.watcher().run(for_ms=100)
    for name in dead:
        world.machines.say[name] = never  # each takes the whole time limit of a probe
    before = world.machines.asked["web1"]
    await world.watcher().run(for_ms=1_000)
    assert world.machines.asked["web1"] - before > 10


async def test_a_recovery_closes_the_episode_and_the_next_fault_is_a_new_one(store: Store) -> None:
    world = World(store, "web1")
    world.machines.say["web1"] = None
    await world.run_until("plan_proposed")
    world.machines.say["web1"] = {"status": "healthy"}
    await world.run_until("episode_closed")
    world.machines.say["web1"] = None
    await world.run_until("episode_opened", where=lambda event: event.data["episode"] == "e2")
    assert (await kinds_of(world))["episode_opened"] == 2


async def test_rules_retry_then_roll_back_then_tell_a_person(store: Store) -> None:
    config = WatchConfig(watch=FAST, escalation=QUICK, limits=PlanLimits(tier="rollback"))
    world = World(store, "web1", config=config)
    world.machines.say["web1"] = None
    await world.run_until("plan_finished", where=lambda event: event.data["outcome"] == "done")
    proposed = [event.data["steps"][0]["verb"] for event in await world.events("plan_proposed")]
    assert proposed == ["retry", "rollback", "alert"], "there is no deployment key, so neither helped"


async def test_a_killed_call_is_taken_up_again_once_and_as_the_same_attempt(store: Store) -> None:
    with fake.ModelServer(fake.hang(), fake.output(ALERT)) as server:
        config = config_for(server)
        slow = {"big": replace(config.models["big"], timeout_ms=30_000)}
        world = World(store, "web1", config=replace(config, models=slow), environ=ENVIRON)
        world.machines.say["web1"] = None
        running = asyncio.create_task(world.watcher().run())
        await asyncio.to_thread(server.wait_for_requests, 1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        finished = await world.run_until("plan_finished")
    counts = await kinds_of(world)
    assert finished.data["outcome"] == "done"
    assert (counts["episode_opened"], counts["escalation_started"], counts["escalation_resumed"]) == (1, 1, 1)
    assert counts["plan_proposed"] == 1


async def test_a_person_approves_from_another_process_and_the_plan_runs_once(store: Store, tmp_path: Path) -> None:
    with fake.ModelServer(fake.output(plan("run-command", "web1", command="uptime"))) as server:
        world = World(store, "web1", config=config_for(server), environ=ENVIRON)
        world.machines.say["web1"] = {"status": "failed"}
        running = asyncio.create_task(world.watcher().run())
        try:
            async with asyncio.timeout(10):
                await anext(store.follow(0, key=KEY, kinds=("plan_decided",)))
            (row,) = await list_plans(store, waiting=True)
            other = await open_store(None, tmp_path / "state")
            approved, _ = await decide_plan(other, row.id, approve=True)
            assert approved.status == "approved"
            with pytest.raises(ConflictError, match="does not wait"):
                await decide_plan(other, row.id, approve=True)
            await other.close()
            async with asyncio.timeout(10):
                event = await anext(store.follow(0, key=KEY, kinds=("plan_finished",)))
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await world.planner.close()
    assert [script for _, script in world.machines.ran if "uptime" in script]
    assert event.data["outcome"] == "done", event.data
    assert (await find_plan(store, row.id)).status == "done"
    assert (await kinds_of(world))["plan_started"] == 1


async def test_a_refused_plan_never_runs_and_a_person_is_told(store: Store) -> None:
    with fake.ModelServer(fake.output(plan("run-command", "web1", command="uptime"))) as server:
        world = World(store, "web1", config=config_for(server), environ=ENVIRON)
        world.machines.say["web1"] = {"status": "failed"}
        decided = await world.run_until("plan_decided")
        await decide_plan(store, decided.data["plan"], approve=False, reason="no")
        await world.run_until("alert_sent")
    assert world.machines.ran == []


@pytest.mark.parametrize("behind_ms", [0, 3_600_000])  # what a monotonic clock is behind a suspend of an hour
async def test_a_second_watch_of_the_same_is_refused(store: Store, behind_ms: int) -> None:
    world = World(store, "web1")
    now_ms = world.now_ms
    world.now_ms = lambda: now_ms() - behind_ms
    first = asyncio.create_task(world.watcher("first").run())
    async with asyncio.timeout(5):
        await anext(store.follow(0, key=KEY, kinds=("host_sampled",)))
    world.now_ms = now_ms
    with pytest.raises(ConflictError, match="first"):
        await world.watcher("second").run(for_ms=100)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)


async def test_an_alert_that_no_way_takes_is_recorded_as_such(store: Store) -> None:
    config = WatchConfig(watch=FAST, escalation=QUICK, alerts=AlertSettings(command=("/nonexistent/notify",)))
    config = replace(config, limits=PlanLimits(tier="read"))
    world = World(store, "web1", config=config)
    world.machines.say["web1"] = None
    sent = await world.run_until("alert_sent", where=lambda event: True, timeout_s=15)
    assert "can't be run" in sent.data["outcome"]


async def test_an_alert_that_one_of_two_ways_takes_is_sent_and_the_log_names_the_other(store: Store) -> None:
    ways = AlertSettings(command=("true",), tmux_session="no-such-session")
    config = WatchConfig(watch=FAST, escalation=QUICK, alerts=ways, limits=PlanLimits(tier="read"))
    config = replace(config, escalation=replace(QUICK, attempt_limit=0))
    world = World(store, "web1", config=config)
    world.machines.say["web1"] = None
    sent = await world.run_until("alert_sent", timeout_s=15)
    assert sent.data["outcome"] == "sent"
    assert [way.partition(":")[0] for way in sent.data["failed"]] == ["tmux"]


async def test_a_host_that_left_the_inventory_keeps_no_episode_open(store: Store) -> None:
    world = World(store, "web1", "web2")
    world.machines.say["web1"] = None
    await world.run_until("episode_opened")
    other: Any = World(store, "web2")
    await other.run_until("episode_closed")
