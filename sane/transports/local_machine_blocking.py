"""This machine without asyncio: every coroutine here does its work in its own step and never suspends."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence

from sane.errors import LostError, TransportError
from sane.transports.base import Completed
from sane.transports.lifeline import Lifeline
from sane.transports.local import find_program
from sane.transports.process import above_standard, run_process, start_error

READ_BYTES = 1 << 18
WRITE_TIMEOUT_S = 30.0
CLOSE_GRACE_S = 0.5
START_GRACE_S = 2.0  # a tmux client that has run for so long has told its server all of itself: that takes about 5 ms


class BlockingMachine:
    """Start processes on this machine, blocking."""

    name = "local"

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self.environ: Mapping[str, str] = os.environ if environ is None else environ

    async def execute(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0) -> Completed:
        """Run a program to its end. Raises TransportError when it can't be run, TimeoutError when it outlasts."""
        finished = run_process(
            [resolve_program(argv[0], self.environ), *argv[1:]], env=self.environ, stdin=stdin, timeout_s=timeout_s
        )
        if finished.timed_out:
            raise TimeoutError(f"{argv[0]} did not end within {timeout_s:g} s")
        return Completed(finished.exit_code, finished.stdout, finished.stderr)

    async def spawn(self, argv: Sequence[str]) -> BlockingChannel:
        """Start a program and return the channel to it. Raises TransportError when it can't be started."""
        return BlockingChannel([resolve_program(argv[0], self.environ), *argv[1:]], self.environ)

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)  # noqa: ASYNC251  (this machine is the blocking one)

    async def close(self) -> None:
        """Do nothing: nothing is held."""


class BlockingChannel:
    """Talk to one process over its standard input and output.

    Until it has said something it is not killed: a `tmux -C` that ends before its server knows all of it takes the
    server and every session down (seen with 3.3a, not mended before 2026: tmux pull request 5004). Its input closed,
    it ends by itself, once its output is taken; so that the pipe does that also where this process is gone, it holds
    the pipe's other end too.
    """

    def __init__(self, argv: Sequence[str], environ: Mapping[str, str]) -> None:
        child_in, self._in = os.pipe()
        out, child_out = os.pipe()
        self._out = above_standard(out)
        null = os.open(os.devnull, os.O_WRONLY)
        self._lifeline = Lifeline()
        self._lifeline.child_end = end = above_standard(self._lifeline.child_end)
        actions = [
            (os.POSIX_SPAWN_DUP2, child_in, 0),
            (os.POSIX_SPAWN_DUP2, child_out, 1),
            (os.POSIX_SPAWN_DUP2, null, 2),
            # Both onto themselves, so this child alone inherits them.
            (os.POSIX_SPAWN_DUP2, self._out, self._out),
            (os.POSIX_SPAWN_DUP2, end, end),
        ]
        try:
            # A session of its own: Ctrl-C at the terminal must not end it before it was told to.
            self._pid = os.posix_spawn(argv[0], list(argv), environ, file_actions=actions, setsid=True)
        except (OSError, ValueError) as error:
            os.close(self._in)
            os.close(self._out)
            self._lifeline.close()
            raise start_error(argv[0], error) from error
        finally:
            for fd in (child_in, child_out, null):
                os.close(fd)
        self._started = time.monotonic()
        self._has_spoken = False
        os.set_blocking(self._in, False)
        self._readable = select.poll()
        self._readable.register(self._out, select.POLLIN)

    async def write(self, data: bytes) -> None:
        """Send bytes to its standard input. Raises LostError when it has gone or takes nothing for 30 s."""
        rest = memoryview(data)
        writable = select.poll()
        writable.register(self._in, select.POLLOUT)
        while rest:
            try:
                rest = rest[os.write(self._in, rest) :]
            except BlockingIOError:
                if not writable.poll(WRITE_TIMEOUT_S * 1000):
                    raise LostError("the process takes no input", phase="command") from None
            except OSError as error:
                raise LostError(f"the process has gone: {error.strerror}", phase="command") from error

    async def read(self, timeout_s: float) -> bytes:
        """Return what it wrote next, b"" at its end. Raises TimeoutError after `timeout_s`."""
        return self._read(timeout_s)

    def _read(self, timeout_s: float) -> bytes:
        if not self._readable.poll(max(0.0, timeout_s) * 1000):
            raise TimeoutError
        return self._take()

    def _take(self) -> bytes:
        data = os.read(self._out, READ_BYTES)
        if data and not self._has_spoken:
            self._has_spoken = True
            self._lifeline.bind(self._pid)  # from now on the end of this process may kill it
        return data

    async def close(self) -> None:
        """Close its input, which ends it; kill it when that does not; safe to call twice."""
        if self._in >= 0:
            self._end(self._close_input())

    def _close_input(self) -> float:
        """Close its input, and return until when it has time to end by itself."""
        os.close(self._in)
        self._in = -1
        until = time.monotonic() + CLOSE_GRACE_S
        return until if self._has_spoken else max(until, self._started + START_GRACE_S)

    def _end(self, until: float) -> None:
        """Wait for its end, and kill it after `until`.

        Its output is read to the end: a tmux client to which output is owed does not end (tmux 3.3a).
        """
        with contextlib.suppress(TimeoutError):
            while (left_s := until - time.monotonic()) > 0 and self._read(left_s):
                pass
        while os.waitpid(self._pid, os.WNOHANG)[0] == 0:
            if time.monotonic() >= until:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
                break
            time.sleep(0.0005)
        os.close(self._out)
        self._lifeline.close()


def resolve_program(name: str, environ: Mapping[str, str]) -> str:
    """Return the full path of a program. Raises TransportError when it is not installed."""
    path = name if "/" in name else find_program(name, environ.get("PATH"))
    if path is None:
        raise TransportError(f"{name} is not installed", phase="command", hint=f"Install {name}, or add it to PATH.")
    return path
