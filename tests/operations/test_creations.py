"""Creating the next revision of a key while others do the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from sane.core.events import Event
from sane.core.rollout.controller import policy_as_json
from sane.core.rollout.policy import RolloutPolicy
from sane.errors import ConflictError
from sane.operations.deployments import create_next, was_asked_before
from sane.store import open_store
from sane.store.base import Store
from tests.engine.test_runner import NOW


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(None, tmp_path / "state")
    yield opened
    await opened.close()


def creation(revision: int, name: str, key: str = "app", **more: str) -> Event:
    data = {"revision": revision, "version": "1.0", "hosts": [{"name": "web1"}], **more}
    data["policy"] = policy_as_json(RolloutPolicy())
    return Event("deployment_created", NOW(), key=key, deployment=name, data=data)


class _BusyStore:
    """Let somebody else take the next number, `times` times, just before one is created here."""

    def __init__(self, within: Store, times: int) -> None:
        self._within = within
        self._times = times

    async def create_deployment(self, event: Event) -> Event:
        if self._times:
            self._times -= 1
            revision = await self._within.next_revision(event.key)
            await self._within.create_deployment(creation(revision, f"theirs-{revision}"))
        return await self._within.create_deployment(event)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)


async def ours(revision: int) -> Event:
    return creation(revision, f"ours-{revision}")


async def test_a_number_that_is_taken_meanwhile_is_asked_for_again(store: Store) -> None:
    assert (await create_next(cast("Store", _BusyStore(store, 3)), "app", ours)).deployment == "ours-4"


async def test_nobody_tries_for_ever(store: Store) -> None:
    with pytest.raises(ConflictError, match="faster"):
        await create_next(cast("Store", _BusyStore(store, 1000)), "app", ours)


async def test_another_conflict_is_told_at_once(store: Store) -> None:
    asked: list[int] = []

    async def same(revision: int) -> Event:
        asked.append(revision)
        return creation(revision, "ours-1")

    await create_next(store, "app", same)
    with pytest.raises(ConflictError, match="exists already"):
        await create_next(store, "app", same)
    assert asked == [1, 2]


class _NoHistory:
    """A log whose creations, each with all its files, nobody may read for a word that an index holds."""

    def __init__(self, within: Store) -> None:
        self._within = within

    async def read(self, *args: Any, **options: Any) -> list[Event]:
        raise AssertionError

    def __getattr__(self, name: str) -> Any:
        return getattr(self._within, name)


async def test_whether_a_request_was_made_before_is_looked_up(store: Store) -> None:
    await store.create_deployment(creation(1, "app-1", idempotency_key="one", request_digest="d"))
    await store.create_deployment(creation(1, "other-1", "other", idempotency_key="two", request_digest="d"))
    log = cast("Store", _NoHistory(store))
    asked = [await was_asked_before(log, "app", word) for word in ("one", "two", "three", "")]
    assert asked == [True, False, False, False]
