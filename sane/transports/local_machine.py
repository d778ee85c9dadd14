"""This machine under asyncio: the twin of `local_machine_blocking`."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Mapping, Sequence

from sane.errors import LostError
from sane.transports.base import Completed
from sane.transports.lifeline import Lifeline
from sane.transports.local_machine_blocking import CLOSE_GRACE_S, READ_BYTES, WRITE_TIMEOUT_S, resolve_program
from sane.transports.process import start_error


class LocalMachine:
    """Start processes on this machine without holding up the event loop."""

    name = "local"
    shares_clients = True

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ

    async def execute(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0) -> Completed:
        """Run a program to its end. Raises TransportError when it can't be run, TimeoutError when it outlasts."""
        process = await self._start(argv, asyncio.subprocess.PIPE)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(stdin)
        finally:
            await _end(process)
        code = process.returncode or 0
        return Completed(128 - code if code < 0 else code, out, err)

    async def spawn(self, argv: Sequence[str]) -> AsyncChannel:
        """Start a program and return the channel to it. Raises TransportError when it can't be started."""
        lifeline = Lifeline()
        try:
            process = await self._start(argv, asyncio.subprocess.DEVNULL, lifeline.child_end)
        except BaseException:
            lifeline.close()
            raise
        lifeline.bind(process.pid)
        return AsyncChannel(process, lifeline)

    async def _start(self, argv: Sequence[str], stderr: int, *pass_fds: int) -> asyncio.subprocess.Process:
        program = resolve_program(argv[0], self.environ)
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(
                program,
                *argv[1:],
                stdin=pipe,
                stdout=pipe,
                stderr=stderr,
                env=self.environ,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        except (OSError, ValueError) as error:
            raise start_error(program, error) from error

    async def sleep(self, seconds: float) -> None:
        """Wait, while other tasks run."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class AsyncChannel:
    """Talk to one process over its standard input and output."""

    def __init__(self, process: asyncio.subprocess.Process, lifeline: Lifeline) -> None:
        self._process = process
        self._lifeline = lifeline

    async def write(self, data: bytes) -> None:
        """Send bytes to its standard input. Raises LostError when it has gone or takes nothing for 30 s."""
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(data)
            if not stdin.is_closing() and stdin.transport.get_write_buffer_size() == 0:
                return  # taken at once, as nearly always: 0.1 ms less than a drain with a deadline
            async with asyncio.timeout(WRITE_TIMEOUT_S):
                await stdin.drain()
        except (OSError, TimeoutError) as error:
            raise LostError("the process has gone, or takes no input", phase="command") from error

    async def read(self, timeout_s: float) -> bytes:
        """Return what it wrote next, b"" at its end. Raises TimeoutError after `timeout_s`."""
        stdout = self._process.stdout
        assert stdout is not None
        async with asyncio.timeout(max(0.0, timeout_s)):
            return await stdout.read(READ_BYTES)

    async def close(self) -> None:
        """Close its input, which ends it; kill it when that does not."""
        process = self._process
        try:
            if process.returncode is None and process.stdin is not None:
                process.stdin.close()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(CLOSE_GRACE_S):
                        with contextlib.suppress(RuntimeError):  # another task waits for output, and reads it
                            while await self.read(CLOSE_GRACE_S):
                                pass  # a tmux client to which output is owed does not end (tmux 3.3a)
                        await process.wait()
            await _end(process)
        finally:
            self._lifeline.close()


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process that still runs, close its pipes, and reap it.

    `wait` alone returns once every pipe is at its end: never, where nobody reads one or a child of its holds it.
    And a transport left open says "Event loop is closed" when it is collected later.
    """
    transport: asyncio.SubprocessTransport = getattr(process, "_transport")  # noqa: B009  # no public way to it
    transport.close()
    await process.wait()
    await asyncio.sleep(0)  # the pipes are closed by now
