"""Do blocking work where the caller is: at once without an event loop, in a thread of its own inside one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TypeVar

from sane.transports.base import OnOutput

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
    return await call_streaming(lambda cancel_fd, _: work(cancel_fd), None)


async def call_streaming(work: Callable[[int, OnOutput | None], T], on_output: OnOutput | None) -> T:
    """Return what `work` returns; it gets an `on_output`, too, that it may call wherever it runs.

    An exception of the caller's `on_output` cancels the work, and is raised once it has returned.
    """
    if not in_event_loop():
        return work(-1, on_output)
    from sane.transports.threaded import call_in_thread

    return await call_in_thread(work, on_output)
