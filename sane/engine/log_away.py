"""Hold on while the event log is away: a database that is started anew, or moves to another machine, is for a moment.

A renewal may be done twice, and a follower goes on behind what it has seen. An append is never tried again: whether it
was stored is not known.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection
from typing import Never

from sane.core.events import Event
from sane.errors import InterruptedRunError, SaneError, StoreError, UnavailableError
from sane.store.base import Lease, Store

AGAIN_S = 0.5


async def keep_lease(
    store: Store, lease: Lease, ttl_ms: int, now_ms: Callable[[], int], renewed: Callable[[Lease], None], hint: str
) -> Never:
    """Renew a lease each third of its time, and hand it to `renewed`.

    Raises ConflictError when somebody else took it, and InterruptedRunError with `hint`, how to go on, where the log
    was away until its end.
    """
    while True:
        await asyncio.sleep(ttl_ms / 3000)
        lease = await _renew(store, lease, ttl_ms, now_ms, hint)
        renewed(lease)


async def _renew(store: Store, lease: Lease, ttl_ms: int, now_ms: Callable[[], int], hint: str) -> Lease:
    """Renew once; what fails is tried again until the lease's end. A late answer counts: nobody else took it then."""
    while True:
        try:
            return await store.renew_lease(lease, ttl_ms, now_ms())
        except (StoreError, UnavailableError) as error:
            if now_ms() >= lease.until_ms:
                text = f"the lease on {lease.key} could not be renewed before its end: {error.message}"
                raise InterruptedRunError(text, hint=hint) from error
        await asyncio.sleep(AGAIN_S)


async def follow_on(
    store: Store,
    after: int,
    *,
    key: str = "",
    deployment: str = "",
    kinds: Collection[str] = (),
    on_absence: Callable[[SaneError], None] = lambda _: None,
) -> AsyncGenerator[Event, None]:
    """Yield as `store.follow` does, for ever: also behind an absence of the log, where it misses no stored event."""
    while True:
        try:
            async for event in store.follow(after, key=key, deployment=deployment, kinds=kinds):
                after = event.seq or after
                yield event
        except (StoreError, UnavailableError) as error:
            on_absence(error)
        await asyncio.sleep(AGAIN_S)
