"""An operator's request against a log that a controller writes to at the same moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest

from sane.core.events import Event
from sane.errors import ConflictError
from sane.operations.deployments import load_deployment, request
from sane.store import open_store
from sane.store.base import Store
from tests.engine.test_runner import NOW, ScriptedPerformer, create, runner


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


class _MovingStore:
    """Let the log move on once, just after a reader has read it to its end."""

    def __init__(self, within: Store, move: Callable[[], Awaitable[Any]]) -> None:
        self._within = within
        self._move: Callable[[], Awaitable[Any]] | None = move

    async def read(self, *args: Any, **options: Any) -> list[Event]:
        events = await self._within.read(*args, **options)
        if not events and self._move is not None:
            move, self._move = self._move, None
            await move()
        return events

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)


async def test_a_request_that_comes_too_late_is_refused_and_leaves_no_trace(store: Store) -> None:
    await create(store, 1)
    moving = cast("Store", _MovingStore(store, runner(store, ScriptedPerformer()).run))
    with pytest.raises(ConflictError, match="has ended|is successful"):
        await request(moving, "app-1", "cancel", "too late")
    assert await store.read(deployment="app-1", kinds=("operator_request",)) == []


async def test_a_request_in_the_log_that_has_no_place_there_changes_nothing(store: Store) -> None:
    await create(store, 2)
    data = {"request": "promote", "reason": "nobody waits"}
    await store.append([Event("operator_request", NOW(), key="app", deployment="app-1", data=data)])
    assert (await runner(store, ScriptedPerformer()).run()).status == "successful"
    await store.append([Event("operator_request", NOW(), key="app", deployment="app-1", data=data)])
    state, _ = await load_deployment(store, "app-1")
    assert state.status == "successful"
