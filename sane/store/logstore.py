"""The store's methods, on any database that can run a script in a transaction."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Collection, Sequence
from typing import TypeVar

from sane.core.events import Event
from sane.errors import StoreError, UsageError
from sane.store import leases, log, views
from sane.store.base import DeploymentRow, HostRow, Lease
from sane.store.followers import Follower, Followers
from sane.store.script import MakeScript, Script

T = TypeVar("T")
PAGE_EVENTS = 500
MAX_READ_EVENTS = 10_000


class LogStore(ABC):
    """Implement `sane.store.base.Store`; a database adds `_write`, `_read`, `_watch` and `_release`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._followers = Followers()

    @abstractmethod
    async def _write(self, make: MakeScript[T]) -> T:
        """Run a script in a transaction that is on disk when this returns."""

    @abstractmethod
    async def _read(self, make: MakeScript[T]) -> T:
        """Run a script that only reads."""

    @abstractmethod
    def _watch(self) -> None:
        """See to it that the followers are woken by other processes' events, too; called when one starts."""

    @abstractmethod
    async def _release(self) -> None:
        """Close the database."""

    async def append(
        self, events: Sequence[Event], *, expect: int | None = None, lease: Lease | None = None
    ) -> list[Event]:
        """Append events in one transaction and publish those that are not stored."""
        self._refuse_when_closed()
        for event in events:
            if event.seq:
                raise UsageError(f"event '{event.kind}' was appended before, as number {event.seq}")
        durable = [event for event in events if event.durable]
        stored = await self._append(lambda: log.append(durable, expect, lease)) if durable else []
        self._followers.publish([event for event in events if not event.durable])
        numbered = iter(stored)
        return [next(numbered) if event.durable else event for event in events]

    async def create_deployment(self, event: Event, *, lease: Lease | None = None) -> Event:
        """Append the creation of a deployment, or return the one of the same idempotency key."""
        if event.kind != "deployment_created" or event.seq:
            raise UsageError(f"a deployment is created by a new deployment_created event, not by '{event.kind}'")

        def make() -> Script[list[Event]]:
            return [(yield from log.create_deployment(event, lease))]

        return (await self._append(make))[0]

    async def _append(self, make: MakeScript[list[Event]]) -> list[Event]:
        stored = await self._write(make)
        self._followers.wake(stored[-1].seq)
        return stored

    async def next_revision(self, key: str) -> int:
        """Return the revision that the key's next deployment must have."""
        return await self._read(lambda: log.next_revision(key))

    async def read(
        self, after: int = 0, *, key: str = "", deployment: str = "", kinds: Collection[str] = (), limit: int = 1000
    ) -> list[Event]:
        """Return up to `limit` (at most 10,000) stored events above `after`, in order."""
        if not 0 < limit <= MAX_READ_EVENTS:
            raise UsageError(f"limit must be between 1 and {MAX_READ_EVENTS}, got {limit}")
        return await self._read(lambda: log.read(after, key, deployment, kinds, limit))

    async def follow(
        self, after: int | None = None, *, key: str = "", deployment: str = "", kinds: Collection[str] = ()
    ) -> AsyncGenerator[Event, None]:
        """Yield every stored event above `after` once and in order, with the published ones at their places."""
        follower = Follower(key, deployment, kinds)
        self._followers.add(follower)
        try:
            self._watch()
            if after is None:
                after = await self._read(log.find_end)
            while not self._followers.closed:
                follower.wakened.clear()
                page = functools.partial(log.read_page, after, key, deployment, kinds, PAGE_EVENTS)
                try:
                    events, complete = await self._read(page)
                except StoreError:
                    if self._followers.closed:  # it was closed while this waited
                        return
                    raise
                for event in events:
                    for published in follower.take_until(event.seq - 1):
                        yield published
                    yield event
                for published in follower.take_until(complete):
                    yield published
                after = complete
                if len(events) < PAGE_EVENTS:
                    await follower.wakened.wait()
        finally:
            self._followers.remove(follower)

    async def take_lease(self, key: str, owner: str, ttl_ms: int, now_ms: int) -> Lease:
        """Take a key's lease when it is free, expired or the owner's own."""

        def make() -> Script[tuple[Lease, list[Event]]]:
            lease = yield from leases.take_lease(key, owner, ttl_ms, now_ms)
            return lease, (yield from log.append([leases.lease_event("lease_taken", lease, now_ms)], None, None))

        lease, stored = await self._write(make)
        self._followers.wake(stored[-1].seq)
        return lease

    async def renew_lease(self, lease: Lease, ttl_ms: int, now_ms: int) -> Lease:
        """Return the lease with a new end."""
        return await self._write(lambda: leases.renew_lease(lease, ttl_ms, now_ms))

    async def release_lease(self, lease: Lease, now_ms: int) -> None:
        """Give the lease up when it is still held."""

        def make() -> Script[list[Event]]:
            held = yield from leases.release_lease(lease)
            if not held:
                return []
            return (yield from log.append([leases.lease_event("lease_released", lease, now_ms)], None, None))

        stored = await self._write(make)
        if stored:
            self._followers.wake(stored[-1].seq)

    async def find_lease(self, key: str) -> Lease | None:
        """Return who holds the key's lease, even past its end."""
        return await self._read(lambda: leases.find_lease(key))

    async def list_deployments(
        self, *, key: str = "", deployment: str = "", idempotency_key: str = "", limit: int = 100
    ) -> list[DeploymentRow]:
        """Return deployments, newest first."""
        return await self._read(lambda: views.list_deployments(key, deployment, limit, idempotency_key))

    async def list_hosts(self, key: str) -> list[HostRow]:
        """Return what the hosts of a key have, by name."""
        return await self._read(lambda: views.list_hosts(key))

    async def rebuild_views(self) -> None:
        """Make the views anew from the log."""
        await self._write(views.rebuild)

    async def close(self) -> None:
        """End every `follow` and release the log."""
        if not self._followers.closed:
            self._followers.close()
            await self._release()

    def _refuse_when_closed(self) -> None:
        if self._followers.closed:
            raise StoreError(f"the event log {self.name} is closed")
