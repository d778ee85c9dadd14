"""Read all that the log has of something, page by page."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Collection

from sane.core.events import Event
from sane.store.base import Store

PAGE = 1000


async def read_events(
    store: Store, *, after: int = 0, key: str = "", deployment: str = "", kinds: Collection[str] = ()
) -> AsyncGenerator[Event]:
    """Yield the stored events above `after`, in order, until there are no more."""
    while events := await store.read(after, key=key, deployment=deployment, kinds=kinds, limit=PAGE):
        for event in events:
            yield event
        after = events[-1].seq
