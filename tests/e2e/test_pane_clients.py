"""The control clients that sane attaches to a tmux server of a person's, and that it ends."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from pathlib import Path

import pytest

from sane.transports.control_mode import ControlClient
from sane.transports.local_machine import LocalMachine
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
