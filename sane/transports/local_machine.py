"""This machine under asyncio: the twin of `local_machine_blocking`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import threading
import time
from collections.abc import Mapping, Sequence

from sane.errors import LostError
from sane.transports.base import Completed
from sane.transports.local_machine_blocking import WRITE_TIMEOUT_S, BlockingChannel, resolve_program
from sane.transports.process import EXIT_CHECK_S, pidfd_of, start_error


class LocalMachine:
    """Start processes on this machine without holding up the event loop."""

    name = "local"
    shares_clients = True

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ

    async def execute(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0) -> Completed:
        """Run a program to its end. Raises TransportError when it can't be run, TimeoutError when it outlasts."""
        process = await self._start(argv)
        try:
            async with asyncio.timeout(timeout_s):
                out, err = await process.communicate(stdin)
        finally:
            await _end(process)
        code = process.returncode or 0
        return Completed(128 - code if code < 0 else code, out, err)

    async def spawn(self, argv: Sequence[str]) -> AsyncChannel:
        """Start a program and return the channel to it. Raises TransportError when it can't be started."""
        return AsyncChannel([resolve_program(argv[0], self.environ), *argv[1:]], self.environ)

    async def _start(self, argv: Sequence[str]) -> asyncio.subprocess.Process:
        program = resolve_program(argv[0], self.environ)
        pipe = asyncio.subprocess.PIPE
        try:
            return await asyncio.create_subprocess_exec(
                program,
                *argv[1:],
                stdin=pipe,
                stdout=pipe,
                stderr=pipe,
                env=self.environ,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise start_error(program, error) from error

    async def sleep(self, seconds: float) -> None:
        """Wait, while other tasks run."""
        await asyncio.sleep(seconds)

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class AsyncChannel(BlockingChannel):
    """Talk to one process over its standard input and output, while other tasks run.

    It is no process of asyncio's, which kills one whose start is cancelled.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        super().__init__(argv, environ)
        os.set_blocking(self._out, False)
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self._senders: list[asyncio.Future[None]] = []
        self._news: asyncio.Future[None] | None = None  # of the one task that waits for output
        self._gone: OSError | None = None
        self._is_over = False

    async def write(self, data: bytes) -> None:
        """Send bytes to its standard input, all of them also when this is cancelled.

        Raises LostError when it has gone or takes nothing for 30 s.
        """
        self._unsent += data
        if len(self._unsent) == len(data):
            self._send()
        if self._unsent:
            sent = self._loop.create_future()
            self._senders.append(sent)
            try:
                async with asyncio.timeout(WRITE_TIMEOUT_S):
                    await sent
            except TimeoutError:
                raise LostError("the process takes no input", phase="command") from None
        if self._gone is not None:
            raise LostError(f"the process has gone: {self._gone.strerror}", phase="command") from self._gone

    def _send(self) -> None:
        try:
            del self._unsent[: os.write(self._in, self._unsent)]
        except BlockingIOError:
            pass
        except OSError as error:
            self._gone = error
            self._unsent.clear()
        if self._unsent:
            self._loop.add_writer(self._in, self._send)
        else:
            self._stop_sending()

    def _stop_sending(self) -> None:
        self._unsent.clear()
        if self._in >= 0:
            self._loop.remove_writer(self._in)
        senders, self._senders = self._senders, []
        for sent in senders:
            _set(sent)

    async def read(self, timeout_s: float) -> bytes:
        """Return what it wrote next, b"" at its end. Raises TimeoutError after `timeout_s`."""
        async with asyncio.timeout(max(0.0, timeout_s)):
            while not self._is_over:
                try:
                    return self._take()
                except BlockingIOError:
                    await self._output()
        return b""

    async def _output(self) -> None:
        self._news = self._loop.create_future()
        self._loop.add_reader(self._out, _set, self._news)
        try:
            await self._news
        finally:
            self._news = None
            if not self._is_over:
                self._loop.remove_reader(self._out)

    async def close(self) -> None:
        """Close its input, which ends it; kill it when that does not; safe to call twice.

        Where this is cancelled, a thread waits for the end.
        """
        if self._in < 0:
            return
        if self._unsent:
            self._gone = BrokenPipeError(errno.EPIPE, "it was closed before it had taken all")
        self._stop_sending()
        until = self._close_input()
        is_cancelled = True
        try:
            if self._news is None:  # else another task reads
                with contextlib.suppress(TimeoutError):
                    while await self.read(until - time.monotonic()):
                        pass
            await self._ended(until)
            is_cancelled = False
        finally:
            self._is_over = True
            self._loop.remove_reader(self._out)
            if self._news is not None:
                _set(self._news)
            if is_cancelled:
                threading.Thread(target=self._end, args=(until,), daemon=True).start()
            else:
                self._end(0.0)

    async def _ended(self, until: float) -> None:
        """Wait for its end, until a time at most."""
        pidfd = pidfd_of(self._pid)
        if pidfd < 0:  # the system has no event for it
            while os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:  # noqa: ASYNC222  (no wait)
                if time.monotonic() >= until:
                    return
                await asyncio.sleep(EXIT_CHECK_S)
            return
        ended = self._loop.create_future()
        self._loop.add_reader(pidfd, _set, ended)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, until - time.monotonic())):
                    await ended
        finally:
            self._loop.remove_reader(pidfd)
            os.close(pidfd)


def _set(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill a process that still runs, close its pipes, and reap it.

    `wait` alone returns once every pipe is at its end: never, where nobody reads one or a child of its holds it.
    And a transport left open says "Event loop is closed" when it is collected later.
    """
    transport: asyncio.SubprocessTransport = getattr(process, "_transport")  # noqa: B009  # no public way to it
    transport.close()
    await process.wait()
    await asyncio.sleep(0)  # the pipes are closed by now
