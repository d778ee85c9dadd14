"""A scripted host in memory that speaks the transport protocol exactly, for tests of what stands on it.

host = FakeTransport("web1", {"uname": Reply(b"Linux\n")})
host.fault = "silent"      # from now on it accepts and never answers
host.commands              # what was run, in order
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sane.core.command import TIMEOUT_EXIT_CODE, Command, CommandResult, check_limit, path_text
from sane.errors import LostError, NotFoundError, RemoteError, UnavailableError, UnreachableError
from sane.transports.base import OnOutput

Fault = Literal["", "refuse", "silent", "slow", "lost", "full-disk"]


@dataclass(frozen=True, slots=True)
class Reply:
    """Hold what a scripted command does: its output, its end, and how long it takes."""

    stdout: bytes = b""
    exit_code: int = 0
    stderr: bytes = b""
    duration_s: float = 0.0


# A handler sees the command and the host's files, and may change them.
Handler = Callable[[Command, "FakeTransport"], Reply | Awaitable[Reply]]


class FakeTransport:
    """Answer commands from a table by script, or by a handler; keep files in memory.

    A script that is not in the table and for which there is no handler ends 127, as in a shell. `fault` may be set at
    any time: refuse (nothing ever runs), silent (no answer within `connect_timeout_s`), slow (each answer takes
    `slow_s` longer), lost (the next command runs, and its answer is lost), full-disk (writing fails). `running` counts
    commands that have not ended.
    """

    def __init__(
        self,
        name: str = "fake",
        replies: Mapping[str, Reply | Handler] | None = None,
        handler: Handler | None = None,
        *,
        connect_timeout_s: float = 0.05,
        slow_s: float = 0.05,
    ) -> None:
        self.name = name
        self.replies: dict[str, Reply | Handler] = dict(replies or {})
        self.handler = handler
        self.connect_timeout_s = connect_timeout_s
        self.slow_s = slow_s
        self.fault: Fault = ""
        self.files: dict[str, bytes] = {}
        self.modes: dict[str, int] = {}
        self.commands: list[Command] = []
        self.running = 0
        self.closed = False

    async def run(self, command: Command, on_output: OnOutput | None = None) -> CommandResult:
        """Answer as scripted; a duration past `timeout_s` ends 124, and cancelling ends the command."""
        started = time.monotonic()
        await self._reach()
        self.commands.append(command)
        self.running += 1
        timed_out, reply = False, Reply()
        try:
            async with asyncio.timeout(command.timeout_s):
                reply = await self._answer(command)
                await asyncio.sleep(reply.duration_s)
        except TimeoutError:
            timed_out = True
        finally:
            self.running -= 1
        if self.fault == "lost":
            raise LostError(f"the connection to {self.name} went away inside a step", phase="command", host=self.name)
        return self._result(command, reply, timed_out, started, on_output)

    async def _answer(self, command: Command) -> Reply:
        found = self.replies.get(command.script, self.handler)
        if found is None:
            return Reply(exit_code=127, stderr=f"sh: {command.script.split(' ')[0]}: not found\n".encode())
        if isinstance(found, Reply):
            return found
        answer = found(command, self)
        return answer if isinstance(answer, Reply) else await answer

    def _result(
        self, command: Command, reply: Reply, timed_out: bool, started: float, on_output: OnOutput | None
    ) -> CommandResult:
        limit = command.output_limit_bytes
        stdout, stderr = reply.stdout[:limit], reply.stderr[:limit]
        for chunk in (stdout, stderr):
            if chunk and on_output is not None:
                on_output(chunk)
        return CommandResult(
            target=f"ssh:{self.name}",
            command=command.display or command.script,
            output=stdout,
            exit_code=TIMEOUT_EXIT_CODE if timed_out else reply.exit_code,
            duration_ms=(time.monotonic() - started) * 1000,
            stderr=stderr,
            timed_out=timed_out,
            truncated=len(stdout) < len(reply.stdout) or len(stderr) < len(reply.stderr),
        )

    async def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        """Keep a file. Raises RemoteError when the disk is full."""
        path = path_text(path)
        await self._reach()
        if self.fault == "full-disk":
            raise RemoteError(f"{path} can't be written on {self.name}: No space left on device")
        self.files[path] = content
        if mode is not None:
            self.modes[path] = mode

    async def get(self, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        """Return a file's first `limit_bytes`. Raises NotFoundError when absent."""
        path = path_text(path)
        check_limit(limit_bytes)
        await self._reach()
        if path not in self.files:
            raise NotFoundError(f"{path} does not exist on {self.name}")
        return self.files[path][:limit_bytes]

    async def close(self) -> None:
        """Refuse everything from now on; safe to call twice."""
        self.closed = True

    async def _reach(self) -> None:
        if self.closed:
            raise UnavailableError(f"the transport to {self.name} has been closed")
        if self.fault == "refuse":
            raise UnreachableError(f"{self.name} refused the connection", phase="connect", host=self.name)
        if self.fault == "silent":
            await asyncio.sleep(self.connect_timeout_s)
            raise UnreachableError(
                f"{self.name} accepted the connection and sent no SSH banner within {self.connect_timeout_s:g} s",
                phase="banner",
                host=self.name,
            )
        await asyncio.sleep(self.slow_s if self.fault == "slow" else 0)
