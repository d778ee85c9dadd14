"""The lock that keeps tmux clients of several callers from coming and going at one moment."""

from __future__ import annotations

import asyncio
import fcntl
import os
import time
from pathlib import Path

import pytest

from sane.transports import attach_lock
from sane.transports.local_machine import LocalMachine
from sane.transports.tmux import TmuxServer


def sockets(folder: Path) -> Path:
    made = folder / f"tmux-{os.getuid()}"
    made.mkdir(mode=0o700)
    return made


async def test_one_comes_alone_and_several_go_together(tmp_path: Path) -> None:
    sockets(tmp_path)
    machines = [LocalMachine({"TMUX_TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / n)}) for n in "ab"]
    going = [TmuxServer(machine).attach_lock(alone=False) for machine in machines]
    async with asyncio.timeout(1):
        async with going[0], going[1]:
            coming = asyncio.create_task(TmuxServer(machines[0], ("-L", "other")).attach_lock(alone=True).acquire())
            await asyncio.sleep(0.05)
            assert not coming.done()
        await coming


@pytest.mark.parametrize("is_local", [True, False])
async def test_a_holder_that_is_stopped_holds_nobody_up_for_long(tmp_path: Path, is_local: bool) -> None:
    machine = LocalMachine({"TMUX_TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")})
    machine.name = "local" if is_local else "web1"
    place = sockets(tmp_path)
    if not is_local:
        async with TmuxServer(machine).attach_lock(alone=True):
            place = tmp_path / "run/sane/attach/web1"
    held = os.open(place, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        began = time.monotonic()
        async with TmuxServer(machine).attach_lock(alone=False):
            assert attach_lock.WAIT_S <= time.monotonic() - began < attach_lock.WAIT_S + 2
    finally:
        os.close(held)


async def test_it_is_no_hindrance_where_there_is_no_place_for_it(tmp_path: Path) -> None:
    (tmp_path / "sane").symlink_to("/nowhere")
    machine = LocalMachine({"TMUX_TMPDIR": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)})
    async with TmuxServer(machine).attach_lock(alone=True), TmuxServer(machine).attach_lock(alone=True):
        assert [path.name for path in tmp_path.iterdir()] == ["sane"]
