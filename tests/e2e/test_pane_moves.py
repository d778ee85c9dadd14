"""Runs whose way to the pane changes meanwhile: tmux ends our client, or the pane goes to another session."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sane.core.command import Command, CommandResult
from sane.errors import PaneError
from sane.transports.blocking import run_blocking
from sane.transports.local_machine import LocalMachine
from sane.transports.pane import open_pane
from tests.e2e.pane_fixtures import SHELLS, Tmux, tmux
from tests.primitives.pane_calls import wait_for_program

__all__ = ["tmux"]
pytestmark = pytest.mark.e2e
BOUND_S = 10  # of a run of 1 s; its own limit is 20 s

# The parts of a command wait for one another, so that what happens between them is known.
SCRIPT = "echo a; until [ -e {flag} ]; do sleep 0.05; done; echo b; (exit 3)"


def attach_with_d(server: Tmux, name: str) -> Callable[[], None]:
    """Attach as a person does, in a terminal of another size; return what ends that."""
    main, side = pty.openpty()
    person = subprocess.Popen(
        ["tmux", "attach", "-d", "-t", name], env={**server.environ, "TERM": "xterm"}, stdin=side, stdout=side
    )
    os.close(side)

    def end() -> None:
        person.terminate()
        person.wait()
        os.close(main)

    return end


def says_nothing_wrong(note: str) -> bool:
    """Return whether a note is true of output that came whole: it may be said to lack what came in a moment unseen."""
    return not note or "may lack" in note


def clients_of(server: Tmux) -> list[str]:
    return server.call("list-clients", "-F", "#{client_pid}").split()


def end_clients(server: Tmux, name: str) -> None:
    """Detach all clients of a session; there may be none just then."""
    subprocess.run(["tmux", "detach-client", "-s", name], env=server.environ, capture_output=True)


def wait_for_new_client(server: Tmux, before: list[str]) -> None:
    until = time.monotonic() + BOUND_S
    while not set(clients_of(server)) - set(before):
        assert time.monotonic() < until, "nothing was attached again"
        time.sleep(0.01)


WAYS: dict[str, Callable[[Tmux, str, str, str], object]] = {
    "detach": lambda server, name, pane, other: server.call("detach-client", "-s", name),
    "join": lambda server, name, pane, other: server.call("join-pane", "-d", "-s", pane, "-t", f"{other}:0"),
    "move": lambda server, name, pane, other: server.call("move-window", "-d", "-s", f"{name}:0", "-t", f"{other}:"),
    "swap panes": lambda server, name, pane, other: server.call("swap-pane", "-d", "-s", pane, "-t", f"{other}:0.0"),
    # tmux tells nobody of it
    "swap windows": lambda server, name, pane, other: server.call("swap-window", "-d", "-s", f"{name}:0", "-t", other),
    "switch our client": lambda server, name, pane, other: server.call(
        "switch-client", "-c", server.call("list-clients", "-t", name, "-F", "#{client_name}").strip(), "-t", other
    ),
}


@pytest.mark.parametrize("windows", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_run_goes_on_where_the_pane_is(tmux: Tmux, tmp_path: Path, way: str, windows: int) -> None:
    name, other = tmux.new(), tmux.new()
    pane_id = tmux.call("display", "-p", "-t", name, "#{pane_id}").strip()
    for _ in range(windows - 1):
        tmux.call("new-window", "-d", "-t", name, "bash --norc")
    pane = tmux.open(pane_id)
    results: list[CommandResult] = []
    thread = threading.Thread(target=lambda: results.append(pane.run(SCRIPT.format(flag=tmp_path / "flag"))))
    thread.start()
    tmux.wait_for(pane_id, "\na")
    before, began = clients_of(tmux), time.monotonic()
    WAYS[way](tmux, name, pane_id, other)
    wait_for_new_client(tmux, before)
    (tmp_path / "flag").touch()
    thread.join(BOUND_S)
    assert time.monotonic() - began < BOUND_S
    assert [(r.output, r.exit_code, r.pane_gone, r.pane_ready) for r in results] == [(b"a\nb\n", 3, False, True)]
    assert says_nothing_wrong(results[0].note)
    assert pane.run("echo next").output == b"next\n"
    pane.close()
    assert clients_of(tmux) == []


def test_a_person_who_attaches_with_d_ends_no_call(tmux: Tmux, tmp_path: Path) -> None:
    name = tmux.new()
    flag = tmp_path / "flag"
    runner = Path(__file__).parents[2] / "bin" / "sane-run-command"
    caller = subprocess.Popen(
        [runner, name, SCRIPT.format(flag=flag), "20"], env=tmux.environ, stdout=subprocess.PIPE, text=True
    )
    tmux.wait_for(name, "\na")
    before = clients_of(tmux)
    end = attach_with_d(tmux, name)
    try:
        until = time.monotonic() + BOUND_S
        while len(clients_of(tmux)) < 2 or set(before) & set(clients_of(tmux)):
            assert time.monotonic() < until, clients_of(tmux)
            time.sleep(0.01)
        flag.touch()
        out, _ = caller.communicate(timeout=BOUND_S)
    finally:
        end()
    assert '"output":"a\\nb\\n","exit_code":3' in out.replace(", ", ",").replace(": ", ":")
    assert "pane_gone" not in out
    assert says_nothing_wrong(json.loads(out).get("error", ""))


def test_a_session_of_a_group_that_is_killed_ends_no_run(tmux: Tmux, tmp_path: Path) -> None:
    name = tmux.new()
    tmux.call("new-session", "-d", "-s", f"{name}-too", "-t", name)
    pane = tmux.open(name)
    session = pane.transport.pane.session
    results: list[CommandResult] = []
    thread = threading.Thread(target=lambda: results.append(pane.run(SCRIPT.format(flag=tmp_path / "flag"))))
    thread.start()
    tmux.wait_for(pane.transport.pane_id, "\na")
    before = clients_of(tmux)
    tmux.call("kill-session", "-t", f"={session}")
    wait_for_new_client(tmux, before)
    (tmp_path / "flag").touch()
    thread.join(BOUND_S)
    assert [(r.output, r.exit_code) for r in results] == [(b"a\nb\n", 3)]
    assert says_nothing_wrong(results[0].note)
    pane.close()


@pytest.mark.parametrize("options", [(), ("-g",)])
def test_two_sessions_that_share_the_pane_are_no_gap(tmux: Tmux, options: tuple[str, ...]) -> None:
    """tmux may name either of them for it."""
    name, other = tmux.new(), tmux.new()
    if options:
        tmux.call("new-session", "-d", "-s", f"{name}-too", "-t", name)
    else:
        tmux.call("link-window", "-d", "-s", f"{name}:0", "-t", f"{other}:")
    pane = tmux.open(f"{name}:0")
    for _ in range(3):
        assert pane.run("echo a; sleep 1.2; echo b").output == b"a\nb\n"
    assert run_blocking(pane.transport.client()).gaps == 0
    pane.close()


@pytest.mark.parametrize("shell", list(SHELLS))
def test_output_that_nobody_saw_is_said_to_be_lacking(tmux: Tmux, shell: str) -> None:
    """What a command prints as fast as it can comes while nobody is attached, too."""
    name = tmux.new(SHELLS[shell])
    pane = tmux.open(name)
    pane.run("true")
    results: list[CommandResult] = []
    script = "sh -c 'n=0; while [ $n -lt 60000 ]; do n=$((n+1)); echo $n; done; sleep 1; exit 4'"
    thread = threading.Thread(target=lambda: results.append(pane.run(script)))
    thread.start()
    wait_for_program(tmux, name, "sh")
    before = clients_of(tmux)
    tmux.call("detach-client", "-s", name)
    wait_for_new_client(tmux, before)
    thread.join(20)
    (result,) = results
    assert (result.exit_code, result.pane_gone, result.pane_ready) == (4, False, True)
    whole = result.output == b"".join(b"%d\n" % n for n in range(1, 60001))
    assert whole or "may lack" in result.note
    pane.close()


def test_a_line_for_an_interpreter_ends_where_tmux_detached_us(tmux: Tmux, tmp_path: Path) -> None:
    name = tmux.new(f"{sys.executable} -q")
    tmux.wait_for(name, ">>>", BOUND_S)
    pane = tmux.open(name)
    pane.run("import os, time", raw_ok=True)
    waits = f"_ = [time.sleep(0.05) for _ in iter(lambda: os.path.exists('{tmp_path}/flag'), True)]"
    results: list[CommandResult] = []
    script = f"print('a'); {waits}; print('b')"
    thread = threading.Thread(target=lambda: results.append(pane.run(script, raw_ok=True)))
    thread.start()
    tmux.wait_for(name, "\na")
    before, began = clients_of(tmux), time.monotonic()
    tmux.call("detach-client", "-s", name)
    wait_for_new_client(tmux, before)
    (tmp_path / "flag").touch()
    thread.join(BOUND_S)
    assert time.monotonic() - began < BOUND_S
    assert [(r.output, r.mode, r.timed_out, r.pane_ready) for r in results] == [(b"a\nb\n", "raw", False, True)]
    assert "may lack" in results[0].note
    pane.close()


@pytest.mark.parametrize("shell", ["bash", "dash"])
def test_short_runs_are_sent_once_whenever_tmux_ends_our_client(tmux: Tmux, tmp_path: Path, shell: str) -> None:
    """Most of the moments lie between the typed line and the start of the command."""
    name, file = tmux.new(SHELLS[shell]), tmp_path / "runs"
    pane = tmux.open(name)
    pane.run("true")
    moments, refused = random.Random(3), list[int]()
    try:
        for run in range(80):
            detaches = threading.Timer(moments.random() * 0.012, end_clients, [tmux, name])
            detaches.start()
            try:
                result = pane.run(f"echo {run} | tee -a {file}; (exit 3)", timeout_s=BOUND_S)
            except PaneError as error:
                refused += [run] * error.message.endswith("nothing was run")
                continue
            finally:
                detaches.join()
            assert (result.timed_out, result.pane_ready, result.pane_gone) == (False, True, False)
            assert result.output == b"%d\n" % run or result.note
            assert b"\x1b" not in result.output
            assert result.exit_code == 3 or (result.exit_code is None and result.note)
    finally:
        pane.close()
    assert len(refused) <= 4, "on a busy machine the prompt may not be back in time"
    assert file.read_text().split() == [str(run) for run in range(80) if run not in refused]
    assert tmux.call("list-buffers") == ""


def test_a_call_that_waits_for_the_prompt_waits_on(tmux: Tmux) -> None:
    name = tmux.new("sh -c 'read line; exec bash --norc'")
    runner = Path(__file__).parents[2] / "bin" / "sane-wait-ready"
    caller = subprocess.Popen([runner, name, "20"], env=tmux.environ, stdout=subprocess.PIPE, text=True)
    wait_for_new_client(tmux, [])
    for _ in range(2):
        before = clients_of(tmux)
        tmux.call("detach-client", "-s", name)
        wait_for_new_client(tmux, before)
    tmux.call("send-keys", "-t", name, "Enter")
    out, _ = caller.communicate(timeout=BOUND_S)
    assert '"ready":true' in out.replace(" ", "")
    assert caller.returncode == 0


def test_a_pane_that_moved_between_calls_is_found(tmux: Tmux) -> None:
    name, other = tmux.new(), tmux.new()
    tmux.call("split-window", "-d", "-t", name, "bash --norc")
    pane = tmux.open(f"{name}:0.0")
    fresh = tmux.open(f"{name}:0.1")
    pane.run("true")
    for pane_id in (pane.transport.pane_id, fresh.transport.pane_id):
        tmux.call("join-pane", "-d", "-s", pane_id, "-t", f"{other}:0")
    for one in (pane, fresh):
        result = one.run("echo there", timeout_s=5)
        assert (result.output, result.exit_code, result.note) == (b"there\n", 0, "")
        one.close()


async def test_the_panes_of_a_session_go_on_together(tmux: Tmux, tmp_path: Path) -> None:
    name = tmux.new()
    tmux.call("split-window", "-d", "-t", name, "bash --norc")
    machine = LocalMachine(tmux.environ)
    panes = [await open_pane(machine, f"{name}:0.{n}") for n in range(2)]
    script = SCRIPT.format(flag=tmp_path / "flag")
    tasks = [asyncio.create_task(pane.run(Command(script, timeout_s=20))) for pane in panes]
    for pane in panes:
        until = time.monotonic() + BOUND_S
        while "\na" not in tmux.screen(pane.pane_id):
            assert time.monotonic() < until
            await asyncio.sleep(0.01)
    tmux.call("detach-client", "-s", name)
    until = time.monotonic() + BOUND_S
    while [(await pane.client()).gaps for pane in panes] != [1, 1]:
        assert time.monotonic() < until
        await asyncio.sleep(0.01)
    (tmp_path / "flag").touch()
    async with asyncio.timeout(BOUND_S):
        results = await asyncio.gather(*tasks)
    assert [(r.output, r.exit_code) for r in results] == [(b"a\nb\n", 3)] * 2
    assert all(says_nothing_wrong(r.note) for r in results)
    assert len(clients_of(tmux)) == 1
    for pane in panes:
        await pane.close()
    assert clients_of(tmux) == []
