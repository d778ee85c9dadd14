"""Do blocking work where the caller is: at once without an event loop, in a thread of its own inside one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def in_event_loop() -> bool:
    """Say whether an asyncio loop runs in this thread; asyncio is not imported to find out."""
    asyncio = sys.modules.get("asyncio")
    if asyncio is None:
        return False
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def call_blocking(work: Callable[[int], T]) -> T:
    """Return what `work` returns; it gets a descriptor that becomes readable when it is cancelled (-1: never)."""
    if not in_event_loop():
        return work(-1)
    from sane.transports.threaded import call_in_thread

    return await call_in_thread(work)


def in_loop(function: Callable[[bytes], None] | None) -> Callable[[bytes], None] | None:
    """Return `function` such that blocking work may call it wherever it runs."""
    if function is None or not in_event_loop():
        return function
    from sane.transports.threaded import call_in_loop

    return call_in_loop(function)
