"""A rollout that is stopped from outside: at any moment, whoever asks, it starts nothing more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sane.store import open_store
from sane.store.base import Store
from tests.engine.test_runner import ScriptedPerformer, create, runner


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


@pytest.mark.parametrize("turns", range(10))
async def test_a_stop_in_the_turns_behind_the_end_of_a_step_is_not_lost(store: Store, turns: int) -> None:
    performer = ScriptedPerformer()
    performer.hold[("web1", "stage")] = asyncio.Event()
    await create(store, 2)
    running = asyncio.create_task(runner(store, performer).run())
    await asyncio.wait_for(performer.reached.wait(), 5)
    performer.hold[("web1", "stage")].set()
    for _ in range(turns):
        await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    (row,) = await store.list_deployments(deployment="app-1")
    assert row.status == "running"


async def test_a_deadline_around_a_rollout_is_a_deadline(store: Store) -> None:
    performer = ScriptedPerformer()
    performer.hold[("web1", "stage")] = asyncio.Event()
    await create(store, 1)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await runner(store, performer).run()
