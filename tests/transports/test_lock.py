"""The queue before a pane."""

from __future__ import annotations

import asyncio
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sane.errors import PaneError, UsageError
from sane.transports.lock import QueueLock


def lock_in(root: Path) -> QueueLock:
    return QueueLock(str(root), f"{root}/lock", asyncio.sleep)


async def test_turns_come_in_order_of_arrival(short_dir: Path) -> None:
    order: list[int] = []

    async def use(number: int) -> None:
        lock = lock_in(short_dir)
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
    first, second, third = (lock_in(short_dir) for _ in range(3))
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
    lock = lock_in(short_dir)
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
        "import asyncio, os, sys; from sane.transports.lock import QueueLock\n"
        "async def main():\n"
        "    await QueueLock(sys.argv[1], sys.argv[1] + '/lock', asyncio.sleep).acquire(1, 'x'); os._exit(9)\n"
        "asyncio.run(main())"
    )
    done = subprocess.run([sys.executable, "-c", code, short_dir], timeout=10)
    assert done.returncode == 9
    assert len(os.listdir(short_dir / "lock")) == 2
    lock = lock_in(short_dir)
    await lock.acquire(0.5, "pane x")
    lock.release()
    assert os.listdir(short_dir / "lock") == ["next"]


@pytest.mark.parametrize("whose", ["others may write", "another user's", "a link to it", "a file"])
async def test_a_folder_that_others_may_write_is_refused_and_left_as_it_is(short_dir: Path, whose: str) -> None:
    root = short_dir / "sane"
    if whose == "a file":
        root.touch()
    else:
        (root / "lock").mkdir(parents=True)
        (root / "lock" / "next").symlink_to(short_dir / "victim")
    if whose == "others may write":
        root.chmod(0o777)
    elif whose == "another user's":
        if os.geteuid() != 0:
            pytest.skip("only root can give a folder away")
        os.chown(root, 65534, 65534)
    elif whose == "a link to it":
        root.chmod(0o700)
        root = root.rename(short_dir / "real")
        (short_dir / "sane").symlink_to(root)
    with pytest.raises(UsageError, match=f"{short_dir}/sane must be a folder that you alone can write") as refused:
        await lock_in(short_dir / "sane").acquire(1, "pane x")
    assert "XDG_RUNTIME_DIR" in refused.value.hint
    assert not (short_dir / "victim").exists()


async def test_a_folder_that_is_not_there_is_made_for_this_user_alone(short_dir: Path) -> None:
    root = short_dir / "run" / "user" / "7"
    lock = QueueLock(str(root), f"{root}/panes/0", asyncio.sleep)
    await lock.acquire(1, "pane x")
    assert [path.stat().st_mode & 0o777 for path in (root, root / "panes", root / "panes" / "0")] == [0o700] * 3
    lock.release()


async def test_a_link_in_the_place_of_a_ticket_is_not_followed(short_dir: Path) -> None:
    (short_dir / "lock").mkdir()
    (short_dir / "lock" / "next").symlink_to(short_dir / "victim")
    with pytest.raises(OSError, match="symbolic links"):
        await lock_in(short_dir).acquire(1, "pane x")
    assert not (short_dir / "victim").exists()


@pytest.mark.parametrize("damage", [b"\0\0", b"\xb2", b"-7", b"7\0", b""])
async def test_a_damaged_counter_is_mended_and_lets_nobody_past_who_holds_the_lock(
    short_dir: Path, damage: bytes
) -> None:
    first, second, third = (lock_in(short_dir) for _ in range(3))
    await first.acquire(1, "pane x")
    counter = short_dir / "lock" / "next"
    counter.write_bytes(damage)
    with pytest.raises(PaneError, match="in use by another caller"):
        await second.acquire(0.05, "pane x")
    assert counter.read_bytes() == b"2"
    first.release()
    await third.acquire(0.5, "pane x")
    third.release()
    assert counter.read_bytes() == b"3"
