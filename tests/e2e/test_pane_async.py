"""The same transport under asyncio."""

from __future__ import annotations

import asyncio
import time

import pytest

from sane.core.command import Command
from sane.core.target import Target
from sane.engine.pane_pool import PanePool
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


async def test_the_panes_of_a_session_share_one_client(tmux: Tmux) -> None:
    name = tmux.new()
    for _ in range(3):
        tmux.call("split-window", "-d", "-t", name, "bash --norc")
    tmux.call("select-layout", "-t", name, "tiled")
    machine = LocalMachine(tmux.environ)
    panes = [await open_pane(machine, f"{name}:0.{n}") for n in range(4)]
    results = await asyncio.gather(*(pane.run(Command(f"echo {n}; seq 1 20000")) for n, pane in enumerate(panes)))
    for n, result in enumerate(results):
        assert result.output == b"%d\n" % n + b"".join(b"%d\n" % k for k in range(1, 20001))
    assert len(tmux.call("list-clients", "-t", name).splitlines()) == 1
    await panes[0].close()
    assert (await panes[1].run(Command("echo still"))).output == b"still\n"
    for pane in panes:
        await pane.close()
    assert tmux.call("list-clients").strip() == ""


async def test_what_nobody_follows_is_not_kept(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("split-window", "-d", "-t", name, "bash --norc")
    machine = LocalMachine(tmux.environ)
    noisy, other = [await open_pane(machine, f"{name}:0.{n}") for n in range(2)]
    await noisy.run(Command("(sleep 0.1; seq 1 200000) &"))
    client = await noisy.client()
    before = client.output_bytes
    until = time.monotonic() + 10
    while client.output_bytes - before < 1_000_000:
        assert time.monotonic() < until
        await other.run(Command("seq 1 1000"))
    assert client.take_output() == b""
    await noisy.close()
    await other.close()


async def test_a_cancelled_reader_hands_over(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("split-window", "-d", "-t", name, "bash --norc")
    machine = LocalMachine(tmux.environ)
    first, second = [await open_pane(machine, f"{name}:0.{n}") for n in range(2)]
    for _ in range(5):
        tasks = [asyncio.create_task(pane.run(Command("sleep 0.3; echo x"))) for pane in (first, second)]
        await asyncio.sleep(0.1)
        tasks[0].cancel()
        assert (await tasks[1]).output == b"x\n"
        with pytest.raises(asyncio.CancelledError):
            await tasks[0]
    await first.close()
    await second.close()


async def test_a_session_that_ends_is_told_to_all_its_panes(tmux: Tmux) -> None:
    name = tmux.new()
    tmux.call("split-window", "-d", "-t", name, "bash --norc")
    machine = LocalMachine(tmux.environ)
    panes = [await open_pane(machine, f"{name}:0.{n}") for n in range(2)]
    tasks = [asyncio.create_task(pane.run(Command("echo a; sleep 30"))) for pane in panes]
    await asyncio.sleep(0.5)
    tmux.call("kill-session", "-t", name)
    async with asyncio.timeout(5):
        results = await asyncio.gather(*tasks)
    assert [(r.exit_code, r.pane_gone) for r in results] == [(None, True)] * 2
    for pane in panes:
        await pane.close()


async def test_a_caller_that_is_cancelled_as_it_borrows_leaves_no_client(tmux: Tmux) -> None:
    name, machine = tmux.new(), LocalMachine(tmux.environ)

    async def machine_of(_: str | None) -> LocalMachine:
        return machine

    panes, target = PanePool(machine_of), Target(None, name)
    pane = await panes.lend(target)
    assert (await pane.run(Command("echo one"))).output == b"one\n"
    panes.give_back(None, pane)
    assert tmux.call("list-clients") != ""
    borrowing = asyncio.create_task(panes.lend(target))
    await asyncio.sleep(0)  # it has taken the pane, and waits for the end of the task that read it
    borrowing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await borrowing
    await panes.close()
    assert tmux.call("list-clients") == ""
