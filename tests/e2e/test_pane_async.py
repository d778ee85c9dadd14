"""The same transport under asyncio."""

from __future__ import annotations

import asyncio
import time

import pytest

from sane.core.command import Command
from sane.transports.local_machine import LocalMachine
from sane.transports.pane import open_pane
from tests.e2e.pane_fixtures import Tmux, tmux

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e


async def test_many_panes_at_once(tmux: Tmux) -> None:
    machine = LocalMachine(tmux.environ)
    panes = [await open_pane(machine, tmux.new()) for _ in range(5)]
    results = await asyncio.gather(*(pane.run(Command(f"echo {n}; seq 1 500")) for n, pane in enumerate(panes)))
    for n, result in enumerate(results):
        assert result.output == b"%d\n" % n + b"".join(b"%d\n" % k for k in range(1, 501))
    for pane in panes:
        await pane.close()


async def test_two_callers_of_one_pane_take_turns(tmux: Tmux) -> None:
    pane = await open_pane(LocalMachine(tmux.environ), tmux.new())
    results = await asyncio.gather(*(pane.run(Command(f"echo {n}; sleep 0.02; echo {n}")) for n in range(4)))
    assert [result.output for result in results] == [b"%d\n%d\n" % (n, n) for n in range(4)]
    await pane.close()


async def test_cancelling_stops_the_command(tmux: Tmux) -> None:
    name = tmux.new()
    pane = await open_pane(LocalMachine(tmux.environ), name)
    task = asyncio.create_task(pane.run(Command("sleep 61")))
    while tmux.call("display", "-p", "-t", name, "#{pane_current_command}").strip() != "sleep":
        await asyncio.sleep(0.02)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert (await pane.run(Command("echo next"))).output == b"next\n"
    assert time.monotonic() - started < 3
    await pane.close()
