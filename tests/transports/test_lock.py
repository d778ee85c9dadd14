"""The queue before a pane."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sane.errors import PaneError
from sane.transports.lock import QueueLock


async def test_turns_come_in_order_of_arrival(short_dir: Path) -> None:
    order: list[int] = []

    async def use(number: int) -> None:
        lock = QueueLock(short_dir / "lock", asyncio.sleep)
        await lock.acquire(5, "pane x")
        order.append(number)
        await asyncio.sleep(0.01)
        lock.release()

    tasks: list[asyncio.Task[None]] = []
    for number in range(6):
        tasks.append(asyncio.create_task(use(number)))
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    assert order == list(range(6))


async def test_waiting_too_long_is_refused_and_leaves_no_ticket(short_dir: Path) -> None:
    first, second, third = (QueueLock(short_dir / "lock", asyncio.sleep) for _ in range(3))
    await first.acquire(1, "pane x")
    with pytest.raises(PaneError, match="pane x is in use by another caller"):
        await second.acquire(0.05, "pane x")
    first.release()
    await third.acquire(0.5, "pane x")
    third.release()
    assert os.listdir(short_dir / "lock") == ["next"]


async def test_a_stopped_process_that_draws_a_ticket_is_waited_for_no_longer_than_one_that_holds_the_lock(
    short_dir: Path,
) -> None:
    lock = QueueLock(short_dir / "lock", asyncio.sleep)
    (short_dir / "lock").mkdir()
    with (short_dir / "lock" / "next").open("wb") as counter:
        fcntl.flock(counter, fcntl.LOCK_EX)
        async with asyncio.timeout(5):
            with pytest.raises(PaneError, match="pane x is in use by another caller"):
                await lock.acquire(0.05, "pane x")
    await lock.acquire(0.5, "pane x")
    lock.release()
    assert os.listdir(short_dir / "lock") == ["next"]


async def test_the_kernel_releases_it_when_the_holder_dies(short_dir: Path) -> None:
    code = (
        "import asyncio, os, sys; from pathlib import Path; from sane.transports.lock import QueueLock\n"
        "async def main():\n"
        "    await QueueLock(Path(sys.argv[1]), asyncio.sleep).acquire(1, 'x'); os._exit(9)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, short_dir / "lock"], timeout=10)
    assert done.returncode == 9
    assert len(os.listdir(short_dir / "lock")) == 2
    lock = QueueLock(short_dir / "lock", asyncio.sleep)
    await lock.acquire(0.5, "pane x")
    lock.release()
    assert os.listdir(short_dir / "lock") == ["next"]
