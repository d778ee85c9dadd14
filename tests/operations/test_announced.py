"""What a watch is told of deployments, by a log that is away for a moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from sane.core.events import Event
from sane.errors import StoreError
from sane.operations.announced import Announcer
from sane.store import open_store
from sane.store.base import Store
from tests.engine.test_runner import ScriptedPerformer, create, runner


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


class _AwayStore:
    """Fail the first three reads; `told` once somebody comes again who had the hosts before."""

    def __init__(self, within: Store) -> None:
        self._within = within
        self._left = 3
        self._has_hosts = False
        self.told = asyncio.Event()

    async def list_deployments(self, **options: Any) -> Any:
        if self._has_hosts:
            self.told.set()
        return await self._within.list_deployments(**options)

    async def list_hosts(self, key: str) -> Any:
        self._has_hosts = True
        return await self._within.list_hosts(key)

    async def read(self, *args: Any, **options: Any) -> list[Event]:
        if self._left:
            self._left -= 1
            raise StoreError("the event log can't be reached")
        return await self._within.read(*args, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)


async def test_what_is_announced_stays_fresh_after_a_failure_of_the_log_which_is_told_once(store: Store) -> None:
    await create(store, 1)
    await runner(store, ScriptedPerformer()).run()
    said: list[str] = []
    away = _AwayStore(store)
    announcer = Announcer(cast("Store", away), "app", said.append)
    keeping = asyncio.create_task(announcer.keep_fresh(refresh_s=0.01))
    try:
        await asyncio.wait_for(away.told.wait(), 5)
    finally:
        keeping.cancel()
        await asyncio.gather(keeping, return_exceptions=True)
    assert announcer.current.versions == {"web1": "1.0"}
    assert len(said) == 1
    assert "can't be reached" in said[0]
