"""A rollout and a watch whose log is away for a while: they go on where it comes back in time, else say how to go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sane.core.events import Event
from sane.engine.runner import Runner, steady_clock
from sane.errors import ConflictError, InterruptedRunError, SaneError, StoreError, UnavailableError
from sane.operations.plans import decide_plan
from sane.store import open_store
from sane.store.base import Lease, Store
from tests.engine import model_servers as fake
from tests.engine.test_planner import ENVIRON, config_for, plan
from tests.engine.test_runner import ScriptedPerformer, create
from tests.engine.watch_world import KEY, World

AWAY = StoreError("the event log can't be reached: the server restarts")
BUSY = UnavailableError("the event log is held by another process for 10 s")
NOW = steady_clock()
TTL_MS = 900  # a renewal each 300 ms


class AwayStore:
    """A log that fails what `fails` names with an error, or answers it only once an event is set."""

    def __init__(self, within: Store) -> None:
        self._within = within
        self.fails: dict[str, SaneError | asyncio.Event] = {}
        self.failed, self.renewed = asyncio.Event(), asyncio.Event()

    async def _fail(self, name: str) -> None:
        if (fault := self.fails.get(name)) is not None:
            self.failed.set()
            if isinstance(fault, SaneError):
                raise type(fault)(fault.message)  # one that is raised twice grows its traceback
            await fault.wait()

    async def renew_lease(self, lease: Lease, ttl_ms: int, now_ms: int) -> Lease:
        await self._fail("renew_lease")
        renewed = await self._within.renew_lease(lease, ttl_ms, now_ms)
        self.renewed.set()
        return renewed

    async def follow(self, after: int | None = None, **options: Any) -> AsyncGenerator[Event, None]:
        await self._fail("follow")
        async for event in self._within.follow(after, **options):
            yield event

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[AwayStore]:
    opened = await open_store(None, tmp_path / "state")
    yield AwayStore(opened)
    await opened.close()


def held() -> ScriptedPerformer:
    performer = ScriptedPerformer()
    performer.hold[("web1", "stage")] = asyncio.Event()
    return performer


async def begin(
    store: AwayStore, performer: ScriptedPerformer, now_ms: Callable[[], int] = NOW
) -> tuple[Runner, asyncio.Task[Any]]:
    """Start a rollout whose one step is held, and return it once that is under way."""
    log = cast("Store", store)
    await create(log, 1)
    runner = Runner(log, "app-1", "app", "me", performer, now_ms=now_ms, lease_ttl_ms=TTL_MS)
    running = asyncio.create_task(runner.run())
    async with asyncio.timeout(5):
        await performer.reached.wait()
    return runner, running


@pytest.mark.parametrize("error", [AWAY, BUSY], ids=["away", "busy"])
async def test_a_rollout_outlasts_a_log_that_is_away_at_a_renewal(store: AwayStore, error: SaneError) -> None:
    performer = held()
    _, running = await begin(store, performer)
    store.fails["renew_lease"] = error
    async with asyncio.timeout(5):
        await store.failed.wait()
        store.fails.clear()
        store.renewed.clear()
        await asyncio.wait({running, asyncio.ensure_future(store.renewed.wait())}, return_when="FIRST_COMPLETED")
        performer.hold[("web1", "stage")].set()
        assert (await running).status == "successful"


async def test_a_lease_that_can_t_be_renewed_until_its_end_interrupts_and_names_the_way_on(store: AwayStore) -> None:
    runner, running = await begin(store, held())
    store.fails["renew_lease"] = AWAY
    with pytest.raises(InterruptedRunError) as caught:
        await asyncio.wait_for(running, 5)
    assert NOW() >= runner.lease.until_ms
    assert caught.value.message == f"the lease on app could not be renewed before its end: {AWAY.message}"
    assert "sane resume app-1" in caught.value.hint


async def test_a_renewal_that_a_slow_log_answers_behind_the_end_of_the_lease_counts(store: AwayStore) -> None:
    performer, answer = held(), asyncio.Event()
    runner, running = await begin(store, performer)
    store.fails["renew_lease"] = answer
    async with asyncio.timeout(5):
        await store.failed.wait()
        await asyncio.sleep((runner.lease.until_ms - NOW()) / 1000)
        store.renewed.clear()
        answer.set()
        await asyncio.wait({running, asyncio.ensure_future(store.renewed.wait())}, return_when="FIRST_COMPLETED")
        performer.hold[("web1", "stage")].set()
        assert (await running).status == "successful"


async def test_a_lease_that_somebody_took_meanwhile_ends_a_rollout_at_once(store: AwayStore) -> None:
    _, running = await begin(store, held())
    store.fails["renew_lease"] = AWAY
    async with asyncio.timeout(5):
        await store.failed.wait()
    await store.take_lease("app", "second", 60_000, NOW() + 60_000)
    store.fails.clear()
    with pytest.raises(ConflictError, match="second"):
        await asyncio.wait_for(running, 5)


async def test_who_was_stopped_past_the_end_of_a_lease_that_nobody_took_goes_on(store: AwayStore) -> None:
    stopped_ms, performer = 0, held()
    _, running = await begin(store, performer, lambda: NOW() + stopped_ms)
    async with asyncio.timeout(5):
        stopped_ms = 60_000
        store.renewed.clear()
        await asyncio.wait({running, asyncio.ensure_future(store.renewed.wait())}, return_when="FIRST_COMPLETED")
        performer.hold[("web1", "stage")].set()
        assert (await running).status == "successful"


async def test_a_watch_outlasts_a_log_that_is_away_at_a_renewal(store: AwayStore) -> None:
    world = World(cast("Store", store), "web1")
    store.fails["renew_lease"] = AWAY
    watching = asyncio.create_task(world.watcher(lease_ttl_ms=TTL_MS).run())
    async with asyncio.timeout(5):
        await store.failed.wait()
        store.fails.clear()
        renewed = asyncio.ensure_future(store.renewed.wait())
        await asyncio.wait({watching, renewed}, return_when="FIRST_COMPLETED")
    assert not watching.done()
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)


async def test_a_watch_whose_lease_can_t_be_renewed_says_how_to_go_on(store: AwayStore) -> None:
    store.fails["renew_lease"] = AWAY
    with pytest.raises(InterruptedRunError, match=f"the lease on {KEY} could not be renewed") as caught:
        await asyncio.wait_for(World(cast("Store", store), "web1").watcher(lease_ttl_ms=TTL_MS).run(), 5)
    assert "sane watch" in caught.value.hint


async def test_a_watch_that_could_not_hear_for_a_moment_hears_a_person_decide(store: AwayStore) -> None:
    store.fails["follow"] = AWAY
    with fake.ModelServer(fake.output(plan("run-command", "web1", command="uptime"))) as server:
        world = World(cast("Store", store), "web1", config=config_for(server), environ=ENVIRON)
        world.machines.say["web1"] = {"status": "failed"}
        watching = asyncio.create_task(world.watcher().run())
        try:
            async with asyncio.timeout(15):
                await store.failed.wait()
                store.fails.clear()
                decided = await anext(store.follow(0, key=KEY, kinds=("plan_decided",)))
                await decide_plan(cast("Store", store), decided.data["plan"], approve=True)
                finished = await anext(store.follow(0, key=KEY, kinds=("plan_finished",)))
        finally:
            watching.cancel()
            await asyncio.gather(watching, return_exceptions=True)
            await world.planner.close()
    assert finished.data["outcome"] == "done"
