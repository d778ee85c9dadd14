"""End what is open on hosts without depending on them: one that stopped confirms no end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


async def end_within(limit_s: float, *ending: Awaitable[Any]) -> None:
    """Wait for what ends, whatever comes of it, and for no longer than that; what is late is cancelled and left alone.

    Even a cancelled command on a silent host takes seconds to end (`KILL_TIMEOUT_S` of sane.transports.ssh_session).
    """
    tasks = [asyncio.ensure_future(one) for one in ending]
    try:
        if tasks:
            await asyncio.wait(tasks, timeout=limit_s)
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_forget)


def _forget(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()  # looked at, so that asyncio reports none as never retrieved
