"""Leases: one owner at a time, and every late word of an old owner is refused."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from sane.core.events import Event
from sane.errors import ConflictError, UsageError
from sane.store.base import Lease, Store

if TYPE_CHECKING:
    from tests.store.conftest import OpenAnother

NOON = 1_750_000_000_000  # 2025-06-15T15:06:40Z


def message(text: str = "hello") -> Event:
    return Event("message", NOON, "web", "d1", data={"text": text})


async def test_a_held_lease_names_its_owner_and_its_end(store: Store) -> None:
    lease = await store.take_lease("web", "alice:12", 30_000, NOON)
    assert lease == Lease("web", "alice:12", 1, NOON + 30_000)
    with pytest.raises(ConflictError, match="'web' is held by alice:12 until 2025-06-15T15:07:10Z"):
        await store.take_lease("web", "bob:9", 30_000, NOON + 29_999)
    assert (await store.take_lease("db", "bob:9", 30_000, NOON)).token == 1
    assert await store.find_lease("web") == lease
    assert await store.find_lease("none") is None


async def test_an_expired_lease_passes_on_with_a_higher_token(store: Store) -> None:
    old = await store.take_lease("web", "alice", 30_000, NOON)
    new = await store.take_lease("web", "bob", 30_000, NOON + 30_000)
    assert (new.token, new.owner) == (2, "bob")
    with pytest.raises(ConflictError, match=r"held by bob until .* with token 2; token 1 of alice is old"):
        await store.append([message()], lease=old)
    with pytest.raises(ConflictError, match="held by bob"):
        await store.renew_lease(old, 30_000, NOON + 30_001)
    await store.release_lease(old, NOON + 30_001)  # an old owner takes nothing away
    assert await store.find_lease("web") == new
    assert len(await store.append([message()], lease=new)) == 1
    assert [event.data["text"] for event in await store.read(kinds=["message"])] == ["hello"]


async def test_the_same_owner_may_take_its_lease_again(store: Store) -> None:
    first = await store.take_lease("web", "alice", 30_000, NOON)
    second = await store.take_lease("web", "alice", 30_000, NOON + 1)
    assert second.token == 2
    with pytest.raises(ConflictError):
        await store.append([message()], lease=first)


async def test_renewing_moves_the_end_and_is_no_event(store: Store) -> None:
    lease = await store.take_lease("web", "alice", 30_000, NOON)
    renewed = await store.renew_lease(lease, 30_000, NOON + 20_000)
    assert renewed == Lease("web", "alice", 1, NOON + 50_000)
    with pytest.raises(ConflictError):
        await store.take_lease("web", "bob", 30_000, NOON + 49_999)
    assert [event.kind for event in await store.read()] == ["lease_taken"]


async def test_a_released_lease_is_free_and_its_token_is_never_used_again(store: Store) -> None:
    lease = await store.take_lease("web", "alice", 30_000, NOON)
    await store.release_lease(lease, NOON + 5)
    await store.release_lease(lease, NOON + 6)
    assert await store.find_lease("web") is None
    with pytest.raises(ConflictError, match=r"the lease on 'web' \(token 1\) was released"):
        await store.append([message()], lease=lease)
    with pytest.raises(ConflictError, match="was released"):
        await store.renew_lease(lease, 30_000, NOON)
    assert (await store.take_lease("web", "bob", 30_000, NOON + 7)).token == 2
    log = [(event.kind, event.key, event.data["owner"], event.data["token"]) for event in await store.read()]
    assert log == [
        ("lease_taken", "web", "alice", 1),
        ("lease_released", "web", "alice", 1),
        ("lease_taken", "web", "bob", 2),
    ]


async def test_of_many_takers_in_the_same_moment_one_proceeds(open_another: OpenAnother) -> None:
    stores = [await open_another() for _ in range(4)]
    results = await asyncio.gather(
        *(store.take_lease("web", f"owner{n}", 30_000, NOON) for n, store in enumerate(stores)), return_exceptions=True
    )
    taken = [result for result in results if isinstance(result, Lease)]
    refused = [result for result in results if isinstance(result, ConflictError)]
    assert (len(taken), len(refused)) == (1, 3)
    assert all(taken[0].owner in error.message for error in refused)


async def test_fencing_and_appending_are_one_transaction(open_another: OpenAnother) -> None:
    """While the lease changes hands, no append of the old owner comes behind the taking."""
    one, other = await open_another(), await open_another()
    lease = await one.take_lease("web", "alice", 1000, NOON)

    async def write() -> int:
        count = 0
        while True:
            try:
                await one.append([message("alice")], lease=lease)
            except ConflictError:
                return count
            count += 1

    writing = asyncio.create_task(write())
    async for event in one.follow(0, kinds=["message"]):
        if event.data["text"] == "alice":
            break
    await other.take_lease("web", "bob", 1000, NOON + 1000)
    count = await asyncio.wait_for(writing, 10)
    kinds = [event.kind for event in await one.read(limit=10_000)]
    assert kinds == ["lease_taken", *["message"] * count, "lease_taken"]


async def test_a_lease_without_key_owner_or_time_is_refused(store: Store) -> None:
    for key, owner, ttl_ms in (("", "a", 1), ("web", "", 1), ("web", "a", 0)):
        with pytest.raises(UsageError):
            await store.take_lease(key, owner, ttl_ms, NOON)


async def test_a_deployment_is_created_under_the_lease(store: Store) -> None:
    old = await store.take_lease("web", "alice", 1000, NOON)
    data = {"revision": 1, "version": "1", "hosts": [], "policy": {}}
    event = Event("deployment_created", NOON, "web", "d1", data=data)
    await store.release_lease(old, NOON)
    with pytest.raises(ConflictError):
        await store.create_deployment(event, lease=old)
    lease = await store.take_lease("web", "alice", 1000, NOON)
    assert (await store.create_deployment(event, lease=lease)).seq == 4
