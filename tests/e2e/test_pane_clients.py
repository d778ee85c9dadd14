"""The control clients that sane attaches to a tmux server of a person's, and that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import random
import time
from pathlib import Path

import pytest

from sane.transports.blocking import run_blocking
from sane.transports.control_mode import ControlClient
from sane.transports.local_machine import LocalMachine
from sane.transports.local_machine_blocking import BlockingMachine
from sane.transports.tmux import TmuxServer
from tests.e2e.pane_fixtures import Tmux, tmux

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


async def test_an_interrupted_attach_leaves_the_server_alive(tmux: Tmux) -> None:
    """tmux 3.3a crashes where a control client ends in the middle of telling who it is.

    A big environment makes that last long: of 200 clients that were killed at random, 14 took the server with them.
    """
    name = tmux.new()
    session = tmux.call("display", "-p", "-t", name, "#{session_id}").strip()
    pane = tmux.call("display", "-p", "-t", name, "#{pane_id}").strip()
    environ = {**tmux.environ, **{f"X{n}": "y" * 100 for n in range(2000)}}
    chance = random.Random(1)
    for _ in range(60):
        attaching = asyncio.create_task(ControlClient.attach(TmuxServer(LocalMachine(environ)), session, pane))
        for _ in range(chance.randrange(5)):
            await asyncio.sleep(0)
        time.sleep(chance.random() * 0.02)
        attaching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await (await attaching).close()
    assert tmux.call("list-clients") == ""
    assert tmux.call("has-session", "-t", name) == ""
    assert Path(f"/proc/{tmux.pid}").exists()


def come_and_go(environ: dict[str, str], session: str, pane: str) -> None:
    for _ in range(30):
        client = run_blocking(ControlClient.attach(TmuxServer(BlockingMachine(environ)), session, pane))
        run_blocking(client.close())


def test_callers_that_come_and_go_at_once_leave_the_server_alive(tmux: Tmux) -> None:
    """tmux 3.3a crashes where one client goes while another one tells who it is: here within 20 attaches, each time."""
    name = tmux.new()
    session = tmux.call("display", "-p", "-t", name, "#{session_id}").strip()
    pane = tmux.call("display", "-p", "-t", name, "#{pane_id}").strip()
    # The pairs see other folders for sockets and locks of ours.
    environs = [tmux.environ, {**tmux.environ, "XDG_RUNTIME_DIR": str(tmux.folder / "other")}] * 2
    fork = multiprocessing.get_context("fork")
    callers = [fork.Process(target=come_and_go, args=(environ, session, pane)) for environ in environs]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert [caller.exitcode for caller in callers] == [0] * 4
    assert Path(f"/proc/{tmux.pid}").exists()
    assert tmux.call("list-clients") == ""


async def test_sessions_of_one_caller_come_and_go_at_once(tmux: Tmux) -> None:
    places: list[list[str]] = []
    for _ in range(4):
        name = tmux.new()
        places.append(tmux.call("display", "-p", "-t", name, "#{session_id} #{pane_id}").split())
    machine = LocalMachine(tmux.environ)

    async def come_and_go_on(session: str, pane: str) -> None:
        for _ in range(20):
            await (await ControlClient.attach(TmuxServer(machine), session, pane)).close()

    async with asyncio.timeout(30):
        await asyncio.gather(*(come_and_go_on(session, pane) for session, pane in places))
    assert Path(f"/proc/{tmux.pid}").exists()
    assert tmux.call("list-clients") == ""
