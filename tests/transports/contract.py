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
from sane.transports.fake import FakeTransport, Reply
from sane.transports.local import LocalTransport
from sane.transports.ssh_config import SshConfig
from sane.transports.ssh_pool import SshPool
from tests.transports.sshd import Sshd, is_running

BINARY = 'cat "$FILE"'
EXIT_7 = "printf out; printf err >&2; exit 7"
KILLED = "kill -9 $$"
SHOW_ENV = 'printf %s "$VALUE"'
SHOW_CWD = 'printf %s "$PWD"'
ECHO_STDIN = "cat"
NO_STDIN = "cat; printf done"
# The process id of the whole group's leader, then two processes that outlive a mere TERM.
HANG = "echo $$ >\"$PIDS\"; (trap '' TERM; sh -c 'echo $$ >>\"$PIDS\"; exec sleep 60') & sleep 60; wait"
LINES = "i=0; while [ $i -lt 2000 ]; do echo line$i; i=$((i+1)); done"


@dataclass
class Place:
    """Hold a transport and what the suite must know of it: `root` is a directory that exists on the target."""

    transport: Any
    root: Path
    separate_stderr: bool = True
    knows_signals: bool = True
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
            LINES: Reply(b"".join(b"line%d\n" % i for i in range(2000))),
        }
    )
    yield Place(host, root, started=lambda _: host.running == 1, still_running=lambda _: [1] * host.running)


FACTORIES: dict[str, Callable[[Path, Sshd], contextlib.AbstractAsyncContextManager[Place]]] = {
    "fake": fake_place,
    "local": local_place,
    "ssh": ssh_place,
}
