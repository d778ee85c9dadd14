"""What the contract suite runs on: one factory for each transport, and the commands that it sends.

A factory is an async context manager that yields a `Place`. A new transport is one entry of FACTORIES.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sane.core.command import Command
from sane.transports.base import Machine
from sane.transports.fake import FakeTransport, Reply
from sane.transports.local import LocalTransport
from sane.transports.local_machine import LocalMachine
from sane.transports.pane import open_pane
from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_pool import SshPool
from tests.processes import is_running
from tests.transports.sshd import Sshd

BINARY = 'cat "$FILE"'
EXIT_7 = "(printf out; printf err >&2; exit 7)"
KILLED = "sh -c 'kill -9 $$'"
SHOW_ENV = 'printf %s "$VALUE"'
SHOW_CWD = 'printf %s "$PWD"'
ECHO_STDIN = "cat"
NO_STDIN = "cat; printf done"
# The process id of the whole group's leader, then two processes that outlive a mere TERM.
HANG = "echo $$ >\"$PIDS\"; (trap '' TERM; sh -c 'echo $$ >>\"$PIDS\"; exec sleep 60') & sleep 60; wait"
# What Ctrl-C ends in a pane: the program in the foreground and its child; background jobs are the shell's own affair.
HANG_IN_PANE = """sh -c 'echo $$ >"$PIDS"; sh -c "echo \\$\\$ >>\\"\\$PIDS\\"; exec sleep 60"; exit'"""
SAY = "printf said; "
LINES = "i=0; while [ $i -lt 2000 ]; do echo line$i; i=$((i+1)); done"


@dataclass
class Place:
    """Hold a transport and what the suite must know of it: `root` is a directory that exists on the target."""

    transport: Any
    root: Path
    separate_stderr: bool = True
    has_terminal: bool = False
    hang: str = HANG
    started: Callable[[Path], bool] = lambda file: file.exists() and len(file.read_text().split()) == 2
    still_running: Callable[[Path], list[int]] = lambda file: [
        p for p in map(int, file.read_text().split()) if is_running(p)
    ]


@contextlib.asynccontextmanager
async def local_place(root: Path, sshd: Sshd) -> AsyncIterator[Place]:
    transport = LocalTransport(environ={**os.environ, "HOME": str(root)})
    yield Place(transport, root)
    await transport.close()


@contextlib.asynccontextmanager
async def ssh_place(root: Path, sshd: Sshd) -> AsyncIterator[Place]:
    config = root / "ssh_config"
    config.write_text(sshd.config())
    async with SshPool(SshConfig(config=str(config))) as pool:
        transport = pool.transport("web1")
        yield Place(transport, root)
        await transport.close()


@contextlib.asynccontextmanager
async def fake_place(root: Path, sshd: Sshd) -> AsyncIterator[Place]:
    host = FakeTransport("web1")

    def binary(command: Command, host: FakeTransport) -> Reply:
        return Reply(host.files[command.env["FILE"]])

    async def hang(command: Command, host: FakeTransport) -> Reply:
        await asyncio.sleep(60)
        return Reply()

    host.replies.update(
        {
            BINARY: binary,
            EXIT_7: Reply(b"out", 7, b"err"),
            KILLED: Reply(exit_code=137),
            SHOW_ENV: lambda command, _: Reply(os.fsencode(command.env["VALUE"])),
            SHOW_CWD: lambda command, _: Reply(os.fsencode(command.cwd or "")),
            ECHO_STDIN: lambda command, _: Reply(command.stdin or b""),
            NO_STDIN: lambda command, _: Reply((command.stdin or b"") + b"done"),
            HANG: hang,
            SAY + HANG: Reply(b"said"),
            LINES: Reply(b"".join(b"line%d\n" % i for i in range(2000))),
        }
    )
    yield Place(host, root, started=lambda _: host.running == 1, still_running=lambda _: [1] * host.running)


@contextlib.asynccontextmanager
async def tmux_pane(root: Path, machine: Machine) -> AsyncIterator[Place]:
    """Start a tmux server on a machine, with one pane of bash, and end it again."""
    socket = ["-S", str(root.parent / "tmux-socket")]
    start = [
        "tmux",
        *socket,
        "-f",
        "/dev/null",
        "new-session",
        "-d",
        "-s",
        "work",
        "-x",
        "80",
        "-y",
        "24",
        "bash --norc",
    ]
    done = await machine.execute(start)
    assert done.exit_code == 0, done.stderr
    try:
        pane = await open_pane(machine, "work", socket)
        yield Place(pane, root, separate_stderr=False, has_terminal=True, hang=HANG_IN_PANE)
        await pane.close()
    finally:
        await machine.execute(["tmux", *socket, "kill-server"])


@contextlib.asynccontextmanager
async def pane_place(root: Path, sshd: Sshd) -> AsyncIterator[Place]:
    machine = LocalMachine()
    async with tmux_pane(root, machine) as place:
        yield place
    await machine.close()


@contextlib.asynccontextmanager
async def ssh_pane_place(root: Path, sshd: Sshd) -> AsyncIterator[Place]:
    config = root / "ssh_config"
    config.write_text(sshd.config())
    async with SshPool(SshConfig(config=str(config))) as pool:
        machine = pool.machine("web1")
        async with tmux_pane(root, machine) as place:
            yield place
        await machine.close()


FACTORIES: dict[str, Callable[[Path, Sshd], contextlib.AbstractAsyncContextManager[Place]]] = {
    "fake": fake_place,
    "local": local_place,
    "pane": pane_place,
    "ssh": ssh_place,
    "ssh-pane": ssh_pane_place,
}
