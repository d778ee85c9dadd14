"""The Python API: one target, opened once.

    async with sane.connect("ssh:web1") as host:
        result = await host.run("uname -a")
        print(result.text, result.exit_code)

A target is a local pane (`work:1.0`, `%3`), `local:`, `ssh:HOST`, or a pane of a host's tmux (`ssh:HOST/work:1.0`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from os import PathLike
from types import TracebackType
from typing import Any, TypeVar

from sane.core.command import Command, CommandResult
from sane.core.fleet.inventory import Inventory
from sane.core.target import Target, parse_target
from sane.engine.context import open_context
from sane.errors import UsageError
from sane.transports.base import Transport

GET_LIMIT_BYTES = 64 << 20
T = TypeVar("T")


def connect(target: str, *, inventory: str | PathLike[str] | None = None) -> Connection:
    """Return a connection to a target, to be entered with `async with`; nothing is opened before.

    `inventory` is a file of hosts that `ssh:NAME` resolves through before ~/.ssh/config.
    Raises UsageError for a target that is none; ConfigError, NotFoundError for the inventory.
    """
    parsed = parse_target(target)
    if inventory is None:
        return Connection(parsed, None)
    from sane.operations.files import load_inventory

    return Connection(parsed, load_inventory(str(inventory)))


class Connection:
    """Run commands and move files on one target. Calls may run at the same time; on a pane they take turns.

    What still runs when it is closed is stopped on its target, and raises UsageError to whoever awaits it.
    """

    def __init__(self, target: Target, inventory: Inventory | None) -> None:
        self._target = target
        self._inventory = inventory
        self._context = open_context(inventory)
        self._is_open = False
        self._running: set[asyncio.Task[Any]] = set()

    @property
    def target(self) -> str:
        """Return the target as it was written."""
        return str(self._target)

    async def __aenter__(self) -> Connection:
        """Open the target. Raises NotFoundError for a pane or session that does not exist, TransportError."""
        if self._is_open:
            raise UsageError(f"{self.target} is connected already", hint="Enter each connection once at a time.")
        self._is_open = True
        self._context = open_context(self._inventory)  # one that was closed opens nothing again
        try:
            async with self._context.call() as call:
                await call.transport(self._target)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close what was opened."""
        await self._close()

    async def run(
        self,
        command: str,
        *,
        timeout_s: float | None = 30.0,
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        stdin: bytes | None = None,
        on_output: Callable[[bytes], None] | None = None,
    ) -> CommandResult:
        """Run a command with the target's own shell; `on_output` gets each chunk as it comes.

        A non-zero exit and a timeout (exit code 124) are results. Cancelling stops the command.
        Raises TransportError; for a pane that can't take a command now PaneError; UsageError for a time below 0.
        """
        if timeout_s is not None and not timeout_s >= 0:
            raise UsageError(f"timeout_s must not be negative, got {timeout_s}", hint="None waits for ever.")
        described = Command(command, cwd=cwd, env=dict(env or {}), stdin=stdin, timeout_s=timeout_s)
        return await self._do(lambda transport: transport.run(described, on_output))

    async def put(self, path: str, content: bytes | str, *, mode: int | None = None) -> None:
        """Replace a file atomically; text becomes UTF-8. `mode` is a number such as 0o644; None keeps what is there.

        Raises RemoteError when the target refuses, TransportError; UsageError for a mode that is none.
        """
        if mode is not None and not 0 <= mode <= 0o7777:
            raise UsageError(f"mode must be 0o0 to 0o7777, got {mode:#o}", hint="Write it as 0o644.")
        data = content.encode() if isinstance(content, str) else content
        await self._do(lambda transport: transport.put(path, data, mode=mode))

    async def get(self, path: str, *, limit_bytes: int = GET_LIMIT_BYTES) -> bytes:
        """Return a file's first `limit_bytes`. Raises NotFoundError when absent, RemoteError, TransportError."""
        return await self._do(lambda transport: transport.get(path, limit_bytes=limit_bytes))

    async def _do(self, work: Callable[[Transport], Coroutine[Any, Any, T]]) -> T:
        if not self._is_open:
            raise UsageError(f"{self.target} is not connected", hint="Use `async with sane.connect(…) as host:`.")
        task = asyncio.ensure_future(self._call(work))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await task
        except asyncio.CancelledError:
            caller = asyncio.current_task()
            if self._is_open or (caller is not None and caller.cancelling()):
                raise
            raise UsageError(
                f"{self.target} was closed while this ran; it was stopped",
                hint="Await what runs before the end of `async with`.",
            ) from None

    async def _call(self, work: Callable[[Transport], Coroutine[Any, Any, T]]) -> T:
        async with self._context.call() as call:
            return await work(await call.transport(self._target))

    async def _close(self) -> None:
        self._is_open = False
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        await self._context.close()
