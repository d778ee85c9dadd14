"""The two seams to the outside world.

A `Transport` runs commands on one target. A `Machine` starts processes on one machine, and is what the tmux transport
stands on, so that a pane here and a pane on a remote host are driven by the same code.

Every method is a coroutine. The blocking implementations (one-shot command line) never suspend, so they
run under `sane.transports.blocking.run_blocking` without asyncio, whose import alone would cost 40 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from sane.core.command import Command, CommandResult

OnOutput = Callable[[bytes], object]


class Completed(NamedTuple):
    """Hold what a finished process left: exit code and both streams."""

    exit_code: int
    stdout: bytes
    stderr: bytes


class Channel(Protocol):
    """Talk to one running process."""

    async def write(self, data: bytes) -> None:
        """Send bytes to its standard input. Raises LostError when it has gone."""
        ...

    async def read(self, timeout_s: float) -> bytes:
        """Return what it wrote next, b"" at its end. Raises TimeoutError after `timeout_s`."""
        ...

    async def close(self) -> None:
        """End the process and release what it held; safe to call twice."""
        ...


class Machine(Protocol):
    """Start processes on one machine."""

    @property
    def name(self) -> str:
        """Return how a person names it: an ssh host name, or `local`."""
        ...

    async def execute(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 30.0) -> Completed:
        """Run a program to its end. Raises TransportError when it can't be run, TimeoutError when it outlasts."""
        ...

    async def spawn(self, argv: Sequence[str]) -> Channel:
        """Start a program and return the channel to it (stdin and stdout; stderr is dropped)."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait, without holding up anything else where there is anything else."""
        ...

    async def close(self) -> None:
        """Close what was opened."""
        ...


class Transport(Protocol):
    """Run commands and move files on one target.

    A non-zero exit and a timeout (124) are results; only a failure of the transport itself raises TransportError.
    Cancelling `run` stops the command; so does an exception of `on_output`, which `run` raises then.
    """

    async def run(self, command: Command, on_output: OnOutput | None = None) -> CommandResult:
        """Run a command to its end and return its result; `on_output` gets each chunk as it comes."""
        ...

    async def put(self, path: str, content: bytes, *, mode: int | None = None) -> None:
        """Replace a file atomically. Raises RemoteError when the target refuses (full disk, permission)."""
        ...

    async def get(self, path: str, *, limit_bytes: int = 1 << 20) -> bytes:
        """Return a file's first `limit_bytes`. Raises RemoteError when it can't be read, NotFoundError when absent."""
        ...

    async def close(self) -> None:
        """Close what was opened; safe to call twice."""
        ...
